"""docs/siem.md: a real rsyslog, set up as shown there, forwards each line of the files once."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from command import Command
from taps import Row, assert_each_once, logs_of
from warehouses import target

from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "siem.md").read_text(encoding="utf-8")
TIMEOUT_SECONDS = 60
#: Longer than rsyslog's lines are by default, and as hostile.
LONG = "é😀'\\ %msg% \u2028\x7f" * 10_000


class Receiver:
    """What a SIEM listens with, from the start to the end of the block."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._got = bytearray()
        self._more = threading.Condition()
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed at the end
                return
            reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                with self._more:
                    self._got += data
                    self._more.notify_all()

    def lines(self, number: int) -> list[str]:
        """Give all lines, as soon as there are so many."""
        with self._more:
            came = self._more.wait_for(
                lambda: self._got.count(b"\n") >= number, timeout=TIMEOUT_SECONDS
            )
            assert came, f"fewer than {number} lines, after {len(self._got)} bytes"
            return self._lines()

    def all_lines(self) -> list[str]:
        """Give all lines, after who sent them has ended."""
        for reader in self._readers:
            reader.join(TIMEOUT_SECONDS)
            assert not reader.is_alive()
        return self._lines()

    def _lines(self) -> list[str]:
        return self._got.decode().split("\n")[:-1]


@pytest.fixture(scope="module")
def rsyslog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the rsyslog of the system, or skip, but in CI."""
    found = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        what_to_do = "rsyslog is missing: make rsyslog installs it, or says how to"
        if os.environ.get("CI") == "true":
            pytest.fail(what_to_do)
        pytest.skip(what_to_do)
    # AppArmor confines it by its path, to other folders than those of tests.
    copy = tmp_path_factory.mktemp("bin") / "rsyslogd"
    shutil.copy2(found, copy)
    return copy


def configuration(folder: Path, port: int, *, leave_out: str = "") -> Path:
    """Write down what the page shows, with the folder and the port of a test."""
    (shown,) = re.findall(r"```text\n(global\(.*?)```", PAGE, re.DOTALL)
    for written, meant in {
        "/var/spool/rsyslog": str(folder / "spool"),
        "/srv/celonis/output": str(folder / "output"),
        "siem.example.com": "127.0.0.1",
        "5514": str(port),
        leave_out: "",
    }.items():
        assert written in shown
        shown = shown.replace(written, meant) if written else shown
    for name in ("spool", "output"):
        (folder / name).mkdir()
    file = folder / "celonis.conf"
    file.write_text(shown, encoding="utf-8")
    return file


@contextmanager
def forwarding(rsyslog: Path, config: Path) -> Generator[None]:
    pid = str(config.with_name("rsyslogd.pid"))
    command = [str(rsyslog), "-n", "-i", pid, "-f", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, said) == (0, b"")


def copy_logs(command: Command, output: Path, state: Path) -> None:
    """Run the tap into target-jsonl, from its last state."""
    config = output.parent / "target.json"
    config.write_text(json.dumps({"destination_path": str(output), "do_timestamp_file": True}))
    arguments = ("--state", state) if state.exists() else ()
    finished = command.run(*arguments)
    assert finished.status == 0, finished.err
    states = subprocess.run(
        [target("target_jsonl"), "--config", config],
        input=finished.out,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        check=True,
        timeout=TIMEOUT_SECONDS,
    ).stdout
    state.write_text(states.splitlines()[-1])


def written(output: Path) -> list[tuple[str, str]]:
    """Give each line of all files, after the stream that it is of."""
    return [
        (file.name.partition("-")[0], line)
        for file in output.glob("*.jsonl")
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]
    ]


def assert_same(lines: list[str], files: list[tuple[str, str]]) -> None:
    assert Counter(lines) == Counter(line for _, line in files)


def test_each_line_is_forwarded_once_over_runs_and_restarts(rsyslog: Path, tmp_path: Path) -> None:
    with Receiver() as receiver, Sandbox(seed=1, days=5, now="2026-03-01T12:00:00Z") as team:
        team.happen(audit=0, logins=0, advance_seconds=600)
        config = configuration(tmp_path, receiver.port)
        output, state = tmp_path / "output", tmp_path / "state.json"
        command = Command.of(tmp_path, team, app_key=team.app_key)
        with forwarding(rsyslog, config):
            copy_logs(command, output, state)
            first = written(output)
            assert_same(receiver.lines(len(first)), first)
        team.happen(audit=30, logins=20, advance_seconds=600)
        copy_logs(command, output, state)
        events = written(output)
        long = json.dumps({"event_id": LONG}, ensure_ascii=False)
        (output / "long.jsonl").write_text(f"{long}\n", encoding="utf-8")
        with forwarding(rsyslog, config):
            receiver.lines(len(events) + 1)
        # What it would have sent twice is among them.
        assert_same(receiver.all_lines(), [*events, ("long", long)])
    logs = logs_of(team)
    assert_each_once(
        (
            Row(stream, event["event_id"], event["timestamp"])
            for stream, line in events
            if stream in logs
            for event in [json.loads(line)]
        ),
        team,
    )


def test_without_its_limit_long_lines_are_cut(rsyslog: Path, tmp_path: Path) -> None:
    with Receiver() as receiver:
        config = configuration(tmp_path, receiver.port, leave_out=' maxMessageSize="4m"')
        (tmp_path / "output" / "long.jsonl").write_text(f"{LONG}\nend\n", encoding="utf-8")
        with forwarding(rsyslog, config):
            assert LONG not in receiver.lines(2)
