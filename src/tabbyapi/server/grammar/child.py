"""The process that checks grammars: one JSON string a line in, what is wrong with it out."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

_MOST_SECONDS = 30  # our starter ends us much sooner, unless it has died
_MOST_MEMORY = 1 << 30  # bytes of addresses, of which libraries take their part


def main() -> None:
    """Check until stdin closes."""
    import llguidance

    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = _MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MOST_MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tokenizer = llguidance.LLTokenizer("byte")
    _say("ready")
    for line in sys.stdin:
        if sys.platform != "win32":
            signal.alarm(_MOST_SECONDS)
        problem = _problem(json.loads(line), tokenizer)
        if sys.platform != "win32":
            signal.alarm(0)
        _say(problem.strip().split("\n", 1)[0][:300])


def _problem(lark: str, tokenizer: Any) -> str:
    """What is wrong with a grammar, "" if nothing."""
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_lark(lark)
    problem: str = LLMatcher.validate_grammar(grammar)
    if problem:
        return problem
    # Some grammars blow up only when they are put to use, so this one is, for one token.
    matcher = LLMatcher(tokenizer, grammar)
    if not matcher.is_error():
        matcher.compute_bitmask()
    problem = str(matcher.get_error())
    # What llguidance says of a grammar without any text.
    return "no text can ever fit it" if problem.startswith("NoExtensionBias") else problem


def _say(text: str) -> None:
    sys.stdout.write(json.dumps(text) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
