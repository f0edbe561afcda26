"""Speed against other clients, as ratios taken in one run. `make bench`, `python -m benchmarks`.

`replay` is a server in a process of its own that sends bytes made beforehand; `worker` is one
client's process; `run` takes the rounds, in turn over all clients; `report` makes the tables.
"""

import sys
from pathlib import Path

# The tiny models and the scripted pages of the tests serve here, too.
sys.path.append(str(Path(__file__).parent.parent / "tests"))
