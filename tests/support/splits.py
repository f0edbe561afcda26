"""Where to cut bytes that arrive in pieces, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["cut", "cuts"]


def cuts(body: bytes) -> st.SearchStrategy[list[int]]:
    """Positions to cut `body` at: anywhere, and around line ends more often than by chance."""
    near_ends = [i + d for i, byte in enumerate(body) if byte in b"\r\n" for d in (0, 1)]
    anywhere = st.integers(0, len(body))
    position = st.one_of(anywhere, st.sampled_from(near_ends)) if near_ends else anywhere
    return st.lists(position, max_size=30).map(sorted)


def cut(body: bytes, positions: list[int]) -> list[bytes]:
    """The pieces of `body` between the positions; some may be empty."""
    bounds = zip([0, *positions], [*positions, len(body)], strict=True)
    return [body[start:end] for start, end in bounds]
