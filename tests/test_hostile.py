"""What Celonis' users can write into their log, from the sandbox through the command to its output.

Celonis relays what people type: names, addresses, SQL. None of it may break a line of the log or of
the output, reach a database that would refuse it, or stop the events around it from arriving.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from bisect import bisect_left
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from command import Command, Finished
from wire import OK, Wire

from tap_celonis_audit.client import MAX_BYTES_UNDER_WAY
from tap_celonis_audit.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

NOW = "2026-03-01T12:00:00Z"
#: 2026-02-28T10:00:00Z
AT_MS = 1_772_272_800_000
PSEUDONYMOUS = {"pseudonymization": "hmac-sha256", "pseudonymization_key": "k" * 32}
MEGABYTE = 1_000_000

HOSTILE = {
    "control characters": "a\x01\x08\x0b\x1f\x7f\x85\u2028\u2029b",
    "line breaks": "a\r\nb\nc\rd",
    "colours": "\x1b[31mred\x1b[0m\x9b31m",
    "a title": "\x1b]0;owned\x07",
    "another direction": "\u202euser\u202c\u2066x\u2069\u200f",
    "formats": "%s %d %(x)s %n {} {0} {x.__class__} ${HOME} $(id) `id`",
    "a log line": '2026-01-01 00:00:00,000 | ERROR    | root | "owned"\n{"type": "STATE"}',
    "a Singer message": '"}\n{"type":"STATE","value":{"bookmarks":{}}}',
    "SQL": "'); DROP TABLE audit_logs; --",
    "emoji": "👩‍👩‍👧‍👦 \U0010ffff \ufffe",
    "a megabyte": "y" * MEGABYTE,
    "a NUL": "a\x00b",
    "half a pair": "a\ud800b\udfff",
}


@dataclass(frozen=True, slots=True)
class Raw:
    """A log with events just as they are written here."""

    events: Sequence[tuple[int, bytes]]

    def select(self, start_ms: int, stop_ms: int, /) -> range:
        times = [at_ms for at_ms, _ in self.events]
        return range(bisect_left(times, start_ms), bisect_left(times, stop_ms))

    def time_at(self, position: int, /) -> int:
        return self.events[position][0]

    def bodies(self, positions: Sequence[int], /) -> Sequence[bytes]:
        return [self.events[position][1] for position in positions]


def event(number: int, **fields: str) -> tuple[int, bytes]:
    """Write an event, of the values as they are written in JSON."""
    seconds = f"2026-02-28T10:00:{number:02}.000Z"
    members = {"timestamp": f'"{seconds}"', "event": '"E"', "userId": '"u"'} | fields
    text = ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items())
    return AT_MS + number * 1000, f"{{{text}}}".encode()


def run(folder: Path, *events: tuple[int, bytes], **config: Any) -> Finished:
    """Copy a log that has an ordinary event before and after these, at debug level."""
    log = Raw([event(0, event='"BEFORE"'), *events, event(59, event='"AFTER"')])
    with Sandbox(days=0, now=NOW, audit=log) as sandbox:
        command = Command.of(folder, sandbox, app_key=sandbox.app_key, max_retries=1, **config)
        return command.run(debug=True)


def lines_of(text: str) -> list[str]:
    """Cut at line feeds only, as those who read the output do."""
    return text.removesuffix("\n").split("\n")


def strict(text: str) -> Any:
    """Read JSON as strictly as the strictest target."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def rows(finished: Finished) -> list[dict[str, Any]]:
    messages = [strict(line) for line in lines_of(finished.out)]
    assert {message["type"] for message in messages} == {"SCHEMA", "RECORD", "STATE"}
    found = [
        message["record"]
        for message in messages
        if message["type"] == "RECORD" and message["stream"] == "audit_logs"
    ]
    assert [found[0]["event"], found[-1]["event"]] == ["BEFORE", "AFTER"]
    return found[1:-1]


LOG_LINE = re.compile(
    r"[-0-9]{10} [0-9:,]{12} \| (DEBUG|INFO|WARNING|ERROR) +\| [\w.-]+ +\| [ -~›–]+"
)


def assert_untouched(log: str) -> None:
    """Check that each line of the log is one of ours, and plain."""
    assert [line for line in lines_of(log) if not LOG_LINE.fullmatch(line)] == []
    assert max(map(len, lines_of(log))) < 1_000


@pytest.mark.parametrize("pseudonymous", [{}, PSEUDONYMOUS], ids=["plain", "pseudonymous"])
def test_hostile_texts_arrive_wherever_they_stand(
    tmp_path: Path, pseudonymous: dict[str, str]
) -> None:
    events = []
    for number, hostile in enumerate(HOSTILE.values()):
        text = json.dumps(hostile)
        fields = dict.fromkeys(("event", "userId", "userRole", "ipAddress", "port"), text)
        events += [
            event(3 * number + 1, **fields),
            event(3 * number + 2, message=f'{{"a":{text},{text}:[{{{text}:{text}}}]}}'),
            event(3 * number + 3, message=text, diffPayload=text, **{hostile: text}),
        ]
    finished = run(tmp_path, *events, **pseudonymous)
    assert finished.status == 0
    assert_untouched(finished.err)
    found = rows(finished)
    for number, hostile in enumerate(HOSTILE.values()):
        first, second, third = found[3 * number : 3 * number + 3]
        expected = re.sub("[\x00\ud800-\udfff]", "\ufffd", hostile)
        assert first["event"] == first["user_role"] == first["port"] == expected
        assert first["ip_address"] == expected
        assert second["message"] == {"a": expected, expected: [{expected: expected}]}
        assert third["message"] == third["diff_payload"] == {"text": expected}
        assert third["additional_fields"] == {expected: expected}
        assert (first["user_id"] == expected) == (not pseudonymous)


def test_keys_that_become_one_keep_their_values(tmp_path: Path) -> None:
    message = '{"a\\u0000": 1, "a\\ud800": 2, "a\\ufffd": 3}'
    (row,) = rows(run(tmp_path, event(1, message=message)))
    assert sorted(row["message"].values()) == [1, 2, 3]


NUMBERS = {
    "more than 64 bits": (str(2**70), 2**70),
    "a googol": (str(10**100), 10**100),
    "four hundred digits": ("9" * 400, int("9" * 400)),
    "ten thousand digits": ("9" * 10_000, "9" * 10_000),
    "beyond a float": ("1e400", "1e400"),
    "NaN": ("NaN", "NaN"),
    "infinity": ("-Infinity", "-Infinity"),
    "tiny": ("1e-400", 0.0),
}


@pytest.mark.parametrize("pseudonymous", [{}, PSEUDONYMOUS], ids=["plain", "pseudonymous"])
def test_numbers_that_others_cannot_read_are_kept_as_texts(
    tmp_path: Path, pseudonymous: dict[str, str]
) -> None:
    events = [
        event(number, message=f'{{"n":[{text}]}}', port=text)
        for number, (text, _) in enumerate(NUMBERS.values(), 1)
    ]
    finished = run(tmp_path, *events, **pseudonymous)
    assert finished.status == 0
    assert_untouched(finished.err)
    expected = [number for _, number in NUMBERS.values()]
    assert [row["message"] for row in rows(finished)] == [{"n": [number]} for number in expected]
    assert [row["port"] for row in rows(finished)] == list(map(str, expected))


@pytest.mark.parametrize("pseudonymous", [{}, PSEUDONYMOUS], ids=["plain", "pseudonymous"])
def test_deep_nesting_is_copied(tmp_path: Path, pseudonymous: dict[str, str]) -> None:
    deep = [f"{opening * 100}1{closing * 100}" for opening, closing in ("[]", ('{"a":', "}"))]
    events = [event(number, message=f'{{"d":{text}}}') for number, text in enumerate(deep, 1)]
    finished = run(tmp_path, *events, **pseudonymous)
    assert finished.status == 0
    assert [row["message"]["d"] for row in rows(finished)] == list(map(json.loads, deep))


#: Since 3.12, Python limits the depth of its own functions and that of C apart.
C_AND_PYTHON_ARE_ONE = sys.version_info < (3, 12)


@pytest.mark.parametrize(
    ("levels", "opening", "closing", "config"),
    [
        (600 if C_AND_PYTHON_ARE_ONE else 100_000, "[", "]", {}),
        (600, '{"a":', "}", PSEUDONYMOUS),
        (900 if C_AND_PYTHON_ARE_ONE else 1_500, "[", "]", PSEUDONYMOUS),
        (1_000, '{"a":', "}", {}),
        (100_000, "[", "]", {}),
    ],
)
def test_deeper_nesting_is_refused_by_name(
    tmp_path: Path, levels: int, opening: str, closing: str, config: dict[str, str]
) -> None:
    finished = run(tmp_path, event(1, message=f"{opening * levels}1{closing * levels}"), **config)
    assert finished.status == 1
    assert_untouched(finished.err)
    assert "A record of /log/api/external/audit is nested too deeply to be read" in finished.err


def test_of_keys_that_stand_twice_the_last_one_counts(tmp_path: Path) -> None:
    at_ms, body = event(1, message='{"k":1,"k":{"j":2,"j":3}}')
    twice = body.replace(b'"event":"E"', b'"event":"D","event":"E"')
    finished = run(tmp_path, (at_ms, twice))
    assert finished.status == 0
    (row,) = rows(finished)
    assert (row["event"], row["message"]) == ("E", {"k": {"j": 3}})


@pytest.mark.parametrize("body", [b'"a\x01b"', b"\xff", b"undefined"], ids=repr)
def test_what_is_no_json_is_refused_by_name(tmp_path: Path, body: bytes) -> None:
    at_ms, good = event(1, event='"E"')
    finished = run(tmp_path, (at_ms, good.replace(b'"E"', body)))
    assert finished.status == 1
    assert_untouched(finished.err)
    assert "Celonis keeps sending unreadable answers to /log/api/external/audit" in finished.err


def test_an_error_page_cannot_write_into_the_log(tmp_path: Path) -> None:
    owned = "\x1b[31m\n2026-01-01 | ERROR | owned %s{}\u202e"
    page = {"title": owned, "detail": f"{owned} Celonis Support ID: {owned}", "status": 500}
    headers = {"x-owned": owned.replace("\n", " "), "content-type": "application/json"}
    answer = Answer(HTTPStatus.FORBIDDEN, headers, json.dumps(page, ensure_ascii=False).encode())
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.hook = lambda _, __: answer
        command = Command.of(tmp_path, sandbox, app_key=sandbox.app_key, max_retries=0)
        finished = command.run(debug=True)
    assert finished.status == 1
    assert_untouched(finished.err)
    assert "owned" not in finished.err


@pytest.mark.parametrize("shape", ["a bomb", "a bomb in a bomb"])
def test_a_bomb_stops_at_the_cap(tmp_path: Path, shape: str) -> None:
    zeros = gzip.compress(b"0" * (16 * 1024 * 1024), 6)
    bomb = zeros * (MAX_BYTES_UNDER_WAY // (16 * 1024 * 1024) + 1)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    if shape == "a bomb in a bomb":
        bomb, headers["content-encoding"] = gzip.compress(bomb), "gzip, gzip"
    assert len(bomb) < 1_000_000
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.hook = lambda _, __: Answer(HTTPStatus.OK, headers, bomb)
        command = Command.of(tmp_path, sandbox, app_key=sandbox.app_key)
        finished = command.run(debug=True)
    assert finished.status == 1
    assert_untouched(finished.err)
    told = "An answer of /log/api/external/audit with a single record is larger than 32 MiB. Lower"
    assert told in finished.err


ENDLESS: dict[str, tuple[bytes, bytes, str]] = {
    "a body": (OK + b"\r\n", b" " * 65_536, "is larger than 8 MiB. Lower max_parallel_requests"),
    "chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n%b\r\n" % (b" " * 65_536),
        "is larger than 8 MiB. Lower max_parallel_requests",
    ),
    "a text": (
        OK + b'\r\n{"content": [{"event": "',
        "\u202e\x1b[31m\n".encode() * 8_192,
        "is larger than 8 MiB. Lower max_parallel_requests",
    ),
    "a header": (OK + b"X-Owned: ", b"owned %s{}\x1b[31m" * 1_000, "keeps breaking"),
    "headers": (OK, b"X-Owned: owned %s{}\r\n" * 1_000, "keeps breaking"),
    "a status": (b"HTTP/1.1 200 ", b"owned %s{}" * 1_000, "keeps breaking"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_does_not_end_is_ended(tmp_path: Path, what: str) -> None:
    start, more, says = ENDLESS[what]

    def play(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(more)

    catalog = tmp_path / "catalog.json"
    catalog.write_text('{"streams": [{"tap_stream_id": "audit_logs"}]}')
    with Wire(play) as wire:
        command = Command.of(
            tmp_path, api_url=wire.url, app_key="k", max_retries=1, max_parallel_requests=16
        )
        finished = command.run("--catalog", catalog, debug=True)
    assert finished.status == 1
    assert finished.out == ""
    assert_untouched(finished.err)
    assert "owned" not in finished.err
    assert says in finished.err
    # Where a page is too large, one is asked for that has fewer records, down to a single one.
    asked = [int(size) for head in wire.heads for size in re.findall(rb"pageSize=(\d+)", head)]
    assert asked == ([200, 200] if "breaking" in says else [200, 50, 12, 3, 1])


ODD_ENVELOPES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a huge token": ("v2", {"nextPageToken": "x" * MEGABYTE}, "a page token that cannot be used"),
    "an odd token": ("v2", {"nextPageToken": "\x1b[31m\r\n"}, "a page token that cannot be used"),
    "half a pair": ("v2", {"nextPageToken": "\ud800"}, "a page token that cannot be used"),
    "a number": ("v2", {"nextPageToken": 7}, "a page token that cannot be used"),
    "a huge count": ("v1", {"totalCount": 1e300}, "cannot be read completely"),
    "a long count": ("v1", {"totalCount": "9" * 5_000}, "cannot be read completely"),
    "no list": ("v1", {"content": {"a": 1}}, "without a list of records"),
}


@pytest.mark.parametrize("what", ODD_ENVELOPES)
def test_an_odd_envelope_is_refused_by_name(tmp_path: Path, what: str) -> None:
    version, odd, says = ODD_ENVELOPES[what]
    record = json.loads(event(0)[1])
    body = json.dumps({"content": [record], "totalCount": 1} | odd).encode()
    answer = Answer(HTTPStatus.OK, {"content-type": "application/json"}, body)
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.hook = lambda _, request: answer if "audit" in request.path else None
        command = Command.of(
            tmp_path, sandbox, app_key=sandbox.app_key, audit_api_version=version, max_retries=0
        )
        finished = command.run(debug=True)
    assert finished.status == 1
    assert_untouched(finished.err)
    assert says in finished.err
