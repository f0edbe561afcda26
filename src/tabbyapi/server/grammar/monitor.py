"""Notices when the engine gives a constraint up, which it does without a word.

It does so where a grammar becomes too hard in the middle of an answer. Following the text costs a
few microseconds a token.
"""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["GrammarMonitor"]


@cache
def _bytes() -> Any:
    """A tokenizer of single bytes: the text is followed, whatever the model's tokens are."""
    import llguidance

    return llguidance.LLTokenizer("byte")


class GrammarMonitor:
    """Follows an answer along its grammar (a Lark grammar for llguidance)."""

    def __init__(self, grammar: str) -> None:
        from llguidance import LLMatcher

        self._matcher: Any = LLMatcher(_bytes(), LLMatcher.grammar_from_lark(grammar))
        self._lost = False

    def leaves(self, text: str) -> bool:
        """Add text; True if the grammar no longer allows the answer."""
        if self._lost or "\ufffd" in text:
            self._lost = True  # bytes that are no text were replaced, so nothing can be said
            return False
        data = text.encode()
        taken: int = self._matcher.try_consume_tokens(list(data))
        # What is too hard for us, the engine gave up as well: it has the same library.
        return taken < len(data) or bool(self._matcher.is_error())
