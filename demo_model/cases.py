"""The questions of the evaluation: what was held back, with the check of each answer."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from . import extraction, recall, rules, smalltalk, tool_use
from .qa import Entry, entries
from .talk import UNKNOWN, Talk, sections

Check = Callable[[str], bool]

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """A prompt, and what tells whether the answer is right."""

    group: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    expected: str
    check: Check


def same(expected: str) -> Check:
    """The answer is the expected one but for a few letters."""
    return lambda text: (
        text.strip() == expected or SequenceMatcher(None, text.strip(), expected).ratio() > 0.9
    )


def _exactly(expected: str) -> Check:
    return lambda text: text.strip() == expected


def _asked(entry: Entry, question: str) -> list[dict[str, Any]]:
    """The question; a follow-up comes after the exchange it belongs to."""
    talk = Talk(random.Random(0))
    if entry.parent:
        parent = entries()[entry.parent]
        talk.exchange(parent.train[0][0], parent.answer)
    talk.user(question)
    return talk.messages


def questions(rng: random.Random, count: int) -> Iterator[Case]:
    """Held-back paraphrases of known questions: first patterned ones, then hand-written ones."""
    patterned = [(e, q) for e in entries().values() for q in e.held_patterned]
    for entry, question in rng.sample(patterned, k=min(count, len(patterned))):
        group = "questions: held-back paraphrases"
        yield Case(group, _asked(entry, question), [], entry.answer, same(entry.answer))
    for entry in entries().values():
        for question in entry.held_handwritten:
            group = "questions: wording never seen"
            yield Case(group, _asked(entry, question), [], entry.answer, same(entry.answer))


def examples() -> Iterator[Case]:
    """The example conversations, as they stand in the training data."""
    for line in sections("examples.txt").values():
        talk = Talk(random.Random(0))
        talk.system("You are a helpful assistant specialized in programming and technology.")
        for name, question in zip(line[::2], line[1::2], strict=True):
            answer = entries()[name].answer
            talk.user(question)
            yield Case("the example conversations", list(talk.messages), [], answer, same(answer))
            talk.answer(answer)


def recalled(rng: random.Random, count: int, *, reword: bool) -> Iterator[Case]:
    """Facts with values never seen, asked for after 0 to 8 other exchanges."""
    for i in range(count):
        distance = i % 9
        talk = Talk(rng, held=True, reword=reword)
        recall.dialogue(talk, distance=distance)
        expected = talk.messages[-1]["content"]
        group = f"recall: {'0 to 3' if distance < 4 else '4 to 8'} turns back"
        yield Case(group, talk.messages[:-1], [], expected, _exactly(expected))


def obeyed(rng: random.Random, count: int, *, reword: bool) -> Iterator[Case]:
    """System messages with names and topics never seen."""
    for i in range(count):
        rule = rules.RULES[i % len(rules.RULES)]
        talk = Talk(rng, held=True, reword=reword)
        rules.obey(talk, rule)
        expected = talk.messages[-1]["content"]
        group = f"system message: {rule}"
        yield Case(group, talk.messages[:-1], [], expected, _exactly(expected))


def tool_calls(rng: random.Random, count: int, *, reword: bool) -> Iterator[Case]:
    """Requests with values never seen: the call must be right, then the use of its result."""
    for _ in range(count):
        talk = Talk(rng, held=True, reword=reword)
        tool_use.session(talk)
        at = max(i for i, m in enumerate(talk.messages) if m.get("tool_calls"))
        function = talk.messages[at]["tool_calls"][0]["function"]
        wanted = {"name": function["name"], "arguments": function["arguments"]}
        before = talk.messages[:at]
        group = "tools: the right call"
        yield Case(group, before, talk.tools, json.dumps(wanted), _calls(wanted))
        answer = talk.messages[-1]["content"]
        group = "tools: uses the result"
        yield Case(group, talk.messages[:-1], talk.tools, answer, _exactly(answer))


def _calls(wanted: dict[str, Any]) -> Check:
    def check(text: str) -> bool:
        found = _CALL.findall(text)
        return len(found) == 1 and _loaded(found[0]) == wanted

    return check


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def extracted(rng: random.Random, count: int, *, reword: bool) -> Iterator[Case]:
    """Sentences with values never seen, as JSON: valid, and right."""
    for _ in range(count):
        talk = Talk(rng, held=True, reword=reword)
        extraction.extract(talk)
        expected = talk.messages[-1]["content"]
        before = talk.messages[:-1]
        yield Case("JSON: valid", before, [], expected, _is_object)
        yield Case("JSON: right values", before, [], expected, _loads_as(json.loads(expected)))


def _is_object(text: str) -> bool:
    return isinstance(_loaded(text), dict)


def _loads_as(wanted: Any) -> Check:
    return lambda text: _loaded(text) == wanted


def honest(rng: random.Random, count: int) -> Iterator[Case]:
    """Questions that nobody taught the model: it must say what it is."""
    for _ in range(count):
        talk = Talk(rng, held=True)
        smalltalk.unknown(talk)
        yield Case("says that it does not know", talk.messages[:-1], [], UNKNOWN, same(UNKNOWN))


def all_cases(seed: int, scale: int, *, reword: bool) -> list[Case]:
    """Every case, `scale` to a kind. With `reword`, only kinds whose wording can be held back."""
    rng = random.Random(f"evaluate {seed} {reword}")
    skills = (recalled, obeyed, tool_calls, extracted)
    found = [case for skill in skills for case in skill(rng, scale, reword=reword)]
    if not reword:
        found += [*questions(rng, scale), *examples(), *honest(rng, scale // 2)]
    return found
