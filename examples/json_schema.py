"""An answer that satisfies a JSON schema: the server lets the model write nothing else."""

import json

import tabbyapi
from tabbyapi import system, user

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "city": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "city", "age"],
    "additionalProperties": False,
}

with tabbyapi.Client() as client:
    reply = client.chat.create(
        messages=[
            system("Extract the fields from the sentence as JSON."),
            user("Maria is 34 years old and lives in Lisbon."),
        ],
        json_schema=SCHEMA,
        max_tokens=200,
        temperature=0,
    )

person = json.loads(reply.text)
print(f"{person['name']} from {person['city']} is {person['age']}.")
