"""Training, in a fixed span of time: the schedule follows the clock, so it always ends.

Conversations are made as they are needed and never repeat. A batch holds conversations of like
length, so little is padding, and each starts at position 0 as it does when the model is used.
Only the assistant's tokens are learned. The state is saved every few minutes; starting again
goes on from there.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from . import generator
from .model import Decoder, Shape
from .muon import Muon
from .tokenizer import Encoder, build, load

PEAK_RATE = 4e-3
WARM_UP = 0.02
BATCH_TOKENS = 4096
LOOSE = 0.4  # share of conversations that are cut into smaller tokens
POOL = 1024
SAVE_EVERY = 180.0

Batch = tuple[Tensor, Tensor, Tensor]


def prepare(work: Path) -> Encoder:
    """The encoder of this run; learns the tokenizer at the first call."""
    path = work / "tokenizer.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        build().save(str(path))
    return Encoder(load(path))


def batches(encoder: Encoder, pool: int, context: int) -> Iterator[Batch]:
    """The batches of one pool of conversations: inputs, targets, and which targets count."""
    rng = random.Random(f"pool {pool}")
    examples = [
        (encoder.loose_example if rng.random() < LOOSE else encoder.example)(talk)
        for talk in generator.conversations(pool * POOL, POOL)
    ]
    examples = [(ids[: context + 1], learned[: context + 1]) for ids, learned in examples]
    examples.sort(key=lambda e: len(e[0]) + rng.random())
    groups: list[list[tuple[list[int], list[bool]]]] = [[]]
    for example in examples:
        if groups[-1] and len(example[0]) * (len(groups[-1]) + 1) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    for group in groups:
        width = max(len(ids) for ids, _ in group)
        rows = torch.full((len(group), width), encoder.end)
        counts = torch.zeros((len(group), width), dtype=torch.bool)
        for row, (ids, learned) in enumerate(group):
            rows[row, : len(ids)] = torch.tensor(ids)
            counts[row, : len(ids)] = torch.tensor(learned)
        yield rows[:, :-1], rows[:, 1:], counts[:, 1:]


def rate(progress: float) -> float:
    """The learning rate as a share of its peak: a short warm-up, then half a cosine."""
    if progress < WARM_UP:
        return (progress + 1e-3) / WARM_UP
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class Learner:
    """The model, a copy in bfloat16 that computes, and the optimizers.

    Computing in bfloat16 throughout, instead of converting at each layer, is what makes training
    on a CPU bearable; the weights themselves are kept in full precision.
    """

    def __init__(self, device: str) -> None:
        self.model = Decoder(Shape()).to(device)
        self.fast = copy.deepcopy(self.model).bfloat16()
        self._pairs = list(zip(self.model.parameters(), self.fast.parameters(), strict=True))
        named = list(self.model.named_parameters())
        self.muon = Muon([p for n, p in named if p.dim() == 2 and "embedding" not in n])
        self.adam = torch.optim.AdamW(
            [p for n, p in named if p.dim() == 1 or "embedding" in n],
            betas=(0.9, 0.98),
            weight_decay=0.0,
            fused=True,
        )

    def step(self, batch: Batch, rate: float) -> Tensor:
        """Learns from one batch and returns its loss."""
        inputs, targets, counts = batch
        scores = self.fast.logits(self.fast(inputs)[counts])
        loss = F.cross_entropy(scores.float(), targets[counts])
        loss.backward()  # type: ignore[no-untyped-call]
        for own, fast in self._pairs:
            own.grad = None if fast.grad is None else fast.grad.float()
            fast.grad = None
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.muon.step(rate)
        self.refresh()
        return loss.detach()

    @torch.no_grad()
    def refresh(self) -> None:
        """Copies the weights into the copy that computes."""
        for own, fast in self._pairs:
            fast.copy_(own)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.refresh()


def train(work: Path, minutes: float, *, device: str = "cpu", threads: int = 2) -> Decoder:
    """Trains for so many minutes in all, counting those of earlier starts, and returns the model.

    State and log lie in `work`; delete `checkpoint.pt` there to begin anew.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = prepare(work)
    learner = Learner(device)
    checkpoint = work / "checkpoint.pt"
    elapsed, pool, step, tokens = 0.0, 0, 0, 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device)
        learner.load_state_dict(state)
        elapsed, pool, step, tokens = (state[k] for k in ("elapsed", "pool", "step", "tokens"))

    def save(next_pool: int) -> None:
        counters = {"elapsed": elapsed, "pool": next_pool, "step": step, "tokens": tokens}
        part = checkpoint.with_suffix(".part")
        torch.save({**learner.state_dict(), **counters, "shape": asdict(Shape())}, part)
        part.replace(checkpoint)

    budget = minutes * 60
    last = time.monotonic()
    saved_at = last
    losses: list[float] = []
    for number in itertools.count(pool):
        for batch in batches(encoder, number, Shape().context):
            if elapsed >= budget:
                save(number + 1)
                return learner.model
            peak_share = rate(elapsed / budget)
            inputs, targets, counts = (t.to(device) for t in batch)
            loss = learner.step((inputs, targets, counts), PEAK_RATE * peak_share)
            losses.append(float(loss))
            step += 1
            tokens += int(inputs.numel())
            now = time.monotonic()
            elapsed += now - last
            last = now
            if step % 20 == 0:
                mean = sum(losses) / len(losses)
                losses.clear()
                line = f"{elapsed / 60:6.1f} min  step {step}  {tokens / 1e6:.2f} M tokens"
                with (work / "train.log").open("a", encoding="utf-8") as log:
                    log.write(f"{line}  loss {mean:.4f}  rate {PEAK_RATE * peak_share:.2e}\n")
            if now - saved_at > SAVE_EVERY:
                save(number + 1)
                saved_at = now
    raise AssertionError("unreachable: the pools never end")
