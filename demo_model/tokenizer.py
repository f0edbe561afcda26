"""The tokenizer: byte-level BPE whose runtime splits text exactly as llama.cpp's "gpt-2" does.

Its merges are learned with a finer split: a capitalised word never joins the space before it, and
digits stay single. So a name is the same tokens after a space, in quotes or at the start of a
line, which makes copying it (recall, tool arguments, JSON) far easier for a tiny model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from . import generator
from .markup import CONTROL, MARKUP
from .render import render

VOCABULARY = 2048
_LEARNING_SPLIT = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|[0-9]| ?[^\sA-Za-z0-9]+|\s"
)


def build(sample: int = 12_000) -> Tokenizer:
    """Learns the tokenizer from the first `sample` training conversations."""
    tokenizer = Tokenizer(BPE(unk_token=None))
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(_LEARNING_SPLIT), "isolated"), ByteLevel(False, use_regex=False)]
    )
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(MARKUP),
        special_tokens=list(CONTROL),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(sample), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in MARKUP])
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _texts(sample: int) -> Iterator[str]:
    for talk in generator.conversations(0, sample):
        text = render(talk.messages, talk.tools)
        for marker in (*CONTROL, *MARKUP):
            text = text.replace(marker, "\n")
        yield text


def load(path: Path) -> Tokenizer:
    """The tokenizer saved at `path`."""
    return Tokenizer.from_file(str(path))


_OPENING = "<|im_start|>assistant\n"
_DROPOUT = 0.1


class Encoder:
    """Turns conversations into token ids, marking what the model has to learn to write."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.end = tokenizer.token_to_id("<|im_end|>")
        self._start = tokenizer.token_to_id("<|im_start|>")
        self._opening = tokenizer.encode(_OPENING).ids
        self._loose = Tokenizer.from_str(tokenizer.to_str())
        self._loose.model.dropout = _DROPOUT

    def loose_example(self, talk: generator.Conversation) -> tuple[list[int], list[bool]]:
        """As `example`, with what the model reads cut into smaller tokens here and there.

        So it learns how tokens are spelled, and copies words that it never saw. Not seeded: the
        library draws by itself.
        """
        read, *answers = render(talk.messages, talk.tools).split(_OPENING)
        ids = self._loose.encode(read).ids
        learned = [False] * len(ids)
        for part in answers:
            answer, _, read = part.partition("<|im_end|>")
            written = [*self.tokenizer.encode(answer).ids, self.end]
            after = self._loose.encode(read).ids
            ids += [*self._opening, *written, *after]
            learned += [False] * len(self._opening) + [True] * len(written) + [False] * len(after)
        return ids, learned

    def example(self, talk: generator.Conversation) -> tuple[list[int], list[bool]]:
        """The ids, and for each whether it belongs to an answer (with its end marker)."""
        ids = self.tokenizer.encode(render(talk.messages, talk.tools)).ids
        learned = [False] * len(ids)
        width = len(self._opening)
        i = 0
        while i < len(ids):
            if ids[i] == self._start and ids[i : i + width] == self._opening:
                i += width
                while True:
                    learned[i] = True
                    i += 1
                    if ids[i - 1] == self.end:
                        break
            else:
                i += 1
        return ids, learned
