"""Killable child processes for work that hostile input could make endless or enormous.

`worker` starts such a process, hands it jobs in the order that `turns` decides, and ends it;
`child` runs inside it.
"""
