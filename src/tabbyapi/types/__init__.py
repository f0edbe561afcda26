"""Wire types: what goes over the network, as msgspec Structs, and the parameters of requests.

Both halves, client and server, use them. May import errors.py, and nothing else of the project.
Annotations are not postponed in these modules: msgspec and typing would compile each of them,
when it is imported.
"""

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
from .rules import CONFIG, Config
from .sampling import *
from .templates import *
from .tokens import *
from .usage import *

__all__ = ["CONFIG", "Config"]
__all__ += chat.__all__
__all__ += completions.__all__
__all__ += embeddings.__all__
__all__ += health.__all__
__all__ += loras.__all__
__all__ += messages.__all__
__all__ += models.__all__
__all__ += options.__all__
__all__ += params.__all__
__all__ += requests.__all__
__all__ += sampling.__all__
__all__ += templates.__all__
__all__ += tokens.__all__
__all__ += usage.__all__
