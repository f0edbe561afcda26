"""Makes tiny GGUF models: random weights for tests, and a Markov chain that says one sentence.

Needs `gguf` (extra `dev`), imported on use. Both are ordinary llama-architecture files that the
engine loads like any other:

- `write_random`: 0.3 MB of seeded noise over a byte vocabulary. Exercises everything but meaning.
- `write_markov`: one-hot states, no attention, the transitions in the output matrix. Says what
  it is, word by word, and stops.

    python -m support.tiny_model OUT --kind random|markov
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

__all__ = ["CHATML", "SENTENCE", "write_markov", "write_random"]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content or '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template of both models."""

# Each word is a state of the chain, so no word may come twice.
SENTENCE = (
    "I am a chain of words: one fixed sentence, no knowledge. "
    "It is said in the same order each time and ends here."
)

_BOS, _EOS = "<|endoftext|>", "<|im_end|>"
_SPECIAL = (_BOS, "<|im_start|>", _EOS)
_NORMAL, _CONTROL = 1, 3  # token types of the GGUF format
_NEVER = -30.0


def _byte_alphabet() -> list[str]:
    """The printable stand-ins that byte-level BPE vocabularies use for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(shifted)) for b in range(256)]


def _writer(
    path: Path, name: str, words: list[str], shape: dict[str, int], chat_template: str = CHATML
) -> Any:
    """A GGUF writer with vocabulary, template and hyperparameters already in it."""
    import gguf

    alphabet = _byte_alphabet()
    tokens, merges = list(alphabet), []
    for word in words:
        spelled = [alphabet[b] for b in word.encode()]
        for end in range(2, len(spelled) + 1):
            piece = "".join(spelled[:end])
            if piece not in tokens:
                tokens.append(piece)
                merges.append(f"{piece[:-1]} {piece[-1]}")
    first_special = len(tokens)
    tokens += _SPECIAL
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["hidden"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_NORMAL] * first_special + [_CONTROL] * len(_SPECIAL))
    writer.add_token_merges(merges or [f"{alphabet[104]} {alphabet[105]}"])
    writer.add_bos_token_id(first_special)
    writer.add_eos_token_id(first_special + 2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)
    return writer, tokens


def _finish(writer: Any, tensors: dict[str, Any]) -> None:
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _layer_shapes(layer: int, shape: dict[str, int]) -> dict[str, tuple[int, ...]]:
    width, hidden = shape["width"], shape["hidden"]
    square = {f"blk.{layer}.attn_{part}.weight": (width, width) for part in "qkv"}
    return {
        **square,
        f"blk.{layer}.attn_output.weight": (width, width),
        f"blk.{layer}.ffn_gate.weight": (hidden, width),
        f"blk.{layer}.ffn_up.weight": (hidden, width),
        f"blk.{layer}.ffn_down.weight": (width, hidden),
    }


def write_random(
    path: str | Path,
    *,
    seed: int = 1,
    context: int = 8192,
    chat_template: str = CHATML,
    name: str = "Random tiny model",
) -> Path:
    """Write a model of random weights; it babbles ASCII and hardly ever ends by itself."""
    import numpy as np

    path = Path(path)
    shape = {"width": 64, "hidden": 128, "layers": 2, "heads": 4, "context": context}
    writer, tokens = _writer(path, name, ["hi"], shape, chat_template)
    rng = np.random.default_rng(seed)
    width = shape["width"]

    def noise(*size: int, scale: float) -> Any:
        return (rng.standard_normal(size) * scale).astype(np.float32)

    # The first dimension is a constant that no layer writes to, which makes the first column of
    # the output matrix a bias: it keeps bytes that are no ASCII text, and end tokens, out.
    embedding = noise(len(tokens), width, scale=1.0)
    embedding[:, 0] = 8.0
    output = noise(len(tokens), width, scale=0.3)
    alphabet = _byte_alphabet()
    printable = {alphabet[b] for b in (*range(32, 127), 10)}
    output[:, 0] = [0.0 if token in printable else _NEVER for token in tokens]
    tensors = {"token_embd.weight": embedding, "output.weight": output}
    tensors["output_norm.weight"] = np.ones(width, np.float32)
    for layer in range(shape["layers"]):
        for norm in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{norm}.weight"] = np.ones(width, np.float32)
        for name, size in _layer_shapes(layer, shape).items():
            tensors[name] = noise(*size, scale=0.12)
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                tensors[name][0, :] = 0.0
    _finish(writer, tensors)
    return path


def write_markov(path: str | Path, *, sentence: str = SENTENCE, context: int = 8192) -> Path:
    """Write a model that answers anything with `sentence`, whose words must all differ."""
    import numpy as np

    path = Path(path)
    words = re.findall(r" ?[^ ]+", sentence)
    if len(set(words)) != len(words):
        raise ValueError("each word of the sentence is a state of the chain: none may come twice")
    width = 16 * (len(words) // 16 + 1)
    shape = {"width": width, "hidden": 32, "layers": 1, "heads": 1, "context": context}
    writer, tokens = _writer(path, "Scripted model (one fixed sentence)", words, shape)
    alphabet = _byte_alphabet()
    ids = [tokens.index("".join(alphabet[b] for b in word.encode())) for word in words]
    ids.append(tokens.index(_EOS))
    # State 0 is "anything else", state k is "word k was said".
    state = [0] * len(tokens)
    for k, token in enumerate(ids[:-1]):
        state[token] = k + 1
    embedding = np.zeros((len(tokens), width), np.float32)
    embedding[np.arange(len(tokens)), state] = 1.0
    output = np.zeros((len(tokens), width), np.float32)
    for k, token in enumerate(ids):
        output[token, k] = 8.0  # times sqrt(width) after the norm: nothing else has a chance
    tensors = {
        "token_embd.weight": embedding,
        "output.weight": output,
        "output_norm.weight": np.ones(width, np.float32),
        "blk.0.attn_norm.weight": np.ones(width, np.float32),
        "blk.0.ffn_norm.weight": np.ones(width, np.float32),
    }
    for name, size in _layer_shapes(0, shape).items():
        tensors[name] = np.zeros(size, np.float32)
    _finish(writer, tensors)
    return path


def main(argv: list[str] | None = None) -> None:
    """Command-line entry."""
    parser = argparse.ArgumentParser(prog="tiny_model", description="Write a tiny GGUF model.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=("random", "markov"), default="random")
    arguments = parser.parse_args(argv)
    write = write_random if arguments.kind == "random" else write_markov
    print(f"{write(arguments.out)}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
