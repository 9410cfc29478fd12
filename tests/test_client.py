"""One GET after the other, against the sandbox over real HTTP; nothing here waits for real."""

from __future__ import annotations

import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tap_celonis_audit import client as client_module
from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import (
    CredentialsError,
    GoneError,
    ParametersError,
    RateLimitError,
    TapError,
    TeamError,
    TooLargeError,
)
from tap_celonis_audit.sandbox import Answer, Fault, Request, Sandbox
from tap_celonis_audit.settings import Settings
from tap_celonis_audit.sources import make_page
from tap_celonis_audit.streams import AuditLogsStream, LoginHistoryStream, PermissionsStream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

API = AuditLogsStream.api
NOW = "2026-03-01T12:00:00Z"
ONE = {"pageNumber": 0, "pageSize": 1}
SUPPORT_ID = "3f2b8c1e-7f0d-4c53-9a55-0d3f6d1c9b7a"
PERSONAL = "jane.doe@example.com"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with Sandbox(days=1, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def connect(naps: list[float]) -> Generator[Callable[..., Client]]:
    """Give what makes a client and closes it in the end."""
    clients = []

    def connect(sandbox: Sandbox, **config: Any) -> Client:
        way = {} if "client_id" in config else {"app_key": sandbox.app_key}
        settings = Settings.from_config({"api_url": sandbox.url, **way} | config)
        client = Client(settings, sleep=naps.append)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(sandbox: Sandbox, connect: Callable[..., Client]) -> Client:
    """Give a client that has had an answer."""
    client = connect(sandbox)
    client.get(API, ONE)
    sandbox.requests.clear()
    return client


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def play(sandbox: Sandbox, answers: Sequence[Answer | Fault]) -> None:
    """Give these answers first."""
    left = list(answers)
    sandbox.hook = lambda _sandbox, _request: left.pop(0) if left else None


def problem(status: int, *, headers: dict[str, str] | None = None) -> Answer:
    return Answer.problem(
        HTTPStatus(status),
        code="GENERAL_ERROR",
        detail=f"{PERSONAL} did it. Celonis Support ID: {SUPPORT_ID}",
        headers=headers,
    )


def json_answer(payload: object) -> Answer:
    return Answer.json(HTTPStatus.OK, payload)


TRANSIENT: dict[str, Answer | Fault] = {
    "drop": Fault.drop,
    "truncated": Fault.truncate,
    "no JSON": Answer(HTTPStatus.OK, {"content-type": "application/json"}, b'{"content": ['),
    "not UTF-8": Answer(HTTPStatus.OK, {"content-type": "application/json"}, b'{"a": "\xff"}'),
    "nothing": Answer(HTTPStatus.OK, {"content-type": "application/json"}),
    "a bare list": json_answer([]),
    "a text": json_answer(PERSONAL),
    "408": problem(408),
    "500": problem(500),
    "502": Answer(HTTPStatus.BAD_GATEWAY, {"content-type": "text/html"}, b"<html>"),
    "503": problem(503),
    "504": problem(504),
}


def test_a_page_is_asked_for_as_documented(
    sandbox: Sandbox, connect: Callable[..., Client]
) -> None:
    answer = connect(sandbox).get(
        API, {"pageNumber": 0, "pageSize": 5, "from": "2026-02-28T00:00:00"}
    )
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("GET", "/log/api/external/audit")
    assert request.query == {"pageNumber": "0", "pageSize": "5", "from": "2026-02-28T00:00:00"}
    assert request.headers["accept"] == "application/json"
    assert request.headers["user-agent"].startswith("tap-celonis-audit/")
    assert answer.body is not None
    assert len(answer.body["content"]) == 5
    assert answer.size > 500
    assert answer.server_time == sandbox.clock.now_ms / 1000


def test_the_user_agent_can_be_chosen(sandbox: Sandbox, connect: Callable[..., Client]) -> None:
    connect(sandbox, user_agent="acme-audit/7").get(API, ONE)
    assert sandbox.requests[0].headers["user-agent"] == "acme-audit/7"


def test_no_content_is_an_answer(connect: Callable[..., Client], naps: list[float]) -> None:
    with Sandbox(days=0, now=NOW) as sandbox:
        answer = connect(sandbox).get(API, ONE)
    assert (answer.body, answer.size) == (None, 0)
    assert answer.server_time is not None
    assert naps == []


@pytest.mark.parametrize("date", ["soon", "", "99 Foo 2026"])
def test_a_server_without_a_readable_clock_is_fine(
    sandbox: Sandbox, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    monkeypatch.setattr("tap_celonis_audit.sandbox.server.formatdate", lambda *_, **__: date)
    client = connect(sandbox)
    assert client.get(API, ONE).server_time is None
    assert client.server_time is None


def test_the_clock_of_the_first_answer_is_kept(sandbox: Sandbox, client: Client) -> None:
    first = client.server_time
    sandbox.clock.advance(seconds=60)
    assert client.get(API, ONE).server_time == sandbox.clock.now_ms / 1000
    assert client.server_time == first


@pytest.mark.parametrize("trouble", TRANSIENT)
def test_a_passing_fault_is_tried_again(
    sandbox: Sandbox, client: Client, naps: list[float], trouble: str
) -> None:
    play(sandbox, [TRANSIENT[trouble]] * 3)
    assert client.get(API, ONE).body
    assert len(sandbox.requests) == 4
    assert len(naps) == 3


@pytest.mark.parametrize("trouble", TRANSIENT)
def test_a_fault_that_stays_ends_it_after_the_retries(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float], trouble: str
) -> None:
    client = connect(sandbox, max_retries=5)
    client.get(API, ONE)
    sandbox.requests.clear()
    play(sandbox, [TRANSIENT[trouble]] * 99)

    with pytest.raises(TapError) as told:
        client.get(API, ONE)

    assert len(sandbox.requests) == 6
    assert all(0 <= nap <= min(60, 0.5 * 2**number) for number, nap in enumerate(naps, start=1))
    message = str(told.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert PERSONAL not in message


def test_a_server_error_shows_the_support_id(
    sandbox: Sandbox, connect: Callable[..., Client]
) -> None:
    client = connect(sandbox, max_retries=0)
    play(sandbox, [problem(500)])
    with pytest.raises(TapError, match=rf"\(500\).* Celonis Support ID: {SUPPORT_ID}\.$"):
        client.get(API, ONE)


def test_before_the_first_answer_there_are_few_retries(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    play(sandbox, [Fault.drop] * 99)
    with pytest.raises(TeamError, match="keeps breaking"):
        connect(sandbox).get(API, ONE)
    assert len(naps) == 2


def test_without_retries_there_are_none(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    play(sandbox, [problem(503)])
    with pytest.raises(TapError, match="503"):
        connect(sandbox, max_retries=0).get(API, ONE)
    assert naps == []


def test_a_server_that_hangs_is_given_up(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    play(sandbox, [Fault.hang(20)])
    client = connect(sandbox, request_timeout_seconds=1, max_retries=0)
    with pytest.raises(TeamError, match=r"does not answer in time.*request_timeout_seconds"):
        client.get(API, ONE)
    assert naps == []


@pytest.mark.parametrize(
    ("reset", "least"), [("7", 7), ("0.5", 0.5), ("0", 0), ("-3", 0), ("soon", 0), ("nan", 0)]
)
def test_a_rate_limit_is_waited_for(
    sandbox: Sandbox, client: Client, naps: list[float], reset: str, least: float
) -> None:
    play(sandbox, [problem(429, headers={"x-ratelimit-reset": reset})])
    assert client.get(API, ONE).body
    (nap,) = naps
    assert least <= nap <= least + 1


def test_a_rate_limit_without_a_time_is_backed_off_from(
    sandbox: Sandbox, client: Client, naps: list[float]
) -> None:
    play(sandbox, [problem(429)] * 4)
    assert client.get(API, ONE).body
    assert len(naps) == 4
    assert sum(naps) <= 1 + 2 + 4 + 8


@pytest.mark.parametrize("reset", ["901", "86400", "9e8", "1e308"])
def test_a_rate_limit_of_hours_ends_the_run(
    sandbox: Sandbox, client: Client, naps: list[float], reset: str
) -> None:
    play(sandbox, [problem(429, headers={"x-ratelimit-reset": reset})])
    with pytest.raises(RateLimitError, match=r"\(429\).*wait \d+ seconds.*Run again after"):
        client.get(API, ONE)
    with pytest.raises(RateLimitError, match="Run again after"):
        client.get(API, ONE)
    assert naps == []
    assert len(sandbox.requests) == 1, "nobody asks in vain"


def test_how_long_to_wait_can_be_chosen(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    answers = [problem(429, headers={"x-ratelimit-reset": "1000"})]
    play(sandbox, answers)
    assert connect(sandbox, max_rate_limit_wait_seconds=1000).get(API, ONE).body
    play(sandbox, answers)
    with pytest.raises(RateLimitError):
        connect(sandbox, max_rate_limit_wait_seconds=0).get(API, ONE)
    assert len(naps) == 1


def test_a_rate_limit_that_stays_is_told(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    client = connect(sandbox, max_retries=3, max_rate_limit_wait_seconds=100)
    client.get(API, ONE)
    play(sandbox, [problem(429, headers={"x-ratelimit-reset": "30"})] * 99)
    with pytest.raises(RateLimitError, match=r"too many \(429\)"):
        client.get(API, ONE)
    assert len(naps) == 3, "retries have a budget of their own; three times 30 seconds fit into 100"
    assert 90 <= sum(naps) <= 92


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, ParametersError, "does not understand the request"),
        (401, CredentialsError, "was not deleted"),
        (403, TapError, "Use Audit Logs API"),
        (404, GoneError, "Check that api_url is the URL of the team"),
        (410, GoneError, "Check that api_url is the URL of the team"),
        (405, TapError, "unexpected status 405"),
        (418, TapError, "unexpected status 418"),
        (202, TapError, "unexpected status 202"),
        (304, TeamError, "redirects instead of answering"),
    ],
)
def test_what_will_not_pass_is_told_at_once(
    sandbox: Sandbox,
    connect: Callable[..., Client],
    status: int,
    kind: type[TapError],
    advice: str,
) -> None:
    play(sandbox, [problem(status)])
    with pytest.raises(TapError, match=advice) as told:
        connect(sandbox).get(API, ONE)
    assert type(told.value) is kind
    assert str(status) in str(told.value)
    assert PERSONAL not in str(told.value)
    assert len(sandbox.requests) == 1


def test_a_refusal_names_the_permission_in_both_labels(
    connect: Callable[..., Client],
) -> None:
    api = LoginHistoryStream.api
    with Sandbox(days=0, now=NOW, permissions=["audit"]) as sandbox:
        with pytest.raises(TapError) as told:
            connect(sandbox).get(api, ONE)
        assert "scope" not in str(told.value), "a key has none"
        oauth = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
        with pytest.raises(TapError) as told_oauth:
            connect(sandbox, **oauth).get(api, ONE)
    for label in ("Use Login History API", "Admin & Settings – Login history – Use API"):
        assert label in str(told.value)
    assert "IP addresses" in str(told.value)
    assert '"team.login-history:read"' in str(told_oauth.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float], status: int
) -> None:
    with Sandbox(days=0, now=NOW) as other:
        play(sandbox, [Answer(HTTPStatus(status), {"location": other.url + API.path})])
        with pytest.raises(TeamError, match=rf"redirects instead of answering \({status}\)"):
            connect(sandbox).get(API, ONE)
        assert other.requests == []
    assert len(sandbox.requests) == 1
    assert naps == []


def test_a_web_page_is_told_apart_from_data(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    play(sandbox, [Fault.garbage])
    with pytest.raises(TeamError, match=r"web page instead of data.*api_url"):
        connect(sandbox).get(API, ONE)
    assert len(sandbox.requests) == 1
    assert naps == []


@pytest.mark.parametrize(
    "body", [{"content": "x"}, {"content": {}}, {"content": [PERSONAL]}, {"content": [[]]}]
)
def test_a_body_without_a_list_of_records_is_told(
    sandbox: Sandbox, client: Client, body: dict[str, object]
) -> None:
    play(sandbox, [json_answer(body)])
    with pytest.raises(TapError, match="without a list of records") as told:
        make_page(client.get(API, ONE).body, size=1, path=API.path)
    assert PERSONAL not in str(told.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\xef\xbb\xbf{"a": "\xc3\xa4"}', "ä"),
        ('{"a": "ä"}'.encode("utf-16"), "ä"),
        ('{"a": "ä"}'.encode("utf-32-le"), "ä"),
        (b'{"a": 1, "a": 2}', 2),
        (b'{"a": NaN, "a": 2}', 2),
        (b'{"a": [NaN, Infinity, -Infinity]}', ["NaN", "Infinity", "-Infinity"]),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": 1e308}', 1e308),
        (b'{"a": 123456789012345678901234567890}', 123456789012345678901234567890),
        (b'{"a": %s}' % (b"9" * 4_300), 10**4_300 - 1),
        (b'{"a": %s, "b": NaN, "b": 1}' % (b"9" * 4_300), 10**4_300 - 1),
        (b'{"a": %s}' % (b"9" * 4_301), "9" * 4_301),
        (b'{"a": "\\ud800"}', "\ud800"),
        (b'{"a": "\xed\xa0\x80"}', "\ud800"),
        (b'{"a": "\\u0000"}', "\x00"),
    ],
    ids=lambda each: ascii(each[:20]) if isinstance(each, bytes) else "",
)
def test_what_json_may_hold(
    sandbox: Sandbox, client: Client, naps: list[float], data: bytes, value: object
) -> None:
    kinds = ("application/json", "text/plain; charset=iso-8859-1", "")
    play(sandbox, [Answer(HTTPStatus.OK, {"content-type": kind}, data) for kind in kinds])
    for _ in kinds:
        answer = client.get(API, ONE)
        assert answer.body is not None
        assert answer.body["a"] == value
        assert answer.is_odd == (value in ("\ud800", "\x00") or not_for_msgspec(data))
    assert naps == []


def not_for_msgspec(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    return False


def test_an_answer_without_end_is_refused(
    sandbox: Sandbox,
    connect: Callable[..., Client],
    naps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "MAX_BYTES_UNDER_WAY", 8 * 1024 * 1024)
    monkeypatch.setattr(client_module, "MAX_EXPORT_BYTES", 3 * 1024 * 1024)
    large = json_answer({"content": [{"x": "y" * 2_000_000}], "permissions": []})
    larger = json_answer({"permissions": ["y" * 4_000_000]})
    play(sandbox, [large, large, large, larger])
    with pytest.raises(
        TooLargeError,
        match=rf"of {API.path} with a single record is larger than 1 MiB\. Lower max_parallel",
    ):
        connect(sandbox, max_parallel_requests=8).get(API, ONE)
    assert connect(sandbox).get(API, ONE).body, "fewer at once may be larger"
    export = PermissionsStream.api
    assert connect(sandbox, max_parallel_requests=8).get(export, {}).body
    with pytest.raises(TapError, match=rf"of {export.path} is larger than 3 MiB, .* Deselect"):
        connect(sandbox).get(export, {})
    assert naps == []


def test_a_refused_connection_is_told(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float], closed_port: int
) -> None:
    client = connect(sandbox, api_url=f"http://127.0.0.1:{closed_port}")
    with pytest.raises(TeamError, match=f"127.0.0.1:{closed_port} refuses connections") as told:
        client.get(API, ONE)
    assert "api_url" in str(told.value)
    assert len(naps) == 2


def test_an_unknown_host_is_told(sandbox: Sandbox, connect: Callable[..., Client]) -> None:
    client = connect(sandbox, api_url="https://acme.celonis.invalid")
    with pytest.raises(TeamError, match=r"There is no host acme\.celonis\.invalid.*api_url"):
        client.get(API, ONE)


def test_a_port_that_does_not_speak_tls_is_told_at_once(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    client = connect(sandbox, api_url=sandbox.url.replace("http:", "https:"))
    with pytest.raises(TeamError, match=r"does not speak TLS.* host and port in api_url"):
        client.get(API, ONE)
    assert sandbox.requests == []
    assert naps == []


def test_a_missing_certificate_bundle_is_told(
    sandbox: Sandbox, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "no/such/bundle.pem")
    with pytest.raises(TeamError, match=r"no certificates where .* REQUESTS_CA_BUNDLE points"):
        connect(sandbox, api_url=sandbox.url.replace("http:", "https:"))


def test_a_proxy_of_the_environment_is_used(
    sandbox: Sandbox,
    connect: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    closed_port: int,
) -> None:
    monkeypatch.setenv("http_proxy", sandbox.url)  # the sandbox takes what a proxy takes
    team = f"127.0.0.1:{closed_port}"
    assert connect(sandbox, api_url=f"http://{team}").get(API, ONE).body
    assert [request.headers["host"] for request in sandbox.requests] == [team]


def test_a_proxy_that_does_not_answer_is_told(
    sandbox: Sandbox,
    connect: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    closed_port: int,
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:proxy-pw@127.0.0.1:{closed_port}")
    client = connect(sandbox)
    with pytest.raises(TeamError, match=r"The proxy did not let .* NO_PROXY") as told:
        client.get(API, ONE)
    assert "proxy-pw" not in str(told.value)
    assert sandbox.requests == []

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert connect(sandbox).get(API, ONE).body


def test_the_token_request_uses_the_proxy_too(
    sandbox: Sandbox, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", sandbox.url)
    oauth = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    client = connect(sandbox, api_url="http://localhost:9", **oauth)
    assert client.get(API, ONE).body
    assert [request.headers["host"] for request in sandbox.requests] == ["localhost:9"] * 2


def test_one_connection_serves_many_requests(
    sandbox: Sandbox, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = []
    process = sandbox._server.process_request

    def count(request: Any, address: Any) -> None:
        accepted.append(address)
        process(request, address)

    monkeypatch.setattr(sandbox._server, "process_request", count)
    client = connect(sandbox)
    seen: list[Request] = sandbox.requests
    for number in range(5):
        client.get(API, {"pageNumber": number, "pageSize": 1})
    assert len(seen) == 5
    assert len(accepted) == 1
