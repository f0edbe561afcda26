"""The loaded models: the one that generates, and the one that embeds.

States of each: none, loaded, and in between a change (`ModelManager.changing` is held). Only
`ModelManager` moves between them, one change at a time. Invariant: `loaded` and `embedding` name
models whose engine was started and not yet stopped. A load begins with unloading, so a failed one
leaves no model. Answers keep the `LoadedModel` they began with; its `unloaded` tells them that
their model is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .admission import Admission, ContextPool
from .engine import Engine, EngineDied, EngineError, EngineSpec, Native
from .engine.threads import auto_threads
from .errors import HTTPError
from .model_files.files import ModelFile, open_model
from .model_files.folders import find_projector
from .model_files.gguf import CONTROL, read_token_types
from .settings import Settings, ToolFormat

if TYPE_CHECKING:
    from .prompt.templates import PromptTemplate

__all__ = ["Adapter", "LoadOptions", "LoadedEmbedding", "LoadedModel", "ModelManager"]

T = TypeVar("T")

LoadTemplate = Callable[[ModelFile, str | None], Awaitable["PromptTemplate | None"]]
"""Makes the prompt template of a model, or the named one of the templates folder."""

_TOOL_MARKS: dict[str, ToolFormat] = {
    "<|channel|>": "harmony",
    "[TOOL_CALLS]": "mistral",
    "<tool_call>": "hermes",
    "<|python_tag|>": "llama3",
    "Environment: ipython": "llama3",
}

_MEAN = 1  # llama.cpp's pooling type "mean over the tokens"


async def _tokenized(text: str, native: Native) -> list[int]:
    return await native.tokenize(text, bos=False)


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    Attributes:
        n_ctx: context in tokens; None takes the setting, else the model's.
        vision: load the projector that belongs to the model, if there is one.
        prompt_template: name of a file of the templates folder.
        draft: a smaller model that proposes tokens; None takes the setting's, if the model is the
            setting's too.
        skip_queue: end the answers that are being generated instead of waiting for them.
        on_progress: is given shares from 0 to 1, the first when the load begins, and none if the
            model is loaded already.
    """

    n_ctx: int | None = None
    vision: bool = True
    prompt_template: str | None = None
    draft: Path | None = None
    skip_queue: bool = False
    on_progress: Callable[[float], None] | None = None


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in use. A scaling of 0 is without effect."""

    path: Path
    scaling: float


@dataclass
class LoadedModel:
    """A loaded model with its engine, its prompt template, and the context its answers share."""

    file: ModelFile
    engine: Engine
    n_ctx: int
    template: PromptTemplate | None
    bos: str
    eos: str
    has_vision: bool = False
    adapters: dict[str, Adapter] = field(default_factory=dict)
    unloaded: bool = False
    _control_tokens: dict[int, str] | None = None

    @cached_property
    def context(self) -> ContextPool:
        """The context, divided among the answers that run."""
        return ContextPool(self.n_ctx)

    @cached_property
    def token_types(self) -> list[int]:
        """The type of each token of the vocabulary."""
        return read_token_types(self.file.path)

    @property
    def knows_reasoning(self) -> bool:
        """True if the template mentions reasoning tags."""
        return self.template is not None and "</think>" in self.template.source

    @property
    def tool_format(self) -> ToolFormat:
        """The format of tool calls that the template asks for."""
        source = self.template.source if self.template is not None else ""
        return next((form for mark, form in _TOOL_MARKS.items() if mark in source), "none")

    @property
    def has_no_place_for_tools(self) -> bool:
        """True if the template does not mention tools."""
        return self.template is None or "tools" not in self.template.source

    async def control_tokens(self, texts: Iterable[str]) -> dict[int, str]:
        """Those of the texts that are a control token each, by its id."""
        if self._control_tokens is None:
            found: dict[int, str] = {}
            for text in texts:
                ids = await self.ask(partial(_tokenized, text))
                if len(ids) == 1 and self.token_types[ids[0]] == CONTROL:
                    found[ids[0]] = text
            self._control_tokens = found
        return self._control_tokens

    async def native(self, *, after: Native | None = None) -> Native:
        """The engine's API, after a restart if one is going on.

        Args:
            after: an engine that could not be reached; its successor is waited for.

        Raises:
            HTTPError: 503, if the engine was given up or stopped.
        """
        try:
            return await self.engine.ready(after=after)
        except EngineError as error:
            raise HTTPError(503, f"The model cannot answer: {error}") from None

    async def ask(self, question: Callable[[Native], Awaitable[T]]) -> T:
        """Ask the engine something short; asks once more if it dies meanwhile.

        Raises:
            HTTPError: 503, if there is no engine.
            EngineDied, EngineRefusal: the second try failed.
        """
        native = await self.native()
        try:
            return await question(native)
        except EngineDied:
            pass
        return await question(await self.native(after=native))


@dataclass(frozen=True)
class LoadedEmbedding:
    """A loaded embedding model with its engine."""

    file: ModelFile
    engine: Engine


class ModelManager:
    """Loads, switches and unloads the models of a server.

    Attributes:
        loaded: the model that generates, or None.
        embedding: the model that embeds, or None.
        changing: held during a change; hold it around a check and the change that follows.
    """

    def __init__(
        self, settings: Settings, admission: Admission, load_template: LoadTemplate
    ) -> None:
        self.loaded: LoadedModel | None = None
        self.embedding: LoadedEmbedding | None = None
        self.changing = asyncio.Lock()
        self._settings = settings
        self._admission = admission
        self._load_template = load_template

    def require(self) -> LoadedModel:
        """The loaded model.

        Raises:
            HTTPError: 503, if there is none.
        """
        if self.loaded is None:
            raise HTTPError(503, "No models are currently loaded.")
        return self.loaded

    def require_embedding(self) -> LoadedEmbedding:
        """The loaded embedding model.

        Raises:
            HTTPError: 503, if there is none.
        """
        if self.embedding is None:
            raise HTTPError(503, "No embedding models are currently loaded.")
        return self.embedding

    async def switch(
        self, path: Path, name: str, options: LoadOptions | None = None
    ) -> LoadedModel:
        """The model of this name, loaded unless it is. A failed load leaves no model.

        Raises:
            EngineError, NotAModelError, TemplateError, OSError: it could not be loaded.
        """
        options = options or LoadOptions()
        async with self.changing:
            loaded = self.loaded
            if loaded and loaded.file.name == name and loaded.engine.failure is None:
                return loaded
            async with self._admission.closed(wait=not options.skip_queue):
                await self.unload()
                return await self.load(await asyncio.to_thread(open_model, path, name), options)

    async def load(self, file: ModelFile, options: LoadOptions | None = None) -> LoadedModel:
        """Load a model in place of the loaded one.

        Raises:
            EngineError, TemplateError: it could not be loaded.
        """
        options = options or LoadOptions()
        if options.on_progress is not None:
            options.on_progress(0.0)
        await self.unload()
        settings = self._settings
        template = await self._load_template(file, options.prompt_template)
        engine = Engine(
            EngineSpec(
                model=file.path,
                n_ctx=file.context(options.n_ctx or settings.n_ctx),
                slots=settings.slots,
                threads=settings.threads or auto_threads(),
                gpu_layers=settings.gpu_layers,
                cache_ram_mib=settings.cache_ram_mib,
                timeout=settings.engine_timeout,
                load_timeout=settings.load_timeout,
                mmproj=self._projector(file.path) if options.vision else None,
                draft=options.draft or self._draft(file.path),
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

    def _projector(self, model: Path) -> Path | None:
        """The projector that lets this model see, or None."""
        given = self._settings.mmproj
        return given if given and model == self._settings.model else find_projector(model)

    def _draft(self, model: Path) -> Path | None:
        return self._settings.draft_model if model == self._settings.model else None

    async def use_adapters(self, adapters: dict[str, Adapter], *, wait: bool = True) -> None:
        """Restart the engine with these LoRA adapters; if that fails, with the previous ones.

        Args:
            wait: wait for the answers that are being generated instead of ending them.

        Raises:
            EngineError: the engine did not start with the adapters.
        """
        loaded = self.require()
        before = loaded.engine.spec
        loras = tuple((adapter.path, adapter.scaling) for adapter in adapters.values())
        async with self._admission.closed(wait=wait):
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
        """Stop the engine; answers in flight end."""
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.unloaded = True
            await loaded.engine.stop()

    async def load_embedding(self, path: Path, name: str) -> LoadedEmbedding:
        """Load an embedding model in place of the loaded one.

        Raises:
            EngineError, NotAModelError, OSError: it could not be loaded.
        """
        await self.unload_embedding()
        file, settings = await asyncio.to_thread(open_model, path, name), self._settings
        engine = Engine(
            EngineSpec(
                model=path,
                n_ctx=file.context(settings.n_ctx),
                slots=settings.slots,
                threads=settings.threads or auto_threads(),
                gpu_layers=settings.gpu_layers,
                cache_ram_mib=0,
                pooling=-1 if file.pools else _MEAN,
            )
        )
        await engine.start()
        self.embedding = LoadedEmbedding(file, engine)
        return self.embedding

    async def unload_embedding(self) -> None:
        """Stop the engine of the embedding model."""
        embedding, self.embedding = self.embedding, None
        if embedding is not None:
            await embedding.engine.stop()
