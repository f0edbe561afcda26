"""Images as parts of a message: what is accepted, how it is sent, what is refused."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.replay import ReplayServer, json_reply
from tabbyapi import Client, ValidationError, errors, user
from tabbyapi.images import image

FORMATS = {"png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP"}


def file_of(kind: str, size: tuple[int, int] = (8, 4), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, FORMATS[kind], **options)
    return out.getvalue()


def sent(part: Any) -> tuple[str, bytes]:
    """Media type and bytes of a part."""
    assert part.type == "image_url"
    head, _, payload = part.image_url.url.partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(payload, validate=True)


def opened(part: Any) -> Image.Image:
    return Image.open(io.BytesIO(sent(part)[1]))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "source",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: "data:;base64," + base64.b64encode(path.read_bytes()).decode(),
    ],
    ids=["path", "text", "bytes", "bytearray", "file", "data URL"],
)
def test_local_data_becomes_a_data_url_of_the_type_its_content_has(
    tmp_path: Path, kind: str, source: Callable[[Path], Any]
) -> None:
    path = tmp_path / "picture.of.no.known.ending"
    path.write_bytes(file_of(kind))
    assert sent(image(source(path))) == (f"image/{kind}", file_of(kind))


@pytest.mark.parametrize("url", ["https://x.test/cat.png", "HTTP://x.test/a?b=c"])
def test_a_web_address_is_left_to_the_server(url: str) -> None:
    part = image(url)
    assert part.image_url is not None
    assert part.image_url.url == url


def test_a_data_url_without_base64_is_read_too() -> None:
    from urllib.parse import quote_from_bytes

    url = "data:image/gif," + quote_from_bytes(file_of("gif"))
    assert sent(image(url)) == ("image/gif", file_of("gif"))


def test_a_pil_image_is_sent_without_loss_or_as_the_jpeg_it_was() -> None:
    drawn = Image.new("RGB", (8, 4), (200, 30, 30))
    assert sent(image(drawn))[0] == "image/png"
    photo = Image.open(io.BytesIO(file_of("jpeg")))
    assert sent(image(photo))[0] == "image/jpeg"
    assert opened(image(Image.new("CMYK", (8, 4)))).size == (8, 4)


def test_a_photo_lying_on_its_side_is_sent_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it a quarter to see it upright
    photo = Image.open(io.BytesIO(file_of("jpeg", (80, 40), exif=exif)))
    assert opened(image(photo)).size == (40, 80)
    assert opened(image(file_of("jpeg", (80, 40), exif=exif), max_size=(20, 20))).size == (10, 20)


@pytest.mark.parametrize("kind", FORMATS)
def test_max_size_scales_down_and_keeps_the_proportions(kind: str) -> None:
    part = image(file_of(kind, (400, 100)), max_size=(200, 200))
    assert opened(part).size == (200, 50)
    assert sent(part)[0] == ("image/jpeg" if kind == "jpeg" else "image/png")


def test_a_small_image_is_sent_as_it_is() -> None:
    data = file_of("webp", (8, 4))
    assert sent(image(data, max_size=(100, 100))) == ("image/webp", data)


def test_an_image_above_max_bytes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data = file_of("bmp", (100, 100))
    path = tmp_path / "large.bmp"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data), Image.open(path)):
        with pytest.raises(errors.ValidationError, match="max_size="):
            image(source, max_bytes=50)  # type: ignore[arg-type]
    assert sent(image(data, max_bytes=None))[1] == data
    assert sent(image(data, max_bytes=len(data)))[1] == data
    assert len(sent(image(data, max_bytes=5000, max_size=(10, 10)))[1]) < 5000


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (SVG, "convert it to PNG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>' + SVG, "convert it to PNG"),
        ("data:image/svg+xml;base64," + base64.b64encode(SVG).decode(), "convert it to PNG"),
        (b"hello, world", "no PNG, JPEG, GIF, WebP or BMP"),
        (b"BMW is a car maker of Munich", "no PNG, JPEG, GIF, WebP or BMP"),
        (b"", "is empty"),
        ("data:image/png;base64,a", "no valid base64"),
        ("file:///home/me/cat.png", "neither an http"),
        ("ftp://x.test/cat.png", "neither an http"),
        (io.StringIO("text"), '"rb"'),
        (12, "not 12"),
        (None, "not None"),
    ],
)
def test_what_servers_fail_on_is_refused_before_sending(source: Any, match: str) -> None:
    with pytest.raises(errors.ValidationError, match=match) as caught:
        image(source)
    assert caught.value.field == "image"


@given(st.binary(max_size=64))
def test_random_bytes_are_refused_or_have_a_type(data: bytes) -> None:
    try:
        media_type, payload = sent(image(data))
    except errors.ValidationError:
        return
    assert media_type.removeprefix("image/") in FORMATS
    assert payload == data


@pytest.mark.parametrize(
    ("source", "max_size", "match"),
    [
        ("https://x.test/cat.png", (10, 10), "download it"),
        (file_of("png"), (10, 0), "width and a height"),
        (file_of("png", (80, 80))[:60], (10, 10), "cannot be read"),
    ],
)
def test_what_cannot_be_scaled_says_why(source: Any, max_size: Any, match: str) -> None:
    with pytest.raises(errors.ValidationError, match=match):
        image(source, max_size=max_size)


def test_a_missing_file_is_the_usual_error() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        image("nowhere/cat.png")


def test_a_file_of_another_kind_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with path.open("wb") as file:
        file.write(b"\x1aE\xdf\xa3")
        file.truncate(2**40)  # takes no room, and could not be read in memory
    with pytest.raises(errors.ValidationError, match=r"film\.mkv"):
        image(path)


def test_pillow_is_not_imported_unless_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(file_of("png"))
    code = (
        "import sys\n"
        "from tabbyapi.images import image\n"
        f"image({str(path)!r})\n"
        "assert 'PIL' not in sys.modules\n"
        "sys.modules['PIL'] = None\n"  # as if it were not installed
        "try:\n"
        f"    image({str(path)!r}, max_size=(1, 1))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install pillow" in run.stdout


def test_an_image_goes_into_a_message_beside_its_text() -> None:
    part = image(file_of("png"))
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Red."}}]}
    with ReplayServer(json_reply(200, body)) as server, Client(server.url) as client:
        assert client.chat.create([user("What colour?", part)]).text == "Red."
    assert part.image_url is not None
    assert server.requests[-1].json["messages"][0]["content"] == [
        {"type": "text", "text": "What colour?"},
        {"type": "image_url", "image_url": {"url": part.image_url.url}},
    ]


def test_bare_base64_is_read_whatever_its_line_breaks() -> None:
    data = file_of("png")
    text = base64.b64encode(data).decode()
    broken = "\r\n".join(text[i : i + 20] for i in range(0, len(text), 20))
    for source in (text, broken, f"data:image/png;base64,{broken}"):
        assert sent(image(source)) == ("image/png", data)


def test_line_breaks_in_a_data_url_of_a_part_are_taken_out() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO\nRw0K\n"}}
    body = {"choices": [{"message": {"content": "Red."}}]}
    with ReplayServer(json_reply(200, body)) as server, Client(server.url) as client:
        client.chat.create([user([part])], check_vision=False)  # type: ignore[list-item]
    [shown] = server.requests[0].json["messages"][0]["content"]
    assert shown["image_url"]["url"] == "data:image/png;base64,iVBORw0K"


@pytest.mark.parametrize("source", ["", "  ", b"", "A" * 360_000, "iVBORw0KGgo=" * 30_000])
def test_what_is_no_image_is_refused_in_a_short_message(source: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        image(source)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_a_pil_image_of_any_mode_becomes_a_png(mode: str) -> None:
    source = Image.new("RGBA" if mode in ("La", "RGBa", "PA", "LA") else "RGB", (4, 2))
    made = source.convert("LA").convert("La") if mode == "La" else source.convert(mode)
    assert opened(image(made)).size == (4, 2)


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "LAB"])
def test_a_pil_image_of_an_odd_mode_becomes_a_png_or_is_refused_by_name(mode: str) -> None:
    try:
        part = image(Image.new(mode, (4, 2)))
    except ValidationError as error:
        assert mode in str(error)  # noqa: PT017
    else:
        assert opened(part).size == (4, 2)


def test_a_photo_in_a_file_is_turned_upright_as_a_pil_image_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of("jpeg", (8, 4), exif=exif)
    assert opened(image(data)).size == (4, 8)
    assert sent(image(file_of("jpeg", (8, 4)))) == ("image/jpeg", file_of("jpeg", (8, 4)))
