"""Speed against other clients, as ratios taken in one run. `make bench`, `python -m benchmarks`.

`replay` is a server in a process of its own that sends bytes made beforehand; `worker` is one
client's process; `run` takes the rounds, in turn over all clients; `report` makes the tables.
"""
