"""The only rooms with sockets: `sync` and `aio` over connections of their own, `managed` and
`managed_aio` over urllib3 and aiohttp, for proxies and for what is handed in. Each is imported on
first use.

May import protocol/, types/ and errors.py.
"""
