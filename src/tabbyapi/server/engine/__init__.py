"""The engine: llama.cpp in a child process, and the only rooms that talk to it.

`child` runs in that process; `process` starts, watches, restarts and stops it; `native` speaks
its HTTP API, `completion` reads its streams, `events` are what these say.
"""

from .completion import Flow
from .events import EngineDied, EngineRefusal, Event, Progress, Timings, TokenProbability
from .native import Native
from .process import Engine, EngineError, EngineSpec, EngineState

__all__ = [
    "Engine",
    "EngineDied",
    "EngineError",
    "EngineRefusal",
    "EngineSpec",
    "EngineState",
    "Event",
    "Flow",
    "Native",
    "Progress",
    "Timings",
    "TokenProbability",
]
