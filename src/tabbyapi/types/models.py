"""Models: cards, load progress, server properties."""

from typing import Any

from .base import Value

__all__ = [
    "DownloadResponse",
    "GenerationSettings",
    "LoadProgress",
    "ModelCard",
    "ModelList",
    "ModelParameters",
    "ServerProps",
]


class ModelParameters(Value):
    """Parameters of the loaded model.

    Attributes:
        max_seq_len: context window, in tokens.
        cache_size: tokens the cache holds, over all running requests.
        cache_mode: precision of the cache: "FP16", "Q8", "4,4" and the like.
        max_batch_size: requests generated at once; more wait.
        chunk_size: tokens of a prompt processed in one go.
        prompt_template: name of the chat template, None if there is none.
        prompt_template_content: its source.
        use_vision: True if images are understood; otherwise TabbyAPI drops them in silence. None
            if the server does not tell.
        draft: the card of the draft model, from the local server; TabbyAPI does not tell it.
    """

    max_seq_len: int | None = None
    cache_size: int | None = None
    cache_mode: str | None = None
    rope_scale: float | None = 1.0
    rope_alpha: float | None = 1.0
    max_batch_size: int | None = None
    chunk_size: int | None = None
    prompt_template: str | None = None
    prompt_template_content: str | None = None
    use_vision: bool | None = None
    draft: Any = None


class ModelCard(Value):
    """A model on the server.

    Attributes:
        id: its name, which is that of its folder or file; what `load` takes.
        created: time of the *request*, in Unix seconds: the server knows no other.
        parameters: only of the loaded model (`get`), None in lists.
    """

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "tabbyAPI"
    logging: Any = None
    parameters: ModelParameters | None = None


class ModelList(Value):
    """The wire form of a list of models."""

    data: list[ModelCard]
    object: str = "list"


class LoadProgress(Value):
    """One step of a load.

    A model comes in parts (draft, vision, model), one after the other, and the server says
    "finished" at the end of each: `complete` is True only once the whole model is there.

    Attributes:
        model_type: the part: "draft", "vision", "model", or "embedding_model".
        module, modules: steps of this part done, and how many there are.
        status: "processing", or "finished" for the part's last step.
    """

    model_type: str
    module: int = 0
    modules: int = 0
    status: str = "processing"

    @property
    def fraction(self) -> float:
        """Share of this part that is loaded, 0 to 1."""
        return self.module / self.modules if self.modules else 0.0

    @property
    def complete(self) -> bool:
        """True once the model can be used."""
        return self.status == "finished" and self.model_type in ("model", "embedding_model")


class GenerationSettings(Value):
    """Defaults of generation. `n_ctx` is the context window, in tokens."""

    n_ctx: int


class ServerProps(Value, kw_only=True):
    """Properties of the server with its loaded model.

    Attributes:
        total_slots: requests generated at once; more wait.
        chat_template: source of the chat template, "" if there is none.
    """

    total_slots: int = 0
    chat_template: str = ""
    default_generation_settings: GenerationSettings

    @property
    def context_length(self) -> int:
        """The context window, in tokens."""
        return self.default_generation_settings.n_ctx


class DownloadResponse(Value):
    """The wire form of a finished download."""

    download_path: str
