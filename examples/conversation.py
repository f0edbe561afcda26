"""A conversation that keeps its own history, and keeps it within the model's context."""

import tabbyapi

with tabbyapi.Client() as client:
    talk = client.conversation("You are a helpful assistant.", max_tokens=100, temperature=0.7)

    print(talk.send("My name is Ada. What is TabbyAPI?").text)

    with talk.stream("And what is my name?") as stream:  # in pieces, as they arrive
        for chunk in stream:
            print(chunk.text, end="", flush=True)
    print()

    other = talk.fork()  # from here on the two know nothing of each other
    print("Another answer:", other.regenerate().text)

    print(f"{len(talk)} messages, {talk.tokens.used} of {talk.tokens.context or '?'} tokens used")
