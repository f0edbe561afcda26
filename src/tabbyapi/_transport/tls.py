"""TLS of connections: whom to trust, and as whom to appear. `ssl` is slow to import: https only."""

from __future__ import annotations

import os
import socket
import ssl
from os import PathLike
from typing import TypeAlias

from ..errors import ValidationError

__all__ = ["TLS", "WAITS", "Cert", "Verify"]

WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a secured socket that does not block raises where another would wait."""

Verify: TypeAlias = bool | str | PathLike[str] | ssl.SSLContext
Cert: TypeAlias = str | PathLike[str] | tuple[str | PathLike[str], ...]


class TLS:
    """Secures connections to a host.

    Args:
        host: the name that the certificate must have.
        verify: True for what the system trusts (or `SSL_CERT_FILE`, `SSL_CERT_DIR`), a file or
            folder of certificates to trust, False to trust anything, or a context made elsewhere.
        cert: this client's certificate: a file, or certificate and key, or these and a password.

    Raises:
        ValidationError: a file that is not there or cannot be read.
    """

    def __init__(self, host: str, verify: Verify = True, cert: Cert | None = None) -> None:
        self.context: ssl.SSLContext = _context(verify, cert)
        self.name: str = host.partition("%")[0].rstrip(".")

    def secured(self, sock: socket.socket) -> ssl.SSLSocket:
        """Shakes hands over a connected socket, within its timeout.

        Raises:
            OSError: the host cannot be trusted, or does not speak TLS.
        """
        return self.context.wrap_socket(sock, server_hostname=self.name)


def _context(verify: Verify, cert: Cert | None) -> ssl.SSLContext:
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise _bad("cert", "load it into the context that is given as verify=")
        return verify
    if isinstance(verify, bool):
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    else:
        try:
            path = os.fspath(verify)
            folder = os.path.isdir(path)
            context = ssl.create_default_context(
                cafile=None if folder else path, capath=path if folder else None
            )
        except TypeError:
            raise _bad("verify", f"{verify!r} is no bool, path or SSLContext") from None
        except OSError as error:
            raise _bad("verify", f"{path}: {error.strerror or error}") from None
    context.set_alpn_protocols(["http/1.1"])
    if cert is not None:
        parts = cert if isinstance(cert, tuple) else (cert,)
        try:
            certificate, key, password = (*parts, None, None, None)[: max(3, len(parts))]
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, password or (lambda: ""))  # type: ignore[arg-type]
        except (OSError, TypeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise _bad("cert", f"{parts[0] if parts else cert!r}: {why}") from None
    return context


def _bad(field: str, why: str) -> ValidationError:
    return ValidationError(f"{field} cannot be used: {why}", field=field)
