"""`Client` and `AsyncClient`: where a call meets a transport.

`base` makes requests of calls and reads answers; `sync` and `aio` send and wait.
"""
