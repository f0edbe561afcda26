"""From the sampling fields of a request to the engine's parameters."""

from __future__ import annotations

import pytest

from tabbyapi.server.generation.reasoning import opens_reasoning
from tabbyapi.server.generation.sampling import alternatives, sampling_parameters
from tabbyapi.server.schemas import SamplerRequest


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ('["\\n", ":"]', ["\n", ":"]),
        (["a", "b"], ["a", "b"]),
        (":", [":"]),
        ("[1, 2]", ["[1, 2]"]),
        ("[", ["["]),
    ],
)
def test_dry_sequence_breakers_may_be_a_list_as_json_text(given: object, meant: object) -> None:
    request = SamplerRequest.model_validate({"dry_sequence_breakers": given})
    assert sampling_parameters(request, 512, {})["dry_sequence_breakers"] == meant


@pytest.mark.parametrize(
    ("logprobs", "top", "meant"),
    [(5, 2, 5), (1, 2, 2), (True, None, 0), (3, None, 3), (0, 4, None), (None, 4, None)],
)
def test_logprobs_above_one_is_the_number_of_alternatives(
    logprobs: object, top: object, meant: int | None
) -> None:
    given = {"logprobs": logprobs, "top_logprobs": top}
    assert alternatives(SamplerRequest.model_validate(given)) == meant


TURN = "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("prompt", "last", "continued", "opens"),
    [
        (f"What does <think> do?{TURN}", "What does <think> do?", False, False),
        (f"Hi{TURN}<think>\n", "Hi", False, True),
        (f"Hi{TURN}<think>\n\n</think>\n\n", "Hi", False, False),
        (f"a <think> b{TURN}<think>\n", " a <think> b ", False, True),
        ("<think>\nLet me", "<think>\nLet me", True, True),
        ("<think>a</think>So", "<think>a</think>So", True, False),
        ("The tag <think> is", "The tag <think> is", True, False),
        (TURN, "", False, False),
    ],
)
def test_only_a_tag_that_the_template_opens_begins_reasoning(
    prompt: str, last: str, continued: bool, opens: bool
) -> None:
    found = opens_reasoning(prompt, "<think>", "</think>", last=last, continued=continued)
    assert found == opens
