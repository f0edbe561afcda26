"""HTTP/1.1 over sockets: the only modules that open any. Each twin is imported on first use.

`http1`, `proxy` and `connect` are without I/O and shared; `sync*` and `connection` block, `aio*`
are their twins for asyncio. May import _protocol/, types/ and errors.py.
"""
