"""The only rooms with sockets: `sync` over urllib3, `aio` over aiohttp, each imported on first use.

May import protocol/, types/ and errors.py.
"""
