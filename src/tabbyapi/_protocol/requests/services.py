"""From arguments to the bodies of the requests that do not generate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ValidationError
from ...types.loras import LoraScaling
from ...types.sampling import SamplerOverride
from .messages import wire_messages
from .rules import Rule, boolean, integer, list_of, mapping, number, refuse, string
from .validate import RULES, checked_fields

__all__ = [
    "body_of",
    "download_body",
    "embedding_input",
    "load_body",
    "load_embedding_body",
    "lora_list",
    "name_of",
    "override_switch_body",
    "prompt_of",
    "text_or_messages",
    "token_ids_of",
]

_OPTIONS = ("timeout", "extra_body")


def body_of(
    fixed: Mapping[str, Any], params: Mapping[str, Any], rules: Mapping[str, Rule]
) -> dict[str, Any]:
    """`fixed` and the checked parameters, with `extra_body` on top."""
    given = {name: value for name, value in params.items() if name not in _OPTIONS}
    body = {**fixed, **checked_fields(given, rules)}
    extra = params.get("extra_body")
    if extra is not None:
        body.update(mapping("extra_body", extra))
    return body


def name_of(field: str, value: Any) -> str:
    """A name that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise refuse(field, value, "a name")
    return str(value)


# ---------------------------------------------------------------- models

_numbers = list_of((int, float), "a list of numbers", alone=None)


def _rope_alpha(field: str, value: Any) -> Any:
    return value if value == "auto" else number()(field, value)


def _cache_size(field: str, value: Any) -> Any:
    size = integer(0)(field, value)
    if size % 256:
        raise refuse(field, value, "a multiple of 256")
    return size


_DRAFT: dict[str, Rule] = {
    "draft_model_name": name_of,
    "draft_rope_scale": number(),
    "draft_rope_alpha": _rope_alpha,
    "draft_gpu_split": _numbers,
}


def _draft_model(field: str, value: Any) -> Any:
    fields = checked_fields(mapping(field, value), _DRAFT)
    if "draft_model_name" not in fields:
        raise ValidationError(f"{field} needs a draft_model_name", field=field)
    return fields


_LOAD: dict[str, Rule] = {
    "max_seq_len": integer(-1),
    "cache_size": _cache_size,
    "cache_mode": string,
    "chunk_size": integer(1),
    "output_chunking": boolean,
    "prompt_template": string,
    "vision": boolean,
    "draft_model": _draft_model,
    "backend": string,
    "tensor_parallel": boolean,
    "tensor_parallel_backend": string,
    "gpu_split_auto": boolean,
    "autosplit_reserve": _numbers,
    "gpu_split": _numbers,
    "rope_scale": number(),
    "rope_alpha": _rope_alpha,
    "skip_queue": boolean,
}


def load_body(model_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/model/load`."""
    return body_of({"model_name": name_of("model_name", model_name)}, params, _LOAD)


def load_embedding_body(model_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/model/embedding/load`."""
    fixed = {"embedding_model_name": name_of("model_name", model_name)}
    return body_of(fixed, params, {"embeddings_device": string})


def _repo_type(field: str, value: Any) -> Any:
    if value not in ("model", "lora"):
        raise refuse(field, value, '"model" or "lora"')
    return value


def _token(field: str, value: Any) -> Any:
    if not isinstance(value, str):  # the message must not show it
        raise ValidationError(f"{field} must be a string", field=field)
    return value


_patterns = list_of((str,), "a list of patterns", alone=None)
_DOWNLOAD: dict[str, Rule] = {
    "repo_type": _repo_type,
    "folder_name": name_of,
    "revision": name_of,
    "token": _token,
    "include": _patterns,
    "exclude": _patterns,
    "chunk_limit": integer(1),
    "download_timeout": integer(1),
}


def download_body(repo_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/download`."""
    name = name_of("repo_id", repo_id)
    if name.count("/") > 1 or name.startswith("/") or name.endswith("/"):
        raise refuse("repo_id", repo_id, "of the form owner/name")
    body = body_of({"repo_id": name}, params, _DOWNLOAD)
    if "download_timeout" in body:
        body["timeout"] = body.pop("download_timeout")
    return body


# ---------------------------------------------------------------- texts and tokens


def _texts(field: str, value: Any) -> str | list[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | Mapping) or not isinstance(value, Sequence):
        raise refuse(field, value, "a string or a list of strings")
    if not value:
        raise ValidationError(f"{field} is an empty list: give at least one string", field=field)
    for i, item in enumerate(value):
        if isinstance(item, int) and not isinstance(item, bool):
            raise ValidationError(
                f"{field} holds token ids, which TabbyAPI does not take; "
                "client.tokens.decode(ids) makes text of them",
                field=field,
            )
        if not isinstance(item, str):
            raise refuse(f"{field}[{i}]", item, "a string")
    return list(value)


def prompt_of(value: Any) -> str | list[str]:
    """The prompt of a completion: text, or several."""
    return _texts("prompt", value)


def embedding_input(value: Any) -> str | list[str]:
    """What to embed: text, or several."""
    return _texts("input", value)


def text_or_messages(value: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/token/encode`."""
    rules: dict[str, Rule] = {
        "add_bos_token": boolean,
        "encode_special_tokens": boolean,
        "template_vars": mapping,
    }
    text = value if isinstance(value, str) else wire_messages(value, "text")
    if isinstance(value, str) and params.get("template_vars") is not None:
        raise ValidationError(
            "template_vars belong to the chat template, which is used for messages only",
            field="template_vars",
        )
    return body_of({"text": text}, params, rules)


def token_ids_of(value: Any) -> list[int]:
    """Token ids, as a list of ints."""
    if isinstance(value, str | bytes | Mapping):
        raise refuse("tokens", value, "a list of token ids")
    try:
        items = list(value)
    except TypeError:
        raise refuse("tokens", value, "a list of token ids") from None
    check = integer(0)
    return [check(f"tokens[{i}]", item) for i, item in enumerate(items)]


# ---------------------------------------------------------------- adapters and overrides


def lora_list(loras: Any) -> list[LoraScaling]:
    """Adapters to load, from a name, a dict of scalings, or a list.

    Raises:
        ValidationError: none given, one twice, or a scaling that is no number.
    """
    if isinstance(loras, str):
        loras = [loras]
    elif isinstance(loras, Mapping):
        loras = [LoraScaling(name, scaling) for name, scaling in loras.items()]
    if isinstance(loras, bytes) or not isinstance(loras, Sequence) or not loras:
        raise refuse("loras", loras, 'names, or a dict of scalings such as {"name": 0.5}')
    found = [_lora(item, f"loras[{i}]") for i, item in enumerate(loras)]
    names = [item.name for item in found]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValidationError(f"loras[{i}]: {name!r} is given twice", field=f"loras[{i}]")
    return found


def _lora(item: Any, field: str) -> LoraScaling:
    if isinstance(item, str):
        item = LoraScaling(item)
    elif isinstance(item, Mapping):
        unknown = set(item) - {"name", "scaling"}
        if unknown or "name" not in item:
            raise refuse(field, item, '{"name": ..., "scaling": ...}')
        item = LoraScaling(**item)
    if not isinstance(item, LoraScaling):
        raise refuse(field, item, 'a name or {"name": ..., "scaling": ...}')
    return LoraScaling(
        name_of(f"{field}.name", item.name), number()(f"{field}.scaling", item.scaling)
    )


# Fields of a request that are no samplers, so that an override of them would do nothing.
_NO_SAMPLERS = {
    "model", "n", "best_of", "echo", "suffix", "user", "stream_options", "response_format",
    "tools", "tool_choice", "parallel_tool_calls", "functions", "template_vars",
    "add_generation_prompt", "response_prefix", "continue_final_message", "prompt_template",
    "reasoning_effort", "verbosity", "enable_thinking", "reasoning", "reasoning_budget_tokens",
    "reasoning_budget_message",
}  # fmt: skip
_SAMPLERS = {name: rule for name, rule in RULES.items() if name not in _NO_SAMPLERS}


def override_switch_body(preset: Any, overrides: Any) -> dict[str, Any]:
    """The JSON fields of `POST /v1/sampling/override/switch`.

    Raises:
        ValidationError: both or neither given, an unknown field, a value out of its range.
    """
    if (preset is None) == (overrides is None):
        raise ValidationError(
            "give the name of a preset, or overrides={...}, not both; to clear them use "
            "unload_override()",
            field="preset" if overrides is None else "overrides",
        )
    if preset is not None:
        return {"preset": name_of("preset", preset)}
    given = {}
    for name, item in mapping("overrides", overrides).items():
        given[name] = _override(f"overrides[{name!r}]", item)
    checked = checked_fields({name: item.override for name, item in given.items()}, _SAMPLERS)
    for name, item in given.items():
        _check_override(name, item, checked)
    return {
        "overrides": {
            name: {"override": value, "force": given[name].force, "additive": given[name].additive}
            for name, value in checked.items()
            if name in given
        }
    }


def _override(field: str, item: Any) -> SamplerOverride:
    if isinstance(item, SamplerOverride):
        return item
    if isinstance(item, Mapping) and "override" in item:
        for name in item:
            if name not in ("override", "force", "additive"):
                raise ValidationError(
                    f"{field} has no {name!r}; it takes override, force and additive", field=field
                )
        force = boolean(f"{field}.force", item.get("force", False))
        additive = boolean(f"{field}.additive", item.get("additive", False))
        return SamplerOverride(item["override"], force, additive)
    return SamplerOverride(item)


def _check_override(name: str, item: SamplerOverride, checked: Mapping[str, Any]) -> None:
    field = f"overrides[{name!r}]"
    if name not in checked:
        raise ValidationError(f"{field} has no value to override with", field=field)
    if item.force and not item.override:
        raise ValidationError(
            f"{field}: the server does not force empty values, zero or False; without force, "
            "they do replace the default",
            field=field,
        )
    if item.additive and not isinstance(checked[name], list):
        raise ValidationError(f"{field}: additive joins lists, so give a list", field=field)
