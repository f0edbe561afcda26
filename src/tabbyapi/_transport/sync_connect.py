"""Connecting, blocking: name lookup, a race among addresses, proxies and TLS."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Any

from .base import PROBING, smallest
from .connect import STAGGER, AddressInfo, Route, failure_of, literal, missing_socks, raced
from .connection import Connection, left_of
from .proxy import ProxyError, Tunnel

__all__ = ["connect"]

_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0))


def connect(route: Route, timeout: float | None) -> Connection:
    """A new connection, through the proxy and secured as the route says.

    Raises:
        TimeoutError: there is none within `timeout` seconds.
        OSError, ProxyError: there is none.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if route.proxy is not None and route.proxy.is_socks:
        sock = _through_socks(route, timeout)
    else:
        sock = _dialled(route, deadline)
    try:
        if route.uds is None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option in PROBING:
                sock.setsockopt(*option)
        sock.settimeout(left_of(deadline))
        if route.tunnelled and route.proxy is not None and not route.proxy.is_socks:
            _open_tunnel(sock, Tunnel(route.proxy, route.host, route.port), deadline)
        tls = route.tls or route.proxy_tls
        if tls is None:
            return Connection(sock)
        from .tls import WAITS

        sock.settimeout(left_of(deadline))
        sock = tls.secured(sock)
        return Connection(sock, WAITS)
    except BaseException:
        sock.close()
        raise


def _dialled(route: Route, deadline: float | None) -> socket.socket:
    """A socket connected to the server, or to its HTTP proxy."""
    if route.uds is not None:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(left_of(deadline))
            sock.connect(route.uds)
        except BaseException:
            sock.close()
            raise
        return sock
    host, port = route.first
    infos: Any = literal(host, port)
    if infos is None:
        # As bytes it is looked up as it is; a string brings in the tables of all scripts.
        name: Any = host.encode() if host.isascii() else host
        infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return _race(raced(infos), deadline)


def _race(infos: list[AddressInfo], deadline: float | None) -> socket.socket:
    """The first connection that is made; an address gets a head start on the next one."""
    failures: list[OSError] = []
    waiting = infos[::-1]
    start_next = 0.0
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting and time.monotonic() >= start_next:
                    sock = _begun(waiting.pop(), failures)
                    if sock is None:
                        continue
                    selector.register(sock, selectors.EVENT_WRITE)
                    start_next = time.monotonic() + STAGGER
                pause = max(start_next - time.monotonic(), 0.0) if waiting else None
                for key, _ in selector.select(smallest(pause, left_of(deadline))):
                    sock = key.fileobj  # type: ignore[assignment]
                    assert isinstance(sock, socket.socket)
                    selector.unregister(sock)
                    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not failed:
                        return sock
                    sock.close()
                    failures.append(failure_of(failed))
                    start_next = 0.0
        finally:
            for key in list((selector.get_map() or {}).values()):
                key.fileobj.close()  # type: ignore[union-attr]
    raise failures[0] if failures else failure_of(errno.EADDRNOTAVAIL)


def _begun(info: AddressInfo, failures: list[OSError]) -> socket.socket | None:
    """A socket that is connecting; None if it failed at once."""
    family, kind, protocol, _, address = info
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:  # a family that this system lacks
        failures.append(error)
        return None
    sock.setblocking(False)
    failed = sock.connect_ex(address)
    if failed in _UNDER_WAY:
        return sock
    sock.close()
    failures.append(failure_of(failed))
    return None


def _open_tunnel(sock: socket.socket, tunnel: Tunnel, deadline: float | None) -> None:
    sock.sendall(tunnel.request)
    is_open = False
    while not is_open:
        sock.settimeout(left_of(deadline))
        is_open = tunnel.feed(sock.recv(4096))


def _through_socks(route: Route, timeout: float | None) -> socket.socket:
    try:
        from python_socks import ProxyError as Refused
        from python_socks import ProxyTimeoutError
        from python_socks.sync import Proxy
    except ImportError:
        raise missing_socks() from None
    limit = 1e6 if timeout is None else timeout  # its own default is a minute
    try:
        sock: socket.socket = route.socks(Proxy).connect(route.host, route.port, timeout=limit)
    except ProxyTimeoutError:
        raise TimeoutError("timed out") from None
    except Refused as error:
        raise ProxyError(str(error)) from None
    return sock
