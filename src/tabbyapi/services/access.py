"""The services of the clients: each is imported and made when it is first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .caller import AsyncCaller, Caller

if TYPE_CHECKING:
    from .auth import AsyncAuth, Auth
    from .chat import AsyncChat, Chat
    from .completions import AsyncCompletions, Completions
    from .embeddings import AsyncEmbeddings, Embeddings
    from .health import AsyncHealth, Health
    from .lora import AsyncLora, Lora
    from .models import AsyncModels, Models
    from .sampling import AsyncSampling, Sampling
    from .templates import AsyncTemplates, Templates
    from .tokens import AsyncTokens, Tokens

__all__ = ["AsyncServices", "Services"]


class Services:
    """The services of a `Client`."""

    @cached_property
    def chat(self: Caller) -> Chat:
        """Chat completions."""
        from .chat import Chat

        return Chat(self)

    @cached_property
    def completions(self: Caller) -> Completions:
        """Text completions."""
        from .completions import Completions

        return Completions(self)

    @cached_property
    def embeddings(self: Caller) -> Embeddings:
        """Vectors of texts."""
        from .embeddings import Embeddings

        return Embeddings(self)

    @cached_property
    def models(self: Caller) -> Models:
        """Listing, loading, unloading and downloading models."""
        from .models import Models

        return Models(self)

    @cached_property
    def lora(self: Caller) -> Lora:
        """LoRA adapters."""
        from .lora import Lora

        return Lora(self)

    @cached_property
    def templates(self: Caller) -> Templates:
        """Chat templates."""
        from .templates import Templates

        return Templates(self)

    @cached_property
    def tokens(self: Caller) -> Tokens:
        """Counting, encoding and decoding tokens."""
        from .tokens import Tokens

        return Tokens(self)

    @cached_property
    def sampling(self: Caller) -> Sampling:
        """Sampler overrides."""
        from .sampling import Sampling

        return Sampling(self)

    @cached_property
    def health(self: Caller) -> Health:
        """The server's health."""
        from .health import Health

        return Health(self)

    @cached_property
    def auth(self: Caller) -> Auth:
        """What the client's key may do."""
        from .auth import Auth

        return Auth(self)


class AsyncServices:
    """The services of an `AsyncClient`."""

    @cached_property
    def chat(self: AsyncCaller) -> AsyncChat:
        """Chat completions."""
        from .chat import AsyncChat

        return AsyncChat(self)

    @cached_property
    def completions(self: AsyncCaller) -> AsyncCompletions:
        """Text completions."""
        from .completions import AsyncCompletions

        return AsyncCompletions(self)

    @cached_property
    def embeddings(self: AsyncCaller) -> AsyncEmbeddings:
        """Vectors of texts."""
        from .embeddings import AsyncEmbeddings

        return AsyncEmbeddings(self)

    @cached_property
    def models(self: AsyncCaller) -> AsyncModels:
        """Listing, loading, unloading and downloading models."""
        from .models import AsyncModels

        return AsyncModels(self)

    @cached_property
    def lora(self: AsyncCaller) -> AsyncLora:
        """LoRA adapters."""
        from .lora import AsyncLora

        return AsyncLora(self)

    @cached_property
    def templates(self: AsyncCaller) -> AsyncTemplates:
        """Chat templates."""
        from .templates import AsyncTemplates

        return AsyncTemplates(self)

    @cached_property
    def tokens(self: AsyncCaller) -> AsyncTokens:
        """Counting, encoding and decoding tokens."""
        from .tokens import AsyncTokens

        return AsyncTokens(self)

    @cached_property
    def sampling(self: AsyncCaller) -> AsyncSampling:
        """Sampler overrides."""
        from .sampling import AsyncSampling

        return AsyncSampling(self)

    @cached_property
    def health(self: AsyncCaller) -> AsyncHealth:
        """The server's health."""
        from .health import AsyncHealth

        return AsyncHealth(self)

    @cached_property
    def auth(self: AsyncCaller) -> AsyncAuth:
        """What the client's key may do."""
        from .auth import AsyncAuth

        return AsyncAuth(self)
