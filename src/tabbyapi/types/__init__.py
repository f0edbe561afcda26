"""Wire types: what goes over the network, as msgspec Structs, and the parameters of requests.

Both halves, client and server, use them. May import errors.py, and nothing else of the project.
Annotations are not postponed in these modules: msgspec and typing would compile each of them,
when it is imported.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from .chat import *
from .completions import *
from .embeddings import *
from .messages import *
from .models import *
from .options import *
from .params import *
from .requests import *
from .rules import CONFIG as CONFIG
from .rules import Config as Config
from .services import *
from .usage import *

if not TYPE_CHECKING:  # checkers know the public names by their imports
    # pytest adds modules of its own to those it rewrites.
    _MODULES = [
        item
        for item in vars().values()
        if isinstance(item, ModuleType) and item.__name__.startswith(f"{__name__}.")
    ]
    __all__ = [name for module in _MODULES for name in module.__all__ if name in globals()]
