"""Measures a model file on what was held back and prints a table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .cases import Case, all_cases
from .engine import Engine
from .render import render

# In percent.
AIMS = {
    "questions: held-back paraphrases": 85,
    "recall: 0 to 3 turns back": 95,
    "recall: 4 to 8 turns back": 95,
    "system message: word": 90,
    "system message: capitals": 90,
    "system message: persona": 90,
    "system message: refuse": 90,
    "tools: the right call": 95,
    "tools: uses the result": 95,
    "JSON: valid": 95,
    "JSON: right values": 95,
}
_LAST = ("questions", "the example", "says that")


@dataclass
class Score:
    """How many of the cases of a group were answered rightly."""

    right: int = 0
    total: int = 0

    @property
    def percent(self) -> float:
        return 100 * self.right / self.total if self.total else float("nan")


def prompt(case: Case) -> str:
    """The text that the model continues."""
    return render(case.messages, case.tools, add_generation_prompt=True)


def score(engine: Engine, cases: list[Case]) -> tuple[dict[str, Score], list[tuple[Case, str]]]:
    """The score of each group, and the cases that were answered wrongly with the answers."""
    prompts = list(dict.fromkeys(prompt(case) for case in cases))
    answers = dict(zip(prompts, engine.complete_all(prompts), strict=True))
    scores: dict[str, Score] = defaultdict(Score)
    wrong = []
    for case in cases:
        answer = answers[prompt(case)]
        right = case.check(answer)
        scores[case.group].total += 1
        scores[case.group].right += right
        if not right:
            wrong.append((case, answer))
    return dict(scores), wrong


def _order(group: str) -> tuple[bool, str]:
    return not group.startswith(_LAST), group


def table(values: dict[str, Score], wording: dict[str, Score]) -> str:
    """The table: figures for new values, and for new values in new wording."""
    rows = [f"{'':36}{'aim':>6}{'values':>9}{'+wording':>10}{'cases':>8}"]
    for group in sorted(values, key=_order):
        aim = f"{AIMS[group]} %" if group in AIMS else ""
        new = f"{wording[group].percent:.1f} %" if group in wording else ""
        figure = f"{values[group].percent:.1f} %"
        rows.append(f"{group:36}{aim:>6}{figure:>9}{new:>10}{values[group].total:>8}")
    return "\n".join(rows)


def evaluate(path: Path, *, scale: int = 300, seed: int = 0, show: int = 0) -> str:
    """The table for the model file; with `show`, also so many wrong answers of each group."""
    with Engine(path) as engine:
        values, wrong = score(engine, all_cases(seed, scale, reword=False))
        wording, wrong_too = score(engine, all_cases(seed, scale, reword=True))
    shown: dict[str, int] = defaultdict(int)
    text = [table(values, wording)]
    for case, answer in wrong + wrong_too:
        shown[case.group] += 1
        if shown[case.group] <= show:
            asked = case.messages[-1]["content"]
            text.append(
                f"\n[{case.group}] {asked}\n  wanted {case.expected!r}\n  got    {answer!r}"
            )
    return "\n".join(text)
