"""Turn a folder of recorded exchanges into the JSON lines beside this file.

    python tests/captures/convert.py DIR

DIR holds one folder per case with `request.http`, `response.http` (both byte for byte) and
`meta.json`. Each line written here is one case; `tests/support/captures.py` reads them back, and
this script checks that the bytes read back are the bytes recorded. Nothing is shortened, except
that the generated OpenAPI document (which no client reads) keeps its head and loses its body.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support.captures import Capture, from_record  # noqa: E402

# The first prefix that matches names the file; chat is split by how it was asked for.
GROUPS = [
    ("/v1/chat/completions", "chat"),
    ("/v1/completions", "completions"),
    ("/v1/embeddings", "embeddings"),
    ("/v1/model/embedding", "embeddings"),
    ("/v1/model", "models"),
    ("/props", "models"),
    ("/v1/download", "models"),
    ("/v1/lora", "loras"),
    ("/v1/template", "templates"),
    ("/v1/sampling", "sampling"),
    ("/v1/token", "tokens"),
    ("/v1/auth", "auth"),
    ("", "server"),
]


def group_of(capture: Capture) -> str:
    group = next(name for prefix, name in GROUPS if capture.path.startswith(prefix))
    if group == "chat" and b'"stream": true' in capture.request_body:
        return "chat_stream"
    return group


def record_of(folder: Path) -> dict[str, Any]:
    meta = json.loads((folder / "meta.json").read_text())
    request_head, _, request_body = (folder / "request.http").read_bytes().partition(b"\r\n\r\n")
    head, _, body = (folder / "response.http").read_bytes().partition(b"\r\n\r\n")
    record: dict[str, Any] = {
        "name": meta["name"],
        "description": meta["description"],
        "profile": meta["server_profile"],
        "end": meta["end"],
    }
    if meta["end"].startswith("client_"):
        record["client_left_after_ms"] = meta["elapsed_ms"]
    record["request"] = request_head.decode().split("\r\n")
    if request_body:
        record["request_body"] = request_body.decode()
    record["response"] = head.decode().split("\r\n") if head else []
    if meta["path"] == "/openapi.json":
        record["body_left_out"] = True
    elif b"\r\ntransfer-encoding: chunked" in head.lower():
        record["chunks"] = meta["chunks"]
    elif body:
        record["body"] = body.decode()
    return record


def main(source: Path) -> None:
    groups: dict[str, list[str]] = {}
    for folder in sorted(path.parent for path in source.glob("*/meta.json")):
        record = record_of(folder)
        capture = from_record(record)
        recorded = (folder / "response.http").read_bytes()
        assert capture.request == (folder / "request.http").read_bytes(), folder
        assert capture.body_left_out or capture.response == recorded, folder
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        # Characters that some editors take for line ends, or do not show, stay escaped.
        line = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        assert json.loads(line) == record, folder
        groups.setdefault(group_of(capture), []).append(line)
    for name, lines in groups.items():
        (HERE / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}.jsonl: {len(lines)} cases")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
