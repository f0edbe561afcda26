"""The evaluation of the demo model: the same cases each time, right answers pass, others fail."""

import pytest
from demo_model.cases import Case, all_cases
from demo_model.evaluate import AIMS, Score, prompt, table


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return all_cases(0, 36, reword=False)


def rendered_answer(case: Case) -> str:
    if "the right call" in case.group:
        return f"<tool_call>\n{case.expected}\n</tool_call>"
    return case.expected


def test_the_same_seed_makes_the_same_cases(cases: list[Case]) -> None:
    again = all_cases(0, 36, reword=False)
    assert [prompt(c) for c in cases] == [prompt(c) for c in again]
    assert [c.expected for c in cases] == [c.expected for c in again]


def test_the_right_answer_passes_every_check(cases: list[Case]) -> None:
    for case in cases + all_cases(0, 36, reword=True):
        assert case.check(rendered_answer(case)), case


@pytest.mark.parametrize("wrong", ["", "I am a banana of the wrong sort.", "{}", "<tool_call>"])
def test_a_wrong_answer_passes_no_check_of_content(cases: list[Case], wrong: str) -> None:
    for case in cases:
        if case.group != "JSON: valid":
            assert not case.check(wrong), case


def test_a_call_with_another_value_fails(cases: list[Case]) -> None:
    for case in cases:
        if case.group == "tools: the right call":
            broken = case.expected.replace('": "', '": "x').replace('": ', '": 9', 1)
            assert not case.check(f"<tool_call>\n{broken}\n</tool_call>")


def test_each_prompt_ends_where_the_assistant_begins(cases: list[Case]) -> None:
    assert all(prompt(c).endswith("<|im_start|>assistant\n") for c in cases)


def test_every_aim_is_measured(cases: list[Case]) -> None:
    assert set(AIMS) <= {c.group for c in cases}


def test_the_table_shows_figure_aim_and_count() -> None:
    group = "recall: 0 to 3 turns back"
    text = table({group: Score(19, 20)}, {group: Score(1, 2)})
    assert "95.0 %" in text
    assert "50.0 %" in text
    assert text.split()[-1] == "20"
