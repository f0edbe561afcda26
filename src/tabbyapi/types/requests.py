"""A chat request prepared as a value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .messages import MessageLike
from .params import NOT_SENT, ChatParams

__all__ = ["ChatCompletionRequest"]

_DOC = """The body of `POST /v1/chat/completions`, for `client.chat.create(request)`.

    request = ChatCompletionRequest([user("Hello")], max_tokens=50)
    request.temperature = 0.7
    reply = client.chat.create(request)

Args:
    messages: the conversation, oldest first.
    params: see `ChatParams`, whose fields this has; None means "not given", which is left out of
        the JSON. `stream` is set by the method that sends the request.
"""

if TYPE_CHECKING:
    from typing import Unpack

    class ChatCompletionRequest(msgspec.Struct):
        messages: Sequence[MessageLike]
        stream: bool | None

        def __init__(
            self, messages: Sequence[MessageLike], **params: Unpack[ChatParams]
        ) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

else:
    ChatCompletionRequest = msgspec.defstruct(
        "ChatCompletionRequest",
        [
            ("messages", Sequence[MessageLike]),
            ("stream", bool | None, None),
            *((name, Any, None) for name in ChatParams.__annotations__ if name not in NOT_SENT),
        ],
        namespace={"__doc__": _DOC},
        module=__name__,
        omit_defaults=True,
        repr_omit_defaults=True,
    )
