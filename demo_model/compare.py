"""Compares the exported file, as llama.cpp runs it, with the checkpoint, as torch runs it."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from .cases import all_cases
from .engine import Engine
from .evaluate import prompt
from .export import restore, rounded
from .model import Decoder
from .tokenizer import load

_ODD = "abcXYZ 019_'\n\t.,;{}\"<|>/\u00e9\u00df\u6f22\u5b57\U0001f642\u00a0\u2028"
_MARKS = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tools>", "")


@torch.inference_mode()
def greedy(model: Decoder, ids: list[int], end: int, limit: int) -> list[int]:
    """The ids that the model writes when it always takes the likeliest."""
    written: list[int] = []
    while len(written) < limit:
        hidden = model(torch.tensor([ids + written]))[0, -1]
        best = int(model.logits(hidden).argmax())
        if best == end:
            break
        written.append(best)
    return written


def odd_text(rng: random.Random) -> str:
    """Random text with everything that a tokenizer may trip over."""
    text = "".join(rng.choices(_ODD, k=rng.randint(1, 60)))
    return text + rng.choice(_MARKS) + "".join(rng.choices(_ODD, k=rng.randint(0, 9)))


def compare(work: Path, path: Path, count: int, *, limit: int = 80) -> tuple[int, int]:
    """How many of `count` answers, and of `count` tokenizations of odd text, are the same.

    Answers can differ where two tokens are about equally likely: the engine rounds what flows
    between the layers as well.
    """
    tokenizer = load(work / "tokenizer.json")
    model = rounded(restore(work / "checkpoint.pt"))
    end = tokenizer.token_to_id("<|im_end|>")
    rng = random.Random(0)
    prompts = [prompt(case) for case in rng.sample(all_cases(0, 60, reword=False), k=count)]
    texts = [odd_text(rng) for _ in range(count)]
    with Engine(path) as engine:
        theirs = [engine.complete(p, limit=limit) for p in prompts]
        tokens_equal = sum(tokenizer.encode(t).ids == engine.tokenize(t) for t in texts)
    ours = [greedy(model, tokenizer.encode(p).ids, end, limit) for p in prompts]
    same = sum(tokenizer.decode(o) == t for o, t in zip(ours, theirs, strict=True))
    return same, tokens_equal
