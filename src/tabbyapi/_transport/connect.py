"""The way to a server: its address or Unix socket, a proxy, TLS, and the error where it ends."""

from __future__ import annotations

import os
import socket
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConnectError, ValidationError
from .base import address_of
from .errors import certificate_advice, words
from .http1 import RequestHeads
from .proxy import Proxy, ProxyError, proxy_for

if TYPE_CHECKING:
    from .tls import TLS, Cert, Verify

__all__ = [
    "STAGGER",
    "AddressInfo",
    "Route",
    "failure_of",
    "literal",
    "missing_socks",
    "raced",
]

STAGGER = 0.25
"""Seconds after which the next address of a host is tried beside the last (RFC 8305)."""

AddressInfo = tuple[int, int, int, str, Any]
"""What `getaddrinfo` gives for an address."""


class Route:
    """The way to a server.

    Args:
        base_url: its root.
        uds: path of the Unix socket it listens on.
        proxy: see `proxy_for`.
        verify, cert: see `TLS`.

    Attributes:
        host, port: of the server.
        first: host and port that the connection is made to: the proxy's, or the server's.
        tunnelled: whether a tunnel leads through the proxy.
        tls: for the connection to the server.
        proxy_tls: for the connection to an https proxy.
        via: the proxy in words, for messages; "" without one.

    Raises:
        ValidationError: an argument that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        uds: str | None = None,
        proxy: str | Literal[False] | None = None,
        verify: Verify = True,
        cert: Cert | None = None,
    ) -> None:
        self.url: str = base_url
        self.host: str
        self.port: int
        self.host, self.port = address_of(base_url)
        self.uds = uds
        if uds is not None and not hasattr(socket, "AF_UNIX"):
            raise ValidationError("this system has no Unix sockets", field="uds")
        self.proxy: Proxy | None = None if uds else proxy_for(base_url, proxy)
        secure = base_url.startswith("https:")
        self.tls: TLS | None = None
        self.proxy_tls: TLS | None = None
        if secure or verify is not True or cert is not None:
            from .tls import TLS

            self.tls = TLS(self.host, verify, cert)  # checks them even if no TLS is spoken
        if not secure:
            self.tls = None
        through = self.proxy
        self.first: tuple[str, int] = (
            (self.host, self.port) if through is None else (through.host, through.port)
        )
        self.tunnelled: bool = through is not None and (secure or through.is_socks)
        if through is not None and through.scheme == "https":
            if secure:
                raise ValidationError(
                    f"the proxy {through} speaks TLS itself, and can carry http servers only; give "
                    "an http:// or socks5:// proxy for an https server",
                    field="proxy",
                )
            from .tls import TLS

            self.proxy_tls = TLS(through.host)
        asked_whole = through is not None and not self.tunnelled
        login = (through.authorization or "") if through is not None and asked_whole else None
        self.heads: RequestHeads = RequestHeads(base_url, login)
        self.via: str = "" if through is None else f" through the proxy {through}"

    def cannot_connect(self, error: BaseException | str) -> ConnectError:
        """The error of a connection that could not be made. It blames the proxy if there is one."""
        reason = error if isinstance(error, str) else words(error)
        advice = "" if isinstance(error, str) else certificate_advice(error)
        server = self.url if self.uds is None else f"the Unix socket {self.uds}"
        if self.proxy is not None and not advice:
            source = self.proxy.source
            advice = (
                "Check the address that was given"
                if source == "proxy="
                else f"Check {source}, or except the server with NO_PROXY or proxy=False"
            )
            return ConnectError(f"cannot connect{self.via}: {reason}. {advice}")
        what = f"cannot connect to {server}{self.via}: {reason}"
        if advice:
            return ConnectError(f"{what}. {advice}")
        return ConnectError(
            f"{what}. Is TabbyAPI running there? Check base_url (or TABBY_API_ENDPOINT), or start "
            "a server on this machine with 'tabbyapi serve'",
            reason=what,
        )

    def socks(self, kind: Any) -> Any:
        """The SOCKS proxy, as a `Proxy` of python-socks of this kind (sync or asyncio).

        Raises:
            ProxyError: it is no SOCKS proxy that python-socks knows.
        """
        from python_socks import ProxyType

        proxy = self.proxy
        assert proxy is not None
        user, password = proxy.login
        return kind(
            ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5,
            proxy.host,
            proxy.port,
            username=user,
            password=password,
            rdns=proxy.scheme in ("socks4a", "socks5h"),
        )


def missing_socks() -> ProxyError:
    """The error for a SOCKS proxy without the package for it."""
    return ProxyError("SOCKS needs the package python-socks: pip install 'py-tabbyapi[socks]'")


def literal(host: str, port: int) -> list[AddressInfo] | None:
    """The address of a host that is written as an IP address; None if it has to be looked up."""
    if host[-1:].isdigit() and ":" not in host:
        try:
            socket.inet_pton(socket.AF_INET, host)
        except OSError:
            return None
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    if ":" in host and "%" not in host:
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]
    return None


def raced(infos: list[AddressInfo]) -> list[AddressInfo]:
    """Addresses in the order in which they are tried: the families take turns."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    turns = chain.from_iterable(zip_longest(*families.values()))
    return [info for info in turns if info is not None]


def failure_of(code: int) -> OSError:
    """The error that a number of the system stands for."""
    return OSError(code, os.strerror(code))
