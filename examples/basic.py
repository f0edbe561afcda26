"""One question, one answer, and what it cost.

Talks to TABBY_API_ENDPOINT (default http://localhost:5000) with the key in TABBY_API_KEY.
"""

import tabbyapi
from tabbyapi import system, user

with tabbyapi.Client() as client:
    reply = client.chat.create(
        messages=[
            system("You are a helpful assistant specialized in programming and technology."),
            user("What are the benefits of using dependency injection in software design?"),
        ],
        max_tokens=150,
        temperature=0.7,
    )

print("Assistant's response:")
print(reply.text)

if reply.usage:
    print("\nToken usage:")
    print(f"  Prompt tokens:     {reply.usage.prompt_tokens}")
    print(f"  Completion tokens: {reply.usage.completion_tokens}")
    print(f"  Total tokens:      {reply.usage.total_tokens}")
