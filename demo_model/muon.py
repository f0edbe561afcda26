"""The optimizer for the matrices: momentum made orthogonal (Muon), in batches of equal shapes.

Torch's own takes the matrices one by one; with dozens of small ones on a CPU the calls cost more
than the arithmetic. About half of AdamW's tokens reach the same loss here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

# The quintic that pushes all singular values towards 1 in few steps.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """Each matrix of the batch with its singular values replaced by about 1."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Updates `parameters`, all of them matrices; `rate` is on the scale of AdamW's."""

    def __init__(
        self, parameters: list[Tensor], *, momentum: float = 0.95, decay: float = 0.02
    ) -> None:
        self.momentum = momentum
        self.decay = decay
        groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for p in parameters:
            groups[p.shape].append(p)
        self._groups = list(groups.values())
        self._velocity = [
            torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self._groups
        ]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update from the gradients that the parameters hold."""
        for group, velocity in zip(self._groups, self._velocity, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            velocity.lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(velocity, self.momentum))
            # The size that an AdamW update of such a matrix has on average.
            scale = 0.2 * max(group[0].shape) ** 0.5
            for p, u in zip(group, update, strict=True):
                p.mul_(1 - rate * self.decay).sub_(u, alpha=rate * scale)

    def state_dict(self) -> dict[str, Any]:
        return {"velocity": self._velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for own, saved in zip(self._velocity, state["velocity"], strict=True):
            own.copy_(saved)
