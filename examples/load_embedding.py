"""Load an embedding model beside the chat model, use it, and unload it (TABBY_ADMIN_KEY)."""

import sys

import tabbyapi

with tabbyapi.Client() as client:
    names = [card.id for card in client.models.list_embedding()]
    if not names:
        raise SystemExit("There is none; start the server with --embeddings-dir FOLDER.")
    name = sys.argv[1] if len(sys.argv) > 1 else names[0]
    client.models.load_embedding(name)
    try:
        (vector,) = client.embeddings.create("How long is this vector?").vectors
        print(f"{client.models.get_embedding().id}: {len(vector)} numbers.")
    finally:
        client.models.unload_embedding()
