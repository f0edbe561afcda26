"""Answers of the routes that neither generate nor load a model.

Health, keys, tokens, LoRA adapters, chat templates and sampler overrides.
"""

from typing import Any, Literal

from .base import Value

__all__ = [
    "AuthPermission",
    "HealthIssue",
    "HealthStatus",
    "LoraCard",
    "LoraList",
    "LoraLoadResponse",
    "LoraScaling",
    "SamplerOverride",
    "SamplerOverrides",
    "TemplateList",
    "TokenDecodeResponse",
    "TokenEncodeResponse",
]


class HealthIssue(Value):
    """A failure of the engine. `time` is ISO 8601, in UTC."""

    time: str = ""
    description: str = ""


class HealthStatus(Value):
    """The answer of `GET /health`.

    TabbyAPI calls itself unhealthy after one failed generation and until it is restarted, even
    if it works again. Without a model it is healthy.

    Attributes:
        status: "healthy" or "unhealthy".
        issues: what went wrong, at most 100 entries.
    """

    status: str
    issues: list[HealthIssue] = []

    @property
    def healthy(self) -> bool:
        """True if no generation has failed since the server was started."""
        return self.status == "healthy"


class AuthPermission(Value):
    """The wire form of a key's permission."""

    permission: Literal["api", "admin"]


class TokenEncodeResponse(Value):
    """The wire form of an encoded text."""

    tokens: list[int]
    length: int = 0


class TokenDecodeResponse(Value):
    """The wire form of a decoded text."""

    text: str


class LoraCard(Value):
    """An adapter. `scaling` is None in the list of all; `created` is the time of the request."""

    id: str
    object: str = "lora"
    created: int = 0
    owned_by: str = "tabbyAPI"
    scaling: float | None = None


class LoraList(Value):
    """The wire form of a list of adapters."""

    data: list[LoraCard]
    object: str = "list"


class LoraScaling(Value):
    """An adapter to load, and how strongly it is applied: 1.0 as trained, 0 not at all."""

    name: str
    scaling: float = 1.0


class LoraLoadResponse(Value):
    """Names of the adapters that were loaded, and of those that were not."""

    success: list[str]
    failure: list[str]


class TemplateList(Value):
    """The wire form of a list of template names."""

    data: list[str]
    object: str = "list"


class SamplerOverride(Value):
    """The override of one field.

    Attributes:
        override: the value that replaces the field's default.
        force: replace what a request asks for, too. The request is not told.
        additive: where both are lists, join them.
    """

    override: Any = None
    force: bool = False
    additive: bool = False


class SamplerOverrides(Value, kw_only=True):
    """The overrides in force.

    Attributes:
        selected_preset: the preset switched to last, None if no overrides are in force. The
            server keeps naming it after a switch to other overrides than a preset's.
        overrides: by name of the field.
        presets: names of all presets; empty unless asked with the admin key.
    """

    selected_preset: str | None = None
    overrides: dict[str, SamplerOverride]
    presets: list[str] = []
