"""Chat templates: how messages become a prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .._protocol.call import Call, encode_body
from .._protocol.decode import Decoder
from .._protocol.requests.services import name_of
from ..errors import InvalidRequestError
from ..types.services import TemplateList
from .caller import AsyncService, Service, TimeoutLike, nothing

__all__ = ["AsyncTemplates", "Templates", "template_switch_call"]

Names: TypeAlias = list[str]  # inside the classes, `list` is a method

_SWITCH = "/v1/template/switch"
_list = Decoder(TemplateList)


def _names(body: bytes) -> list[str]:
    return _list(body).data


def _list_call(timeout: TimeoutLike) -> Call[list[str]]:
    return Call(
        method="GET",
        path="/v1/templates",
        decode=_names,
        auth="listing",
        timeout=timeout,
    )


def template_switch_call(name: str, timeout: TimeoutLike) -> Call[None]:
    """The call that switches templates.

    Raises:
        ValidationError: no name.
    """
    return Call(
        method="POST",
        path=_SWITCH,
        body=encode_body({"prompt_template_name": name_of("name", name)}),
        decode=_switch_answer(name),
        auth="admin",
        accept=(500,),
        timeout=timeout,
    )


def _switch_answer(name: str) -> Callable[[bytes], None]:
    def decode(body: bytes) -> None:
        if body != b"Internal Server Error":
            nothing(body)  # nothing else will do: it may be another failure with status 500
            return
        # What TabbyAPI answers to a name it does not know.
        raise InvalidRequestError(
            f"the server could not switch to the template {name!r}, most likely because it has "
            "none of that name",
            status_code=500,
            hint="client.templates.list() with the admin key names those it has",
            body=body.decode(),
            method="POST",
            url=_SWITCH,
        )

    return decode


def _unload_call(timeout: TimeoutLike) -> Call[None]:
    return Call(
        method="POST",
        path="/v1/template/unload",
        decode=nothing,
        auth="admin",
        timeout=timeout,
    )


class Templates(Service):
    """Chat template of the loaded model. `client.templates`. Changes need the admin key.

    client.templates.switch("chatml")
    """

    def list(self, *, timeout: TimeoutLike = None) -> Names:
        """List the templates: `GET /v1/templates`. All with the admin key, else the one in use.

        "from_tokenizer_config" is the one that came with the model; it is not in the first list.
        """
        return self._client.send(_list_call(timeout))

    def switch(self, name: str, *, timeout: TimeoutLike = None) -> None:
        """Switch to another template, for all users: `POST /v1/template/switch`.

        Raises:
            ValidationError: no name.
            InvalidRequestError: there is no template of that name (TabbyAPI answers 500).
            ModelNotLoadedError: no model is loaded.
        """
        self._client.send(template_switch_call(name, timeout))

    def unload(self, *, timeout: TimeoutLike = None) -> None:
        """Unload the template: chat is refused until the next switch.

        `POST /v1/template/unload`.

        Raises:
            ModelNotLoadedError: no model is loaded.
        """
        self._client.send(_unload_call(timeout))


class AsyncTemplates(AsyncService):
    """Chat template of the loaded model. `client.templates` of an `AsyncClient`."""

    async def list(self, *, timeout: TimeoutLike = None) -> Names:
        """List the templates; see `Templates.list`."""
        return await self._client.send(_list_call(timeout))

    async def switch(self, name: str, *, timeout: TimeoutLike = None) -> None:
        """Switch to another template; see `Templates.switch`."""
        await self._client.send(template_switch_call(name, timeout))

    async def unload(self, *, timeout: TimeoutLike = None) -> None:
        """Unload the template; see `Templates.unload`."""
        await self._client.send(_unload_call(timeout))
