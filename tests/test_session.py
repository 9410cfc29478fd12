"""Trust, proxies, and the patience of a session: with certificates, proxies and bytes for real."""

from __future__ import annotations

import gzip
import itertools
import logging
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from wire import OK, Authority, Wire, proxy, sends, tls_sandbox

from tap_celonis_audit import client as client_module
from tap_celonis_audit import session as session_module
from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import TapError, TeamError
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.settings import SCHEMA, Settings, problems
from tap_celonis_audit.streams import AuditLogsStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

API = AuditLogsStream.api
ONE = {"pageNumber": 0, "pageSize": 1}
KEY = "s3cret-key"
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def connect(naps: list[float]) -> Generator[Callable[..., Client]]:
    clients = []

    def connect(url: str, **config: Any) -> Client:
        way = {} if "client_id" in config else {"app_key": KEY}
        settings = Settings.from_config({"api_url": url} | way | config)
        clients.append(Client(settings, sleep=naps.append))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "the-ca")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "another-ca")


@pytest.fixture(scope="module")
def team(authority: Authority) -> Generator[tuple[Sandbox, str]]:
    with tls_sandbox(authority.context()) as (sandbox, url):
        yield sandbox, url


def ways(sandbox: Sandbox) -> list[dict[str, str]]:
    oauth = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    return [{"app_key": sandbox.app_key}, oauth]


@pytest.mark.parametrize("way", [0, 1], ids=["key", "OAuth"])
class TestTrust:
    def test_a_certificate_that_is_not_trusted_is_refused_at_once(
        self, team: tuple[Sandbox, str], connect: Callable[..., Client], naps: list[float], way: int
    ) -> None:
        sandbox, url = team
        sandbox.requests.clear()
        with pytest.raises(
            TeamError, match=r"not trusted \(unable to get local issuer certificate\).*ca_bundle"
        ):
            connect(url, **ways(sandbox)[way]).get(API, ONE)
        assert sandbox.requests == []
        assert naps == []

    def test_ca_bundle_is_trusted(
        self,
        team: tuple[Sandbox, str],
        connect: Callable[..., Client],
        authority: Authority,
        way: int,
    ) -> None:
        sandbox, url = team
        client = connect(url, ca_bundle=authority.path, **ways(sandbox)[way])
        assert client.get(API, ONE).body

    def test_a_proxy_of_the_environment_is_used(
        self,
        team: tuple[Sandbox, str],
        connect: Callable[..., Client],
        authority: Authority,
        monkeypatch: pytest.MonkeyPatch,
        way: int,
    ) -> None:
        sandbox, url = team
        with proxy() as between:
            monkeypatch.setenv("https_proxy", f"http://user:s3cret@127.0.0.1:{between.port}")
            client = connect(url, ca_bundle=authority.path, **ways(sandbox)[way])
            assert client.get(API, ONE).body
            client.close()
            assert len(between.heads) == 1 + way, "the token has a connection of its own"
            for head in between.heads:
                assert head.startswith(b"CONNECT 127.0.0.1:")
                assert b"\r\nAuthorization:" not in head
                assert b"Proxy-Authorization: Basic " in head
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            client = connect(url, ca_bundle=authority.path, **ways(sandbox)[way])
            assert client.get(API, ONE).body
            assert len(between.heads) == 1 + way

    def test_the_proxy_of_the_environment_needs_trust_too(
        self,
        team: tuple[Sandbox, str],
        connect: Callable[..., Client],
        monkeypatch: pytest.MonkeyPatch,
        way: int,
    ) -> None:
        sandbox, url = team
        with proxy() as between:
            monkeypatch.setenv("https_proxy", between.url)
            with pytest.raises(TeamError, match="is not trusted"):
                connect(url, **ways(sandbox)[way]).get(API, ONE)
        assert b"uthorization" not in b"".join(between.heads)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_the_environment_is_trusted(
    team: tuple[Sandbox, str],
    connect: Callable[..., Client],
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    sandbox, url = team
    monkeypatch.setenv(name, authority.path)
    for way in ways(sandbox):
        client = connect(url, **way)
        assert client.get(API, ONE).body
        assert client._context is not None
        assert len(client._context.get_ca_certs()) == 1, "connecting adds no other"


def anchors(**config: str) -> set[str]:
    """Give the names of those whose certificates are trusted."""
    settings = Settings.from_config({"api_url": "https://localhost", "app_key": KEY} | config)
    context = session_module.make_context(settings)
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    return {str(ca["subject"]) for ca in context.get_ca_certs()}


def test_ca_bundle_is_added_and_the_environment_replaces(
    authority: Authority, other_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = anchors()
    context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
    assert usual == {str(ca["subject"]) for ca in context.get_ca_certs()}
    assert len(usual) > 50
    own = anchors(ca_bundle=authority.path)
    assert len(own) == len(usual) + 1
    assert own > usual
    monkeypatch.setenv("SSL_CERT_FILE", other_authority.path)
    assert len(anchors()) == 1
    assert len(anchors(ca_bundle=authority.path)) == 2


def test_the_first_variable_that_is_set_counts(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BUNDLES[1:]:
        monkeypatch.setenv(name, "no/such/file")
    monkeypatch.setenv(BUNDLES[0], authority.path)
    assert len(anchors()) == 1
    monkeypatch.setenv(BUNDLES[0], "")
    with pytest.raises(TeamError, match=BUNDLES[1]):
        anchors()


def test_a_folder_of_certificates_is_a_bundle_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert anchors() == set(), "looked up when they are needed"


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\x00\xff"])
def test_a_bundle_of_the_environment_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    monkeypatch.setenv(name, str(bundle))
    with pytest.raises(TeamError, match=f"no certificates where .* {name} points"):
        anchors()


@pytest.mark.parametrize("content", [None, b"", b"no certificate", "a folder"])
def test_a_ca_bundle_that_is_none_is_a_wrong_setting(
    tmp_path: Path, content: bytes | str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if isinstance(content, bytes):
        bundle.write_bytes(content)
    elif content:
        bundle.mkdir()
    config = {"api_url": "https://acme.eu-1.celonis.cloud", "app_key": KEY}
    (told,) = problems(config | {"ca_bundle": str(bundle)}, SCHEMA)
    assert told.startswith("ca_bundle ")
    assert str(bundle) not in told


def test_a_ca_bundle_that_is_one_is_no_wrong_setting(authority: Authority) -> None:
    config = {"api_url": "https://acme.eu-1.celonis.cloud", "app_key": KEY}
    assert problems(config | {"ca_bundle": authority.path}, SCHEMA) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("name", "IP address mismatch"), ("expired", "certificate has expired")],
)
def test_what_is_wrong_with_a_certificate_is_told(
    connect: Callable[..., Client], authority: Authority, fault: str, reason: str
) -> None:
    if fault == "name":
        cert = authority.ca.issue_cert("elsewhere.example")
    else:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        cert = authority.ca.issue_cert("127.0.0.1", not_after=yesterday)
    with Wire(sends(b""), context=authority.context(cert)) as wire:
        client = connect(wire.url.replace("http:", "https:"), ca_bundle=authority.path)
        with pytest.raises(TeamError, match=rf"is not trusted \({reason}"):
            client.get(API, ONE)
    assert wire.heads == []


def test_nothing_turns_verification_off(
    team: tuple[Sandbox, str], connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = team
    for name in (*BUNDLES, "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "")
    for name in ("PYTHONHTTPSVERIFY", "NODE_TLS_REJECT_UNAUTHORIZED", "SSL_VERIFY"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(TeamError, match="is not trusted"):
        connect(url).get(API, ONE)


def test_cookies_are_not_kept(connect: Callable[..., Client]) -> None:
    answer = OK + b"Set-Cookie: session=7; Path=/\r\nContent-Length: 2\r\n\r\n{}"
    with Wire(sends(answer)) as wire:
        client = connect(wire.url)
        client.get(API, ONE)
        client.get(API, ONE)
    assert len(wire.heads) == 2
    assert all(b"Cookie" not in head for head in wire.heads)


def endless(start: bytes) -> Iterable[int]:
    return itertools.chain(start, itertools.repeat(ord(" ")))


DRIPS: dict[str, Callable[[], Iterable[int]]] = {
    "the status": lambda: b"HTTP/1.1 200 OK and so on" * 100,
    "the headers": lambda: endless(OK + b"X-Long: "),
    "more and more headers": lambda: OK + b"X-A: b\r\n" * 50,
    "the body": lambda: endless(OK + b"Content-Length: 100000\r\n\r\n{"),
    "a body of unknown length": lambda: endless(OK + b"\r\n{"),
    "chunks": lambda: itertools.chain(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", itertools.cycle(b"1\r\n \r\n")
    ),
    "one chunk": lambda: endless(OK + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"),
}


@pytest.mark.parametrize("what", DRIPS)
def test_an_answer_that_drips_is_given_up(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(session_module, "DEADLINE_FACTOR", 0.4)

    def play(connection: socket.socket, head: bytes) -> None:
        data = DRIPS[what]()
        if what != "the status":  # the beginning at once, so that the rest drips
            data = iter(data)
            connection.sendall(bytes(itertools.islice(data, 40)))
        assert head
        wire.drip(connection, data)

    wire = Wire(play)
    with wire:
        client = connect(wire.url, request_timeout_seconds=1, max_retries=0)
        begun = time.monotonic()
        with pytest.raises(TeamError, match="does not answer in time"):
            client.get(API, ONE)
        assert time.monotonic() - begun < 5
    assert len(wire.heads) == 1


@pytest.mark.parametrize("where", ["TLS", "token", "proxy"])
def test_nothing_on_the_way_may_drip(
    connect: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    where: str,
) -> None:
    monkeypatch.setattr(session_module, "DEADLINE_FACTOR", 0.4)
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT_SECONDS", 1)
    wire = Wire(
        lambda connection, _: wire.drip(connection, endless(OK)),
        context=authority.context() if where == "TLS" else None,
    )
    config: dict[str, Any] = {"ca_bundle": authority.path} if where == "TLS" else {}
    if where == "token":
        config = {"client_id": "c", "client_secret": KEY}
    with wire:
        url = wire.url.replace("http:", "https:") if where == "TLS" else wire.url
        if where == "proxy":
            monkeypatch.setenv("https_proxy", wire.url)
            url = "https://acme.celonis.invalid"
        client = connect(url, request_timeout_seconds=1, max_retries=0, **config)
        begun = time.monotonic()
        with pytest.raises(TeamError, match=r"in time|The proxy did not let"):
            client.get(API, ONE)
        assert time.monotonic() - begun < 5


def test_a_slow_answer_in_time_is_taken(connect: Callable[..., Client]) -> None:
    def play(connection: socket.socket, _: bytes) -> None:
        wire.drip(connection, OK[:2])
        connection.sendall(OK[2:] + b"Content-Length: 4\r\n\r\n")
        wire.drip(connection, b"{  }")

    wire = Wire(play)
    with wire:
        assert connect(wire.url, request_timeout_seconds=1).get(API, ONE).body == {}


BOMB = gzip.compress(b'{"a":"' + b"0" * 20_000_000)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % (b" " * 65_536) * 40,
        OK + b"\r\n" + b" " * 3_000_000,
    ],
    ids=["gzip", "chunked", "endless"],
)
def test_a_body_has_a_cap(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(client_module, "MAX_BYTES_UNDER_WAY", 4 * 1024 * 1024)
    with Wire(sends(answer)) as wire:
        with pytest.raises(TapError, match=r"larger than 1 MiB\. Lower max_parallel_requests"):
            connect(wire.url).get(API, ONE)
        assert len(wire.heads) == 1, "it would not get smaller"


@pytest.mark.parametrize("size", [1 << 16, 1 << 18, 1 << 20])
def test_a_body_in_parts_is_read_once(connect: Callable[..., Client], size: int) -> None:
    """A gzip body may have several members, which decoders have mixed up at round borders."""
    text = b'{"a": "' + b"0" * 3 * (1 << 20) + b'"}'
    parts = [gzip.compress(text[at : at + size]) for at in range(0, len(text), size)]
    body = b"".join(parts)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Wire(sends(head + body)) as wire:
        assert connect(wire.url).get(API, ONE).body == {"a": "0" * 3 * (1 << 20)}


def test_no_header_is_logged(
    connect: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = OK + b"X-Told: t0ld\r\nbroken t0ld\r\nContent-Length: 9\r\n\r\n" + b'{"a": "t0ld"}'
    with Wire(sends(answer)) as wire, Sandbox(days=0) as sandbox:
        assert connect(wire.url).get(API, ONE).body
        oauth = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
        connect(sandbox.url, **oauth).get(API, ONE)
    assert KEY.encode() in wire.heads[0]
    messages = [record.getMessage() for record in caplog.records]
    assert any("GET /log/api/external/audit: 204 in" in message for message in messages)
    logged = caplog.text + "\n".join(messages)
    for secret in (KEY, "t0ld", "uthorization", sandbox.client_secret, "sandbox-token"):
        assert secret not in logged
