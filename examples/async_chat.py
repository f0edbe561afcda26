"""Many conversations at once with AsyncClient."""

import asyncio

import tabbyapi
from tabbyapi import user

QUESTIONS = ["What is a context window?", "What does top_k do?", "What is a system message?"]


async def answer(client: tabbyapi.AsyncClient, question: str) -> str:
    async with client.chat.create_stream([user(question)], max_tokens=80) as stream:
        async for _ in stream:
            pass
        return stream.response.text


async def main() -> None:
    async with tabbyapi.AsyncClient() as client:
        answers = await asyncio.gather(*(answer(client, question) for question in QUESTIONS))
    for question, text in zip(QUESTIONS, answers, strict=True):
        print(f"{question}\n  {text}\n")


asyncio.run(main())
