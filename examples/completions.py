"""Text that goes on from a prompt, whole and as it is written."""

import tabbyapi

with tabbyapi.Client() as client:
    prompt = "The three laws of thermodynamics are"
    reply = client.completions.create(prompt, max_tokens=60, temperature=0.2)
    print(prompt + reply.text)
    print(f"({reply.finish_reason}, {reply.usage.completion_tokens} tokens)\n")

    with client.completions.create_stream("Once upon a time", max_tokens=60) as stream:
        for text in stream.text_deltas():
            print(text, end="", flush=True)
    print()

    prompts = ["The capital of France is", "The capital of Japan is"]
    texts = client.completions.create(prompts, max_tokens=5).texts
    for prompt, text in zip(prompts, texts, strict=True):
        print(prompt + text)
