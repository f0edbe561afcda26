"""The settings of the local server, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Settings", "ToolFormat"]

ToolFormat = Literal["auto", "none", "hermes", "qwen3_coder", "llama3", "mistral", "harmony"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to serve: models, limits, keys, and the behaviour of answers.

    Attributes:
        model: GGUF file to load at start; None starts without a model.
        models_dir: folder whose `*.gguf` files are listed and can be loaded; default: the
            folder of `model`.
        templates_dir: folder of prompt templates (Jinja) that can be switched to.
        presets_dir: folder of sampler override presets (YAML).
        preset: name of the preset that is in force from the start.
        loras_dir: folder of LoRA adapters (GGUF).
        hub_url: hub to download from; default: HF_ENDPOINT, else Hugging Face's.
        embeddings_dir: folder of embedding models (GGUF); default: that of the models.
        embeddings: name of an embedding model to load at start.
        host, port: where to listen. Port 0 takes a free one.
        api_keys, admin_key: the keys; where both are empty and `auth` is on, keys are generated
            and kept in `keys_file`.
        keys_file: where generated keys are kept; None: in the user's data folder.
        auth: False asks for no key: every client is admin, except web pages of other origins.
        n_ctx: context in tokens, shared by all slots; None: the model's, but at most 8192.
        slots: requests that generate at the same time; more wait.
        max_queue: requests that may wait for a slot; more are refused with 503.
        threads: CPU threads of the engine; None: one for each physical core.
        gpu_layers: layers to put on a GPU, if the engine has one; -1: as many as fit.
        cache_ram_mib: memory for prompts kept for reuse, in MiB.
        ping_interval: seconds between comments in a stream, 0 for none.
        streaming: False answers `"stream": true` with one JSON body.
        parity: answer exactly as TabbyAPI does. By default answers have more fields than its own,
            which clients of OpenAI's API need: `role` in the first delta of a stream, `usage`
            always, `error` beside `detail`; tools need no description or parameters; prompts and
            embedding inputs may be token ids; and there is `GET /v1/models/{id}`.
        reasoning: split reasoning from content: "auto" where the model's template knows the
            closing tag, "on", "off".
        reasoning_start, reasoning_end: the tags.
        tool_format: how the model writes tool calls; "auto" reads it off its template.
        chat_template: template source to use instead of the model's.
        mmproj: projector (GGUF) that lets `model` see images; None: one that lies beside it.
        image_fetch: which image addresses the server fetches: "public", "off", or "any", which
            includes those of this machine and its network.
        blind_images: images for a model that cannot see: "refuse" answers 400, "drop" leaves them
            out of the prompt, as TabbyAPI does.
        metrics: answer `GET /metrics` in the text format of Prometheus, for the API key.
        draft_model: small model (GGUF) of the same vocabulary that proposes tokens, which `model`
            then checks several at a time; faster where the small one is often right.
        inline_loading: lets the `model` field switch models (needs the admin key).
        dummy_models: names to list that stand for the loaded model.
        cors_origins: origins a browser may call from; () switches CORS off.
        allowed_hosts: names of this machine that a server without keys answers to, beside those
            of loopback.
        max_body_bytes, max_json_depth, max_json_items: limits of a request body; items are the
            members of its objects and lists, all together.
        max_bodies_bytes: limit of all request bodies together that are being dealt with.
        max_messages: messages of one request.
        max_connections: open connections; more are refused with 503.
        head_timeout: seconds a request's head may take to arrive.
        body_timeout: seconds that a request's body may be slower than 64 KiB/s.
        stall_timeout: seconds that a client may leave its answer unread, or be unreachable.
        engine_timeout: seconds after which an engine that does not react is restarted.
        load_timeout: seconds without progress after which loading a model is given up.
        log_level: uvicorn's: "critical", "error", "warning", "info", "debug".
    """

    model: Path | None = None
    models_dir: Path | None = None
    templates_dir: Path | None = None
    presets_dir: Path | None = None
    preset: str | None = None
    loras_dir: Path | None = None
    hub_url: str | None = None
    embeddings_dir: Path | None = None
    embeddings: str | None = None
    host: str = "127.0.0.1"
    port: int = 5000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    admin_key: str = field(default="", repr=False)
    auth: bool = True
    keys_file: Path | None = None
    n_ctx: int | None = None
    slots: int = 4
    max_queue: int = 64
    threads: int | None = None
    gpu_layers: int = -1
    cache_ram_mib: int = 8192
    ping_interval: float = 15.0
    streaming: bool = True
    parity: bool = False
    reasoning: Literal["auto", "on", "off"] = "auto"
    reasoning_start: str = "<think>"
    reasoning_end: str = "</think>"
    tool_format: ToolFormat = "auto"
    chat_template: str | None = None
    mmproj: Path | None = None
    image_fetch: Literal["public", "off", "any"] = "public"
    blind_images: Literal["refuse", "drop"] = "refuse"
    metrics: bool = False
    draft_model: Path | None = None
    inline_loading: bool = False
    dummy_models: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 64 * 1024 * 1024
    max_bodies_bytes: int = 512 * 1024 * 1024
    max_json_depth: int = 100
    max_json_items: int = 250_000
    max_messages: int = 10_000
    max_connections: int = 512
    head_timeout: float = 20.0
    body_timeout: float = 30.0
    stall_timeout: float = 120.0
    engine_timeout: float = 120.0
    load_timeout: float = 600.0
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "warning"

    @property
    def embeddings_folder(self) -> Path | None:
        """Where embedding models are looked for."""
        return self.embeddings_dir or self.folder

    @property
    def folder(self) -> Path | None:
        """Where models are looked for."""
        return self.models_dir or (self.model.parent if self.model else None)
