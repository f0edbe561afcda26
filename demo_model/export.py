"""Writes the trained weights as a GGUF file with q8_0 weights."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from .markup import CONTROL, MARKUP
from .model import Decoder, Shape
from .render import template_source

NAME = "py-tabbyapi demo"
DESCRIPTION = (
    "A tiny language model trained from scratch for py-tabbyapi's demos and tests. "
    "It knows a few hundred answers by heart and is no source of facts."
)
_Q8 = gguf.GGMLQuantizationType.Q8_0


def restore(checkpoint: Path) -> Decoder:
    """The model saved by the trainer."""
    state = torch.load(checkpoint, map_location="cpu")
    model = Decoder(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval()


def tensors(model: Decoder) -> dict[str, np.ndarray]:
    """The weights under llama.cpp's names. The output layer is the embedding, so it is absent."""
    names = {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    parts = {
        "attention_norm": "attn_norm",
        "attention.qkv.0": "attn_q",
        "attention.qkv.1": "attn_k",
        "attention.qkv.2": "attn_v",
        "attention.out": "attn_output",
        "feed_norm": "ffn_norm",
        "gate": "ffn_gate",
        "up": "ffn_up",
        "down": "ffn_down",
    }
    for i in range(model.shape.layers):
        for ours, theirs in parts.items():
            names[f"blocks.{i}.{ours}.weight"] = f"blk.{i}.{theirs}.weight"
    return {names[k]: p.detach().float().cpu().numpy() for k, p in model.named_parameters()}


def rounded(model: Decoder) -> Decoder:
    """The model with the precision that q8_0 leaves, to compare with what the engine computes."""
    copy = Decoder(model.shape)
    weights = {}
    for name, p in model.state_dict().items():
        values = p.float().numpy()
        if values.ndim == 2:
            values = gguf.dequantize(gguf.quantize(values, _Q8), _Q8)
        weights[name] = torch.tensor(values)
    copy.load_state_dict(weights)
    return copy.eval()


def write(model: Decoder, tokenizer: Tokenizer, path: Path) -> None:
    """Writes the file at `path`, whole or not at all."""
    shape = model.shape
    part = path.with_suffix(".gguf.tmp")
    writer = gguf.GGUFWriter(str(part), "llama")
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_author("py-tabbyapi")
    writer.add_license("mit")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)
    _add_tokenizer(writer, tokenizer)
    for name, values in tensors(model).items():
        if values.ndim == 2:
            writer.add_tensor(name, gguf.quantize(values, _Q8), raw_dtype=_Q8)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(path)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    count = tokenizer.get_vocab_size()
    tokens = [tokenizer.id_to_token(i) for i in range(count)]
    kinds = [gguf.TokenType.NORMAL] * count
    for text in CONTROL:
        kinds[tokenizer.token_to_id(text)] = gguf.TokenType.CONTROL
    # User-defined, not control: clients have to see these in the output.
    for text in MARKUP:
        kinds[tokenizer.token_to_id(text)] = gguf.TokenType.USER_DEFINED
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.token_to_id("<|im_end|>"))
    writer.add_eot_token_id(tokenizer.token_to_id("<|im_end|>"))
    writer.add_bos_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_pad_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(template_source())
