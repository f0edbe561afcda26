"""The process that checks grammars: a Lark grammar in, what is wrong with it out, "" if nothing."""

from __future__ import annotations

from llguidance import LLMatcher, LLTokenizer

from ..workers.child import run

_LONGEST_REASON = 300  # characters


def problem_of(lark: str, tokenizer: LLTokenizer) -> str:
    """Why a grammar cannot be enforced, "" if it can."""
    grammar = LLMatcher.grammar_from_lark(lark)
    problem = str(LLMatcher.validate_grammar(grammar))
    if problem:
        return problem
    # Some grammars blow up only when they are put to use, so this one is, for one token.
    matcher = LLMatcher(tokenizer, grammar)
    if not matcher.is_error():
        matcher.compute_bitmask()
    problem = str(matcher.get_error())
    # What llguidance says of a grammar without any text.
    return "no text can ever fit it" if problem.startswith("NoExtensionBias") else problem


def main() -> None:
    """Check until stdin closes."""
    tokenizer = LLTokenizer("byte")

    def work(job: bytes) -> bytes:
        problem = problem_of(job.decode(), tokenizer)
        return problem.strip().split("\n", 1)[0][:_LONGEST_REASON].encode("utf-8", "replace")

    run(work)


if __name__ == "__main__":
    main()
