"""The fuzz targets, on inputs by Hypothesis and on the seeds they start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import TARGETS
from hypothesis import given
from hypothesis import strategies as st

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
EVENT = b'data: {"choices": [{"index": %d, "delta": {"content": "x"}}]}'

lines = st.sampled_from(
    [
        EVENT % 0,
        EVENT % 1,
        b"data: [DONE]",
        b": ping",
        b"",
        b"data:",
        b"id: 1",
        b"data: {}",
        b"\xff",
    ]
)
streams = st.builds(
    lambda plan, parts, end: plan + b"".join(part + end for part in parts),
    st.binary(min_size=8, max_size=8),
    st.lists(lines, max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\r", b"\r\n\r\n"]),
)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.one_of(st.binary(max_size=200), streams))
def test_nothing_from_outside_breaks_it(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize(
    "seed", sorted(CORPUS.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}"
)
def test_the_seeds_hold(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())
