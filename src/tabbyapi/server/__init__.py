"""The local server: TabbyAPI's protocol over an embedded llama.cpp engine (extra `local`).

May import types/ and errors.py of the client, and nothing else of it.
"""
