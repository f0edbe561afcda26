"""LoRA adapters: which there are, and an answer with one at half strength (TABBY_ADMIN_KEY)."""

import tabbyapi
from tabbyapi import user

QUESTION = [user("Who are you?")]

with tabbyapi.Client() as client:
    names = [adapter.id for adapter in client.lora.list()]
    print("There are:", ", ".join(names) or "none; start the server with --loras-dir FOLDER")

    for name in names[:1]:
        print("Without:", client.chat.create(QUESTION, max_tokens=20).text)
        client.lora.load({name: 0.5})  # replaces the adapters that were active
        try:
            for adapter in client.lora.active():
                print(f"Active: {adapter.id} at {adapter.scaling}")
            print("With:", client.chat.create(QUESTION, max_tokens=20).text)
        finally:
            client.lora.unload()
