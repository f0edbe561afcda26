"""From a request's fields and its prompt to a job for the engine, within limits.

More than the limits would cost other clients their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..engine import EngineDied, EngineRefusal
from ..errors import HTTPError, context_refused
from ..grammar.checker import Grammar
from ..models import LoadedModel
from ..runtime import Runtime
from ..schemas import GenerationRequest
from .job import Budget, Job, MultimodalPrompt
from .sampling import alternatives, sampling_parameters, stop_conditions

__all__ = ["LONGEST_TOKEN", "MOST_CHOICES", "check_limits", "make_job", "with_seeds"]

LONGEST_TOKEN = 256  # characters; longer texts need not be encoded to know that they are too long

_MOST = {
    "stop": 1024,
    "banned_strings": 256,
    "banned_tokens": 262_144,
    "allowed_tokens": 262_144,
    "logit_bias": 65_536,
    "dry_sequence_breakers": 256,
    "tools": 512,
    "functions": 512,
}  # entries
_MOST_CHARACTERS = {
    "stop": 65_536, "banned_strings": 16_384, "banned_tokens": 2_097_152,
    "dry_sequence_breakers": 16_384,
}  # fmt: skip
MOST_CHOICES = 128
_MOST_PROBABILITIES = 256  # per token, over all choices


def check_limits(body: GenerationRequest) -> None:
    """Raise `HTTPError` (400) that names the field, its size and the most there is."""
    choices = body.n or 1
    if choices > MOST_CHOICES:
        raise _too_much("n", choices, MOST_CHOICES, "choices")
    reported = choices * (alternatives(body) or 0)
    if reported > _MOST_PROBABILITIES:
        raise _too_much("n times top_logprobs", reported, _MOST_PROBABILITIES, "probabilities")
    for name, most in _MOST.items():
        value = getattr(body, name, None)
        if isinstance(value, (list, dict)) and len(value) > most:
            raise _too_much(name, len(value), most, "entries")
    for name, most in _MOST_CHARACTERS.items():
        value = getattr(body, name)
        texts = [value] if isinstance(value, str) else value or ()
        size = sum(len(text) for text in texts if isinstance(text, str))
        if size > most:
            raise _too_much(name, size, most, "characters")


def _too_much(name: str, size: int, most: int, unit: str) -> HTTPError:
    return HTTPError(400, f"{name} comes to {size:,} {unit}; this server takes at most {most:,}")


async def make_job(
    runtime: Runtime,
    loaded: LoadedModel,
    body: GenerationRequest,
    text: str | list[int],
    *,
    grammar: Grammar | None = None,
    budget: Budget | None = None,
    images: Sequence[str] = (),
    add_bos: bool = True,
) -> Job:
    """The job for one prompt: text, or token ids.

    Raises:
        HTTPError: the request asks for what cannot be done.
    """
    check_limits(body)
    defaults = {} if runtime.settings.parity else loaded.file.sampling
    parameters = sampling_parameters(body, loaded.n_ctx, defaults)
    strings, ids = stop_conditions(body.stop)
    parameters["cache_prompt"] = True
    if grammar is not None:
        parameters["grammar"] = grammar.text
    banned = [body.banned_strings] if isinstance(body.banned_strings, str) else body.banned_strings
    banned = [string for string in banned or () if string]
    prompt, multimodal = await _encoded(loaded, text, images, add_bos)
    if grammar is not None:
        await runtime.grammars.check(grammar)
    return Job(
        prompt=prompt,
        parameters=parameters,
        multimodal=multimodal,
        constrained=grammar is not None,
        stop=tuple(strings),
        stop_ids=frozenset(ids),
        banned=tuple(banned),
        min_tokens=min(body.min_tokens or 0, loaded.n_ctx),
        max_tokens=max(0, parameters["n_predict"]),
        loop_window=body.loop_detect_window or 0,
        budget=budget,
        eos_text=loaded.eos,
    )


async def _encoded(
    loaded: LoadedModel, text: str | list[int], images: Sequence[str], add_bos: bool
) -> tuple[list[int], MultimodalPrompt | None]:
    """Token ids of a prompt, or the prompt with images, whose tokens only the engine can count."""
    n_ctx = loaded.n_ctx
    if isinstance(text, list):
        last = len(loaded.token_types) - 1
        if any(not 0 <= token <= last for token in text):
            raise HTTPError(400, f"The token ids of this model are 0 to {last}.")
        prompt = text
    elif len(text) > n_ctx * LONGEST_TOKEN:
        raise context_refused(
            f"Prompt length ({len(text)} characters) exceeds the available context size of "
            f"{n_ctx} tokens"
        )
    else:
        # A prompt that holds the BOS token itself must not get a second one.
        has_bos = bool(loaded.bos) and text.startswith(loaded.bos)
        try:
            if images:
                adds = await loaded.ask(lambda native: native.tokenize(""))
                if has_bos and adds:
                    text = text.removeprefix(loaded.bos)  # the engine adds it
                return [], MultimodalPrompt(text, images)
            prompt = await loaded.ask(
                lambda native: native.tokenize(text, bos=add_bos and not has_bos)
            )
        except (EngineDied, EngineRefusal) as error:
            raise HTTPError(503, f"The prompt was not encoded: {error}") from None
    if not prompt:
        raise HTTPError(400, "The prompt is empty: there is no text in it.")
    if len(prompt) >= n_ctx:
        raise context_refused(
            f"Prompt length {len(prompt)} exceeds the available context size of {n_ctx} tokens"
        )
    return prompt, None


def with_seeds(job: Job, count: int) -> list[Job]:
    """A job for each choice: the same, but for the seed."""
    seed = job.parameters.get("seed")
    if seed is None or count == 1:
        return [job] * count
    return [
        replace(job, parameters=job.parameters | {"seed": (seed + k) % 2**31}) for k in range(count)
    ]
