"""Answers of a Python type, at once and as they grow."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

import tabbyapi
from tabbyapi import system, user


@dataclass
class Ingredient:
    name: Annotated[str, Meta(max_length=40, description="as on the shopping list")]
    grams: Annotated[int, Meta(ge=1, le=5000)]


@dataclass
class Recipe:
    """A dish and how to cook it."""

    title: Annotated[str, Meta(max_length=60)]
    difficulty: Literal["easy", "medium", "hard"]
    ingredients: Annotated[list[Ingredient], Meta(min_length=1, max_length=4)]
    steps: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(min_length=1, max_length=3)]


MESSAGES = [
    system("You are a cook. Answer in JSON."),
    user("A recipe for pancakes for two."),
]

with tabbyapi.Client() as client:
    recipe = client.chat.parse(MESSAGES, Recipe, max_tokens=400, temperature=0.7).value
    print(f"{recipe.title} ({recipe.difficulty})")
    for ingredient in recipe.ingredients:
        print(f"  {ingredient.grams:5} g  {ingredient.name}")

    print("\nAnother one, as it is written:")
    with client.chat.parse_stream(MESSAGES, Recipe, max_tokens=400, temperature=0.7) as stream:
        for partial in stream:
            written = len(partial.get("steps", []))
            print(f"\r{partial.get('title', '')[:60]:60} steps: {written}", end="", flush=True)
    print(f"\n{len(stream.value.ingredients)} ingredients, read as {type(stream.value).__name__}")

    try:
        client.chat.parse(MESSAGES, Recipe, max_tokens=10)
    except tabbyapi.OutputError as error:
        print(f"\nWith 10 tokens: {error}")
