"""Which of some texts is closest to a question? Needs a loaded embedding model."""

import math

import tabbyapi

TEXTS = [
    "Containers share the kernel of their host.",
    "Bread rises because yeast makes gas.",
    "Virtual machines bring a kernel of their own.",
]
QUESTION = "What do containers and virtual machines have in common?"


def similarity(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


with tabbyapi.Client() as client:
    try:
        question, *texts = client.embeddings.create([QUESTION, *TEXTS]).vectors
    except tabbyapi.ModelNotLoadedError:
        names = [card.id for card in client.models.list_embedding()]
        raise SystemExit(
            f"Load an embedding model first: client.models.load_embedding(name); there are {names}"
        ) from None

scores = [similarity(question, vector) for vector in texts]
for score, text in sorted(zip(scores, TEXTS, strict=True), reverse=True):
    print(f"{score:6.3f}  {text}")
