"""What is on the server, what is loaded, and how many tokens a text is for it.

With the name of a model as its argument it loads that one first (TABBY_ADMIN_KEY).
"""

import sys

import tabbyapi
from tabbyapi import user

with tabbyapi.Client() as client:
    print(f"The server is {client.health.check().status}, you are {client.auth.permission()}.")

    if len(sys.argv) > 1:
        try:
            with client.models.load_stream(sys.argv[1]) as steps:
                for step in steps:
                    print(f"\r{step.model_type}: {step.fraction:4.0%}", end="", flush=True)
            print()
        except tabbyapi.TabbyError as error:
            raise SystemExit(f"\nNot loaded: {error}") from None

    for card in client.models.list():
        print(f"  {card.id}")
    try:
        loaded = client.models.get()
    except tabbyapi.ModelNotLoadedError:
        raise SystemExit("No model is loaded.") from None
    print(f"Loaded: {loaded.id}, a context of {loaded.parameters.max_seq_len} tokens.")

    text = "How many tokens is this?"
    print(
        f"{text!r}: {client.tokens.count(text)} tokens, as a message "
        f"{client.tokens.count([user(text)])}."
    )
