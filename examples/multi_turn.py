"""A follow-up question: the history goes along with every request."""

import tabbyapi
from tabbyapi import system, user

messages = [
    system("You are a helpful assistant specialized in programming and technology."),
    user("What is the difference between REST and GraphQL?"),
]

with tabbyapi.Client() as client:
    reply = client.chat.create(messages, max_tokens=150, temperature=0.7)
    print("Initial response:")
    print(reply.text)

    messages.append(reply.message)  # the answer becomes part of the history as it is
    messages.append(user("Which one is better for mobile applications and why?"))

    reply = client.chat.create(messages, max_tokens=150, temperature=0.7)
    print("\nFollow-up response:")
    print(reply.text)
