"""Secrets and people are forced through every failure; none of them shows up anywhere."""

from __future__ import annotations

import ast
import base64
import itertools
import json
import re
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from command import COMMAND, Command, Finished, spellings
from projects import Project, quiet_variables
from ruamel.yaml import YAML
from wire import Authority, Wire, tls_sandbox

from tap_celonis_audit import errors
from tap_celonis_audit.errors import VERDICTS
from tap_celonis_audit.sandbox import Answer, Fault, Request, Sandbox
from tap_celonis_audit.sandbox.access import Credentials
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

NOW = "2026-03-01T12:00:00Z"
REPOSITORY = Path(__file__).resolve().parent.parent
TROUBLESHOOTING = REPOSITORY / "docs" / "troubleshooting.md"
MELTANO = Path(sys.executable).with_name("meltano")
PACKAGE = Path(errors.__file__).parent

#: One is the beginning of another, and they hold what encodings change.
SECRETS = {
    "app_key": "CanaryA%41 'b\"c{}\\d",
    "api_key": "CanaryA%41 'b\"c{}\\d+more/=",
    "client_id": "CanaryI@%s:&=/+~",
    "client_secret": "CanaryS%(x)s${HOME}`'\"<>",
    "pseudonymization_key": "CanaryP%20'\"{}\\ of thirty-two characters",
}
PEOPLE = ("canary.one+x@example.com", "kanarienvögel.größe@münchen.example", "Canary O'Doe")
UUID = "c0ffee00-1234-4bcd-8ef0-00c0ffee0000"
TOKEN = "CanaryT0ken.in-an.answer"
OAUTH = ("client_id", "client_secret")


def assert_silent(
    text: str, told: Iterable[str] = (*SECRETS.values(), TOKEN, *PEOPLE, UUID)
) -> None:
    found = {s for secret in told for s in spellings(secret) if s.casefold() in text.casefold()}
    assert found == set()


def test_the_search_finds_a_secret_in_every_dress() -> None:
    secret = SECRETS["api_key"]
    for dressed in (*spellings(secret), f"Authorization: AppKey {secret}", repr({"k": secret})):
        with pytest.raises(AssertionError):
            assert_silent(f"...{dressed}...")
    for text in (f"AppKey {secret}", f"x:{secret}", f"xy:{secret}"):
        with pytest.raises(AssertionError):
            assert_silent(base64.b64encode(text.encode()).decode())


def page(status: HTTPStatus, kind: str = "application/json", **headers: str) -> Answer:
    """Give an answer that tells secrets and people all over."""
    told = [*SECRETS.values(), *PEOPLE, UUID]
    body = json.dumps({"title": told, "detail": told, "errorCode": told, "error": "x"})
    echo = " ".join(told).encode("ascii", "replace").decode()
    return Answer(status, {"content-type": kind, "x-echo": echo, **headers}, body.encode())


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong, and what is said about it."""

    says: str
    answer: Answer | Fault | None = None
    config: dict[str, Any] = field(default_factory=dict)
    way: tuple[str, ...] = ("app_key",)
    at: str = "api"
    environment: dict[str, str] = field(default_factory=dict)


JSON_PAGE = page(HTTPStatus.OK)
LARGE = {"content-type": "application/json", "x-ratelimit-reset": "86400"}
CASES = {
    "400": Case("does not understand the request", page(HTTPStatus.BAD_REQUEST)),
    "401": Case("refused the credentials (401)", page(HTTPStatus.UNAUTHORIZED)),
    "401 for a user": Case(
        "refused the credentials (401)", page(HTTPStatus.UNAUTHORIZED), way=("api_key",)
    ),
    "403": Case("refused access (403)", page(HTTPStatus.FORBIDDEN)),
    "403 with OAuth": Case("refused access (403)", page(HTTPStatus.FORBIDDEN), way=OAUTH),
    "404": Case("has no /log/api/external/audit", page(HTTPStatus.NOT_FOUND)),
    "418": Case("the unexpected status 418", page(HTTPStatus.IM_A_TEAPOT)),
    "429": Case("asks to wait", Answer(HTTPStatus.TOO_MANY_REQUESTS, LARGE, b"")),
    "500": Case("keeps failing (500)", page(HTTPStatus.INTERNAL_SERVER_ERROR)),
    "503": Case("keeps failing (503)", page(HTTPStatus.SERVICE_UNAVAILABLE, "text/html")),
    "a web page": Case("a web page instead", page(HTTPStatus.OK, "text/html")),
    "a page without records": Case("without a list of records", Answer(
        HTTPStatus.OK, {"content-type": "application/json"}, b'{"content": "canary"}'
    )),
    "cut off": Case("keeps breaking", Fault.truncate),
    "hung up": Case("keeps breaking", Fault.drop),
    "silence": Case("not answer in time", Fault.hang(3), {"request_timeout_seconds": 1}),
    "no JSON": Case("unreadable answers", Answer(
        HTTPStatus.OK, {"content-type": "application/json"}, JSON_PAGE.body[:-1]
    )),
    "wrong client": Case(
        "refused the OAuth client", page(HTTPStatus.UNAUTHORIZED), way=OAUTH, at="token"
    ),
    "wrong scope": Case(
        'does not hold the scope "audit.log:read"',
        Answer.json(HTTPStatus.BAD_REQUEST, {"error": "invalid_scope", "who": PEOPLE}),
        way=OAUTH,
        at="token",
    ),
    "no token": Case("sends no usable token", JSON_PAGE, way=OAUTH, at="token"),
    "token fails": Case(
        "token endpoint of", page(HTTPStatus.BAD_GATEWAY), way=OAUTH, at="token"
    ),
    "no token endpoint": Case(
        "has no usable token endpoint", page(HTTPStatus.NOT_FOUND), way=OAUTH, at="token"
    ),
    "DNS": Case("There is no host", config={"api_url": "https://acme.celonis.invalid"}),
    "a proxy": Case(
        "proxy did not let",
        config={"api_url": "https://acme.celonis.invalid"},
        environment={"HTTPS_PROXY": "http://canary.one%2Bx%40example.com:CanaryPr0xy@127.0.0.1:9"},
    ),
    "wrong types": Case("must be a text", config={
        "app_key": [SECRETS["app_key"]], "client_secret": {SECRETS["client_secret"]: 1}
    }),
    "a misspelt secret": Case("did you mean", config={"app_keys": SECRETS["api_key"]}),
    "two ways": Case("configured at once", way=("app_key", "api_key")),
    "an id without a secret": Case("client_secret is missing", way=("client_id",)),
    "a secret without an id": Case("client_id is missing", way=("client_secret",)),
    "a line break": Case("line break", config={"app_key": SECRETS["app_key"] + "\n"}),
    "a secret for a URL": Case("not a URL", config={"api_url": SECRETS["api_key"]}),
    "a secret in a URL": Case(
        "user name or password", config={"api_url": "https://CanaryA%41:CanaryPr0xy@acme.example"}
    ),
    "a secret for a date": Case("is not a date", config={"start_date": SECRETS["api_key"]}),
    "a secret for a number": Case("a whole number", config={"page_size": SECRETS["api_key"]}),
    "a secret for a choice": Case("one of", config={"oauth_client_auth": SECRETS["api_key"]}),
    "a short key": Case("shorter than 32", config={
        "pseudonymization": "hmac-sha256", "pseudonymization_key": "CanaryP%20"
    }),
    "a secret for a bundle": Case("ca_bundle", config={"ca_bundle": SECRETS["api_key"]}),
}  # fmt: skip


def answer(case: Case, request: Request) -> Answer | Fault | None:
    """Answer as the case wants; a token is good unless the case is about tokens."""
    if (request.path == "/oauth2/token") == (case.at == "token"):
        return case.answer
    return Answer.json(HTTPStatus.OK, {"access_token": TOKEN, "expires_in": 899})


def fail(case: Case, folder: Path, *arguments: str | Path) -> tuple[Finished, Sandbox]:
    """Run the command at debug level into a failure, among people with secrets."""
    with Sandbox(days=0, now=NOW) as sandbox:
        for number, name in enumerate(PEOPLE):
            at = f"2026-02-28T10:00:0{number}.000Z"
            record = {"userId": f"{UUID} ({name})", "event": name, "timestamp": at}
            sandbox.audit.add(record | {"message": {name: name}})
        sandbox.hook = lambda _, request: answer(case, request)
        settings = {name: SECRETS[name] for name in case.way} | {"max_retries": 1} | case.config
        command = Command.of(folder, sandbox, **settings)
        return command.run(*arguments, debug=True, **case.environment), sandbox


@pytest.mark.parametrize("name", CASES)
def test_no_failure_tells_a_secret_or_a_person(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    finished, _ = fail(case, tmp_path)
    assert finished.status == 1
    assert_silent(finished.err)
    assert "CanaryPr0xy" not in finished.err
    assert "Traceback" not in finished.err
    errors = [line for line in finished.err.splitlines() if "| ERROR " in line]
    assert any(case.says in line for line in errors)
    assert_silent(finished.out, SECRETS.values())
    for line in finished.out.splitlines():
        message = json.loads(line)
        if message["type"] == "STATE":
            assert_silent(line)
    for line in errors:
        assert_in_troubleshooting(line)


def headings() -> list[str]:
    return re.findall(r"^### `(.+)`$", TROUBLESHOOTING.read_text(encoding="utf-8"), re.MULTILINE)


def assert_in_troubleshooting(line: str) -> None:
    """Check that the page for those who meet a message has it, facts aside."""
    patterns = [re.sub(r"<[^>]*>", ".+", re.escape(heading)) for heading in headings()]
    message = line.rpartition(" | ")[2].strip()
    message = re.sub(
        r"^(audit_logs|login_history|members|permissions|studio_adoption): (not \w+\. )?",
        "",
        message,
    )
    assert any(re.match(pattern, message) for pattern in patterns), message


@pytest.mark.parametrize("row", VERDICTS)
def test_the_page_for_failures_has_every_verdict(row: str) -> None:
    facts = {name: name for name in re.findall(r"\{(\w+)\}", VERDICTS[row].text)}
    assert_in_troubleshooting(VERDICTS[row].text.format(**facts))


def texts_of(node: ast.expr) -> list[str]:
    """Give the text of an expression, with what differs left out, if it is one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
        return ["".join(map(str, parts))]
    return []


def messages(path: Path) -> list[str]:
    """Find what a module says to users: the texts of its exceptions, and of wrong settings."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"TapError", "TeamError"}:
            found += [text for argument in node.args for text in texts_of(argument)]
        elif path.name == "settings.py" and isinstance(node, ast.Yield) and node.value:
            found += texts_of(node.value)
    return found


MESSAGES = sorted(
    {
        message
        for folder in (".", "streams")
        for path in (PACKAGE / folder).glob("*.py")
        for message in messages(path)
        if re.search("[a-z]{2}", message)
    }
)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_page_for_failures_has_every_message(message: str) -> None:
    assert len(MESSAGES) > 40
    assert_in_troubleshooting(message.removeprefix("x: "))


def test_the_page_for_failures_has_no_message_that_nobody_meets() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.glob("**/*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", source).replace("{{", "{").replace("}}", "}")
    said = re.sub(r"\{[^{}]*\}", "<>", said)
    for heading in headings():
        parts = re.split(r"<[^>]*>", heading)
        assert max(parts, key=len).strip() in said, heading


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("at", ["api", "token"])
def test_another_origin_hears_nothing(tmp_path: Path, status: int, at: str) -> None:
    heard: list[bytes] = []

    def record(connection: socket.socket, head: bytes) -> None:
        heard.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    with Wire(record) as other:
        case = Case(
            "redirects instead of answering",
            page(HTTPStatus(status), location=f"{other.url}/{SECRETS['app_key'][:7]}"),
            way=OAUTH if at == "token" else ("app_key",),
            at=at,
        )
        finished, sandbox = fail(case, tmp_path)
    assert heard == []
    assert finished.status == 1
    assert f"redirects instead of answering ({status})" in finished.err
    assert_silent(finished.err + finished.out)
    assert other.url not in finished.err
    assert len(sandbox.requests) >= 1


STATES: dict[str, Any] = {
    "another team's": {"version": "1", "team": "canary.one+x@example.com"},
    "damaged": {"version": "1", "team": "127.0.0.1", "watch": PEOPLE[0]},
    "newer": {"version": PEOPLE[1], "team": "127.0.0.1"},
    "no time": {"version": "1", "team": "127.0.0.1", "replication_key_value": PEOPLE[0]},
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_refused_is_not_quoted(tmp_path: Path, name: str) -> None:
    at = {"replication_key_value": "2026-02-28T00:00:00Z", "start": "2026-02-27T00:00:00Z"}
    state = tmp_path / "state.json"
    bookmarks = {"audit_logs": at | {"watch_start": "2026-02-27T00:00:00Z"} | STATES[name]}
    state.write_text(json.dumps({"bookmarks": bookmarks}))
    finished, _ = fail(Case(""), tmp_path, "--state", state)
    assert finished.status == 1
    assert_silent(finished.err)
    assert "Traceback" not in finished.err


BROKEN = {
    "no JSON": ["{", *SECRETS.values(), *PEOPLE],
    "no object": [json.dumps([*SECRETS.values(), *PEOPLE])],
    "no catalog and no state": [
        json.dumps({"streams": list(PEOPLE), "bookmarks": dict.fromkeys(PEOPLE, 1)})
    ],
    "wrong within": [
        json.dumps(
            {
                "streams": [{"tap_stream_id": PEOPLE[0], "schema": SECRETS["app_key"]}],
                "bookmarks": {"audit_logs": {"partitions": list(PEOPLE)}},
                **SECRETS,
            }
        )
    ],
}


@pytest.mark.parametrize("option", ["--state", "--catalog", "--config"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_refused_is_not_quoted(tmp_path: Path, name: str, option: str) -> None:
    given = tmp_path / "given.json"
    given.write_text("\n".join(BROKEN[name]), encoding="utf-8")
    finished, sandbox = fail(Case(""), tmp_path, option, given)
    assert finished.status == 1
    assert sandbox.requests == []
    assert finished.out == ""
    assert "Traceback" not in finished.err
    # A name that is no setting is told, since it is one that is misspelt.
    told = [*SECRETS.values(), TOKEN, UUID, *(() if option == "--config" else PEOPLE)]
    assert_silent(finished.err, told)
    for line in finished.err.splitlines():
        if "| ERROR " in line:
            assert_in_troubleshooting(line)


CERTIFICATES = {
    "of somebody unknown": "unable to get local issuer certificate",
    "of another host": "Hostname mismatch",
    "expired": "certificate has expired",
    "good": "",
}


@pytest.mark.parametrize("way", [("app_key",), OAUTH], ids=["key", "OAuth"])
@pytest.mark.parametrize("name", CERTIFICATES)
def test_nobody_is_told_a_secret_who_cannot_prove_who_it_is(
    tmp_path: Path, name: str, way: tuple[str, ...]
) -> None:
    authority = Authority(tmp_path)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = {
        "of another host": lambda: authority.ca.issue_cert("elsewhere.example"),
        "expired": lambda: authority.ca.issue_cert("localhost", not_after=yesterday),
    }.get(name, lambda: authority.ca.issue_cert("localhost"))()
    settings: dict[str, Any] = {each: SECRETS[each] for each in way} | {"max_retries": 0}
    if name != "of somebody unknown":
        settings["ca_bundle"] = authority.path
    with tls_sandbox(authority.context(certificate)) as (sandbox, address):
        url = address.replace("127.0.0.1", "localhost")
        finished = Command.of(tmp_path, api_url=url, **settings).run(debug=True)
    assert finished.status == 1
    assert_silent(finished.out + finished.err)
    assert "Traceback" not in finished.err
    errors = [line for line in finished.err.splitlines() if "| ERROR " in line]
    for line in errors:
        assert_in_troubleshooting(line)
    if name == "good":
        assert sandbox.requests
        assert "Celonis refused the" in errors[0]
        return
    assert sandbox.requests == []
    (line,) = errors
    assert f"The TLS certificate of {url[8:]} is not trusted ({CERTIFICATES[name]}" in line
    assert "ca_bundle" in line


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("int(user_id)", "audit_logs: stream_maps fails for a record (ValueError)"),
        ("user_id + 7", "audit_logs: stream_maps fails for a record (TypeError)"),
        ("message['x']", "audit_logs: stream_maps fails for a record (KeyError)"),
        (f"md5(user_id + nothing + '{SECRETS['api_key'][:10]}')", "no map or no expression"),
    ],
)
def test_a_map_that_fails_quotes_neither_the_record_nor_itself(
    tmp_path: Path, expression: str, says: str
) -> None:
    good = Credentials.of(1).app_key
    config = {"app_key": good, "stream_maps": {"audit_logs": {"x": expression}}}
    finished, _ = fail(Case("", config=config), tmp_path)
    assert finished.status == 1
    assert says in finished.err
    assert "Traceback" not in finished.err
    assert_silent(finished.err)
    assert SECRETS["api_key"][:10] not in finished.err


def test_a_defect_is_told_by_its_place_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process of the command would need a defect to be built in: so here, the hook alone."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    command = TapCelonisAudit.get_singer_command()
    try:
        try:
            int(PEOPLE[0])
        except ValueError as error:
            raise KeyError(SECRETS["app_key"], PEOPLE) from error
    except KeyError as error:
        command.excepthook(type(error), error, error.__traceback__)
    (line,) = caplog.messages
    assert line.startswith("Unforeseen failure: KeyError at test_canary.py:")
    assert line.endswith(". Please report this.")
    assert_silent(caplog.text)
    assert_in_troubleshooting(line)


def interrupt(at: int) -> Callable[[Sandbox, Request], Answer | None]:
    """Let the requests fail from a certain one on."""
    count = itertools.count(1)
    return lambda _, __: page(HTTPStatus.FORBIDDEN) if next(count) >= at else None


def test_a_run_that_fails_in_the_middle_is_resumed_without_loss(tmp_path: Path) -> None:
    with Sandbox(days=3, now=NOW) as sandbox:
        command = Command.of(tmp_path, sandbox, app_key=sandbox.app_key, page_size=20)
        sandbox.hook = interrupt(at=12)
        first = command.run(debug=True)
        assert first.status == 1
        assert_silent(first.err)
        state = tmp_path / "state.json"
        states = [line for line in first.out.splitlines() if '"type":"STATE"' in line]
        state.write_text(json.dumps(json.loads(states[-1])["value"]))
        sandbox.hook = None
        second = command.run("--state", state, debug=True)
        assert second.status == 0
        ids = [
            json.loads(line)["record"]["event_id"]
            for line in (first.out + second.out).splitlines()
            if '"type":"RECORD"' in line and '"event_id"' in line
        ]
        settled = "2026-03-01T11:58"
        expected = [
            event
            for log in (sandbox.audit, sandbox.logins, sandbox.adoption)
            for event in log.visible
            if event["timestamp"] < settled
        ]
    assert len(set(ids)) == len(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--about"],
        ["--about", "--format=json"],
        ["--about", "--format=markdown"],
        ["--discover"],
        ["--test"],
        ["--test=schema"],
    ],
    ids=" ".join,
)
def test_nothing_else_that_the_command_does_tells_a_secret(
    tmp_path: Path, arguments: list[str]
) -> None:
    case = Case("", page(HTTPStatus.UNAUTHORIZED), {
        "pseudonymization": "hmac-sha256",
        "pseudonymization_key": SECRETS["pseudonymization_key"],
    })  # fmt: skip
    finished, _ = fail(case, tmp_path, *arguments)
    assert finished.out + finished.err
    assert_silent(finished.out + finished.err)


#: Writes down what it is given, and then becomes another command.
SPY = """#!{python}
import json, os, sys
seen = {{
    "environment": dict(os.environ),
    "arguments": sys.argv[1:],
    "files": [open(path).read() for path in sys.argv[1:] if os.path.isfile(path)],
}}
with open(os.path.join({folder!r}, {name!r} + "-" + str(os.getpid())), "w") as file:
    json.dump(seen, file)
command = {command!r}
os.execv(command[0], [*command, *sys.argv[1:]])
"""
#: A target that keeps nothing, and gives back each state.
NULL = """
import json, sys
for message in map(json.loads, sys.stdin):
    if message["type"] == "STATE":
        print(json.dumps(message["value"]))
"""


@dataclass(frozen=True, slots=True)
class Watched(Project):
    """A project of the real Meltano, whose plugins write down what they are given."""

    seen: Path

    @classmethod
    def make(cls, folder: Path, sandbox: Sandbox) -> Self:
        """Take the tap's definition as it is shipped."""
        secrets = {
            "TAP_CELONIS_AUDIT_API_URL": sandbox.url,
            "TAP_CELONIS_AUDIT_APP_KEY": SECRETS["app_key"],
            "TAP_CELONIS_AUDIT_PSEUDONYMIZATION": "hmac-sha256",
            "TAP_CELONIS_AUDIT_PSEUDONYMIZATION_KEY": SECRETS["pseudonymization_key"],
        }
        project = cls(
            folder / "project",
            quiet_variables(folder / "project/meltano.db") | secrets,
            folder / "seen",
        )
        project.folder.mkdir()
        project.seen.mkdir()
        tap = YAML(typ="safe").load(REPOSITORY / "meltano.yml")["plugins"]["extractors"][0]
        del tap["pip_url"]
        tap["executable"] = "./tap"
        target = {"name": "target-null", "namespace": "target_null", "executable": "./target"}
        content = {
            "environments": [{"name": "sandbox"}],
            "plugins": {"extractors": [tap], "loaders": [target]},
            "send_anonymous_usage_stats": False,
        }
        (project.folder / "meltano.yml").write_text(json.dumps(content))  # JSON is YAML, too
        commands = {"tap": [str(COMMAND)], "target": [sys.executable, "-c", NULL]}
        for name, command in commands.items():
            spy = project.folder / name
            about = {"folder": str(project.seen), "name": name, "command": command}
            spy.write_text(SPY.format(python=sys.executable, **about))
            spy.chmod(0o755)
        return project

    def said(self, status: int, level: str, *arguments: str) -> str:
        """Run Meltano at this level; give what it says."""
        result = self.meltano(*arguments, MELTANO_CLI_LOG_LEVEL=level)
        assert result.returncode == status, result.stderr
        return result.stdout + result.stderr

    def assert_nothing_is_left(self, told: Iterable[str]) -> None:
        """Search what Meltano keeps: logs, state, configuration."""
        kept = [path for path in self.folder.rglob("*") if path.is_file()]
        assert any(path.name == "meltano.db" for path in kept)
        for path in kept:
            assert_silent(path.read_bytes().decode("utf-8", "replace"), told)

    def given(self, plugin: str) -> list[dict[str, Any]]:
        """Give what the processes of a plugin were given."""
        return [json.loads(path.read_text()) for path in self.seen.glob(f"{plugin}-*")]


HANDED_OVER = {
    f"{prefix}_{name}": SECRETS[name.lower()]
    for prefix in ("TAP_CELONIS_AUDIT", "MELTANO_EXTRACT")
    for name in ("APP_KEY", "PSEUDONYMIZATION_KEY")
}


@pytest.mark.skipif(not MELTANO.exists(), reason="the built wheel is tested without Meltano")
def test_meltano_hands_secrets_to_its_plugins_and_tells_them_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SECURITY.md says it."""
    credentials = replace(Credentials.of(1), app_key=SECRETS["app_key"])
    monkeypatch.setattr(Credentials, "of", lambda _: credentials)
    pipeline = ("run", "--full-refresh", "tap-celonis-audit", "target-null")
    with Sandbox(days=0, now=NOW) as sandbox:
        for number, person in enumerate(PEOPLE):
            at = f"2026-02-28T10:00:0{number}.000Z"
            sandbox.audit.add({"userId": f"{UUID} ({person})", "event": person, "timestamp": at})
        project = Watched.make(tmp_path, sandbox)
        usual = project.said(0, "info", *pipeline)
        project.assert_nothing_is_left((*SECRETS.values(), *PEOPLE, UUID))
        copied = project.said(0, "debug", *pipeline)
        sandbox.hook = lambda _, __: page(HTTPStatus.UNAUTHORIZED)
        failed = project.said(1, "debug", "invoke", "tap-celonis-audit")
        assert "refused the credentials (401)" in failed
    assert_silent(usual + failed)
    assert '"RECORD"' not in usual
    assert_silent(copied, SECRETS.values())
    assert '"RECORD"' in copied, "Meltano logs all that goes through it then: mend SECURITY.md"
    project.assert_nothing_is_left(SECRETS.values())

    assert len(project.given("tap")) > 3
    assert len(project.given("target")) == 2
    for process in (*project.given("tap"), *project.given("target")):
        told = {
            name: value
            for name, value in process["environment"].items()
            if any(secret in value for secret in SECRETS.values())
        }
        assert told == HANDED_OVER
        assert_silent(json.dumps(process["arguments"]))
    configs = [file for each in project.given("tap") for file in each["files"] if "app_key" in file]
    assert {json.loads(config)["app_key"] for config in configs} == {SECRETS["app_key"]}
