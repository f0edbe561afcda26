"""The engine: llama.cpp in a child process, and the only rooms that talk to it.

`child` runs in that process; `process` starts, watches, restarts and stops it; `native` speaks
its HTTP API.
"""

from .native import EngineDied, EngineRefusal, Event, Native, Timings
from .process import Engine, EngineError, EngineSpec

__all__ = [
    "Engine",
    "EngineDied",
    "EngineError",
    "EngineRefusal",
    "EngineSpec",
    "Event",
    "Native",
    "Timings",
]
