"""OpenTelemetry: spans and metrics of calls and tools, by the GenAI semantic conventions.

    import tabbyapi.telemetry

    tabbyapi.telemetry.instrument()

Needs the extra `otel` (`opentelemetry-api`), and an SDK that the program sets up. Also done by
`opentelemetry-instrument`, which finds `TabbyAPIInstrumentor` by its entry point.
"""

from __future__ import annotations

import os
from typing import Any

from .._protocol.observing import observe
from ..errors import ValidationError

try:
    from ._spans import Telemetry
except ModuleNotFoundError as _error:
    if not (_error.name or "").startswith("opentelemetry"):
        raise
    raise ModuleNotFoundError(
        "tabbyapi.telemetry needs OpenTelemetry: pip install 'py-tabbyapi[otel]'", name=_error.name
    ) from None

__all__ = ["TabbyAPIInstrumentor", "instrument", "uninstrument"]

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def instrument(
    *, tracer_provider: Any = None, meter_provider: Any = None, capture_content: bool | None = None
) -> None:
    """Report every call of the model and every call of a tool, from now on, in this process.

    Args:
        tracer_provider, meter_provider: default: OpenTelemetry's global ones, which may be set
            later.
        capture_content: put prompts, answers, arguments and results of tools into spans. Default:
            False, unless the environment variable
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is "true".

    Raises:
        ValidationError: `capture_content` is no bool.
    """
    if capture_content is None:
        asked = os.environ.get(_CAPTURE, "").strip().lower()
        capture_content = asked in ("true", "1", "span_only", "span_and_event")
    elif not isinstance(capture_content, bool):
        raise ValidationError(
            f"capture_content must be True or False, not {capture_content!r}",
            field="capture_content",
        )
    observe(Telemetry(tracer_provider, meter_provider, capture_content))


def uninstrument() -> None:
    """Report nothing from now on. Streams that are open are reported to their end."""
    observe(None)


class TabbyAPIInstrumentor:
    """`instrument` and `uninstrument` in the form that `opentelemetry-instrument` wants."""

    def instrument(self, **options: Any) -> None:
        """See `instrument`; options that are not its own are ignored."""
        known = ("tracer_provider", "meter_provider", "capture_content")
        instrument(**{name: options[name] for name in known if name in options})

    def uninstrument(self, **options: Any) -> None:
        """See `uninstrument`."""
        uninstrument()
