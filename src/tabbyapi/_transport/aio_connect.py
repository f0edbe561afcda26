"""Connecting, for asyncio: name lookup, a race among addresses, proxies and TLS.

Sockets are connected here and handed to the event loop: its own happy eyeballs are missing in
uvloop, and it knows no proxies.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from .aio_connection import AsyncConnection
from .base import PROBING
from .connect import STAGGER, AddressInfo, Route, failure_of, literal, missing_socks, raced
from .proxy import ProxyError, Tunnel

__all__ = ["connect"]


async def connect(route: Route, make: Callable[[], AsyncConnection]) -> AsyncConnection:
    """A new connection, through the proxy and secured as the route says.

    Args:
        route: the way to the server.
        make: makes the protocol object of a connection.

    Raises:
        OSError, ProxyError: there is none.
    """
    loop = asyncio.get_running_loop()
    if route.proxy is not None and route.proxy.is_socks:
        sock = await _through_socks(route)
    else:
        sock = await _dialled(route, loop)
    try:
        if route.uds is None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option in PROBING:
                sock.setsockopt(*option)
        if route.tunnelled and route.proxy is not None and not route.proxy.is_socks:
            await _open_tunnel(loop, sock, Tunnel(route.proxy, route.host, route.port))
        tls = route.tls or route.proxy_tls
        secure: dict[str, Any] = {}
        if tls is not None:
            secure = {"ssl": tls.context, "server_hostname": tls.name}
        _, connection = await loop.create_connection(make, sock=sock, **secure)
    except BaseException:
        sock.close()
        raise
    return connection


async def _dialled(route: Route, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """A socket connected to the server, or to its HTTP proxy."""
    if route.uds is not None:
        return await _connected(loop, (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", route.uds))
    host, port = route.first
    infos: Any = literal(host, port)
    if infos is None:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(infos) == 1:
        return await _connected(loop, infos[0])
    return await _race(raced(infos), loop)


async def _race(infos: list[AddressInfo], loop: asyncio.AbstractEventLoop) -> socket.socket:
    """The first connection that is made; an address gets a head start on the next one."""
    waiting = infos[::-1]
    pending: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    winner: socket.socket | None = None
    try:
        while winner is None and (waiting or pending):
            if waiting:
                pending.add(loop.create_task(_connected(loop, waiting.pop())))
            done, pending = await asyncio.wait(
                pending,
                timeout=STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if (failure := task.exception()) is not None:
                    failures.append(failure)
                elif winner is None:
                    winner = task.result()
                else:
                    task.result().close()
    finally:
        for task in pending:
            task.cancel()
        for result in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(result, socket.socket):
                result.close()
    if winner is None:
        raise failures[0] if failures else failure_of(errno.EADDRNOTAVAIL)
    return winner


async def _connected(loop: asyncio.AbstractEventLoop, info: AddressInfo) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _open_tunnel(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, tunnel: Tunnel
) -> None:
    await loop.sock_sendall(sock, tunnel.request)
    is_open = False
    while not is_open:
        is_open = tunnel.feed(await loop.sock_recv(sock, 4096))


async def _through_socks(route: Route) -> socket.socket:
    try:
        from python_socks import ProxyError as Refused
        from python_socks import ProxyTimeoutError
        from python_socks.async_.asyncio import Proxy
    except ImportError:
        raise missing_socks() from None
    try:
        # The caller keeps the time; its own default is a minute.
        sock: socket.socket = await route.socks(Proxy).connect(route.host, route.port, timeout=1e6)
    except ProxyTimeoutError:
        raise TimeoutError("timed out") from None
    except Refused as error:
        raise ProxyError(str(error)) from None
    return sock
