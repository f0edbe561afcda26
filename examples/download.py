"""Have the server fetch a model from its hub, given as OWNER/NAME (TABBY_ADMIN_KEY)."""

import sys

import tabbyapi

if len(sys.argv) != 2:
    raise SystemExit("Usage: python download.py OWNER/NAME")

with tabbyapi.Client() as client:
    try:
        folder = client.models.download(sys.argv[1])  # returns when all is there
    except tabbyapi.APIError as error:
        raise SystemExit(f"Not fetched: {error}") from None
    print(f"Fetched to {folder} on the server.")
    print("There are:", ", ".join(card.id for card in client.models.list()))
