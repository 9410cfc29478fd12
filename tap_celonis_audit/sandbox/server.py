"""The HTTP side: connections, bytes and threads, and nothing of Celonis but its error shape."""

from __future__ import annotations

import socket
import sys
import threading
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from tap_celonis_audit.sandbox.exchange import GARBAGE, Answer, Fault, Request

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox.clock import Clock

_LOOPBACK = "127.0.0.1"
_MAX_BODY_BYTES = 65_536
_BODYLESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_POLL_SECONDS = 0.02
_FORM = "application/x-www-form-urlencoded"
_SECRET_HEADERS = frozenset({"authorization", "cookie"})
_SECRET_FIELDS = frozenset({"client_id", "client_secret"})


class Application(Protocol):
    """What answers the requests."""

    clock: Clock
    latency_ms: float
    verbose: bool

    def respond(
        self, request: Request, *, authorization: str, body: bytes, form: dict[str, str]
    ) -> tuple[Answer, Fault | None]:
        """Answer one request, or say what goes wrong on the way."""


class Server(ThreadingHTTPServer):
    """A server on loopback whose connections can all be closed at once."""

    request_queue_size = 128

    def __init__(self, application: Application, *, port: int) -> None:
        self.application = application
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._in_flight = 0
        super().__init__((_LOOPBACK, port), _Handler)
        self._loop = threading.Thread(
            target=self.serve_forever,
            kwargs={"poll_interval": _POLL_SECONDS},
            name="sandbox",
            daemon=True,
        )

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{_LOOPBACK}:{self.server_port}"

    def start(self) -> None:
        """Serve in the background."""
        self._loop.start()

    def stop(self) -> None:
        """End every connection and every thread."""
        self.stopping.set()
        if self._loop.is_alive():
            self.shutdown()
            self._loop.join()
        with self._lock:
            connections = dict(self._open)
        for connection in connections:
            _hang_up(connection)
        for thread in connections.values():
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)
        self.server_close()

    def enter(self) -> int:
        """Count a request in and return how many are in flight."""
        with self._lock:
            self._in_flight += 1
            return self._in_flight

    def leave(self) -> None:
        """Count a request out."""
        with self._lock:
            self._in_flight -= 1

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the base class
        """Serve a connection in a thread of its own, remembering both."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as in the base class
        """Close a connection and forget it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the base class
        """Stay quiet about a client that went away; anything else is a bug and is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # The client was faster.


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _host(self) -> Server:
        assert isinstance(self.server, Server)  # noqa: S101 - the base class knows less
        return self.server

    def handle_one_request(self) -> None:
        """Read one request of any method and answer it by one write."""
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if len(self.raw_requestline) > 65_536:  # noqa: PLR2004 - the limit of the line above
            self.requestline = self.command = ""
            self.request_version = self.protocol_version
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            return
        if not self.parse_request():
            return
        in_flight = self._host.enter()
        try:
            self._serve(in_flight)
        finally:
            self._host.leave()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not even HTTP in the documented shape, and close."""
        status = HTTPStatus(code)
        self.close_connection = True
        self._send(
            Answer.problem(
                status, code=f"GENERAL_{status.name}", detail=message or explain or status.phrase
            )
        )

    def _serve(self, in_flight: int) -> None:
        body = self._read_body()
        if body is None:
            return
        application = self._host.application
        try:
            target = urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        form = _pairs(body.decode("utf-8", "replace")) if content_type == _FORM else {}
        authorization = self.headers.get("authorization", "")
        request = Request(
            method=self.command,
            path=target.path,
            query=_pairs(target.query),
            form={name: value for name, value in form.items() if name not in _SECRET_FIELDS},
            headers={
                name.lower(): value
                for name, value in self.headers.items()
                if name.lower() not in _SECRET_HEADERS
            },
            scheme=authorization.partition(" ")[0],
            in_flight=in_flight,
        )
        answer, fault = application.respond(
            request, authorization=authorization, body=body, form=form
        )
        if application.latency_ms:
            self._host.stopping.wait(application.latency_ms / 1_000)
        if self._host.stopping.is_set():
            self.close_connection = True
            return
        if application.verbose:
            what = fault.kind if fault else str(int(answer.status))
            print(f"{request.method} {self.path} -> {what}", file=sys.stderr, flush=True)  # noqa: T201 - asked for by --verbose
        self._deliver(answer, fault)

    def _read_body(self) -> bytes | None:
        """Read the body; refuse one that is too long or of unknown length."""
        if "transfer-encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return None
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            self.send_error(HTTPStatus.BAD_REQUEST)
            return None
        if int(length) > _MAX_BODY_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        return self.rfile.read(int(length))

    def _deliver(self, answer: Answer, fault: Fault | None) -> None:
        match fault.kind if fault else None:
            case None:
                self._send(answer)
            case "garbage":
                self._send(GARBAGE)
            case "truncate":
                self.close_connection = True
                self._send(answer, keep_bytes=len(answer.body) // 2)
            case "hang":
                self.close_connection = True
                self._host.stopping.wait(fault.seconds if fault else 0)
            case _:
                self.close_connection = True

    def _send(self, answer: Answer, *, keep_bytes: int | None = None) -> None:
        lines = [
            f"HTTP/1.1 {int(answer.status)} {answer.status.phrase}",
            f"date: {formatdate(self._host.application.clock.now_ms / 1_000, usegmt=True)}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        if answer.status not in _BODYLESS:
            lines.append(f"content-length: {len(answer.body)}")
        if self.close_connection:
            lines.append("connection: close")
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        body = b"" if self.command == "HEAD" or answer.status in _BODYLESS else answer.body
        self.wfile.write(head + body[:keep_bytes])


def _pairs(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))
