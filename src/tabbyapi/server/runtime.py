"""What a running server holds: settings, keys, and the loaded model with its engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .admission import Admission
from .auth import Keys
from .engine import Engine, EngineDied, EngineError, EngineSpec, Native
from .errors import HTTPError
from .grammar.checker import GrammarChecker
from .http.bodies import Bodies
from .model_files.files import ModelFile, open_model
from .model_files.folders import TEMPLATE_SUFFIXES, find, find_gguf, find_projector
from .model_files.gguf import read_token_types
from .overrides import Overrides, read_preset
from .prompt.templates import PromptTemplate, TemplateError
from .settings import Settings

__all__ = ["Adapter", "LoadOptions", "LoadedEmbedding", "LoadedModel", "Runtime"]

T = TypeVar("T")

log = logging.getLogger("tabbyapi.server")

_MOST_ISSUES = 100
_MEAN = 1  # llama.cpp's number of the mean over the tokens


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    `prompt_template` names a file of the templates folder. `skip_queue` ends the answers that
    are being generated instead of waiting for them. `on_progress` is given shares from 0 to 1, the
    first when the load begins, and none if the model is loaded already.
    """

    n_ctx: int | None = None
    vision: bool = True
    prompt_template: str | None = None
    skip_queue: bool = False
    on_progress: Callable[[float], None] | None = None


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in use. A scaling of 0 is without effect."""

    path: Path
    scaling: float


@dataclass
class LoadedModel:
    """A loaded model."""

    file: ModelFile
    engine: Engine
    n_ctx: int
    template: PromptTemplate | None
    bos: str
    eos: str
    has_vision: bool = False
    adapters: dict[str, Adapter] = field(default_factory=dict)
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


@dataclass(frozen=True)
class LoadedEmbedding:
    """A loaded embedding model."""

    file: ModelFile
    engine: Engine


class Runtime:
    """The state that routes share."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self.settings = settings
        self.keys = keys
        self.loaded: LoadedModel | None = None
        self.embedding: LoadedEmbedding | None = None
        self.overrides = Overrides()
        self.bodies = Bodies(max(settings.max_bodies_bytes, settings.max_body_bytes))
        self.gate = Admission(settings.slots, settings.max_queue)
        self.grammars = GrammarChecker()
        self.issues: list[dict[str, str]] = []
        self.changing = asyncio.Lock()
        self.downloading: set[Path] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def model(self) -> LoadedModel:
        """The loaded model, or `HTTPError` (503)."""
        if self.loaded is None:
            raise HTTPError(503, "No models are currently loaded.")
        return self.loaded

    def embedding_model(self) -> LoadedEmbedding:
        """The loaded embedding model, or `HTTPError` (503)."""
        if self.embedding is None:
            raise HTTPError(503, "No embedding models are currently loaded.")
        return self.embedding

    async def native(self, loaded: LoadedModel, *, after: Native | None = None) -> Native:
        """The engine's API, after a restart if one is going on; `HTTPError` (503) if it is gone.

        `after` is one that could not be reached, whose successor is meant.
        """
        try:
            return await loaded.engine.ready(after=after)
        except EngineError as error:
            raise HTTPError(503, f"The model cannot answer: {error}") from None

    async def asked(self, loaded: LoadedModel, ask: Callable[[Native], Awaitable[T]]) -> T:
        """What the engine answers to a short question. If it dies, its successor is asked, once.

        Raises `HTTPError` (503), `EngineDied` and `EngineRefusal`.
        """
        native = await self.native(loaded)
        try:
            return await ask(native)
        except EngineDied:
            pass
        return await ask(await self.native(loaded, after=native))

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do work that nobody cancels by leaving."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def switch(
        self, path: Path, name: str, options: LoadOptions | None = None
    ) -> LoadedModel:
        """The model of this name, loaded unless it is. One change at a time.

        The one there was is gone in any case, as the protocol has it. Raises `EngineError`,
        `NotAModelError`, `TemplateError` or OSError.
        """
        options = options or LoadOptions()
        async with self.changing:
            if self.loaded is not None and self.loaded.file.name == name:
                return self.loaded
            async with self.gate.closed(wait=not options.skip_queue):
                await self.unload()
                return await self.load(open_model(path, name), options)

    async def load(self, file: ModelFile, options: LoadOptions | None = None) -> LoadedModel:
        """Load a model in place of the one there is. Raises `EngineError`, `TemplateError`."""
        options = options or LoadOptions()
        if options.on_progress is not None:
            options.on_progress(0.0)
        await self.unload()
        settings = self.settings
        n_ctx = file.context(options.n_ctx or settings.n_ctx)
        template = self._template(file, options.prompt_template)
        engine = Engine(
            EngineSpec(
                model=file.path,
                n_ctx=n_ctx,
                slots=settings.slots,
                threads=settings.engine_threads,
                gpu_layers=settings.gpu_layers,
                cache_ram_mib=settings.cache_ram_mib,
                timeout=settings.engine_timeout,
                load_timeout=settings.load_timeout,
                mmproj=self._projector(file.path) if options.vision else None,
            ),
            on_progress=options.on_progress,
        )
        await engine.start()
        props = await (await engine.ready()).get("/props")
        self.loaded = LoadedModel(
            file=file,
            engine=engine,
            n_ctx=int(props["default_generation_settings"]["n_ctx"]),
            template=template,
            bos=props.get("bos_token") or "",
            eos=props.get("eos_token") or "",
            has_vision=bool(props.get("modalities", {}).get("vision")),
        )
        return self.loaded

    async def use_adapters(self, adapters: dict[str, Adapter], *, wait: bool = True) -> None:
        """Start the engine anew with these adapters; if that fails, with those of before.

        Raises `EngineError`.
        """
        loaded = self.model()
        before = loaded.engine.spec
        loras = tuple((adapter.path, adapter.scaling) for adapter in adapters.values())
        async with self.gate.closed(wait=wait):
            await loaded.engine.stop()
            try:
                loaded.engine = Engine(replace(before, loras=loras))
                await loaded.engine.start()
            except EngineError:
                loaded.engine = Engine(before)
                try:
                    await loaded.engine.start()
                except EngineError:
                    await self.unload()
                    raise
                raise
            loaded.adapters = adapters

    async def unload(self) -> None:
        """End the engine; generations in flight fail."""
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.unloaded = True
            await loaded.engine.stop()

    async def load_embedding(self, path: Path, name: str) -> LoadedEmbedding:
        """Load an embedding model in place of the one there is.

        Raises `EngineError`, `NotAModelError` or OSError.
        """
        await self.unload_embedding()
        file = open_model(path, name)
        spec = EngineSpec(
            model=path,
            n_ctx=file.context(self.settings.n_ctx),
            slots=self.settings.slots,
            threads=self.settings.engine_threads,
            gpu_layers=self.settings.gpu_layers,
            cache_ram_mib=0,
            pooling=-1 if file.pools else _MEAN,
        )
        engine = Engine(spec)
        await engine.start()
        self.embedding = LoadedEmbedding(file, engine)
        return self.embedding

    async def unload_embedding(self) -> None:
        """End the engine of the embedding model."""
        embedding, self.embedding = self.embedding, None
        if embedding is not None:
            await embedding.engine.stop()

    async def close(self) -> None:
        """End everything."""
        await self.unload()
        await self.unload_embedding()
        await self.grammars.close()

    def _projector(self, model: Path) -> Path | None:
        """The projector that goes with a model."""
        given = self.settings.mmproj
        return given if given and model == self.settings.model else find_projector(model)

    def named_template(self, name: str) -> PromptTemplate:
        """A template of the folder. Raises `TemplateError`."""
        path = find(self.settings.templates_dir, name, *TEMPLATE_SUFFIXES)
        if path is None:
            raise TemplateError(f"there is no prompt template {name!r}")
        try:
            return PromptTemplate(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"{name} cannot be read: {error}") from None

    def _template(self, file: ModelFile, name: str | None) -> PromptTemplate | None:
        if name is not None:
            return self.named_template(name)
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
        """Load what the settings name. Raises `EngineError`, `PresetError` and others as those."""
        settings = self.settings
        if settings.preset is not None:
            self.overrides.switch(
                read_preset(settings.presets_dir, settings.preset), settings.preset
            )
        if settings.model is not None:
            await self.load(open_model(settings.model))
        if settings.embeddings is not None:
            path = find_gguf(settings.embeddings_folder, settings.embeddings)
            if path is None:
                raise EngineError(f"there is no embedding model {settings.embeddings!r}")
            await self.load_embedding(path, settings.embeddings)
