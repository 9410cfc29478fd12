"""The sandbox over HTTP, against the documented contract."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import pytest
import requests

from tap_celonis_audit.sandbox import Answer, Fault, Request, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AUDIT = "/log/api/external/audit"
LOGINS = "/api/external/authentication-events"
TOKEN = "/oauth2/token"
NOW = "2026-03-01T12:00:00Z"
FORMER_SCOPE, PLAIN_SCOPE = "audit.log:read", "audit.log"
ENVELOPE = ["content", "pageNumber", "pageSize", "totalCount"]


@pytest.fixture(scope="module")
def busy() -> Iterator[Sandbox]:
    """A team with two months of history that no test changes."""
    with Sandbox(days=60, now=NOW) as sandbox:
        yield sandbox


def empty_team(**knobs: Any) -> Sandbox:
    return Sandbox(days=0, now=NOW, **knobs)


def audit_record(timestamp: str, event: str = "STUDIO_NODE_UPDATED") -> dict[str, Any]:
    return {"userId": "a (a@example.com)", "event": event, "timestamp": timestamp}


def fill(sandbox: Sandbox, *timestamps: str) -> None:
    sandbox.audit.extend(
        audit_record(timestamp, f"E{number}") for number, timestamp in enumerate(timestamps)
    )


def ask(
    web: requests.Session, sandbox: Sandbox, path: str = AUDIT, **query: object
) -> requests.Response:
    parameters = {name.rstrip("_"): str(value) for name, value in query.items()}
    headers = {"Authorization": f"AppKey {sandbox.app_key}"}
    return web.get(sandbox.url + path, params=parameters, headers=headers, timeout=10)


def names(answer: requests.Response) -> list[str]:
    if answer.status_code == HTTPStatus.NO_CONTENT:
        return []
    return [record["event"] for record in answer.json()["content"]]


def token_request(
    web: requests.Session, sandbox: Sandbox, *, secret: str = "", **form: str
) -> requests.Response:
    fields = {
        "grant_type": "client_credentials",
        "client_id": sandbox.client_id,
        "client_secret": secret or sandbox.client_secret,
        **form,
    }
    return web.post(sandbox.url + TOKEN, data=fields, timeout=10)


def basic_token_request(
    web: requests.Session, sandbox: Sandbox, *, encode: bool = True
) -> requests.Response:
    pair = [sandbox.client_id, sandbox.client_secret]
    text = ":".join(quote_plus(part) if encode else part for part in pair)
    headers = {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}
    fields = {"grant_type": "client_credentials", "scope": FORMER_SCOPE}
    return web.post(sandbox.url + TOKEN, data=fields, headers=headers, timeout=10)


def with_bearer(
    web: requests.Session, sandbox: Sandbox, token: str, path: str = AUDIT
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return web.get(sandbox.url + path, headers=headers, timeout=10)


def assert_problem(answer: requests.Response, status: HTTPStatus, code: str) -> None:
    assert answer.status_code == status
    problem = answer.json()
    assert list(problem) == ["title", "status", "detail", "errorCode"]
    assert problem["status"] == status
    assert problem["errorCode"] == code


class TestContract:
    def test_audit_page(self, web: requests.Session, busy: Sandbox) -> None:
        answer = ask(web, busy)
        assert answer.status_code == HTTPStatus.OK
        assert answer.headers["content-type"] == "application/json"
        page = answer.json()
        assert list(page) == ENVELOPE
        assert (page["pageNumber"], page["pageSize"]) == (0, 200)
        assert page["totalCount"] == len(busy.audit) > 1_000
        assert len(page["content"]) == 200
        assert page["content"] == busy.audit.visible[:200]

    def test_login_page(self, web: requests.Session, busy: Sandbox) -> None:
        page = ask(web, busy, LOGINS, pageNumber=1, pageSize=50).json()
        assert list(page) == ENVELOPE
        assert (page["pageNumber"], page["pageSize"]) == (1, 50)
        assert page["totalCount"] == len(busy.logins)
        assert page["content"] == busy.logins.visible[50:100]
        assert list(page["content"][0]) == [
            "authenticationEventType",
            "email",
            "success",
            "timestamp",
        ]

    def test_pages_partition_a_range(self, web: requests.Session, busy: Sandbox) -> None:
        start, stop = "2026-02-02T00:00:00", "2026-02-08T23:59:59.999Z"
        expected = [r for r in busy.audit.visible if start <= r["timestamp"] <= stop]
        received: list[object] = []
        for number in range(-(-len(expected) // 90)):
            page = ask(web, busy, from_=start, to=stop, pageNumber=number, pageSize=90).json()
            assert page["totalCount"] == len(expected)
            received += page["content"]
        assert received == expected

    def test_a_range_without_records_is_204(self, web: requests.Session, busy: Sandbox) -> None:
        answer = ask(web, busy, from_="2031-01-01T00:00:00")
        assert answer.status_code == HTTPStatus.NO_CONTENT
        assert answer.content == b""
        assert "content-length" not in answer.headers
        assert ask(web, busy, pageNumber=99_999).status_code == HTTPStatus.NO_CONTENT

    @pytest.mark.parametrize(
        "spelling",
        [
            "2026-02-10T08:00:00",
            "2026-02-10T08:00:00.000",
            "2026-02-10T08:00:00Z",
            "2026-02-10T08:00:00.000000Z",
            "2026-02-10T09:00:00+01:00",
            "2026-02-10T02:00:00.0-06:00",
        ],
    )
    def test_spellings_of_a_bound(
        self, web: requests.Session, busy: Sandbox, spelling: str
    ) -> None:
        expected = sum(r["timestamp"] >= "2026-02-10T08:00:00.000Z" for r in busy.audit.visible)
        assert ask(web, busy, from_=spelling).json()["totalCount"] == expected > 0

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("pageSize", "0"),
            ("pageSize", "201"),
            ("pageSize", "abc"),
            ("pageSize", "-1"),
            ("pageSize", "²"),
            ("pageNumber", "-1"),
            ("pageNumber", "1.0"),
            ("from", "yesterday"),
            ("from", "2026-02-10"),
            ("to", "2026-02-30T00:00:00"),
            ("to", ""),
        ],
    )
    def test_bad_parameters(
        self, web: requests.Session, busy: Sandbox, name: str, value: str
    ) -> None:
        answer = ask(web, busy, **{name: value})
        assert_problem(answer, HTTPStatus.BAD_REQUEST, "GENERAL_PARAMETER_MISSMATCH")
        assert name in answer.json()["detail"]

    @pytest.mark.parametrize(
        "path", ["/", "/log/api/external/v3/audit", AUDIT + "/", "/sandbox/other"]
    )
    def test_unknown_paths(self, web: requests.Session, busy: Sandbox, path: str) -> None:
        assert_problem(ask(web, busy, path), HTTPStatus.NOT_FOUND, "GENERAL_NOTFOUND_PATH")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
    def test_other_methods(self, web: requests.Session, busy: Sandbox, method: str) -> None:
        answer = web.request(method, busy.url + AUDIT, timeout=10)
        assert_problem(answer, HTTPStatus.METHOD_NOT_ALLOWED, "GENERAL_METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET"

    def test_head_has_no_body_and_keeps_the_connection(
        self, web: requests.Session, busy: Sandbox
    ) -> None:
        assert web.head(busy.url + AUDIT, timeout=10).status_code == HTTPStatus.METHOD_NOT_ALLOWED
        assert ask(web, busy).status_code == HTTPStatus.OK

    def test_token_endpoint_is_for_posting(self, web: requests.Session, busy: Sandbox) -> None:
        answer = web.get(busy.url + TOKEN, timeout=10)
        assert_problem(answer, HTTPStatus.METHOD_NOT_ALLOWED, "GENERAL_METHOD_NOT_ALLOWED")

    def test_every_answer_tells_the_limits(self, web: requests.Session, busy: Sandbox) -> None:
        for answer in (ask(web, busy), ask(web, busy, pageSize=0), ask(web, busy, "/nowhere")):
            assert int(answer.headers["x-ratelimit-limit"]) > 0
            assert int(answer.headers["x-ratelimit-remaining"]) > 0
            assert "x-ratelimit-reset" not in answer.headers

    def test_date_is_the_time_of_the_sandbox(self, web: requests.Session) -> None:
        with empty_team() as sandbox:
            assert ask(web, sandbox).headers["date"] == "Sun, 01 Mar 2026 12:00:00 GMT"
            sandbox.clock.advance(seconds=90)
            assert ask(web, sandbox).headers["date"] == "Sun, 01 Mar 2026 12:01:30 GMT"
            assert token_request(web, sandbox).headers["date"].endswith("12:01:30 GMT")


class TestCredentials:
    @pytest.mark.parametrize(
        "authorization",
        ["", "AppKey", "AppKey wrong", "Bearer {app_key}", "AppKey {api_key}", "Basic {app_key}"],
    )
    def test_missing_or_wrong(
        self, web: requests.Session, busy: Sandbox, authorization: str
    ) -> None:
        value = authorization.format(app_key=busy.app_key, api_key=busy.api_key)
        headers = {"Authorization": value} if value else {}
        answer = web.get(busy.url + AUDIT, headers=headers, timeout=10)
        assert_problem(answer, HTTPStatus.UNAUTHORIZED, "GENERAL_UNAUTHORIZED")

    @pytest.mark.parametrize(
        ("form", "body"), [("short", b'{"error": "Unauthorized"}'), ("empty", b"")]
    )
    def test_other_forms_of_401(self, web: requests.Session, form: Any, body: bytes) -> None:
        with empty_team(unauthorized=form) as sandbox:
            answer = web.get(sandbox.url + AUDIT, timeout=10)
            assert (answer.status_code, answer.content) == (HTTPStatus.UNAUTHORIZED, body)

    def test_user_api_key(self, web: requests.Session, busy: Sandbox) -> None:
        assert with_bearer(web, busy, busy.api_key).status_code == HTTPStatus.OK

    def test_credentials_are_fixed_by_the_seed(self) -> None:
        with empty_team(seed=7) as one, empty_team(seed=7) as two, empty_team(seed=8) as other:
            ways = ("app_key", "api_key", "client_id", "client_secret")
            assert [getattr(one, way) for way in ways] == [getattr(two, way) for way in ways]
            assert all(getattr(one, way) != getattr(other, way) for way in ways)

    def test_token(self, web: requests.Session, busy: Sandbox) -> None:
        answer = token_request(web, busy, scope=FORMER_SCOPE)
        assert answer.status_code == HTTPStatus.OK
        grant = answer.json()
        assert list(grant) == ["access_token", "token_type", "scope", "expires_in"]
        assert grant["token_type"] == "Bearer"
        assert grant["scope"] == FORMER_SCOPE
        assert grant["expires_in"] == 899
        assert with_bearer(web, busy, grant["access_token"]).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("scope", [FORMER_SCOPE, PLAIN_SCOPE])
    def test_a_token_is_good_for_its_scope_only(
        self, web: requests.Session, busy: Sandbox, scope: str
    ) -> None:
        token = token_request(web, busy, scope=scope).json()["access_token"]
        assert with_bearer(web, busy, token).status_code == HTTPStatus.OK
        refused = with_bearer(web, busy, token, LOGINS)
        assert_problem(refused, HTTPStatus.FORBIDDEN, "ADMIN_ACCESS_ERROR")

    def test_without_scope_all_are_granted(self, web: requests.Session, busy: Sandbox) -> None:
        token = token_request(web, busy).json()["access_token"]
        for path in (AUDIT, LOGINS):
            assert with_bearer(web, busy, token, path).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("held", [FORMER_SCOPE, PLAIN_SCOPE])
    def test_scopes_held(self, web: requests.Session, held: str) -> None:
        with empty_team(scopes=[held]) as sandbox:
            for scope in (FORMER_SCOPE, PLAIN_SCOPE):
                assert token_request(web, sandbox, scope=scope).status_code == HTTPStatus.OK
            answer = token_request(web, sandbox, scope=f"{held} team.login-history:read")
            assert answer.status_code == HTTPStatus.BAD_REQUEST
            assert answer.json()["error"] == "invalid_scope"

    def test_basic_credentials_are_form_encoded(self, web: requests.Session, busy: Sandbox) -> None:
        assert basic_token_request(web, busy).status_code == HTTPStatus.OK
        plain = basic_token_request(web, busy, encode=False)
        assert plain.status_code == HTTPStatus.UNAUTHORIZED

    @pytest.mark.parametrize(
        ("style", "basic", "post"),
        [
            ("either", HTTPStatus.OK, HTTPStatus.OK),
            ("basic", HTTPStatus.OK, HTTPStatus.UNAUTHORIZED),
            ("post", HTTPStatus.UNAUTHORIZED, HTTPStatus.OK),
        ],
    )
    def test_client_authentication(
        self, web: requests.Session, style: Any, basic: HTTPStatus, post: HTTPStatus
    ) -> None:
        with empty_team(oauth_client_auth=style) as sandbox:
            in_header, in_form = basic_token_request(web, sandbox), token_request(web, sandbox)
        assert (in_header.status_code, in_form.status_code) == (basic, post)
        for answer in (in_header, in_form):
            if answer.status_code == HTTPStatus.UNAUTHORIZED:
                assert answer.json() == {"error": "invalid_client"}
                assert answer.headers["www-authenticate"] == "Basic"

    def test_wrong_secret(self, web: requests.Session, busy: Sandbox) -> None:
        answer = token_request(web, busy, secret="wrong")
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert answer.json() == {"error": "invalid_client"}
        garbled = web.post(
            busy.url + TOKEN, headers={"Authorization": "Basic ???"}, data={"a": "b"}, timeout=10
        )
        assert garbled.json() == {"error": "invalid_client"}

    @pytest.mark.parametrize(
        ("grant", "error"), [("password", "unsupported_grant_type"), (None, "invalid_request")]
    )
    def test_other_grants(
        self, web: requests.Session, busy: Sandbox, grant: str | None, error: str
    ) -> None:
        fields = {"client_id": busy.client_id, "client_secret": busy.client_secret}
        if grant:
            fields["grant_type"] = grant
        answer = web.post(busy.url + TOKEN, data=fields, timeout=10)
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert answer.json() == {"error": error}

    def test_tokens_expire_by_the_clock(self, web: requests.Session) -> None:
        with Sandbox(days=1, now=NOW, token_ttl_seconds=60) as sandbox:
            grant = token_request(web, sandbox).json()
            assert grant["expires_in"] == 60
            sandbox.clock.advance(seconds=59.9)
            assert with_bearer(web, sandbox, grant["access_token"]).status_code == HTTPStatus.OK
            sandbox.clock.advance(seconds=0.1)
            answer = with_bearer(web, sandbox, grant["access_token"])
            assert answer.status_code == HTTPStatus.UNAUTHORIZED

    def test_tokens_can_be_revoked(self, web: requests.Session) -> None:
        with Sandbox(days=1, now=NOW) as sandbox:
            token = token_request(web, sandbox).json()["access_token"]
            assert with_bearer(web, sandbox, token).status_code == HTTPStatus.OK
            sandbox.revoke_tokens()
            assert with_bearer(web, sandbox, token).status_code == HTTPStatus.UNAUTHORIZED

    def test_permissions(self, web: requests.Session) -> None:
        with Sandbox(days=1, now=NOW, permissions=["logins"]) as sandbox:
            assert ask(web, sandbox, LOGINS).status_code == HTTPStatus.OK
            refused = ask(web, sandbox, AUDIT)
            assert_problem(refused, HTTPStatus.FORBIDDEN, "ADMIN_ACCESS_ERROR")
            assert refused.json()["detail"] == "Access Denied."
            sandbox.play(permissions=["audit"])
            assert ask(web, sandbox, AUDIT).status_code == HTTPStatus.OK

    def test_a_missing_permission_can_be_a_401(self, web: requests.Session) -> None:
        with empty_team(permissions=(), refusal="401") as sandbox:
            refused = ask(web, sandbox)
            assert_problem(refused, HTTPStatus.UNAUTHORIZED, "GENERAL_UNAUTHORIZED")


class TestReading:
    """Each knob turns the answer to one open question."""

    TIMES = (
        "2026-02-01T10:00:00.000Z",
        "2026-02-01T10:00:00.400Z",
        "2026-02-01T10:00:01.000Z",
        "2026-02-01T10:00:01.600Z",
        "2026-02-01T10:00:02.000Z",
    )

    @pytest.mark.parametrize(
        ("bounds", "precision", "expected"),
        [
            ("inclusive", "millisecond", ["E1", "E2", "E3"]),
            ("exclusive", "millisecond", ["E2"]),
            ("half-open", "millisecond", ["E1", "E2"]),
            ("inclusive", "second", ["E0", "E1", "E2", "E3"]),
            ("exclusive", "second", []),
            ("half-open", "second", ["E0", "E1"]),
        ],
    )
    def test_bounds_and_precision(
        self, web: requests.Session, bounds: Any, precision: Any, expected: list[str]
    ) -> None:
        with empty_team(bounds=bounds, precision=precision) as sandbox:
            fill(sandbox, *self.TIMES)
            answer = ask(web, sandbox, from_=self.TIMES[1], to=self.TIMES[3])
            assert names(answer) == expected
            assert len(names(ask(web, sandbox))) == 5

    def test_descending(self, web: requests.Session) -> None:
        with empty_team(order="descending") as sandbox:
            fill(sandbox, *self.TIMES)
            assert names(ask(web, sandbox)) == ["E4", "E3", "E2", "E1", "E0"]
            assert names(ask(web, sandbox, pageSize=2, pageNumber=1)) == ["E2", "E1"]
            assert names(ask(web, sandbox, pageSize=2, pageNumber=2)) == ["E0"]
            assert names(ask(web, sandbox, to=self.TIMES[1])) == ["E1", "E0"]

    def test_unstable_moves_ties_only(self, web: requests.Session) -> None:
        tie = ["2026-02-01T10:00:01.000Z"] * 6
        with empty_team(order="unstable") as sandbox:
            fill(sandbox, self.TIMES[0], *tie, self.TIMES[4])
            orders = Counter(tuple(names(ask(web, sandbox))) for _ in range(12))
            assert len(orders) > 1
            for order in orders:
                assert (order[0], order[-1]) == ("E0", "E7")
                assert sorted(order) == [f"E{number}" for number in range(8)]
            # A tie that crosses the border of a page loses and doubles records between requests.
            seconds = {
                tuple(sorted(names(ask(web, sandbox, pageSize=4, pageNumber=1)))) for _ in range(12)
            }
            assert len(seconds) > 1
            assert all("E7" in second and "E0" not in second for second in seconds)

    def test_shuffled_moves_everything(self, web: requests.Session) -> None:
        with empty_team(order="shuffled") as sandbox:
            fill(sandbox, *self.TIMES)
            orders = {tuple(names(ask(web, sandbox))) for _ in range(12)}
            assert len(orders) > 1
            assert {tuple(sorted(order)) for order in orders} == {("E0", "E1", "E2", "E3", "E4")}
            pages = {tuple(names(ask(web, sandbox, pageSize=1))) for _ in range(20)}
            assert len(pages) > 1
            assert len(names(ask(web, sandbox, pageSize=4, pageNumber=1))) == 1

    def test_ascending_is_stable(self, web: requests.Session) -> None:
        with empty_team() as sandbox:
            fill(sandbox, *["2026-02-01T10:00:01.000Z"] * 6)
            assert {tuple(names(ask(web, sandbox))) for _ in range(5)} == {
                ("E0", "E1", "E2", "E3", "E4", "E5")
            }

    def test_empty_as_a_list(self, web: requests.Session) -> None:
        with empty_team(empty="list") as sandbox:
            answer = ask(web, sandbox)
            assert answer.status_code == HTTPStatus.OK
            expected = {"content": [], "pageNumber": 0, "pageSize": 200, "totalCount": 0}
            assert answer.json() == expected

    def test_max_page_size(self, web: requests.Session) -> None:
        with empty_team(max_page_size=2) as sandbox:
            fill(sandbox, *self.TIMES)
            page = ask(web, sandbox, pageSize=200, pageNumber=1).json()
            assert page["pageSize"] == 2
            assert [record["event"] for record in page["content"]] == ["E2", "E3"]
            assert page["totalCount"] == 5
            assert ask(web, sandbox, pageSize=1).json()["pageSize"] == 1

    @pytest.mark.parametrize(
        ("count", "expected"),
        [
            ("exact", 5),
            ("missing", None),
            ("negative", -1),
            ("text", "5"),
            ("frozen:3", 3),
            ("capped:2", 2),
            ("capped:9", 5),
        ],
    )
    def test_count(self, web: requests.Session, count: str, expected: object) -> None:
        with empty_team(count=count) as sandbox:
            fill(sandbox, *self.TIMES)
            page = ask(web, sandbox).json()
            assert page.get("totalCount") == expected
            assert ("totalCount" in page) == (count != "missing")
            assert len(page["content"]) == 5

    @pytest.mark.parametrize(
        ("ignored", "expected"),
        [
            ("from", ["E0", "E1", "E2", "E3"]),
            ("to", ["E2", "E3", "E4"]),
            ("pageSize", ["E2", "E3"]),
            ("pageNumber", ["E2", "E3"]),
        ],
    )
    def test_ignored_parameters(
        self, web: requests.Session, ignored: str, expected: list[str]
    ) -> None:
        with empty_team(ignore=[ignored]) as sandbox:
            fill(sandbox, *self.TIMES)
            answer = ask(
                web,
                sandbox,
                from_=self.TIMES[2],
                to=self.TIMES[3],
                pageSize="none" if ignored == "pageSize" else 200,
                pageNumber=7 if ignored == "pageNumber" else 0,
            )
            assert names(answer) == expected

    @pytest.mark.parametrize(
        ("shift", "expected"), [(0, ["E1", "E2"]), (1, ["E2", "E3"]), (-2, ["E0"])]
    )
    def test_shift(self, web: requests.Session, shift: float, expected: list[str]) -> None:
        with empty_team(shift_hours=shift) as sandbox:
            fill(sandbox, *(f"2026-02-01T{hour:02d}:30:00.000Z" for hour in (9, 10, 11, 12)))
            span = {"from_": "2026-02-01T10:00:00", "to": "2026-02-01T12:00:00"}
            assert names(ask(web, sandbox, **span)) == expected

    def test_the_rules_can_change_while_it_runs(self, web: requests.Session) -> None:
        with empty_team() as sandbox:
            fill(sandbox, *self.TIMES)
            assert names(ask(web, sandbox))[0] == "E0"
            sandbox.play(order="descending", count="missing")
            assert names(ask(web, sandbox))[0] == "E4"
            assert "totalCount" not in ask(web, sandbox).json()
            with pytest.raises(ValueError, match="order must be one of"):
                sandbox.play(order="sideways")


class TestTraffic:
    def test_latency(self, web: requests.Session) -> None:
        with empty_team(latency_ms=60) as sandbox:
            begun = time.monotonic()
            ask(web, sandbox)
            assert time.monotonic() - begun >= 0.06

    def test_rate_limit(self, web: requests.Session) -> None:
        with Sandbox(days=1, now=NOW, rate_limit=3) as sandbox:
            answers = [ask(web, sandbox) for _ in range(20)]
            allowed = [a for a in answers if a.status_code == HTTPStatus.OK]
            refused = [a for a in answers if a.status_code == HTTPStatus.TOO_MANY_REQUESTS]
            assert len(allowed) + len(refused) == 20
            assert refused
            assert allowed
            assert {a.headers["x-ratelimit-limit"] for a in answers} == {"3"}
            assert allowed[0].headers["x-ratelimit-remaining"] in {"2", "1", "0"}
            assert_problem(refused[0], HTTPStatus.TOO_MANY_REQUESTS, "LIMIT_RATE_EXCEEDED")
            assert refused[0].headers["x-ratelimit-remaining"] == "0"
            wait_seconds = int(refused[0].headers["x-ratelimit-reset"])
            assert wait_seconds == 1
            time.sleep(wait_seconds)
            assert ask(web, sandbox).status_code == HTTPStatus.OK

    def test_requests_are_remembered_without_credentials(self, web: requests.Session) -> None:
        with empty_team() as sandbox:
            ask(web, sandbox, from_="2026-01-01T00:00:00+01:00", pageSize=5)
            basic_token_request(web, sandbox)
            token = token_request(web, sandbox, scope=PLAIN_SCOPE).json()["access_token"]
            with_bearer(web, sandbox, token, LOGINS)
            seen = [(request.method, request.path, request.scheme) for request in sandbox.requests]
            assert seen == [
                ("GET", AUDIT, "AppKey"),
                ("POST", TOKEN, "Basic"),
                ("POST", TOKEN, ""),
                ("GET", LOGINS, "Bearer"),
            ]
            assert sandbox.requests[0].query == {
                "from": "2026-01-01T00:00:00+01:00",
                "pageSize": "5",
            }
            assert sandbox.requests[2].form == {
                "grant_type": "client_credentials",
                "scope": PLAIN_SCOPE,
            }
            assert "python-requests" in sandbox.requests[0].headers["user-agent"]
            everything = repr(sandbox.requests)
            for secret in (sandbox.app_key, sandbox.client_secret, token):
                assert secret not in everything
            sandbox.requests.clear()
            ask(web, sandbox)
            assert len(sandbox.requests) == 1

    def test_requests_in_flight_are_counted(self) -> None:
        def one() -> None:
            with requests.Session() as session:
                session.trust_env = False
                ask(session, sandbox)

        with empty_team(latency_ms=2_000) as sandbox:
            threads = [threading.Thread(target=one) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert max(request.in_flight for request in sandbox.requests) == 3
            one()
            assert sandbox.requests[-1].in_flight == 1

    def test_a_connection_is_kept(self, busy: Sandbox) -> None:
        head = f"GET {AUDIT}?pageSize=1 HTTP/1.1\r\nHost: x\r\nAuthorization: AppKey "
        request = f"{head}{busy.app_key}\r\n\r\n".encode()
        with connect(busy) as connection:
            for _ in range(3):
                connection.sendall(request)
                assert read_answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (b"nonsense\r\n\r\n", 400),
            (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
            (b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", 413),
            (b"POST /oauth2/token HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
            (b"POST /oauth2/token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        ],
    )
    def test_what_is_no_proper_http(
        self, busy: Sandbox, request_bytes: bytes, status: int, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with connect(busy) as connection:
            connection.sendall(request_bytes)
            answer = read_answer(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"HTTP/1.1 {status} ".encode() in head
        assert b"connection: close" in head
        assert list(json.loads(body)) == ["title", "status", "detail", "errorCode"]
        assert capfd.readouterr().err == ""

    def test_a_client_that_goes_away_makes_no_noise(
        self, web: requests.Session, busy: Sandbox, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for _ in range(5):
            with connect(busy) as connection:
                connection.sendall(b"GET /log/api/external/audit HTTP/1.1\r\nHost")
        assert ask(web, busy).status_code == HTTPStatus.OK
        assert capfd.readouterr().err == ""

    def test_close_is_quick_and_leaves_no_thread(self, web: requests.Session) -> None:
        before = set(threading.enumerate())
        with empty_team(latency_ms=5_000) as sandbox:
            slow = threading.Thread(target=lambda: swallow(sandbox))
            slow.start()
            with empty_team() as quick:
                ask(web, quick)
            while not sandbox.requests:
                time.sleep(0.005)
            begun = time.monotonic()
            sandbox.close()
            assert time.monotonic() - begun < 3
            slow.join()
        # A handler that was told to end needs a moment to do so on a busy machine.
        for left in set(threading.enumerate()) - before:
            left.join(timeout=5)
        assert set(threading.enumerate()) <= before
        with pytest.raises(requests.ConnectionError):
            ask(web, sandbox)

    def test_it_ends_by_itself(self) -> None:
        with empty_team(max_minutes=0.001) as sandbox:
            sandbox.wait()
            for _ in range(200):
                try:
                    connect(sandbox).close()
                except ConnectionRefusedError:
                    return
                except ConnectionResetError:
                    continue  # It is about to close.
                time.sleep(0.01)
        pytest.fail("it still takes connections")


class TestHook:
    def test_it_changes_the_world_between_two_requests(self, web: requests.Session) -> None:
        def hook(sandbox: Sandbox, request: Request) -> None:
            if request.query.get("pageNumber") == "1":
                fill(sandbox, "2026-02-01T00:00:00.000Z")

        with empty_team(hook=hook) as sandbox:
            fill(sandbox, "2026-02-02T00:00:00.000Z", "2026-02-03T00:00:00.000Z")
            first = ask(web, sandbox, pageSize=1, pageNumber=0).json()
            second = ask(web, sandbox, pageSize=1, pageNumber=1).json()
            assert (first["totalCount"], second["totalCount"]) == (2, 3)
            assert second["content"] == first["content"]  # It moved back by one.
            sandbox.hook = None
            assert ask(web, sandbox, pageSize=1, pageNumber=1).json()["totalCount"] == 3

    def test_it_answers_instead(self, web: requests.Session) -> None:
        def hook(_: Sandbox, request: Request) -> Answer | None:
            if request.path.endswith("/v2/audit"):
                return Answer.json(HTTPStatus.OK, {"content": [], "nextPageToken": ""})
            return Answer(HTTPStatus.FOUND, {"location": "https://example.com/"}, b"moved")

        with empty_team(hook=hook) as sandbox:
            answer = ask(web, sandbox, "/log/api/external/v2/audit")
            assert answer.json() == {"content": [], "nextPageToken": ""}
            moved = web.get(sandbox.url + AUDIT, allow_redirects=False, timeout=10)
            assert (moved.status_code, moved.content) == (HTTPStatus.FOUND, b"moved")
            assert moved.headers["location"] == "https://example.com/"

    def test_drop(self) -> None:
        with empty_team(hook=lambda _, __: Fault.drop) as sandbox, connect(sandbox) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(1) == b""

    def test_truncate(self, web: requests.Session) -> None:
        with Sandbox(days=1, now=NOW, hook=lambda _, __: Fault.truncate) as sandbox:
            authorization = f"Authorization: AppKey {sandbox.app_key}"
            with connect(sandbox) as connection:
                connection.sendall(f"GET {AUDIT} HTTP/1.1\r\n{authorization}\r\n\r\n".encode())
                head, body = read_all(connection).split(b"\r\n\r\n", 1)
            announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert len(body) == announced // 2 > 0
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                ask(web, sandbox)

    def test_garbage(self, web: requests.Session) -> None:
        with empty_team(hook=lambda _, __: Fault.garbage) as sandbox:
            answer = ask(web, sandbox)
            assert answer.status_code == HTTPStatus.OK
            assert answer.headers["content-type"].startswith("text/html")
            assert answer.text.startswith("<!DOCTYPE html>")

    def test_hang(self) -> None:
        def hook(_: Sandbox, __: Request) -> Fault:
            return Fault.hang(0.2)

        with empty_team(hook=hook) as sandbox, connect(sandbox) as connection:
            begun = time.monotonic()
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(1) == b""
            assert time.monotonic() - begun >= 0.19

    def test_what_it_raises_is_not_lost(self, web: requests.Session) -> None:
        def hook(_: Sandbox, __: Request) -> None:
            raise AssertionError("the reader asked too much")

        sandbox = empty_team(hook=hook)
        sandbox.start()
        answer = ask(web, sandbox)
        assert_problem(answer, HTTPStatus.INTERNAL_SERVER_ERROR, "GENERAL_INTERNAL_ERROR")
        assert "Celonis Support ID: " in answer.json()["detail"]
        with pytest.raises(RuntimeError) as caught:
            sandbox.close()
        assert str(caught.value.__cause__) == "the reader asked too much"


class TestControl:
    def test_happen(self, web: requests.Session) -> None:
        with empty_team() as sandbox:
            wish = {"audit": 10, "logins": 4, "advance_seconds": 600}
            answer = web.post(sandbox.url + "/sandbox/happen", json=wish, timeout=10)
            state = {"now": "2026-03-01T12:10:00.000Z", "audit": 10, "logins": 4}
            assert answer.json().items() >= state.items()
            for log, count in ((sandbox.audit, 10), (sandbox.logins, 4)):
                times = [record["timestamp"] for record in log.visible]
                assert len(set(times)) == count
                assert min(times) > "2026-03-01T12:00:00.000Z"
                assert max(times) < "2026-03-01T12:05:00.000Z"
            assert sandbox.requests == []

    def test_happen_by_default_only_takes_time(self, web: requests.Session) -> None:
        with empty_team() as sandbox:
            state = web.post(sandbox.url + "/sandbox/happen", timeout=10).json()
            expected = {"now": "2026-03-01T12:10:00.000Z", "audit": 0, "logins": 0}
            assert state.items() >= expected.items()
            assert web.get(sandbox.url + "/sandbox", timeout=10).json() == state

    @pytest.mark.parametrize(
        "body",
        [
            '{"audit": 1, "advance_seconds": 300}',
            '{"audit": -1}',
            '{"advance_seconds": -600}',
            '{"audit": "many"}',
            '{"audit": 1.5}',
            '{"audit": 1, "logins": true}',
            '{"advance_seconds": 1e30}',
            '{"advance_seconds": NaN}',
            '{"advance_seconds": Infinity}',
            '{"advance_seconds": "600"}',
            '{"audits": 1}',
            "[]",
            "{",
        ],
    )
    def test_impossible_wishes_change_nothing(self, web: requests.Session, body: str) -> None:
        with empty_team() as sandbox:
            before = sandbox.state()
            answer = web.post(sandbox.url + "/sandbox/happen", data=body, timeout=10)
            assert_problem(answer, HTTPStatus.BAD_REQUEST, "SANDBOX_BAD_REQUEST")
            assert sandbox.state() == before

    def test_methods(self, web: requests.Session, busy: Sandbox) -> None:
        for method, path in (("GET", "/sandbox/happen"), ("POST", "/sandbox")):
            answer = web.request(method, busy.url + path, timeout=10)
            assert_problem(answer, HTTPStatus.METHOD_NOT_ALLOWED, "GENERAL_METHOD_NOT_ALLOWED")


class Procedural:
    """A log of ten million events, one a second, that holds none of them."""

    START_MS = 1_700_000_000_000
    COUNT = 10_000_000

    def select(self, start_ms: int, stop_ms: int, /) -> range:
        first, stop = (-(-(at - self.START_MS) // 1_000) for at in (start_ms, stop_ms))
        return range(max(0, first), min(self.COUNT, stop))

    def time_at(self, position: int, /) -> int:
        return self.START_MS + position * 1_000

    def bodies(self, positions: Sequence[int], /) -> Sequence[bytes]:
        return [b'{"event":"E%d"}' % position for position in positions]


@pytest.mark.parametrize("order", ["ascending", "descending", "unstable", "shuffled"])
def test_a_computed_log_can_be_plugged_in(web: requests.Session, order: Any) -> None:
    with empty_team(audit=Procedural(), order=order) as sandbox:
        page = ask(web, sandbox, pageNumber=20_000).json()
        assert page["totalCount"] == 10_000_000
        assert len({record["event"] for record in page["content"]}) == 200
        if order != "shuffled":
            first = "E5999999" if order == "descending" else "E4000000"
            assert page["content"][0]["event"] == first
        assert sandbox.state()["audit"] == 10_000_000
        with pytest.raises(TypeError, match="Procedural"):
            _ = sandbox.audit


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"order": "sideways"}, "order must be one of ascending"),
        ({"bounds": "open"}, "bounds must be one of"),
        ({"precision": "minute"}, "precision must be one of"),
        ({"empty": "null"}, "empty must be one of"),
        ({"refusal": "404"}, "refusal must be one of"),
        ({"unauthorized": "rude"}, "unauthorized must be one of"),
        ({"oauth_client_auth": "jwt"}, "oauth_client_auth must be one of"),
        ({"permissions": ["events"]}, "permissions must be one of"),
        ({"ignore": ["size"]}, "ignore must be one of"),
        ({"count": "frozen"}, "count must be"),
        ({"count": "capped:-1"}, "count must be"),
        ({"days": -1}, "days must be at least 0"),
        ({"max_page_size": 0}, "max_page_size must be at least 1"),
        ({"latency_ms": -5}, "latency_ms must be at least 0"),
        ({"now": "noon"}, "not a date-time"),
    ],
)
def test_senseless_arguments(knobs: dict[str, Any], complaint: str) -> None:
    arguments: dict[str, Any] = {"days": 0, "now": NOW, **knobs}
    with pytest.raises(ValueError, match=complaint):
        Sandbox(**arguments)


def connect(sandbox: Sandbox) -> socket.socket:
    target = urlsplit(sandbox.url)
    return socket.create_connection((target.hostname or "", target.port or 0), timeout=10)


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer whose length is announced."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += received(connection)
    return head + b"\r\n\r\n" + body


def received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    assert data, "the connection was closed too early"
    return data


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65_536):
        data += chunk
    return data


def swallow(sandbox: Sandbox) -> None:
    """Ask and do not care whether an answer comes."""
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.ConnectionError):
            ask(session, sandbox)
