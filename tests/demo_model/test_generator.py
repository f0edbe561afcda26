"""The training conversations of the demo model: repeatable, well-formed, nothing held back."""

import itertools
import json
import random
import re

import pytest
from demo_model.generator import MIX, Conversation, conversation, conversations
from demo_model.lexicon import favourites, invented, is_held, number, words
from demo_model.render import render
from demo_model.talk import Talk

from demo_model import qa, recall, rules


@pytest.fixture(scope="module")
def sample() -> list[Conversation]:
    return list(conversations(0, 3000))


@pytest.mark.parametrize("kind", MIX)
def test_a_seed_always_makes_the_same_conversation(kind: str) -> None:
    assert conversation(17, kind=kind) == conversation(17, kind=kind)


@pytest.mark.parametrize("kind", MIX)
def test_other_seeds_make_other_conversations(kind: str) -> None:
    made = {render(conversation(s, kind=kind).messages) for s in range(20)}
    assert len(made) > 15


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'poems'"):
        conversation(0, kind="poems")


def test_every_kind_occurs(sample: list[Conversation]) -> None:
    assert {talk.kind for talk in sample} == set(MIX)


def test_roles_alternate_and_the_assistant_has_the_last_word(sample: list[Conversation]) -> None:
    for talk in sample:
        roles = [m["role"] for m in talk.messages]
        if roles[0] == "system":
            roles = roles[1:]
        assert roles[0] == "user"
        assert roles[-1] == "assistant"
        for before, after in itertools.pairwise(roles):
            assert (before, after) in {
                ("user", "assistant"),
                ("assistant", "user"),
                ("assistant", "tool"),
                ("tool", "tool"),
                ("tool", "assistant"),
            }


def test_every_tool_call_fits_an_offered_tool_and_is_answered(sample: list[Conversation]) -> None:
    calls = 0
    for talk in sample:
        offered = {t["function"]["name"]: t["function"]["parameters"] for t in talk.tools}
        answered = {m["tool_call_id"] for m in talk.messages if m["role"] == "tool"}
        for message in talk.messages:
            for call in message.get("tool_calls", ()):
                calls += 1
                schema = offered[call["function"]["name"]]
                assert set(call["function"]["arguments"]) == set(schema["required"])
                assert call["id"] in answered
    assert calls > 300


def test_tool_arguments_are_copied_from_the_request(sample: list[Conversation]) -> None:
    for talk in sample:
        for i, message in enumerate(talk.messages):
            for call in message.get("tool_calls", ()):
                for value in call["function"]["arguments"].values():
                    assert str(value) in talk.messages[i - 1]["content"]


def test_extracted_json_holds_only_what_the_text_says(sample: list[Conversation]) -> None:
    for talk in (t for t in sample if t.kind == "extraction"):
        texts = [m for m in talk.messages if m["role"] != "system"]
        for request, answer in zip(texts[::2], texts[1::2], strict=True):
            for value in json.loads(answer["content"]).values():
                assert str(value) in request["content"]


def test_names_and_cities_held_back_never_occur_in_training(sample: list[Conversation]) -> None:
    held = {*words("first_names").held, *words("cities").held, *words("products").held}
    text = " ".join(render(t.messages, t.tools) for t in sample)
    found = {w for w in held if re.search(rf"\b{re.escape(w)}\b", text)}
    assert found == set()


@pytest.mark.parametrize("name", ["first_names", "cities", "jobs", "topics", "items", "products"])
def test_held_words_are_not_among_the_trained_ones(name: str) -> None:
    assert words(name).held
    assert not set(words(name).held) & set(words(name).train)


def test_held_favourites_are_not_among_the_trained_ones() -> None:
    for kind, values in favourites().items():
        assert not set(values.held) & set(values.train), kind


def test_questions_held_back_are_never_asked_in_training(sample: list[Conversation]) -> None:
    # With its answer: what a persona calls itself is asked in the same words.
    pairs = {
        (qa.normal(before["content"]), after["content"])
        for talk in sample
        for before, after in itertools.pairwise(talk.messages)
        if before["content"]
    }
    for entry in qa.entries().values():
        for question in (*entry.held_patterned, *entry.held_handwritten):
            assert (qa.normal(question), entry.answer) not in pairs, question
            assert (qa.normal(question), entry.short) not in pairs, question


def test_held_questions_of_an_entry_are_not_among_its_trained_ones() -> None:
    for entry in qa.entries().values():
        trained = {qa.normal(q) for q, _ in entry.train}
        held = {qa.normal(q) for q in (*entry.held_patterned, *entry.held_handwritten)}
        assert not trained & held, entry.name
        assert trained


def test_there_are_enough_answers_each_of_one_to_four_sentences() -> None:
    assert len(qa.entries()) >= 270
    for entry in qa.entries().values():
        assert entry.answer.rstrip(")\"'")[-1] in ".!?:"
        sentences = re.findall(r"[.!?](?:\s|$)", entry.answer)
        assert 1 <= len(sentences) <= 4, entry.name
        assert len(entry.short.split()) == 1, entry.name


def test_numbers_held_back_are_never_drawn_in_training() -> None:
    rng = random.Random(1)
    drawn = {number(rng, 10, 9999) for _ in range(3000)}
    held = {number(rng, 10, 9999, held=True) for _ in range(3000)}
    assert not drawn & held


def test_what_is_held_back_depends_on_the_text_alone() -> None:
    share = sum(is_held(f"text {i}", 12) for i in range(5000)) / 5000
    assert 0.09 < share < 0.15


def test_invented_names_are_capitalised_and_rarely_repeat() -> None:
    rng = random.Random(3)
    names = [invented(rng) for _ in range(1000)]
    assert all(n.isalpha() and n[0].isupper() for n in names)
    assert len(set(names)) > 800


@pytest.mark.parametrize("distance", range(9))
def test_a_recalled_value_was_said_before_it_is_asked_for(distance: int) -> None:
    for seed in range(20):
        talk = Talk(random.Random(seed), held=True)
        recall.dialogue(talk, distance=distance)
        answer = talk.messages[-1]["content"]
        if "have not told" in answer:
            continue
        value = re.sub(r"^(Your .* is|You live in|You work as a|You are|The number is)", "", answer)
        value = value.replace("called", "").replace("years old", "").strip(" .")
        said_before = " ".join(m["content"] for m in talk.messages[:-2])
        assert value.lower() in said_before.lower()


def test_under_the_rule_of_one_word_every_answer_is_one_word() -> None:
    for seed in range(50):
        talk = Talk(random.Random(seed))
        rules.obey(talk, "word")
        answers = [m["content"] for m in talk.messages if m["role"] == "assistant"]
        assert all(len(a.split()) == 1 for a in answers)


def test_under_the_rule_of_capitals_every_answer_is_in_capitals() -> None:
    for seed in range(50):
        talk = Talk(random.Random(seed))
        rules.obey(talk, "capitals")
        answers = [m["content"] for m in talk.messages if m["role"] == "assistant"]
        assert all(a == a.upper() for a in answers)


def test_a_refused_topic_is_refused_and_others_are_not() -> None:
    for seed in range(50):
        talk = Talk(random.Random(seed))
        rules.obey(talk, "refuse")
        system = talk.messages[0]["content"]
        pairs = zip(talk.messages[1::2], talk.messages[2::2], strict=True)
        for question, answer in pairs:
            if "not allowed" in answer["content"]:
                topic = answer["content"].removeprefix("I am not allowed to talk about ")[:-1]
                assert topic in question["content"]
                assert topic in system
