"""Sampler overrides: other defaults for the requests of all users (TABBY_ADMIN_KEY)."""

import tabbyapi
from tabbyapi import user

with tabbyapi.Client() as client:
    before = client.sampling.list_overrides()
    print("Presets:", ", ".join(before.presets) or "none", "- in force:", before.selected_preset)

    client.sampling.switch_override(
        overrides={
            "temperature": 0.2,  # for requests that give none
            "max_tokens": {"override": 10, "force": True},  # for all requests
        }
    )
    try:
        reply = client.chat.create([user("Tell me a story.")], max_tokens=500)
        print(f"{reply.usage.completion_tokens} tokens: {reply.text}")
    finally:
        client.sampling.unload_override()
        if before.selected_preset:
            client.sampling.switch_override(before.selected_preset)
