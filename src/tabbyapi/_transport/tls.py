"""What a connection needs to be secured. Imported for https only: `ssl` is slow to import."""

from __future__ import annotations

import socket
import ssl

__all__ = ["WAITS", "Securing"]

WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a secured socket that does not block raises where another would wait."""


class Securing:
    """Secures connections to a host: trusted is what the system, or SSL_CERT_FILE, trusts."""

    def __init__(self, host: str) -> None:
        self.context = ssl.create_default_context()
        self.context.set_alpn_protocols(["http/1.1"])
        self.name = host.partition("%")[0].rstrip(".")

    def secured(self, sock: socket.socket) -> ssl.SSLSocket:
        """Shakes hands over a connected socket, within its timeout.

        Raises:
            OSError: the host cannot be trusted, or does not speak TLS.
        """
        return self.context.wrap_socket(sock, server_hostname=self.name)
