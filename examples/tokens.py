"""Tokens of the loaded model: from text to ids and back, and how many a conversation takes."""

import tabbyapi
from tabbyapi import system, user

with tabbyapi.Client() as client:
    text = "Tokens are pieces of words."
    ids = client.tokens.encode(text, add_bos_token=False)
    print(f"{len(ids)} tokens: {ids}")
    print([client.tokens.decode([one]) for one in ids])
    assert client.tokens.decode(ids) == text

    messages = [system("Be brief."), user(text)]
    print(f"As a conversation: {client.tokens.count(messages)} tokens.")
