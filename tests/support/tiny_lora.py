"""Makes LoRA adapters of random weights for the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["write_lora"]


def write_lora(
    path: Path, *, width: int = 64, layers: int = 2, architecture: str = "llama", seed: int = 3
) -> Path:
    """Write an adapter that turns the attention of every layer to something else."""
    import gguf
    import numpy as np

    rng = np.random.default_rng(seed)

    def noise(*size: int) -> Any:
        return rng.standard_normal(size).astype(np.float32)

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for layer in range(layers):
        for part in ("attn_q", "attn_v"):
            name = f"blk.{layer}.{part}.weight"
            writer.add_tensor(f"{name}.lora_a", noise(4, width))
            writer.add_tensor(f"{name}.lora_b", noise(width, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
