"""Wire types: what goes over the network, as msgspec Structs, and the parameters of requests.

Both halves, client and server, use them. May import errors.py, and nothing else of the project.
Annotations are not postponed in these modules: msgspec and typing would compile each of them,
when it is imported.
"""

from typing import TYPE_CHECKING

from . import (
    chat,
    completions,
    embeddings,
    health,
    loras,
    messages,
    models,
    options,
    params,
    requests,
    sampling,
    templates,
    tokens,
    usage,
)
from .chat import *
from .completions import *
from .embeddings import *
from .health import *
from .loras import *
from .messages import *
from .models import *
from .options import *
from .params import *
from .requests import *
from .rules import CONFIG as CONFIG
from .rules import Config as Config
from .sampling import *
from .templates import *
from .tokens import *
from .usage import *

if not TYPE_CHECKING:  # checkers know the public names by their imports
    _MODULES = (
        chat,
        completions,
        embeddings,
        health,
        loras,
        messages,
        models,
        options,
        params,
        requests,
        sampling,
        templates,
        tokens,
        usage,
    )
    __all__ = ["CONFIG", "Config", *(name for module in _MODULES for name in module.__all__)]
