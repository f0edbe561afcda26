"""Answers of `POST /v1/embeddings`."""

from typing import TYPE_CHECKING

import msgspec

from .base import Value

if TYPE_CHECKING:
    import numpy

__all__ = ["Embedding", "EmbeddingResponse", "EmbeddingUsage"]


class Embedding(Value):
    """The vector of one text. `index` is the text's place in the request."""

    embedding: list[float] = []
    index: int = 0
    object: str = "embedding"


class EmbeddingUsage(Value):
    """Tokens read. `completion_tokens` is always 0."""

    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int = 0


class EmbeddingResponse(Value):
    """Vectors of some texts, in the order of the texts.

    Attributes:
        model: name of the embedding model, whatever was asked for.
    """

    data: list[Embedding] = []
    model: str = ""
    usage: EmbeddingUsage = msgspec.field(default_factory=EmbeddingUsage)
    object: str = "list"

    @property
    def vectors(self) -> list[list[float]]:
        """One list of floats for each text."""
        return [item.embedding for item in self.data]

    def numpy(self) -> "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]":
        """The vectors as one float32 array of shape (texts, dimensions).

        Raises:
            ImportError: numpy is not installed; `vectors` works without it.
        """
        import numpy

        return numpy.array(self.vectors, dtype=numpy.float32, ndmin=2)
