"""Prompt templates: which there are, and switching to one of them (TABBY_ADMIN_KEY).

A switch holds for all users of the server, until the next switch or load.
"""

import sys

import tabbyapi
from tabbyapi import user

with tabbyapi.Client() as client:
    names = client.templates.list()
    print("There are:", ", ".join(names) or "none beside that of the model")

    if len(sys.argv) > 1:
        try:
            client.templates.switch(sys.argv[1])
        except tabbyapi.InvalidRequestError as error:
            raise SystemExit(f"Not switched: {error}") from None
        print(client.chat.create([user("Hello!")], max_tokens=20).text)
