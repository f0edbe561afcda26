"""The protocol without I/O: arguments become a `Call`, received bytes become typed results.

Imports no HTTP library, no asyncio and no threads. May import types/ and errors.py only.
"""
