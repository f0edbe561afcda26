"""What the routes of a server share: settings, keys, models, limits in use, and failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from .admission import Admission
from .auth import Keys
from .engine import EngineError
from .grammar.checker import GrammarChecker
from .http.bodies import Bodies
from .metrics import Metrics
from .model_files.files import open_model
from .model_files.folders import find_gguf
from .models import LoadedModel, ModelManager
from .overrides import Overrides, read_preset
from .prompt.templates import TemplateLoader
from .settings import Settings

__all__ = ["Runtime"]

T = TypeVar("T")

log = logging.getLogger("tabbyapi.server")

_MOST_ISSUES = 100


class Runtime:
    """The state of a running server. `start` it before requests come, `close` it at the end."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self.settings = settings
        self.keys = keys
        self.overrides = Overrides()
        self.bodies = Bodies(max(settings.max_bodies_bytes, settings.max_body_bytes))
        self.admission = Admission(settings.slots, settings.max_queue)
        self.templates = TemplateLoader(settings)
        self.models = ModelManager(settings, self.admission, self.templates.of_model)
        self.grammars = GrammarChecker()
        self.metrics = Metrics(self._context) if settings.metrics else None
        self.issues: list[dict[str, str]] = []
        self.downloading: set[Path] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def model(self) -> LoadedModel:
        """The loaded model; raises `HTTPError` (503) if there is none."""
        return self.models.require()

    def _context(self) -> tuple[int, int]:
        loaded = self.models.loaded
        return (loaded.context.used, loaded.n_ctx) if loaded is not None else (0, 0)

    async def start(self) -> None:
        """Load what the settings name.

        Raises:
            EngineError, NotAModelError, PresetError, OSError: something could not be loaded.
        """
        settings = self.settings
        if settings.preset is not None:
            preset = read_preset(settings.presets_dir, settings.preset)
            self.overrides.switch(preset, settings.preset)
        if settings.model is not None:
            await self.models.load(await asyncio.to_thread(open_model, settings.model))
        if settings.embeddings is not None:
            path = find_gguf(settings.embeddings_folder, settings.embeddings)
            if path is None:
                raise EngineError(f"there is no embedding model {settings.embeddings!r}")
            await self.models.load_embedding(path, settings.embeddings)

    async def close(self) -> None:
        """Unload the models and end all processes."""
        await self.models.unload()
        await self.models.unload_embedding()
        await self.grammars.close()
        await self.templates.close()

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run in the background; survives client disconnects."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def report(self, description: str) -> None:
        """Log a failed generation and keep it for `/health`."""
        log.error("%s", description)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.issues.append({"time": now, "description": description})
        del self.issues[:-_MOST_ISSUES]
