"""From a request's fields and its prompt to what the engine is to do."""

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
from .limits import check_limits
from .sampling import sampling_parameters, stop_conditions

__all__ = ["LONGEST_TOKEN", "make_job", "with_seeds"]

LONGEST_TOKEN = 256  # characters; longer texts need not be encoded to know that they are too long


async def make_job(
    runtime: Runtime,
    loaded: LoadedModel,
    body: GenerationRequest,
    text: str,
    *,
    grammar: Grammar | None = None,
    budget: Budget | None = None,
    images: Sequence[str] = (),
    add_bos: bool = True,
) -> Job:
    """The work for one prompt. Raises `HTTPError` for what cannot be done."""
    check_limits(body)
    parameters = sampling_parameters(body, loaded.n_ctx, loaded.file.sampling)
    strings, ids = stop_conditions(body.stop)
    parameters |= {"cache_prompt": True, "stop": strings}
    if grammar is not None:
        parameters["grammar"] = grammar.text
    banned = [body.banned_strings] if isinstance(body.banned_strings, str) else body.banned_strings
    banned = [text for text in banned or () if text]
    if banned and grammar is not None:
        raise HTTPError(400, "banned_strings cannot be combined with a schema, pattern or grammar")
    if len(text) > loaded.n_ctx * LONGEST_TOKEN:
        raise context_refused(
            f"Prompt length ({len(text)} characters) exceeds the available context size of "
            f"{loaded.n_ctx} tokens"
        )
    if grammar is not None:
        await runtime.grammars.check(grammar)
    try:
        # A prompt that holds the BOS token itself must not get a second one.
        has_bos = bool(loaded.bos) and text.startswith(loaded.bos)
        if images:
            bos = await loaded.ask(lambda native: native.tokenize(""))
            adds_bos = has_bos and bool(bos)
            text, prompt = text.removeprefix(loaded.bos) if adds_bos else text, []
        else:
            prompt = await loaded.ask(
                lambda native: native.tokenize(text, bos=add_bos and not has_bos)
            )
    except (EngineDied, EngineRefusal) as error:
        raise HTTPError(503, f"The prompt was not encoded: {error}") from None
    if not prompt and not images:
        raise HTTPError(400, "The prompt is empty: there is no text in it.")
    if len(prompt) >= loaded.n_ctx:
        raise context_refused(
            f"Prompt length {len(prompt)} exceeds the available context size of "
            f"{loaded.n_ctx} tokens"
        )
    return Job(
        prompt=prompt,
        parameters=parameters,
        pictured=MultimodalPrompt(text, images) if images else None,
        constrained=grammar is not None,
        stop_ids=frozenset(ids),
        banned=tuple(banned),
        min_tokens=min(body.min_tokens or 0, loaded.n_ctx),
        loop_window=body.loop_detect_window or 0,
        budget=budget,
        eos_text=loaded.eos,
    )


def with_seeds(job: Job, count: int) -> list[Job]:
    """A job for each choice: the same, but for the seed."""
    seed = job.parameters.get("seed")
    if seed is None or count == 1:
        return [job] * count
    return [
        replace(job, parameters=job.parameters | {"seed": (seed + k) % 2**31}) for k in range(count)
    ]
