"""The three ways in, against the sandbox over real HTTP."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tap_celonis_audit.auth import LEEWAY_SECONDS, HeaderAuth, OAuthCredentials
from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import CredentialsError, TapError, TeamError
from tap_celonis_audit.sandbox import Answer, Fault, Request, Sandbox
from tap_celonis_audit.settings import Settings
from tap_celonis_audit.streams import AuditLogsStream, LoginHistoryStream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Hook = Callable[[Sandbox, Request], Answer | Fault | None]

AUDIT, LOGINS = AuditLogsStream.api, LoginHistoryStream.api
TOKEN = "/oauth2/token"
NOW = "2026-03-01T12:00:00Z"
ONE = {"pageNumber": 0, "pageSize": 1}


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with Sandbox(days=1, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def connect(naps: list[float]) -> Generator[Callable[..., Client]]:
    """Give what makes a client for a sandbox and closes it in the end."""
    clients = []

    def connect(sandbox: Sandbox, **config: Any) -> Client:
        settings = Settings.from_config({"api_url": sandbox.url} | config)
        client = Client(settings, sleep=naps.append)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


def oauth(sandbox: Sandbox, **config: Any) -> dict[str, Any]:
    return {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret, **config}


def token_requests(sandbox: Sandbox) -> list[Request]:
    return [request for request in sandbox.requests if request.path == TOKEN]


def api_requests(sandbox: Sandbox) -> list[Request]:
    return [request for request in sandbox.requests if request.path != TOKEN]


def styles(sandbox: Sandbox) -> list[str]:
    """Tell how each token request showed the client's secret."""
    return ["basic" if request.scheme == "Basic" else "post" for request in token_requests(sandbox)]


def token_answer(**payload: object) -> Answer:
    return Answer.json(HTTPStatus.OK, payload)


def at_token(answer: Answer | Fault) -> Hook:
    return lambda _, request: answer if request.path == TOKEN else None


def test_an_application_key_goes_into_the_header(
    sandbox: Sandbox, connect: Callable[..., Client]
) -> None:
    assert connect(sandbox, app_key=sandbox.app_key).get(AUDIT, ONE).body
    assert [request.scheme for request in sandbox.requests] == ["AppKey"]


def test_an_api_key_goes_into_the_header(sandbox: Sandbox, connect: Callable[..., Client]) -> None:
    assert connect(sandbox, api_key=sandbox.api_key).get(AUDIT, ONE).body
    assert [request.scheme for request in sandbox.requests] == ["Bearer"]


def test_an_oauth_client_gets_a_token_first(
    sandbox: Sandbox, connect: Callable[..., Client]
) -> None:
    assert connect(sandbox, **oauth(sandbox)).get(AUDIT, ONE).body
    token, api = sandbox.requests
    assert (token.method, token.path, token.scheme) == ("POST", TOKEN, "Basic")
    assert token.form == {"grant_type": "client_credentials", "scope": "audit.log:read"}
    assert token.query == {}
    assert (api.path, api.scheme) == (AUDIT.path, "Bearer")


def test_credentials_stand_in_the_header_only() -> None:
    request = requests.Request("GET", "https://acme.eu-1.celonis.cloud/x").prepare()
    signed = HeaderAuth("AppKey", "the-key")(request)
    assert signed.headers["Authorization"] == "AppKey the-key"
    assert "the-key" not in str(signed.url)
    assert signed.body is None


@pytest.mark.parametrize(
    ("setting", "registered", "seen"),
    [
        ("basic", "basic", ["basic", "basic"]),
        ("post", "post", ["post", "post"]),
        ("basic", "either", ["basic", "basic"]),
        ("post", "either", ["post", "post"]),
        ("auto", "either", ["basic", "basic"]),
        ("auto", "basic", ["basic", "basic"]),
        # Tries one, then the other, and remembers.
        ("auto", "post", ["basic", "post", "post"]),
    ],
)
def test_the_client_authenticates_as_it_was_registered(
    connect: Callable[..., Client], setting: str, registered: Any, seen: list[str]
) -> None:
    with Sandbox(days=1, now=NOW, oauth_client_auth=registered) as sandbox:
        client = connect(sandbox, **oauth(sandbox, oauth_client_auth=setting))
        client.get(AUDIT, ONE)
        client.get(LOGINS, ONE)
        assert styles(sandbox) == seen


@pytest.mark.parametrize(("setting", "registered"), [("basic", "post"), ("post", "basic")])
def test_the_wrong_client_authentication_is_told(
    connect: Callable[..., Client], setting: str, registered: Any
) -> None:
    with Sandbox(days=0, now=NOW, oauth_client_auth=registered) as sandbox:
        client = connect(sandbox, **oauth(sandbox, oauth_client_auth=setting))
        with pytest.raises(TeamError, match="oauth_client_auth"):
            client.get(AUDIT, ONE)
        assert styles(sandbox) == [setting]
        assert api_requests(sandbox) == []


@pytest.mark.parametrize("wrong", ["client_id", "client_secret"])
def test_a_wrong_client_is_refused_after_both_ways(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float], wrong: str
) -> None:
    client = connect(sandbox, **(oauth(sandbox) | {wrong: "not-the-one"}))
    with pytest.raises(TeamError, match="Check client_id and client_secret") as told:
        client.get(AUDIT, ONE)
    assert "not-the-one" not in str(told.value)
    assert styles(sandbox) == ["basic", "post"]
    assert naps == []


@pytest.mark.parametrize("style", ["basic", "post"])
@pytest.mark.parametrize(
    ("client_id", "client_secret"),
    [
        ("plain", "a&b=c%20d+e/f"),
        ("with:colon", "sec:ret"),
        ("with space", " leading and trailing "),
        ("per%cent", '%25"quoted"\\;#?'),
    ],
)
def test_secrets_are_encoded_for_the_form(
    sandbox: Sandbox,
    connect: Callable[..., Client],
    style: str,
    client_id: str,
    client_secret: str,
) -> None:
    desk = sandbox._token_desk
    desk._credentials = replace(desk._credentials, client_id=client_id, client_secret=client_secret)
    client = connect(
        sandbox, client_id=client_id, client_secret=client_secret, oauth_client_auth=style
    )
    assert client.get(AUDIT, ONE).body
    assert styles(sandbox) == [style]


def test_each_scope_has_one_token_of_its_own(
    sandbox: Sandbox, connect: Callable[..., Client]
) -> None:
    client = connect(sandbox, **oauth(sandbox))
    for _ in range(3):
        client.get(AUDIT, ONE)
        client.get(LOGINS, ONE)
    scopes = [request.form["scope"] for request in token_requests(sandbox)]
    assert scopes == ["audit.log:read", "team.login-history:read"]
    assert len(api_requests(sandbox)) == 6


def test_no_token_is_asked_for_before_it_is_needed(
    sandbox: Sandbox, connect: Callable[..., Client]
) -> None:
    connect(sandbox, **oauth(sandbox)).get(LOGINS, ONE)
    assert [request.form["scope"] for request in token_requests(sandbox)] == [
        "team.login-history:read"
    ]


@pytest.mark.parametrize("registered", ["either", "post"])
def test_the_scope_is_tried_in_its_newer_spelling(
    connect: Callable[..., Client], registered: Any
) -> None:
    def only_newer(_: Sandbox, request: Request) -> Answer | None:
        if request.form.get("scope", "").endswith(":read") and request.scheme != "Basic":
            return Answer.json(HTTPStatus.BAD_REQUEST, {"error": "invalid_scope"})
        if request.form.get("scope", "").endswith(":read") and registered == "either":
            return Answer.json(HTTPStatus.BAD_REQUEST, {"error": "invalid_scope"})
        return None

    with Sandbox(days=1, now=NOW, oauth_client_auth=registered, hook=only_newer) as sandbox:
        client = connect(sandbox, **oauth(sandbox))
        assert client.get(AUDIT, ONE).body
        tried = [request.form["scope"] for request in token_requests(sandbox)]
        assert tried[-2:] == ["audit.log:read", "audit.log"]
        assert styles(sandbox)[-1] == ("post" if registered == "post" else "basic")


@pytest.mark.parametrize("registered", ["either", "basic", "post"])
def test_a_scope_that_the_client_does_not_hold_is_named(
    connect: Callable[..., Client], naps: list[float], registered: Any
) -> None:
    held = ["team.login-history:read"]
    with Sandbox(days=1, now=NOW, scopes=held, oauth_client_auth=registered) as sandbox:
        client = connect(sandbox, **oauth(sandbox))
        with pytest.raises(TapError, match=r'"audit\.log:read"') as told:
            client.get(AUDIT, ONE)
        assert not isinstance(told.value, TeamError), "the other stream may go on"
        assert AUDIT.permission in str(told.value)
        assert {"audit.log:read", "audit.log"} == {
            request.form["scope"] for request in token_requests(sandbox)
        }
        assert client.get(LOGINS, ONE).body
        assert naps == []


@pytest.mark.parametrize(
    ("ttl", "renewed_after"), [(899, 899 - LEEWAY_SECONDS), (100, 50), (10, 5)]
)
def test_a_token_is_renewed_before_it_ends(ttl: float, renewed_after: float) -> None:
    time = 1_000.0
    with (
        Sandbox(days=0, now=NOW, token_ttl_seconds=ttl) as sandbox,
        requests.Session() as session,
    ):
        settings = Settings.from_config({"api_url": sandbox.url, **oauth(sandbox)})
        credentials = OAuthCredentials(settings, session=session, monotonic=lambda: time)
        first = credentials.authorize(AUDIT)
        time += renewed_after - 0.01
        assert credentials.authorize(AUDIT) is first
        assert len(token_requests(sandbox)) == 1
        time += 0.01
        assert credentials.authorize(AUDIT) is not first
        assert len(token_requests(sandbox)) == 2
        time += renewed_after - 0.01
        credentials.authorize(AUDIT)
        assert len(token_requests(sandbox)) == 2, "the second token has a life of its own"


def test_a_token_of_unknown_life_is_renewed_too(sandbox: Sandbox) -> None:
    sandbox.hook = at_token(token_answer(access_token="t", token_type="Bearer"))
    time = 0.0
    with requests.Session() as session:
        settings = Settings.from_config({"api_url": sandbox.url, **oauth(sandbox)})
        credentials = OAuthCredentials(settings, session=session, monotonic=lambda: time)
        credentials.authorize(AUDIT)
        time = 830.0
        credentials.authorize(AUDIT)
        assert len(token_requests(sandbox)) == 1
        time = 840.0
        credentials.authorize(AUDIT)
        assert len(token_requests(sandbox)) == 2


def test_a_token_that_was_revoked_is_replaced_once(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    client = connect(sandbox, **oauth(sandbox))
    client.get(AUDIT, ONE)
    for revocations in (1, 2):
        sandbox.revoke_tokens()
        assert client.get(AUDIT, ONE).body
        assert len(token_requests(sandbox)) == 1 + revocations
    assert naps == []


def test_a_fresh_token_that_is_refused_ends_it(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    client = connect(sandbox, **oauth(sandbox))
    client.get(AUDIT, ONE)
    sandbox.requests.clear()
    sandbox.hook = lambda _, request: (
        Answer(HTTPStatus.UNAUTHORIZED) if request.path == AUDIT.path else None
    )
    with pytest.raises(TapError, match=r"new access token \(401\).*audit\.log:read"):
        client.get(AUDIT, ONE)
    assert len(api_requests(sandbox)) == 2
    assert len(token_requests(sandbox)) == 1
    assert naps == []


@pytest.mark.parametrize("unauthorized", ["problem", "short", "empty"])
@pytest.mark.parametrize("way", ["app_key", "api_key"])
def test_a_key_that_is_refused_is_not_tried_twice(
    connect: Callable[..., Client], naps: list[float], way: str, unauthorized: Any
) -> None:
    with Sandbox(days=0, now=NOW, unauthorized=unauthorized) as sandbox:
        client = connect(sandbox, **{way: "not-the-key"})
        with pytest.raises(CredentialsError, match="401") as told:
            client.get(AUDIT, ONE)
        assert len(sandbox.requests) == 1
    assert "not-the-key" not in str(told.value)
    assert AUDIT.permission in str(told.value)
    assert naps == []


def test_many_threads_share_one_token(sandbox: Sandbox) -> None:
    sandbox.latency_ms = 50
    with requests.Session() as session, ThreadPoolExecutor(8) as pool:
        settings = Settings.from_config({"api_url": sandbox.url, **oauth(sandbox)})
        credentials = OAuthCredentials(settings, session=session)
        given = set(pool.map(credentials.authorize, [AUDIT] * 8))
    assert len(given) == 1
    assert len(token_requests(sandbox)) == 1


def test_many_threads_share_one_renewal(sandbox: Sandbox) -> None:
    config = {"api_url": sandbox.url, **oauth(sandbox, max_parallel_requests=8)}
    client = Client(Settings.from_config(config))
    together = threading.Barrier(8)

    def ask(number: int) -> bool:
        together.wait(10)
        return client.get((AUDIT, LOGINS)[number % 2], ONE).body is not None

    with contextlib.closing(client), ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
        sandbox.latency_ms = 100  # so that all are on their way before the first one comes back
        for renewals in (1, 2):
            sandbox.revoke_tokens()
            sandbox.requests.clear()
            assert all(pool.map(ask, range(8)))
            scopes = [request.form["scope"] for request in token_requests(sandbox)]
            assert sorted(scopes) == ["audit.log:read", "team.login-history:read"], renewals
            assert len(api_requests(sandbox)) == 16


def test_a_newer_token_is_used_before_another_one_is_asked_for(sandbox: Sandbox) -> None:
    settings = Settings.from_config({"api_url": sandbox.url, **oauth(sandbox)})
    with requests.Session() as session:
        credentials = OAuthCredentials(settings, session=session)
        old = credentials.authorize(AUDIT)
        assert credentials.renew(AUDIT, old)
        new = credentials.authorize(AUDIT)
        assert new is not old
        assert credentials.renew(AUDIT, old), "refused on its way while it was replaced"
        assert credentials.authorize(AUDIT) is new
        assert len(token_requests(sandbox)) == 2


@pytest.mark.parametrize(
    "bad",
    [
        Fault.drop,
        Fault.truncate,
        Answer(HTTPStatus.SERVICE_UNAVAILABLE),
        Answer(HTTPStatus.OK, {}, b"no json, secret-in-body"),
        Answer.json(HTTPStatus.OK, ["secret-in-body"]),
        token_answer(token_type="Bearer", secret="secret-in-body"),
        token_answer(access_token="", expires_in=899),
        token_answer(access_token="secret-in-body\r\nX-Other: 1", expires_in=899),
        token_answer(access_token="secret-in-body", expires_in="soon"),
        token_answer(access_token=12, expires_in=899),
    ],
    ids=str,
)
def test_a_token_endpoint_in_trouble_is_asked_again(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float], bad: Answer | Fault
) -> None:
    answers: list[Answer | Fault] = [bad, bad]
    sandbox.hook = lambda _, request: answers.pop() if answers and request.path == TOKEN else None
    client = connect(sandbox, **oauth(sandbox))
    assert client.get(AUDIT, ONE).body
    assert len(naps) == 2

    answers = [bad] * 9
    sandbox.revoke_tokens()
    with pytest.raises(TapError) as told:
        client.get(AUDIT, ONE)
    assert answers == [], "eight retries"
    assert "secret-in-body" not in str(told.value)


def test_a_bad_first_answer_of_the_token_endpoint_is_not_waited_for_long(
    sandbox: Sandbox, connect: Callable[..., Client], naps: list[float]
) -> None:
    sandbox.hook = at_token(Answer(HTTPStatus.SERVICE_UNAVAILABLE))
    with pytest.raises(TeamError, match=r"token endpoint .* keeps failing \(503\)"):
        connect(sandbox, **oauth(sandbox)).get(AUDIT, ONE)
    assert len(naps) == 2


@pytest.mark.parametrize(
    "status", [HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.FORBIDDEN]
)
def test_a_host_without_a_token_endpoint_is_told(
    sandbox: Sandbox, connect: Callable[..., Client], status: HTTPStatus
) -> None:
    sandbox.hook = at_token(Answer(status))
    with pytest.raises(TeamError, match="api_url"):
        connect(sandbox, **oauth(sandbox)).get(AUDIT, ONE)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("style", ["basic", "post"])
def test_the_token_request_is_never_redirected(
    sandbox: Sandbox, connect: Callable[..., Client], status: int, style: str
) -> None:
    with Sandbox(days=0, now=NOW) as other:
        location = {"location": f"{other.url}{TOKEN}"}
        sandbox.hook = at_token(Answer(HTTPStatus(status), location))
        client = connect(sandbox, **oauth(sandbox, oauth_client_auth=style))
        with pytest.raises(TeamError, match=str(status)):
            client.get(AUDIT, ONE)
        assert other.requests == []
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("style", ["basic", "post"])
def test_netrc_is_not_used(
    sandbox: Sandbox,
    connect: Callable[..., Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    style: str,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login from-netrc password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    control = requests.get(f"{sandbox.url}{AUDIT.path}", timeout=10)
    assert control.request.headers["Authorization"].startswith("Basic"), "the trap works"
    sandbox.requests.clear()

    connect(sandbox, app_key=sandbox.app_key).get(AUDIT, ONE)
    connect(sandbox, **oauth(sandbox, oauth_client_auth=style)).get(AUDIT, ONE)

    token_scheme = {"basic": "Basic", "post": ""}[style]
    assert [r.scheme for r in sandbox.requests] == ["AppKey", token_scheme, "Bearer"]
