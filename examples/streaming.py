"""An answer as it is written. The `with` block closes the stream, whatever happens in it."""

import tabbyapi
from tabbyapi import system, user

with tabbyapi.Client() as client:
    messages = [
        system("You are a helpful assistant specialized in programming and technology."),
        user("Explain containers in Docker and how they differ from virtual machines."),
    ]
    print("Streaming response:")
    try:
        with client.chat.create_stream(messages, max_tokens=150, temperature=0.7) as stream:
            for text in stream.text_deltas():
                print(text, end="", flush=True)
            reply = stream.response  # the whole answer, as create() would have returned it
    except tabbyapi.StreamError as error:
        so_far = error.partial.text if error.partial else ""
        raise SystemExit(f"\nCut off after {len(so_far)} characters: {error}") from None

print(f"\n\nFull response received: {len(reply.text)} characters, {reply.finish_reason}.")
