"""What a person reads when something fails: what was wrong, and what to do about it here."""

from __future__ import annotations

from ..errors import (
    APIError,
    AuthenticationError,
    ConnectError,
    ContextLengthError,
    ModelNotLoadedError,
    PermissionDeniedError,
    RequestTimeout,
    StreamError,
    StreamInterruptedError,
    TabbyError,
)

__all__ = ["sentence"]


def sentence(error: Exception, url: str = "") -> str:
    """Explain an error in plain words, without keys and without a traceback.

    Args:
        error: what was raised.
        url: address of the server.
    """
    if isinstance(error, ContextLengthError):
        return (
            "This does not fit into the model's context. Shorten the message, ask for a shorter "
            "answer (max_tokens), or begin a new chat."
        )
    if isinstance(error, ModelNotLoadedError):
        return "No model is loaded. Load one on the Server page, then send the message again."
    if isinstance(error, PermissionDeniedError):
        return (
            "This needs the server's admin key. Start the page again with --admin-key, or with "
            "TABBY_ADMIN_KEY set."
        )
    if isinstance(error, AuthenticationError):
        return (
            f"The server at {url} does not accept this page's key. Start the page again with the "
            "right --api-key, or with TABBY_API_KEY set."
        )
    if isinstance(error, ConnectError):
        return (
            f"No server answers at {url}. Start it ('tabbyapi serve'), or start the page again "
            "with another --url."
        )
    if isinstance(error, StreamInterruptedError):
        return (
            "The connection to the server broke in the middle of the answer. What had arrived is "
            "kept; regenerate it to get a whole one."
        )
    if isinstance(error, RequestTimeout):
        return "The server did not answer in time. It may be busy: try again in a moment."
    if isinstance(error, StreamError):
        return f"The answer ended with an error: {error.message}"
    if isinstance(error, APIError):
        details = "".join(f" {line}" for line in error.details)
        return f"The server refused this: {error.message}{details}"
    if isinstance(error, TabbyError):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}"
    return f"The page itself failed ({type(error).__name__}). Its log says more."
