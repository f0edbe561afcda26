"""What a running server holds: settings, keys, and the loaded model with its engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from .answers import Refused
from .auth import Keys
from .engine import Engine, EngineError, EngineSpec, Native
from .gate import Gate
from .gguf_header import read_token_types
from .library import find_projector
from .models import ModelFile, open_model
from .settings import Settings
from .templates import PromptTemplate, TemplateError

__all__ = ["Loaded", "Runtime"]

log = logging.getLogger("tabbyapi.server")

_MOST_ISSUES = 100


@dataclass
class Loaded:
    """A loaded model."""

    file: ModelFile
    engine: Engine
    n_ctx: int
    template: PromptTemplate | None
    bos: str
    eos: str
    has_vision: bool = False
    unloaded: bool = False

    @cached_property
    def token_types(self) -> list[int]:
        """The type of each token of the vocabulary."""
        return read_token_types(self.file.path)

    @property
    def knows_reasoning(self) -> bool:
        """Whether the template speaks of reasoning tags."""
        return self.template is not None and "</think>" in self.template.source

    @property
    def knows_tools(self) -> bool:
        """Whether the template asks for calls in the tags that we can read."""
        return self.template is not None and "<tool_call>" in self.template.source


class Runtime:
    """The state that routes share."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self.settings = settings
        self.keys = keys
        self.loaded: Loaded | None = None
        self.gate = Gate(settings.slots, settings.max_queue)
        self.issues: list[dict[str, str]] = []

    def model(self) -> Loaded:
        """The loaded model, or `Refused` (503)."""
        if self.loaded is None:
            raise Refused(503, "No models are currently loaded.")
        return self.loaded

    async def native(self, loaded: Loaded) -> Native:
        """The engine's API, after a restart if one is going on; `Refused` (503) if it is gone."""
        try:
            return await loaded.engine.ready()
        except EngineError as error:
            raise Refused(503, f"The model cannot answer: {error}") from None

    async def load(self, file: ModelFile) -> Loaded:
        """Load a model in place of the one there is. Raises `EngineError`."""
        await self.unload()
        settings = self.settings
        n_ctx = file.context(settings.n_ctx)
        engine = Engine(
            EngineSpec(
                model=file.path,
                n_ctx=n_ctx,
                slots=settings.slots,
                threads=settings.engine_threads,
                gpu_layers=settings.gpu_layers,
                cache_ram_mib=settings.cache_ram_mib,
                mmproj=self._projector(file.path),
            )
        )
        await engine.start()
        props = await (await engine.ready()).get("/props")
        self.loaded = Loaded(
            file=file,
            engine=engine,
            n_ctx=int(props["default_generation_settings"]["n_ctx"]),
            template=self._template(file),
            bos=props.get("bos_token") or "",
            eos=props.get("eos_token") or "",
            has_vision=bool(props.get("modalities", {}).get("vision")),
        )
        return self.loaded

    async def unload(self) -> None:
        """End the engine; generations in flight fail."""
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.unloaded = True
            await loaded.engine.stop()

    def _projector(self, model: Path) -> Path | None:
        """The projector that goes with a model."""
        given = self.settings.mmproj
        return given if given and model == self.settings.model else find_projector(model)

    def _template(self, file: ModelFile) -> PromptTemplate | None:
        source = self.settings.chat_template or file.chat_template
        if not source:
            return None
        try:
            name = "from_settings" if self.settings.chat_template else "from_gguf"
            return PromptTemplate(source, name)
        except TemplateError as error:
            log.error("the prompt template cannot be used: %s", error)  # noqa: TRY400
            return None

    def report(self, description: str) -> None:
        """Note a failed generation, for `/health`."""
        log.error("%s", description)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.issues.append({"time": now, "description": description})
        del self.issues[:-_MOST_ISSUES]

    async def start(self) -> None:
        """Load the model of the settings."""
        if self.settings.model is not None:
            await self.load(open_model(self.settings.model))
