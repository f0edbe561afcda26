"""Proxies, without I/O: which one leads to a server, and what is said to it.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are read in both cases, lower case first.
A plain http server behind an HTTP proxy is asked for with its whole address; any other is reached
through a tunnel (CONNECT, or SOCKS by the package `python-socks`).
"""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import unquote, urlsplit

from ..errors import ValidationError
from .base import address_of
from .http1 import AnswerReader, HTTPError, MaskedBytes, authority

__all__ = ["Proxy", "ProxyError", "Tunnel", "is_loopback", "proxy_for", "refusal"]

_PORTS = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}
_HEAD = 65_536  # bytes of a line of its answer


class ProxyError(Exception):
    """The proxy refused; the text says why."""


class Proxy:
    """A proxy, and where its address came from. Its login shows in no repr and no message.

    Args:
        url: `scheme://[user:password@]host[:port]`; the login is percent-decoded.
        source: "proxy=" or the name of an environment variable.

    Raises:
        ValidationError: the address cannot be used.
    """

    def __init__(self, url: str, source: str) -> None:
        self.source = source
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError:
            raise self._bad("its host or port cannot be read") from None
        scheme = parts.scheme.lower()
        if "://" not in url or scheme not in _PORTS:
            said = f"{scheme}://" if "://" in url else "no scheme"
            raise self._bad(
                f"it has {said}; give http://host:port, https://, socks5://, socks5h://, "
                "socks4:// or socks4a://"
            )
        if not parts.hostname or port == 0 or any(c.isspace() for c in parts.netloc):
            raise self._bad("it is not of the form http://host:port")
        self.scheme = scheme
        self.host: str = parts.hostname
        self.port: int = port or _PORTS[scheme]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self.has_login: bool = parts.username is not None

    @property
    def is_socks(self) -> bool:
        """True for a SOCKS proxy."""
        return self.scheme.startswith("socks")

    @property
    def login(self) -> tuple[str | None, str | None]:
        """User and password."""
        return (self._user, self._password) if self.has_login else (None, None)

    @property
    def authorization(self) -> str | None:
        """The value of `Proxy-Authorization`."""
        if not self.has_login:
            return None
        return "Basic " + b64encode(f"{self._user}:{self._password}".encode()).decode()

    def _bad(self, why: str) -> ValidationError:
        name = "proxy" if self.source == "proxy=" else f"the proxy of {self.source}"
        return ValidationError(f"{name} cannot be used: {why}", field="proxy")

    def __str__(self) -> str:
        """Its address without its login, and where it came from."""
        address = f"{self.scheme}://{authority(self.host, self.port)}"
        return f"{address} (from {self.source})"

    __repr__ = __str__


class Tunnel:
    """The opening of a tunnel by CONNECT: send `request`, `feed` what comes until it is open.

    Args:
        proxy: an HTTP proxy.
        host, port: the server behind it.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        target = authority(host, port)
        login = proxy.authorization
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if login is not None:
            lines.append(f"Proxy-Authorization: {login}")
        self.request = MaskedBytes("\r\n".join([*lines, "", ""]).encode())
        self._reader = AnswerReader(_HEAD)

    def feed(self, data: bytes) -> bool:
        """True once the tunnel is open. No data means that the proxy closed the connection.

        Raises:
            ProxyError: it will not open.
        """
        reader = self._reader
        try:
            if not data:
                reader.end()
            reader.feed(data)
        except HTTPError as error:
            raise ProxyError(f"its answer is not valid ({error})") from None
        if not reader.status:
            return False
        if 200 <= reader.status < 300:
            return True
        raise ProxyError(refusal(reader.status))


def refusal(status: int) -> str:
    """What a proxy's error status means."""
    if status == 407:
        return "it asks for a login, or refuses the one it got (407): http://user:password@host"
    return f"it refused with status {status}"


def proxy_for(
    url: str, given: str | Literal[False] | None, environ: Mapping[str, str] = os.environ
) -> Proxy | None:
    """The proxy that leads to a server, None for a direct connection.

    Args:
        url: the server's root.
        given: a proxy's address, False for none at all, None for what the environment says. The
            environment's is never used for this machine.
        environ: the environment.

    Raises:
        ValidationError: its address cannot be used.
    """
    if given is False:
        return None
    if given is not None:
        if not isinstance(given, str):
            raise ValidationError(
                f"proxy must be an address such as 'http://host:port', or False, not {given!r}",
                field="proxy",
            )
        return Proxy(given, "proxy=")
    host, port = address_of(url)
    scheme = urlsplit(url).scheme
    for name in (f"{scheme}_proxy", "all_proxy"):
        for source in (name, name.upper()):
            # A CGI program gets the header "Proxy:" of any visitor as HTTP_PROXY.
            if source == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
                continue
            if address := environ.get(source, "").strip():
                if is_loopback(host) or _is_excepted(host, port, environ):
                    return None
                return Proxy(address, source)
    return None


def _is_excepted(host: str, port: int, environ: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names a host: `host`, `.domain`, `host:port`, IP, CIDR, `[v6]` or `*`."""
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    name = host.lower().rstrip(".")
    address = _ip(name)
    for entry in listed.replace(",", " ").lower().split():
        if entry == "*":
            return True
        pattern, entry_port = _host_and_port(entry)
        if entry_port not in (None, port):
            continue
        if address is None:
            domain = pattern.removeprefix("*").strip(".")
            if domain and (name == domain or name.endswith(f".{domain}")):
                return True
        else:
            try:
                if address in ip_network(pattern, strict=False):
                    return True
            except ValueError:
                if address == _ip(pattern):
                    return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        return entry, None
    return host, int(port) if port.isascii() and port.isdigit() else None


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, in any of the spellings that systems take."""
    host = host.partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
        except (OSError, ValueError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(host: str | None) -> bool:
    """Whether a host means this machine, in whatever spelling."""
    host = (host or "").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _ip(host)
    return address is not None and (address.is_loopback or address.is_unspecified)
