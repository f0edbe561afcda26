"""Answer many prompts, four at a time."""

import tabbyapi

PROMPTS = [f"Name a word that begins with {letter}." for letter in "abcdefgh"]

with tabbyapi.Client() as client:
    for result in client.chat.map(PROMPTS, concurrency=4, max_tokens=10, progress=True):
        print(result.prompt, "->", result.error or result.text.strip())
