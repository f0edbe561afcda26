"""A completion whose text must satisfy a JSON schema."""

import json

import tabbyapi

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}

with tabbyapi.Client() as client:
    prompt = "Ada Lovelace died at the age of 36. As JSON: "
    reply = client.completions.create(prompt, json_schema=PERSON, max_tokens=60, temperature=0.2)
    if reply.finish_reason == "length":
        raise SystemExit(f"Cut short: {reply.text}")
    print(json.loads(reply.text))
