"""What becomes of a chat's images: whether the model sees them, and where its prompt has them."""

from __future__ import annotations

from ..engine import EngineDied, EngineRefusal
from ..errors import HTTPError
from ..models import LoadedModel
from ..schemas import ChatCompletionRequest
from ..settings import Settings
from .render import image_urls

__all__ = ["image_marker", "placed_images", "seen_images"]

_BLIND = (
    "This model cannot see images: it was loaded without a projector. Start the server with "
    "--mmproj FILE, or leave the images out."
)


def seen_images(body: ChatCompletionRequest, loaded: LoadedModel, settings: Settings) -> list[str]:
    """Addresses of the images that the model will see. Raises `HTTPError` (400) if it cannot."""
    urls = image_urls(body.messages)
    if not urls or loaded.has_vision:
        return urls
    if settings.blind_images == "refuse" and not settings.parity:
        raise HTTPError(400, _BLIND)
    return []


async def image_marker(loaded: LoadedModel) -> str:
    """What stands for an image in a prompt. The engine makes it up anew at each start."""
    try:
        props = await loaded.ask(lambda native: native.get("/props"))
    except (EngineDied, EngineRefusal) as error:
        raise HTTPError(503, f"The model cannot look at images: {error}") from None
    marker: str = props["media_marker"]
    return marker


async def placed_images(urls: list[str], places: int, settings: Settings) -> list[str]:
    """The images as the engine takes them. Raises `HTTPError` (400) naming one that is unusable."""
    if places != len(urls):
        raise HTTPError(400, f"The prompt template places {places} of {len(urls)} images.")
    from .images import read_images  # takes a while to import, and few requests have images

    return await read_images(urls, settings)
