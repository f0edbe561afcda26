"""Streams of chunks: `base` holds what both share, `sync` and `aio` do the I/O.

May import _transport/, _protocol/, types/ and errors.
"""
