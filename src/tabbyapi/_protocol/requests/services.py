"""From arguments to the bodies of the requests that do not generate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from ...errors import ValidationError
from ...types import rules
from ...types.params import (
    DownloadParams,
    EncodeParams,
    LoadEmbeddingParams,
    LoadParams,
    SamplingParams,
)
from ...types.rules import refuse
from ...types.services import LoraScaling, SamplerOverride
from .generation import check_together
from .messages import wire_messages
from .rules import body_of, checked_fields, rule_of, rules_of

__all__ = [
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

_number, _boolean, _mapping = rule_of(float), rule_of(bool), rule_of(Mapping)
_token_id = rule_of(Annotated[int, rules.Range(0)])
name_of = rules.name


# ---------------------------------------------------------------- models


def load_body(model_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/model/load`."""
    return body_of({"model_name": name_of("model_name", model_name)}, params, LoadParams)


def load_embedding_body(model_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/model/embedding/load`."""
    fixed = {"embedding_model_name": name_of("model_name", model_name)}
    return body_of(fixed, params, LoadEmbeddingParams)


def download_body(repo_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/download`."""
    name = name_of("repo_id", repo_id)
    if name.count("/") > 1 or name.startswith("/") or name.endswith("/"):
        raise refuse("repo_id", repo_id, "of the form owner/name")
    body = body_of({"repo_id": name}, params, DownloadParams)
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
    """Check the prompt of a completion: a text, or several."""
    return _texts("prompt", value)


def embedding_input(value: Any) -> str | list[str]:
    """Check the input of an embedding request: a text, or several."""
    return _texts("input", value)


def text_or_messages(value: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON fields of `POST /v1/token/encode`."""
    text = value if isinstance(value, str) else wire_messages(value, "text")
    if isinstance(value, str) and params.get("template_vars") is not None:
        raise ValidationError(
            "template_vars belong to the chat template, which is used for messages only",
            field="template_vars",
        )
    return body_of({"text": text}, params, EncodeParams)


def token_ids_of(value: Any) -> list[int]:
    """Token ids, as a list of ints."""
    if isinstance(value, str | bytes | Mapping):
        raise refuse("tokens", value, "a list of token ids")
    try:
        items = list(value)
    except TypeError:
        raise refuse("tokens", value, "a list of token ids") from None
    return [_token_id(f"tokens[{i}]", item) for i, item in enumerate(items)]


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
        name_of(f"{field}.name", item.name), _number(f"{field}.scaling", item.scaling)
    )


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
    for name, item in _mapping("overrides", overrides).items():
        given[name] = _override(f"overrides[{name!r}]", item)
    values = {name: item.override for name, item in given.items()}
    checked = checked_fields(values, rules_of(SamplingParams))
    check_together(checked)
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
        force = _boolean(f"{field}.force", item.get("force", False))
        additive = _boolean(f"{field}.additive", item.get("additive", False))
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
