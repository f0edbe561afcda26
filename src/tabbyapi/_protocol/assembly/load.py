"""The progress of a model load.

This stream has no `[DONE]`, reports its failures under HTTP 200, and says "finished" once for
each part of a model: it is good only if it ends after the "finished" of the model itself.
"""

from __future__ import annotations

from ...errors import StreamError, StreamInterruptedError
from ...types.models import LoadProgress
from ..decode import Decoder
from ..stream import StreamDecoder

__all__ = ["load_stream_decoder"]

_AFTERWARDS = "the model that was loaded before has been unloaded, so none is loaded now"


class _Latest:
    """Assembler of a load: keeps the last step, which is the result."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: LoadProgress | None = None

    def add(self, chunks: list[LoadProgress]) -> None:
        if chunks:
            self._last = chunks[-1]

    def response(self) -> LoadProgress | None:
        return self._last


class _LoadDecoder(StreamDecoder[LoadProgress, LoadProgress]):
    __slots__ = ("_complete",)

    def __init__(self) -> None:
        super().__init__(_decode, _is_progress, _Latest(), ends_with_done=False)
        self._complete = False

    def feed(self, data: bytes) -> list[LoadProgress]:
        if self.error is not None:
            return []
        steps = super().feed(data)
        self._look(steps)
        return steps

    def finish(self) -> list[LoadProgress]:
        if self.error is not None:
            return []
        steps = super().finish()
        self._look(steps)
        if self.done and not self._complete:
            self.done = False
            self.error = StreamInterruptedError(
                "the load stream ended before the model was finished; the server may have been "
                "stopped. client.models.get() tells what is loaded now"
            )
        return steps

    def _look(self, steps: list[LoadProgress]) -> None:
        self._complete = self._complete or any(step.complete for step in steps)
        error = self.error
        if type(error) is StreamError:
            reason = error.message.removeprefix("the server reported an error in the stream: ")
            self.error = StreamError(
                f"the model was not loaded: {reason} ({_AFTERWARDS})", trace=error.trace
            )


_decode = Decoder(LoadProgress)


def _is_progress(step: LoadProgress) -> bool:
    return bool(step.model_type)


def load_stream_decoder() -> StreamDecoder[LoadProgress, LoadProgress]:
    """Decoder for one stream of `POST /v1/model/load`."""
    return _LoadDecoder()
