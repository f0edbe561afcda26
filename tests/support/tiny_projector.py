"""Makes a projector of random weights, for the tiny model to see with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["PATCHES", "write_projector"]

_WIDTH, _HEADS, _LAYERS, _HIDDEN = 32, 2, 2, 64
_PATCH, _SIDE = 14, 56

PATCHES = (_SIDE // _PATCH) ** 2
"""Tokens that an image takes."""


def write_projector(path: Path, *, model_width: int = 64, seed: int = 2) -> Path:
    """Write a small CLIP with a LLaVA projector; any two pictures look different to it."""
    import gguf
    import numpy as np

    rng = np.random.default_rng(seed)

    def noise(*size: int) -> Any:
        return (rng.standard_normal(size) * 0.2).astype(np.float32)

    def ones() -> Any:
        return np.ones(_WIDTH, np.float32)

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name("Random tiny projector")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    sizes = {
        "image_size": _SIDE,
        "patch_size": _PATCH,
        "embedding_length": _WIDTH,
        "feed_forward_length": _HIDDEN,
        "block_count": _LAYERS,
        "projection_dim": model_width,
        "attention.head_count": _HEADS,
    }
    for name, size in sizes.items():
        writer.add_uint32(f"clip.vision.{name}", size)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    tensors = {
        "v.patch_embd.weight": noise(_WIDTH, 3, _PATCH, _PATCH),
        "v.class_embd": noise(_WIDTH),
        "v.position_embd.weight": noise(PATCHES + 1, _WIDTH),
        "v.pre_ln.weight": ones(),
        "v.pre_ln.bias": noise(_WIDTH),
        "mm.0.weight": noise(model_width, _WIDTH),
        "mm.0.bias": noise(model_width),
        "mm.2.weight": noise(model_width, model_width),
        "mm.2.bias": noise(model_width),
    }
    for layer in range(_LAYERS):
        block = f"v.blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"{block}.{part}.weight"] = noise(_WIDTH, _WIDTH)
            tensors[f"{block}.{part}.bias"] = noise(_WIDTH)
        for norm in ("ln1", "ln2"):
            tensors[f"{block}.{norm}.weight"] = ones()
            tensors[f"{block}.{norm}.bias"] = noise(_WIDTH)
        tensors[f"{block}.ffn_up.weight"] = noise(_HIDDEN, _WIDTH)
        tensors[f"{block}.ffn_up.bias"] = noise(_HIDDEN)
        tensors[f"{block}.ffn_down.weight"] = noise(_WIDTH, _HIDDEN)
        tensors[f"{block}.ffn_down.bias"] = noise(_WIDTH)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
