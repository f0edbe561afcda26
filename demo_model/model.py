"""The network: a small decoder of the Llama architecture, as llama.cpp computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SHORT = 512


@dataclass(frozen=True)
class Shape:
    """Sizes. Every row length is a multiple of 32, the block of q8_0."""

    vocabulary: int = 2048
    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 352
    context: int = 2048
    rope_base: float = 10_000.0
    epsilon: float = 1e-5


class Attention(nn.Module):
    """Causal attention with rotary positions on neighbouring pairs, llama.cpp's layout."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.ModuleList(nn.Linear(shape.width, shape.width, bias=False) for _ in range(3))
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        b, t, width = x.shape
        q, k, v = (p(x).view(b, t, self.heads, -1).transpose(1, 2) for p in self.qkv)
        q, k = _rotate(q, rotation), _rotate(k, rotation)
        if t <= _SHORT and x.device.type == "cpu":
            y = _attend(q, k, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, width))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention written out: on a CPU torch's fused one takes longer for short texts."""
    t = q.shape[2]
    future = torch.full((t, t), float("-inf"), dtype=q.dtype).triu(1)
    scores = (q @ k.mT) * q.shape[-1] ** -0.5 + future
    return F.softmax(scores, dim=-1) @ v


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


class Block(nn.Module):
    """Attention and a gated feed-forward layer, each behind an RMS norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation)
        h = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """Token ids to hidden states; `logits` turns these into scores with the tied embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        head = shape.width // shape.heads
        angles = torch.outer(
            torch.arange(shape.context).float(),
            shape.rope_base ** (-torch.arange(0, head, 2).float() / head),
        )
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        deep = (2 * shape.layers) ** -0.5
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = deep if "out." in name or "down." in name else 1.0
                nn.init.normal_(p, std=0.02 if "embedding" in name else scale * p.shape[1] ** -0.5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        rotation = (self.cos[: ids.shape[1]], self.sin[: ids.shape[1]])
        for block in self.blocks:
            x = block(x, rotation)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.embedding.weight.T

    def parameters_count(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters())
