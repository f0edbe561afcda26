"""What can go wrong, and what to do about it: every error has a code."""

import tabbyapi
from tabbyapi import user

ADVICE = {
    "invalid_request": "Check your request parameters.",
    "context_length_exceeded": "Shorten the conversation, or ask for fewer tokens.",
    "authentication_error": "Check your API key.",
    "permission_error": "This needs the admin key.",
    "not_found": "Check the address of the server.",
    "rate_limit_exceeded": "Wait a moment and try again.",
    "server_error": "Look into the server's log.",
    "model_not_loaded": "Load a model first.",
    "validation_error": "The request was not sent; correct the parameter it names.",
    "request_error": "Is the server running, and is this its address?",
    "stream_error": "The answer was cut off; error.partial holds what had arrived.",
}


def ask(client: tabbyapi.Client, question: str, **params) -> None:
    try:
        reply = client.chat.create([user(question)], max_tokens=40, **params)
    except tabbyapi.APIError as error:  # the server said no
        print(f"API error (code {error.code}, HTTP {error.status_code}): {error.message}")
        for line in error.details:
            print(f"  - {line}")
        print(f"  {ADVICE.get(error.code, '')}")
    except tabbyapi.TabbyError as error:  # anything else that this library raises
        print(f"Error (code {error.code}): {error}")
        print(f"  {ADVICE.get(error.code, '')}")
    else:
        print(f"Answer: {reply.text}")


with tabbyapi.Client() as client:
    ask(client, "Hello!")
    ask(client, "Hello!", temperature=99)  # refused before it is sent
    ask(client, "Hello!", extra_body={"temperature": 99})  # refused by the server
    ask(client, "word " * 200_000)  # does not fit any context
    endpoint = client.base_url

with tabbyapi.Client(endpoint, api_key="a-wrong-key") as client:
    ask(client, "Hello!")

with tabbyapi.Client("http://127.0.0.1:9", retry=0) as client:  # nobody listens there
    ask(client, "Hello!")
