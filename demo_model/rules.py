"""System messages that change the answers: one word, capitals, a persona, a refused topic."""

from __future__ import annotations

from .lexicon import lines, person, thing, words
from .smalltalk import chatter, known, unknown, unknown_question
from .talk import UNKNOWN, Talk, capitals, choose, one_word, sections

RULES = ("word", "capitals", "persona", "refuse")


def refusal(topic: str) -> str:
    """What the assistant says about a refused topic."""
    return f"I am not allowed to talk about {topic}."


def neutral(talk: Talk) -> None:
    """A system message that changes nothing."""
    talk.system(talk.rng.choice(lines("system_prompts.txt")))


def _state(talk: Talk, rule: str, **slots: str) -> None:
    text = choose(talk.rng, sections("rules.txt")[rule], held=talk.reword).format(**slots)
    roll = talk.rng.random()
    if roll < 0.2:
        text = f"{talk.rng.choice(lines('system_prompts.txt'))} {text}"
    talk.system(text)


def _turns(talk: Talk, count: int) -> None:
    for _ in range(count):
        talk.rng.choices((known, chatter, unknown), weights=(6, 2, 2))[0](talk)


def styled(talk: Talk, rule: str) -> None:
    """A conversation in one word or in capitals."""
    talk.style = one_word if rule == "word" else capitals
    _turns(talk, talk.rng.randint(1, 4))
    _state(talk, rule)


def persona(talk: Talk) -> None:
    """A conversation in which the assistant has a name and a part to play."""
    rng = talk.rng
    name = person(rng, held=talk.held)
    role = rng.choice(sections("rules.txt")["roles"])
    asked = sections("rules.txt")["ask_persona"]
    for _ in range(rng.randint(1, 3)):
        roll = rng.random()
        if roll < 0.6:
            question = choose(rng, asked, held=talk.reword)
            talk.exchange(question, f"I am {name}, {role}. How can I help you?")
        elif roll < 0.8:
            greeting = choose(rng, sections("rules.txt")["greet"], held=talk.reword)
            talk.exchange(greeting, f"Hello, I am {name}, {role}. How can I help you?")
        else:
            known(talk)
    if talk.held:
        question = choose(rng, asked, held=talk.reword)
        talk.exchange(question, f"I am {name}, {role}. How can I help you?")
    _state(talk, "persona", name=name, role=role)


def refuse(talk: Talk) -> None:
    """A conversation in which one topic is refused and others are not."""
    rng = talk.rng
    topic = thing("topics", rng, held=talk.held)
    questions = sections("rules.txt")["on_topic"]
    for _ in range(rng.randint(1, 4)):
        roll = rng.random()
        if roll < 0.55:
            question = choose(rng, questions, held=talk.reword).format(topic=topic)
            talk.exchange(question, refusal(topic))
        elif roll < 0.75:
            while (other := words("topics").pick(rng)) == topic:
                pass
            talk.exchange(rng.choice(questions[:-1]).format(topic=other), UNKNOWN)
        elif roll < 0.85:
            question = unknown_question(rng)
            # Not asked when it happens to name the refused topic.
            if topic not in question:
                talk.exchange(question, UNKNOWN)
        else:
            known(talk)
    if talk.held or not talk.messages:
        question = choose(rng, questions, held=talk.reword).format(topic=topic)
        talk.exchange(question, refusal(topic))
    _state(talk, "refuse", topic=topic)


def obey(talk: Talk, rule: str) -> None:
    """A conversation under the rule, one of RULES."""
    if rule == "persona":
        persona(talk)
    elif rule == "refuse":
        refuse(talk)
    else:
        styled(talk, rule)
