"""Pages that are too large for the memory are read with fewer records, and nothing else changes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from outputs import run_tap

from tap_celonis_audit import client as client_module
from tap_celonis_audit import sdk
from tap_celonis_audit.answers import NotProvenError
from tap_celonis_audit.client import Answer
from tap_celonis_audit.errors import TapError, failure
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sources import NumberedPages
from tap_celonis_audit.streams import AuditLogsStream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

NOW = "2026-03-01T12:00:00Z"
SHARE = 256 * 1024


def event(second: int, size: int) -> dict[str, Any]:
    at = f"2026-02-28T{10 + second // 3600}:{second // 60 % 60:02}:{second % 60:02}.000Z"
    diff = {"oldValue": None, "newValue": f"{second} é" + "x" * size}
    return {"userId": "u", "event": "E", "timestamp": at, "message": {}, "diffPayload": diff}


LOGS: dict[str, Callable[[int], int]] = {
    "all are large": lambda _: 20_000,
    "large ones among small ones": lambda number: 20_000 if 250 <= number < 300 else 10,
    "some are as large as may be": lambda number: SHARE - 1_000 if number % 100 == 50 else 10,
    "large ones in one second": lambda number: 50_000 if number >= 380 else 10,
}


@pytest.fixture(autouse=True)
def _lines_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "WRITE_BYTES", 1 << 30)


@pytest.fixture(params=LOGS)
def team(request: pytest.FixtureRequest) -> Generator[Sandbox]:
    size = LOGS[request.param]
    last = 380 if "second" in request.param else 400
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.audit.extend(
            event(min(number, last), size(number)) | {"port": str(number)} for number in range(400)
        )
        yield sandbox


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_large_records_arrive_once(
    team: Sandbox, monkeypatch: pytest.MonkeyPatch, version: str, parallel: int
) -> None:
    config = {
        "api_url": team.url,
        "app_key": team.app_key,
        "audit_api_version": version,
        "max_parallel_requests": parallel,
    }
    usual = run_tap(config, state=None, streams=["audit_logs"])
    assert len(usual.rows) == 400
    team.requests.clear()
    monkeypatch.setattr(client_module, "MAX_BYTES_UNDER_WAY", SHARE * parallel)

    careful = run_tap(config, state=None, streams=["audit_logs"])

    assert careful.rows == usual.rows
    assert careful.states[-1] == usual.states[-1]
    sizes = [
        int(request.query.get("pageSize") or request.query["limit"]) for request in team.requests
    ]
    assert min(size for size in sizes if size > 1) <= 125
    assert len(sizes) <= 600


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_record_that_is_too_large_by_itself_fails_by_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    monkeypatch.setattr(client_module, "MAX_BYTES_UNDER_WAY", SHARE)
    caplog.set_level(logging.ERROR)
    with Sandbox(days=1, now=NOW) as sandbox:
        sandbox.audit.add(event(0, SHARE))
        config = {
            "api_url": sandbox.url,
            "app_key": sandbox.app_key,
            "audit_api_version": version,
            "max_parallel_requests": 1,
        }
        with pytest.raises(TapError, match=r"Failed: audit_logs\. See above"):
            run_tap(config, state=None)
        asked = sandbox.requests
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("audit_logs: An answer of /log/api/external/")
    assert "is larger than 0 MiB. Lower max_parallel_requests" in line
    assert len(asked) < 60


@pytest.mark.parametrize(
    ("share", "later"), [(0.0, [100] * 24 + [200] * 2), (0.25, [100] * 26), (0.51, [50] * 26)]
)
def test_more_records_are_tried_again_where_they_would_fit(share: float, later: list[int]) -> None:
    asked: list[int] = []

    def ask(_: object, params: Mapping[str, str | int]) -> Answer:
        asked.append(int(params["pageSize"]))
        if len(asked) == 1:
            raise failure("too large", path="", limit="")
        size = int(share * 1_000_000 * asked[-1] / 50)
        return Answer(body=None, size=size + 1, room=1_000_000, server_time=None)

    source = NumberedPages(ask, AuditLogsStream.api, page_size=200)
    for _ in range(50):
        source._fetch(0, 1, 0, 200)
    assert asked == [200, *[50] * 24, *later]


def test_members_too_are_read_with_fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_PAGE_BYTES", 30_000)
    with Sandbox(days=0, now=NOW) as sandbox:
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
        output = run_tap(config, state=None, streams=["members"])
        asked = [int(request.query["pageSize"]) for request in sandbox.requests]
        assert len(output.rows) == len(sandbox.members) > 200
    assert asked[:2] == [1, 200]
    assert set(asked[5:]) == {50}


#: The command, which tells in the end how many kilobytes it held at most.
MEASURED = r"""
import re, sys
from pathlib import Path
from tap_celonis_audit.__main__ import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print("VmHWM", re.search(r"VmHWM:\s*(\d+) kB", status)[1], file=sys.stderr)
"""


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_large_records_take_little_memory(version: str, tmp_path: Path) -> None:
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.audit.extend(event(number, 100_000 + 15_000 * number) for number in range(60))
        config = {
            "api_url": sandbox.url,
            "app_key": sandbox.app_key,
            "audit_api_version": version,
        }
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        finished = subprocess.run(
            [sys.executable, "-c", MEASURED, "--config", str(file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert finished.returncode == 0, finished.stderr
    rows = finished.stdout.count('"type":"RECORD","stream":"audit_logs"')
    kilobytes = int(finished.stderr.rpartition("VmHWM ")[2])
    assert rows == 60
    assert kilobytes < 150_000


@pytest.mark.parametrize("number", [0, 3])
def test_pages_of_one_window_are_of_one_size(number: int) -> None:
    asked: list[tuple[int, int]] = []

    def ask(_: object, params: Mapping[str, str | int]) -> Answer:
        asked.append((int(params["pageNumber"]), int(params["pageSize"])))
        if asked[-1][1] > 20:
            raise failure("too large", path="", limit="")
        return Answer(body=None, size=0, server_time=None)

    source = NumberedPages(ask, AuditLogsStream.api, page_size=200)
    if number:
        with pytest.raises(NotProvenError):
            source._fetch(0, 1, number, 200)
        assert asked == [(number, 200)]
        asked.clear()
    assert source._fetch(0, 1, 0, 200).limit == 12
    assert asked[-1] == (0, 12)
    with pytest.raises(NotProvenError):
        source._fetch(0, 1, 1, 50)
    with pytest.raises(TapError, match="is larger than"):
        NumberedPages(refuse, AuditLogsStream.api, page_size=200)._fetch(0, 1, number, 1)


def refuse(*_: object) -> Answer:
    raise failure("too large", path="", limit="")
