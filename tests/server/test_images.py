"""Images on the local server, with a projector of random weights and a real engine."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

import urllib3
from PIL import Image

import tabbyapi
from support.tiny_projector import PATCHES, write_projector
from tabbyapi import LocalServer, image, user


def picture(colour: str, form: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, form)
    return out.getvalue()


RED, BLUE = picture("red"), picture("blue")
GREEDY = {"max_tokens": 24, "temperature": 0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a model and the projector that goes with it."""
    folder = tmp_path_factory.mktemp("vision")
    model = folder / "seeing.gguf"
    model.write_bytes(tiny_model.read_bytes())
    write_projector(folder / "mmproj-seeing-f32.gguf")
    return model


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[LocalServer]:
    with LocalServer(model=models, n_ctx=1024) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[tabbyapi.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def open_client(models: Path) -> Iterator[tabbyapi.Client]:
    """Of a server that fetches images from anywhere, this machine included."""
    settings = {"n_ctx": 1024, "image_fetch": "any"}
    with LocalServer(model=models, **settings) as server, server.client() as client:
        yield client


class Pages(BaseHTTPRequestHandler):
    """A web site with a picture, and with what is none."""

    def do_GET(self) -> None:
        if self.path == "/there.png":
            self.send_response(302)
            self.send_header("Location", "/red.png")
            self.end_headers()
            return
        body = {"/red.png": RED, "/empty": b"", "/text": b"hello"}.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(client: tabbyapi.Client, *images: bytes | str, text: str = "What is this?") -> str:
    # The server's own word on blind models is tested here, so the client does not ask before.
    pictures = [image(i) for i in images]
    return client.chat.create([user(text, *pictures)], check_vision=False, **GREEDY).text


def test_the_model_card_tells_that_the_model_sees(client: tabbyapi.Client) -> None:
    card = client.models.get()
    assert card.parameters is not None
    assert card.parameters.use_vision is True


def test_the_answer_depends_on_the_picture_and_on_nothing_else(client: tabbyapi.Client) -> None:
    red, blue = ask(client, RED), ask(client, BLUE)
    assert red != blue
    assert ask(client, RED) == red


def test_pictures_count_as_tokens_in_usage(client: tabbyapi.Client) -> None:
    def tokens(*images: bytes) -> int:
        message = user("Hi", *(image(i) for i in images))
        reply = client.chat.create([message], **GREEDY)
        with client.chat.create_stream([message], **GREEDY) as stream:
            streamed = stream.until_done()
        assert reply.usage is not None
        assert streamed.usage is not None
        assert streamed.text == reply.text
        assert streamed.usage.prompt_tokens == reply.usage.prompt_tokens
        return reply.usage.prompt_tokens

    none, one, two = tokens(), tokens(RED), tokens(RED, BLUE)
    assert (one - none, two - none) == (PATCHES, 2 * PATCHES)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_every_format_that_the_client_sends_is_seen(client: tabbyapi.Client, form: str) -> None:
    assert ask(client, picture("lime", form, (64, 64))) != ask(client, RED)


def test_a_see_through_picture_lies_on_white(client: tabbyapi.Client) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(out, "PNG")
    assert ask(client, out.getvalue()) == ask(client, picture("white"))


def test_everything_else_works_with_pictures(client: tabbyapi.Client) -> None:
    message = user("What is this?", image(RED))
    whole = client.chat.create([message], **GREEDY).text
    several = client.chat.create([message], n=2, **GREEDY)
    assert [choice.message.text for choice in several.choices] == [whole, whole]
    cut = client.chat.create([message], stop=[whole[6:9]], **GREEDY)
    assert cut.text == whole[: whole.index(whole[6:9])]
    assert cut.usage is not None
    assert cut.usage.prompt_tokens > PATCHES
    banned = client.chat.create([message], banned_strings=[whole[6:9]], **GREEDY)
    assert whole[6:9].lower() not in banned.text.lower()
    assert banned.usage is not None
    assert banned.usage.prompt_tokens > PATCHES
    forced = client.chat.create([message], json_schema={"enum": ["red", "blue"]}, max_tokens=20)
    assert forced.text in ('"red"', '"blue"')


def test_too_many_pictures_for_the_context_are_refused_as_such(client: tabbyapi.Client) -> None:
    with pytest.raises(tabbyapi.ContextLengthError):
        ask(client, *[RED] * 64, text="word " * 40)


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/svg+xml;base64,AAAA", "Failed to read base64 image input"),
        ("data:image/png;base64,???", "not valid base64"),
        (data_url(b"no picture"), "no image that can be read"),
        (data_url(RED[:60]), "no image that can be read"),
        (data_url(bomb()), "more than 40,000,000 pixels"),
        (b64encode(RED).decode(), "Failed to read base64 image input"),
        ("file:///etc/hostname", "Failed to read base64 image input"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(
    server: LocalServer, url: str, reason: str
) -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    answer = urllib3.request(
        "POST",
        f"{server.url}/v1/chat/completions",
        headers={"X-Api-Key": server.api_key},
        json={"messages": [{"role": "user", "content": parts}], "max_tokens": 4},
    )
    assert answer.status == 400
    assert reason in answer.json()["detail"]


def test_a_web_picture_is_fetched_where_that_is_allowed(
    open_client: tabbyapi.Client, site: str
) -> None:
    assert ask(open_client, f"{site}/red.png") == ask(open_client, RED)


@pytest.mark.parametrize("page", ["missing.png", "there.png", "empty", "text"])
def test_a_page_that_is_no_picture_is_refused(
    open_client: tabbyapi.Client, site: str, page: str
) -> None:
    with pytest.raises(tabbyapi.InvalidRequestError, match="Failed to"):
        ask(open_client, f"{site}/{page}")


def test_a_server_that_does_not_answer_is_named(open_client: tabbyapi.Client) -> None:
    with pytest.raises(tabbyapi.InvalidRequestError, match="cannot be reached"):
        ask(open_client, "http://127.0.0.1:1/red.png")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_private_addresses_are_not_fetched_by_default(
    client: tabbyapi.Client, site: str, host: str
) -> None:
    port = site.rpartition(":")[2]
    with pytest.raises(tabbyapi.InvalidRequestError, match="private"):
        ask(client, f"http://{host}:{port}/red.png")


def test_a_model_without_projector_refuses_pictures(local_server: LocalServer) -> None:
    refused = pytest.raises(tabbyapi.InvalidRequestError, match="--mmproj")
    with local_server.client() as client, refused:
        ask(client, RED)


def test_a_server_may_drop_pictures_as_tabbyapi_does(tiny_model: Path) -> None:
    dropping = LocalServer(model=tiny_model, blind_images="drop", n_ctx=512)
    with dropping as server, server.client() as client:
        assert ask(client, RED) == ask(client)


def test_a_projector_for_another_model_is_an_error_that_names_the_files(
    tmp_path: Path, tiny_model: Path
) -> None:
    projector = write_projector(tmp_path / "mmproj.gguf", model_width=96)
    with pytest.raises(tabbyapi.ConnectError, match=r"mmproj"):
        LocalServer(model=tiny_model, mmproj=projector).start()


def noise(side: int) -> bytes:
    """A JPEG file that is small, and large as PNG."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 200).convert("RGB").save(out, "JPEG", quality=5)
    return out.getvalue()


def test_many_large_images_are_made_smaller_until_they_fit(
    server: LocalServer, client: tabbyapi.Client
) -> None:
    big = noise(3000)
    slowest, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal slowest
        with urllib3.PoolManager() as pool:
            while not over.wait(0.02):
                begin = time.monotonic()
                assert pool.request("GET", server.url + "/health").status == 200
                slowest = max(slowest, time.monotonic() - begin)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        reply = client.chat.create([user(["Look:", *[image(big)] * 6])], max_tokens=1)
    finally:
        over.set()
        watcher.join()
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 6 * PATCHES
    assert slowest < 1.5, "the server was busy with the images"


def test_the_images_of_a_request_share_its_pixels() -> None:
    from tabbyapi.server.prompt.images import _REQUEST_PIXELS, read_images
    from tabbyapi.server.settings import Settings

    url = "data:image/jpeg;base64," + b64encode(noise(3000)).decode()
    images = asyncio.run(read_images([url] * 8, Settings()))
    sizes = [Image.open(io.BytesIO(b64decode(data))).size for data in images]
    assert sum(width * height for width, height in sizes) <= _REQUEST_PIXELS
    assert min(min(size) for size in sizes) > 1000


def test_images_of_all_requests_are_counted_until_they_are_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tabbyapi.server.errors import HTTPError
    from tabbyapi.server.prompt import images

    monkeypatch.setattr(images, "_MOST_HELD", 100)
    held = images.PlacedImages()
    held.add("x" * 80)
    other = images.PlacedImages()
    with pytest.raises(HTTPError, match="too many large images"):
        other.add("x" * 30)
    del held
    other.add("x" * 30)
    assert list(other) == ["x" * 30]


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abcd",
        b"Exif\0\0MM",
    ],
)
def test_broken_exif_data_is_no_failure_of_the_server(client: tabbyapi.Client, exif: bytes) -> None:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "JPEG", exif=exif)
    assert client.chat.create([user([image(out.getvalue())])], max_tokens=1).usage
