"""Servers that send bytes as they are told to, a proxy, and certificates."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Self

import trustme

from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

#: A connection is not used again, since scripts hang up.
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


class Wire:
    """A server on loopback that plays one script for each connection.

    Args:
        play: Is given the connection and the head of the request.
        context: Encrypts.
    """

    def __init__(
        self,
        play: Callable[[socket.socket, bytes], None],
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._play = play
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._talk, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(10)
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    got = connection.recv(65_536)
                    if not got or got.startswith(b"\x16\x03"):  # TLS, where none is spoken
                        return
                    head += got
                self.heads.append(head)
                self._play(connection, head)

    def stall(self) -> None:
        """Say nothing until it is over."""
        self.over.wait(20)

    def drip(self, connection: socket.socket, data: Iterable[int]) -> None:
        """Send byte by byte, without end if the data has none."""
        for byte in data:
            if self.over.wait(0.1):
                return
            connection.sendall(bytes([byte]))


def sends(data: bytes) -> Callable[[socket.socket, bytes], None]:
    """Make a script that sends these bytes and hangs up."""
    return lambda connection, _: connection.sendall(data)


def proxy(*, refuses: bytes = b"") -> Wire:
    """Give a proxy that lets CONNECT requests through, or answers them with these bytes."""

    def play(connection: socket.socket, head: bytes) -> None:
        if refuses:
            connection.sendall(refuses)
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as target:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while not wire.over.is_set():
                ready, _, _ = select.select([connection, target], [], [], 0.05)
                for each in ready:
                    data = each.recv(65_536)
                    if not data:
                        return
                    (target if each is connection else connection).sendall(data)

    wire = Wire(play)
    return wire


class Authority:
    """Somebody who signs certificates, and the file that holds its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.ca = trustme.CA(organization_name=name)
        self.path = str(folder / f"{name}.pem")
        self.ca.cert_pem.write_to_path(self.path)

    def context(self, cert: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """Give a server what it needs to prove who it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (cert or self.ca.issue_cert("localhost", "127.0.0.1")).configure_cert(context)
        return context


@contextlib.contextmanager
def tls_sandbox(context: ssl.SSLContext) -> Generator[tuple[Sandbox, str]]:
    """Give a sandbox that speaks TLS, and its URL."""
    sandbox = Sandbox(days=1, now="2026-03-01T12:00:00Z")
    server = sandbox._server
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    with sandbox:
        yield sandbox, sandbox.url.replace("http:", "https:")
