"""The table of verdicts: each row by what brings it about, through real HTTP."""

from __future__ import annotations

import errno
import gzip
import logging
import re
import socket
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from singer_sdk.configuration import _dict_config
from wire import OK, Authority, Wire, proxy, sends

from tap_celonis_audit import client as client_module
from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import (
    VERDICTS,
    Action,
    CredentialsError,
    Lack,
    ParametersError,
    RateLimitError,
    TapError,
    TeamError,
    Who,
    failure,
    judge_failure,
)
from tap_celonis_audit.sandbox import Answer, Fault, Sandbox
from tap_celonis_audit.settings import Settings
from tap_celonis_audit.streams import STREAMS, AuditLogsStream, PermissionsStream
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_celonis_audit.errors import Api

API = AuditLogsStream.api
ONE = {"pageNumber": 0, "pageSize": 1}
NOW = "2026-03-01T12:00:00Z"
TOKEN = "/oauth2/token"
SUPPORT_ID = "3f2b8c1e-7f0d-4c53-9a55-0d3f6d1c9b7a"
PERSONAL = "jane.doe@example.com"
SECRET = "s3cret"
BREAKING = Action.RETRY, Who.NETWORK, Lack.REACHABLE, TeamError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def told(url: str, naps: list[float], *, api: Api = API, **config: Any) -> TapError:
    """Ask once, and give the failure; after an answer, so that all retries are made."""
    way = {} if "client_id" in config else {"app_key": SECRET}
    settings = Settings.from_config({"api_url": url, "max_retries": 4} | way | config)
    client = Client(settings, sleep=naps.append)
    client._answered = True
    try:
        with pytest.raises(TapError) as told:
            client.get(api, ONE)
    finally:
        client.close()
    return told.value


def check(case: str, error: TapError, naps: list[float], *words: str, retries: int = 4) -> None:
    """Check that a failure is the one of this row, and that it is told as it should be."""
    verdict = VERDICTS[case]
    assert error.verdict is verdict
    assert type(error) is verdict.error
    text = str(error)
    for word in words:
        assert word in text
    assert "\n" not in text
    assert "{" not in text
    for secret in (PERSONAL, SECRET, "cl1ent"):
        assert secret not in text
    assert len(naps) == (retries if verdict.action is Action.RETRY else 0)


def problem(status: int) -> Answer:
    return Answer.problem(
        HTTPStatus(status),
        code="GENERAL_ERROR",
        detail=f"{PERSONAL} did it. Celonis Support ID: {SUPPORT_ID}",
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """What comes from Celonis, and the row of the table that it belongs to."""

    row: str
    answer: Answer | Fault
    words: tuple[str, ...] = ()
    oauth: bool = False
    at_token: bool = False
    id: str = ""


def ok(body: bytes, kind: str = "application/json") -> Answer:
    return Answer(HTTPStatus.OK, {"content-type": kind}, body)


HTML = b"<!DOCTYPE html><title>Sign in</title>"
LABELS = (API.permission, API.newer_permission, "Team permissions")
CASES = [
    *(
        Case(row="redirect", answer=problem(status), words=(str(status), "api_url"))
        for status in (300, 301, 302, 303, 304, 307, 308)
    ),
    Case(row="web page", answer=Fault.garbage, words=("api_url",)),
    Case(row="web page", answer=ok(b"\n " + HTML), words=("api_url",)),
    Case(row="400", answer=problem(400), words=(API.path, SUPPORT_ID)),
    Case(row="401", answer=problem(401), words=(*LABELS, "key is complete")),
    Case(row="401", answer=Answer(HTTPStatus.UNAUTHORIZED), words=LABELS),
    Case(
        row="401 token",
        answer=problem(401),
        oauth=True,
        words=(*LABELS, f'scope "{API.scope}"'),
    ),
    Case(row="403", answer=problem(403), words=(*LABELS, "IP addresses")),
    Case(row="403", answer=problem(403), oauth=True, words=(*LABELS, f'scope "{API.scope}"')),
    Case(
        row="403",
        answer=Answer(HTTPStatus.FORBIDDEN, {"content-type": "text/html"}, HTML),
        words=("IP addresses",),
    ),
    *(
        Case(row="404", answer=problem(status), words=(API.path, str(status), "api_url"))
        for status in (404, 410)
    ),
    *(
        Case(row="5xx", answer=problem(status), words=(str(status), f"ID: {SUPPORT_ID}."))
        for status in (408, 425, 500, 501, 502, 503, 504, 508)
    ),
    Case(row="5xx", answer=Answer(HTTPStatus.BAD_GATEWAY, {"content-type": "text/html"}, HTML)),
    *(
        Case(row="another status", answer=problem(status), words=(str(status), SUPPORT_ID))
        for status in (201, 202, 206, 402, 405, 406, 409, 413, 414, 418, 422, 431, 451)
    ),
    *(
        Case(row="too deep", answer=ok(body), words=(API.path,), id=f"too deep {len(body)}")
        for body in (b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000)
    ),
    Case(row="proxy password", answer=problem(407), words=("407", "HTTPS_PROXY")),
    *(
        Case(row="unreadable", answer=ok(body), words=(API.path,), id=body[:8].decode("latin-1"))
        for body in (
            b"",
            b"   ",
            b'{"content": [',
            b'{"content": []} {}',
            b"{'content': []}",
            '{"a": "ä"}'.encode("latin-1"),
            b'{"a": "\x00"}',
            b'{"a": "\n"}',
            b"[]",
            b"7",
            b"null",
            b'"%s"' % PERSONAL.encode(),
            b'[{"a": 1}]',
        )
    ),
    Case(row="too large", answer=ok(b'{"a":"%s"}' % (b" " * 2_000_000)), words=("max_parallel",)),
    *(
        Case(row="OAuth client", answer=answer, at_token=True, words=("oauth_client_auth",))
        for answer in (problem(401), problem(400), Answer(HTTPStatus.UNAUTHORIZED))
    ),
    Case(
        row="scope",
        answer=Answer.json(HTTPStatus.BAD_REQUEST, {"error": "invalid_scope"}),
        at_token=True,
        words=(f'"{API.scope}"', *LABELS),
    ),
    *(
        Case(row="no token endpoint", answer=problem(status), at_token=True, words=("api_url",))
        for status in (201, 204, 403, 404, 405, 407)
    ),
    *(
        Case(row="redirect", answer=problem(status), at_token=True, words=("api_url",))
        for status in (301, 302, 303, 307, 308)
    ),
    *(
        Case(row="token endpoint", answer=problem(status), at_token=True, words=(SUPPORT_ID,))
        for status in (408, 500, 503)
    ),
    *(
        Case(row="no token", answer=ok(body), at_token=True)
        for body in (
            b"",
            HTML,
            b"[]",
            b'{"token": "s3cret"}',
            b'{"access_token": ""}',
            b'{"access_token": 7}',
            b'{"access_token": "s3cret", "expires_in": "soon"}',
            b'{"access_token": "s3cret", "expires_in": NaN}',
            b'{"access_token": "s3cret", "expires_in": []}',
            b'{"access_token": "s3cret\\r\\nX: 1"}',
            b'{"access_token": "s3cret\\u00e4"}',
            b'{"access_token": "s3cret"}' + b" " * 2_000_000,
        )
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.id}")
def test_an_answer(case: Case, naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BYTES_UNDER_WAY", 4 * 1024 * 1024)
    with Sandbox(days=1, now=NOW) as sandbox:
        sandbox.hook = lambda _, request: (
            case.answer if (request.path == TOKEN) == case.at_token else None
        )
        oauth: dict[str, Any] = {
            "client_id": sandbox.client_id,
            "client_secret": sandbox.client_secret,
        }
        error = told(sandbox.url, naps, **(oauth if case.oauth or case.at_token else {}))
        check(case.row, error, naps, *case.words)
        asked = sum((request.path == TOKEN) == case.at_token for request in sandbox.requests)
        # OAuth: two ways to send a secret, two spellings of a scope, a second token after a 401.
        again = {"OAuth client": 2, "scope": 2, "401 token": 2}
        assert asked == again.get(case.row, 1 + len(naps))


def test_an_export_that_is_too_large(naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_EXPORT_BYTES", 1024 * 1024)
    answer = ok(b'{"permissions": ["%s"]}' % (b" " * 2_000_000))
    with Sandbox(days=0, hook=lambda _, __: answer) as sandbox:
        error = told(sandbox.url, naps, api=PermissionsStream.api)
        assert len(sandbox.requests) == 1
    check("export too large", error, naps, PermissionsStream.api.path, "1 MiB", "Deselect")


@pytest.mark.parametrize("at_token", [False, True])
def test_a_rate_limit(naps: list[float], *, at_token: bool) -> None:
    refusal = Answer.json(HTTPStatus.TOO_MANY_REQUESTS, {}, headers={"x-ratelimit-reset": "600"})
    with Sandbox(days=1, now=NOW) as sandbox:
        sandbox.hook = lambda _, request: refusal if (request.path == TOKEN) == at_token else None
        oauth: dict[str, Any] = {
            "client_id": sandbox.client_id,
            "client_secret": sandbox.client_secret,
        }
        error = told(sandbox.url, naps, max_retries=0, **oauth)
        assert sum((each.path == TOKEN) == at_token for each in sandbox.requests) == 2
    assert 600 <= naps.pop() <= 601
    assert type(error) is RateLimitError
    check("rate limit", error, naps, "(429)", "max_rate_limit_wait_seconds", "Run again after 20")


def unpacked(body: bytes) -> bytes:
    return OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


PACKED = gzip.compress(b'{"content": [], "totalCount": 0}' * 99)
BYTES: dict[str, tuple[str, bytes]] = {
    "nothing": ("broken", b""),
    "no HTTP": ("broken", b"SSH-2.0-OpenSSH_9.6\r\n"),
    "an endless header": ("broken", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "a thousand headers": ("broken", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n"),
    "half a body": ("broken", OK + b"Content-Length: 90\r\n\r\n{}"),
    "half a chunk": ("broken", OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}"),
    "no last chunk": ("broken", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
    "a chunk of no length": ("broken", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "half of gzip": ("unreadable", unpacked(PACKED[: len(PACKED) // 2])),
    "broken gzip": ("unreadable", unpacked(PACKED[:12] + b"\x00\xff" * 30)),
    "no gzip": ("unreadable", unpacked(b'{"content": []}')),
}


@pytest.mark.parametrize("what", BYTES)
def test_bytes(what: str, naps: list[float]) -> None:
    row, answer = BYTES[what]
    with Wire(sends(answer)) as wire:
        check(row, told(wire.url, naps), naps)
        assert len(wire.heads) == 5


def test_a_body_longer_than_announced_is_cut(naps: list[float]) -> None:
    with Wire(sends(OK + b"Content-Length: 2\r\n\r\n{}{}")) as wire:
        settings = Settings.from_config({"api_url": wire.url, "app_key": SECRET})
        client = Client(settings, sleep=naps.append)
        assert client.get(API, ONE).body == {}
        client.close()


# Since 3.12, Python limits the depth of its own functions and that of C apart.
@pytest.mark.parametrize("depth", [600, 900] if sys.version_info < (3, 12) else [100_000])
def test_a_record_that_is_nested_too_deeply(naps: list[float], depth: int) -> None:
    record: dict[str, Any] = {}
    for _ in range(depth):
        record = {"a": record}
    with Sandbox(days=0, now=NOW) as sandbox:
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
        stream = STREAMS[0](TapCelonisAudit(config=config))
        with pytest.raises(TapError) as told:
            stream._parse({"timestamp": NOW, "message": record})
    check("too deep", told.value, naps, API.path)


@pytest.fixture
def diagnose(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, list[str]]]:
    """Give what runs the connection test: its exit status, and its lines."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(_dict_config, "find_dotenv", str)  # a developer's own .env stays out
    caplog.set_level(logging.INFO)

    def diagnose(sandbox: Sandbox, **config: Any) -> tuple[int, list[str]]:
        way = {} if "client_id" in config else {"app_key": sandbox.app_key}
        for name, value in ({"api_url": sandbox.url} | way | config).items():
            monkeypatch.setenv(f"TAP_CELONIS_AUDIT_{name.upper()}", value)
        caplog.clear()
        with pytest.raises(SystemExit) as end:
            TapCelonisAudit.get_singer_command().main(["--config=ENV", "--test"])
        assert capsys.readouterr().out == ""
        code = end.value.code
        assert isinstance(code, int)
        lines = [r.getMessage() for r in caplog.records if r.name.startswith(TapCelonisAudit.name)]
        return code, [line for line in lines if not line.startswith("Skipping")]

    return diagnose


class TestDiagnosis:
    """The connection test: a line for each stream, and what to do next."""

    def test_a_team_that_works(self, diagnose: Callable[..., tuple[int, list[str]]]) -> None:
        with Sandbox(days=1, now=NOW) as sandbox:
            status, lines = diagnose(sandbox)
        assert status == 0
        assert [line.split(",")[0] for line in lines] == [f"{each.name}: works" for each in STREAMS]
        assert len(sandbox.requests) == len(STREAMS)

    @pytest.mark.parametrize("empty", ["204", "list"])
    def test_a_quiet_team_works(
        self, diagnose: Callable[..., tuple[int, list[str]]], empty: Any
    ) -> None:
        with Sandbox(days=0, now=NOW, empty=empty) as sandbox:
            status, lines = diagnose(sandbox)
        logs = ("audit_logs", "login_history")
        assert (status, lines[:2]) == (0, [f"{log}: works, 0 records to read" for log in logs])

    def test_a_forbidden_stream_is_told_and_the_others_are_tried(
        self, diagnose: Callable[..., tuple[int, list[str]]]
    ) -> None:
        others = ["logins", "members", "permissions", "adoption"]
        with Sandbox(days=1, now=NOW, permissions=others) as sandbox:
            status, lines = diagnose(sandbox)
        assert status == 1
        *work, refused, summary = lines
        assert [line.partition(",")[0] for line in work] == [
            "login_history: works",
            "members: works",
            "permissions: works",
            "studio_adoption: works",
        ]
        assert refused.startswith("audit_logs: not permitted. Celonis refused access (403). Tick")
        assert all(label in refused for label in LABELS)
        assert summary == "Failed: audit_logs. See above."

    def test_a_wrong_key_is_told_once_with_all_that_it_needs(
        self, diagnose: Callable[..., tuple[int, list[str]]]
    ) -> None:
        with Sandbox(days=1, now=NOW) as sandbox:
            status, lines = diagnose(sandbox, app_key=SECRET)
        assert status == 1
        (line,) = lines
        assert "Celonis refused the credentials (401) for every stream" in line
        for stream in STREAMS:
            assert stream.api.permission in line
            assert stream.api.newer_permission in line
        assert SECRET not in line

    def test_a_scope_that_is_missing_is_told(
        self, diagnose: Callable[..., tuple[int, list[str]]]
    ) -> None:
        with Sandbox(days=1, now=NOW, scopes=[API.scope]) as sandbox:
            oauth = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
            status, lines = diagnose(sandbox, **oauth)
        assert status == 1
        assert lines[0].startswith("audit_logs: works")
        assert lines[1].startswith("login_history: not permitted. The OAuth client does not hold")
        assert STREAMS[1].api.scope in lines[1]

    def test_a_token_that_is_refused_is_told_for_each_scope(
        self, diagnose: Callable[..., tuple[int, list[str]]]
    ) -> None:
        with Sandbox(days=1, now=NOW, permissions=[], refusal="401") as sandbox:
            oauth = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
            status, lines = diagnose(sandbox, **oauth)
            asked = [request.path for request in sandbox.requests if request.path != TOKEN]
        assert status == 1
        for stream, line in zip(STREAMS, lines, strict=False):
            assert ": not permitted. Celonis refused a new access token (401). Tick" in line
            assert stream.api.scope in line
            assert stream.api.permission in line
            assert asked.count(stream.api.path) == 2

    def test_each_stream_is_asked_twice_at_most(
        self, diagnose: Callable[..., tuple[int, list[str]]]
    ) -> None:
        with Sandbox(days=1, now=NOW) as sandbox:
            sandbox.hook = lambda _, __: problem(500)
            status, lines = diagnose(sandbox)
            asked = [request.path for request in sandbox.requests]
        assert status == 1
        assert lines[0].startswith("audit_logs: not readable. Celonis keeps failing (500).")
        assert f"ID: {SUPPORT_ID}." in lines[1]
        assert {asked.count(stream.api.path) for stream in STREAMS} == {2}

    def test_what_is_no_page_is_not_readable(
        self, diagnose: Callable[..., tuple[int, list[str]]]
    ) -> None:
        with Sandbox(days=1, now=NOW) as sandbox:
            sandbox.hook = lambda _, __: ok(b'{"content": "x"}')
            status, lines = diagnose(sandbox)
        assert status == 1
        assert lines[0].startswith("audit_logs: not readable. ")

    def test_a_host_that_is_not_there_is_told_once(
        self, diagnose: Callable[..., tuple[int, list[str]]], closed_port: int
    ) -> None:
        with Sandbox(days=0, now=NOW) as sandbox:
            status, lines = diagnose(sandbox, api_url=f"http://127.0.0.1:{closed_port}")
        assert status == 1
        (line,) = lines
        assert "refuses connections" in line


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class TestNoAnswer:
    def test_dns(self, naps: list[float]) -> None:
        error = told("https://acme.celonis.invalid", naps)
        check("DNS", error, naps, "acme.celonis.invalid", "api_url", "DNS")

    def test_a_closed_port(self, naps: list[float], closed_port: int) -> None:
        error = told(f"http://127.0.0.1:{closed_port}", naps)
        check("refused", error, naps, f"127.0.0.1:{closed_port}")

    def test_silence(self, naps: list[float]) -> None:
        with Wire(lambda *_: wire.stall()) as wire:
            error = told(wire.url, naps, request_timeout_seconds=1, max_retries=1)
            check("timeout", error, naps, wire.url[7:], "request_timeout_seconds", retries=1)

    def test_a_body_that_stalls(self, naps: list[float]) -> None:
        def play(connection: socket.socket, _: bytes) -> None:
            connection.sendall(OK + b"Content-Length: 90\r\n\r\n{")
            wire.stall()

        with Wire(play) as wire:
            error = told(wire.url, naps, request_timeout_seconds=1, max_retries=1)
            check("timeout", error, naps, wire.url[7:], retries=1)

    def test_a_certificate_that_is_not_trusted(self, naps: list[float], tmp_path: Path) -> None:
        with Wire(sends(b""), context=Authority(tmp_path).context()) as wire:
            error = told(wire.url.replace("http:", "https:"), naps)
        check("certificate", error, naps, wire.url[7:], "ca_bundle", "local issuer")

    def test_a_port_without_tls(self, naps: list[float]) -> None:
        with Sandbox(days=0) as sandbox:
            error = told(sandbox.url.replace("http:", "https:"), naps)
        check("no TLS", error, naps, sandbox.url[7:], "api_url")

    def test_tls_that_breaks_off(self, naps: list[float]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def hang_up() -> None:
                for _ in range(5):
                    connection, _ = listener.accept()
                    connection.recv(10)
                    connection.close()

            thread = threading.Thread(target=hang_up)
            thread.start()
            error = told(f"https://127.0.0.1:{listener.getsockname()[1]}", naps)
            thread.join()
        check("broken", error, naps)

    @pytest.mark.parametrize("status", ["403 Forbidden", "502 Bad Gateway", "503 Busy"])
    def test_a_proxy_that_refuses(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch, status: str
    ) -> None:
        with proxy(refuses=f"HTTP/1.1 {status}\r\n\r\n".encode()) as between:
            monkeypatch.setenv("https_proxy", between.url.replace("//", f"//cl1ent:{SECRET}@"))
            error = told("https://acme.celonis.invalid", naps)
        check("proxy", error, naps, "acme.celonis.invalid", "HTTPS_PROXY", "NO_PROXY")
        assert len(between.heads) == 5

    def test_a_proxy_that_wants_a_password(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
        with proxy(refuses=answer) as between:
            monkeypatch.setenv("https_proxy", between.url)
            error = told("https://acme.celonis.invalid", naps)
        check("proxy password", error, naps, "407", "HTTPS_PROXY")

    def test_a_proxy_that_is_not_there(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch, closed_port: int
    ) -> None:
        monkeypatch.setenv("https_proxy", f"http://cl1ent:{SECRET}@127.0.0.1:{closed_port}")
        check("proxy", told("https://acme.celonis.invalid", naps), naps)

    def test_a_proxy_that_does_not_speak_tls(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Wire(sends(b"")) as wire:
            monkeypatch.setenv("https_proxy", wire.url.replace("http:", "https:"))
            check("proxy", told("https://acme.celonis.invalid", naps), naps)

    @pytest.mark.parametrize("value", ["http://", "socks5://127.0.0.1:1", "ftp://127.0.0.1"])
    def test_a_proxy_that_is_no_proxy(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("https_proxy", value)
        check("bad URL", told("https://acme.celonis.invalid", naps), naps, "HTTPS_PROXY")

    @pytest.mark.parametrize("host", ["a..b.example", "x" * 64 + ".example"])
    def test_a_host_that_cannot_be_one(self, naps: list[float], host: str) -> None:
        check("bad URL", told(f"https://{host}", naps), naps, "api_url")

    def test_a_header_that_cannot_be_sent(self, naps: list[float]) -> None:
        check("bad URL", told("https://acme.invalid", naps, user_agent="a\nb"), naps, "user_agent")

    def test_a_bundle_that_is_missing(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", "no/such/file")
        settings = Settings.from_config({"api_url": "https://acme.invalid", "app_key": SECRET})
        with pytest.raises(TapError) as told:
            Client(settings)
        check("certificate bundle", told.value, naps, "SSL_CERT_FILE")

    @pytest.mark.parametrize(
        "number", [errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPIPE]
    )
    def test_what_the_system_says(self, number: int) -> None:
        error = requests.ConnectionError(urllib3.exceptions.ProtocolError("", OSError(number, "")))
        verdict = judge_failure(error, host="acme", path=API.path).verdict
        assert (verdict.action, verdict.who, verdict.lack, verdict.error) == BREAKING


def test_each_row_is_brought_about_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    rows = {case.row for case in CASES} | {row for row, _ in BYTES.values()}
    rows.add("401 everywhere")  # by the connection test
    missing = {row for row in VERDICTS if row not in rows and f'check("{row}"' not in text}
    assert missing == {"429"}, "which becomes a rate limit when the waits are used up"


@pytest.mark.parametrize("row", VERDICTS)
def test_each_row_says_what_to_do(row: str) -> None:
    verdict = VERDICTS[row]
    steps = r"\. (Check|Tick|Please|Try|Lower|Run|Add|Correct|Give|Behind|\{grant\})"
    assert verdict.action is Action.WAIT or re.search(steps, verdict.text)


def test_a_failure_is_its_row() -> None:
    error = failure("DNS", host="acme.celonis.invalid")
    assert type(error) is TeamError
    assert error.action is Action.RETRY
    assert type(failure("400", path="/x", support="")) is ParametersError
    assert type(failure("401", host="h", grant="g")) is CredentialsError
    assert TapError("anything").action is Action.FAIL
