"""What docs/targets.md warns of happens, to who leaves out the setting that cures it.

A newer version of a target that does better fails a test here: then the page has to change.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import documented
import matrix
import places
import psycopg
import pytest
import requests
import table
from psycopg import sql
from trials import AUDIT, STATE, Trial, audit_logs, said, say, with_long_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from matrix import Line
    from trials import Trials

TARGETS = {target.name: target for target in table.ALL}
#: Limits that no test here is about, and why.
ELSEWHERE = {
    "three times as fast": "measured by bench/speed.py",
    "psycopg2-binary": "Target.newest_python",
    "It runs on Python 3.12 at most": "Target.newest_python",
    "Not a real Elasticsearch": "how it was tried",
    "OpenSearch itself refuses": "how it was tried",
}

_shown: set[str] = set()


def shows(*limits: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Name the limits in docs/targets.md that a test is about, by some of their words."""
    _shown.update(limits)
    return lambda test: test


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Trials]:
    """Give what sets up a trial of a target, with other requirements if need be."""
    with ExitStack() as open_places:

        def make(name: str, requirements: str | None = None) -> Trial:
            target = TARGETS[name]
            target = matrix.installed(replace(target, folder=requirements or target.folder))
            place = open_places.enter_context(target.place(request, target, tmp_path))
            return Trial(target, place, tmp_path)

        yield make


@pytest.mark.parametrize(
    ("name", "kind", "value", "lands"),
    [
        ("target-postgres-pipelinewise", "text", "a\tb\r\n", "a\\tb\\r\\n"),
        ("target-postgres-pipelinewise", "text", "", None),
        ("target-duckdb", "text", "", None),
        ("target-csv", "text", "", None),
        ("target-kafka", "object", {"x": [0.1, 1]}, {"x": ["0.1", 1]}),
    ],
)
@shows(
    "control characters in texts land as JSON writes them",
    "An empty text lands as NULL",
    "Null and an empty text look the same",
    "Numbers with a fraction within objects",
)
def test_the_matrix_expects_it(name: str, kind: str, value: object, lands: object) -> None:
    assert TARGETS[name].land[kind](value) == lands


@shows("An object that is null lands as JSON `null`")
def test_postgres_writes_null_objects_as_json(trial: Trials, postgres_url: str) -> None:
    one = trial("target-postgres")
    one.load(audit_logs())
    sent = matrix.understood(audit_logs()).rows[AUDIT]
    schema = one.place.settings["default_target_schema"]
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE diff_payload <> 'null'), count(diff_payload) FROM {}"
    ).format(sql.Identifier(schema, AUDIT))
    with closing(psycopg.connect(postgres_url)) as connection:
        (row,) = connection.execute(query).fetchall()
    number = sum(record["diff_payload"] is not None for record in sent)
    assert row == (number, len(sent))
    assert 0 < number < len(sent)


@shows("With DuckDB 1.3 or newer it loses the first record of a batch")
def test_a_newer_duckdb_loses_records(trial: Trials) -> None:
    one = trial("target-duckdb", "target_duckdb_newest")
    one.load(said(), batch_size_rows=100)
    missing, strange = one.difference(said())
    firsts: list[Line] = []
    for stream in matrix.NAMES:
        schema, *records = [line for line in said() if line.get("stream") == stream]
        firsts += [schema, *records[::100]]
    assert not strange
    assert missing
    assert missing <= one.owed(firsts)


@shows("With DuckDB 1.3 or newer it loses the first record of a batch")
def test_an_older_duckdb_loses_none(trial: Trials) -> None:
    chance = random.Random(1)
    lines = [line for line in said() if line["type"] == "SCHEMA"]
    for stream, records in matrix.understood(said()).rows.items():
        keys = next(line for line in lines if line["stream"] == stream)["key_properties"]
        odd = [record for record in records if str(record.get("event")).startswith("ODD_")]
        for record in [*odd, *chance.sample(records, 12)]:
            nulled = {
                name: value if name in keys or chance.random() < 0.4 else None
                for name, value in record.items()
            }
            lines.append({"type": "RECORD", "stream": stream, "record": nulled})
    one = trial("target-duckdb")
    one.load(lines, batch_size_rows=1)
    assert one.difference(lines) == (Counter(), Counter())


@shows("A row longer than 2 MB ends the run")
def test_duckdb_takes_no_long_rows(trial: Trials) -> None:
    schema, *records = audit_logs()
    one = trial("target-duckdb")
    one.load([schema, records[0], with_long_text(records[1], 1_990_000)])
    long = [schema, records[2], with_long_text(records[3], 2_000_000)]
    one.refuses(long, "maximum line size")
    assert len(one.place.read().rows[AUDIT]) == 2


@shows("With its own default for `file_naming_scheme`, each run empties the files")
def test_csv_empties_files(trial: Trials) -> None:
    schema, *records = audit_logs(matrix.FLAT_TAP)
    first, second = [schema, *records[:100]], [schema, *records[100:103]]
    one = trial("target-csv")
    for lines in (first, second):
        one.load(lines, without="file_naming_scheme")
    assert one.difference(second) == (Counter(), Counter())


@shows("Without flattening, objects land as Python writes them")
def test_csv_writes_objects_as_python_does(trial: Trials) -> None:
    one = trial("target-csv")
    one.load(audit_logs())
    landed = {row["event_id"]: row["message"] for row in one.place.read().rows[AUDIT]}
    for record in matrix.understood(audit_logs()).rows[AUDIT]:
        if record["message"]:
            with pytest.raises(json.JSONDecodeError):
                json.loads(landed[record["event_id"]])


@shows("Each run, and each 10,000 records of it, is a new object")
def test_s3_begins_an_object_every_10000_records(trial: Trials) -> None:
    columns = {"properties": {"event_id": {"type": ["string"]}}}
    schema = {"type": "SCHEMA", "stream": AUDIT, "schema": columns, "key_properties": []}
    record = {"type": "RECORD", "stream": AUDIT, "record": {"event_id": "x"}}
    one = trial("target-s3")
    one.load([schema, *[record] * 10_001])
    one.load([schema, record])
    url = one.place.settings["cloud_provider.aws.aws_endpoint_override"]
    with requests.Session() as web:
        web.trust_env = False
        listing = web.get(f"{url}/audit-archive?list-type=2", timeout=60).text
    keys = re.findall("<Key>(.*?)</Key>", listing)
    assert len(keys) == 3
    assert all(re.match(rf"celonis/{AUDIT}/\d{{4}}/\d\d?/\d\d?/", key) for key in keys), keys


@shows(
    "Without `get_schema_from_tap: false` it cuts times to the second",
    "a column that is null all through a file has the type null",
    "Without flattening it fails on the first object",
)
def test_parquet_needs_its_settings(trial: Trials) -> None:
    lines = audit_logs(matrix.FLAT_TAP)
    one = trial("target-s3-parquet")
    one.refuses(audit_logs(), "Failed to create parquet")
    assert not one.place.read().rows
    one.load(lines[:9], prefix="few")
    url = one.place.settings["cloud_provider.aws.aws_endpoint_override"]
    few = places.ask(one.target.environment, "read_s3.py", url, "audit-archive", "few")
    filled = {name for row in few.rows[AUDIT] for name, value in row.items() if value is not None}
    assert few.types[AUDIT].keys() == filled < few.rows[AUDIT][0].keys()
    one.load(lines, without="format.format_parquet.get_schema_from_tap")
    landed = one.place.read()
    sent = matrix.understood(lines).rows[AUDIT]
    times = {record["event_id"]: matrix.as_sent(record["timestamp"]) for record in sent}
    cut = {key: re.sub(r"\.\d+", ".000000", time) for key, time in times.items()}
    assert (
        {row["event_id"]: matrix.as_sent(row["timestamp"]) for row in landed.rows[AUDIT]}
        == cut
        != times
    )


@shows("Numbers with a fraction within objects", "Messages have no key")
def test_kafka_can_have_keys_and_fractions(trial: Trials) -> None:
    lines = audit_logs(matrix.FLAT_TAP)
    sent = {record["event_id"]: record for record in matrix.understood(lines).rows[AUDIT]}
    one = trial("target-kafka")
    one.load(lines)
    one.load(lines, key_properties=["event_id"])
    keys: dict[str, set[str | None]] = {}
    for row in one.place.read().rows[AUDIT]:
        keys.setdefault(row["event_id"], set()).add(row.pop("key of the message"))
        assert row | {"timestamp": matrix.as_sent(row["timestamp"])} == sent[row["event_id"]]
    assert keys == {key: {None, json.dumps({"event_id": key})} for key in sent}


@shows("A message of more than 1 MB ends the run")
def test_kafka_takes_no_long_messages(trial: Trials) -> None:
    schema, *records = audit_logs()
    one = trial("target-kafka")
    one.load([schema, with_long_text(records[0], 1_000_000)])
    long = [schema, records[1], with_long_text(records[2], 1_050_000)]
    one.refuses(long, "MessageSizeTooLarge")


@shows("a document that contradicts the first one is refused and the run fails")
def test_elasticsearch_needs_mappings(trial: Trials) -> None:
    one = trial("target-elasticsearch")
    one.refuses(audit_logs(), "mapper_parsing_exception", without="index_mappings")


@shows("`_id` updates a document instead of adding one")
def test_elasticsearch_adds_without_ids(trial: Trials) -> None:
    one = trial("target-elasticsearch")
    schema, *records = audit_logs()
    for number in (10, 20):
        one.load([schema, *records[:number]], without="metadata_fields")
    assert len(one.place.read().rows[AUDIT]) == 30


@shows("A message that the broker refuses is lost")
def test_kafka_does_not_hear_what_the_broker_says(trial: Trials) -> None:
    """No broker for tests refuses anything: what the client does then is done in its place."""
    one = trial("target-kafka")
    client = """
from kafka import KafkaProducer, errors
def refuse(self, topic, max_wait):
    raise errors.TopicAuthorizationFailedError({topic})
KafkaProducer._wait_on_metadata = refuse
from target_kafka.target import TargetKafka
TargetKafka.cli()
"""
    instead = [str(one.target.environment.python), "-c", client]
    one.load([*audit_logs()[:10], STATE], command=lambda words: [*instead, *words[1:]])
    assert (one.folder / "states").read_bytes()
    assert not one.place.read().rows


@pytest.mark.parametrize(
    "name", [name for name in TARGETS if name not in {"target-duckdb", "target-kafka"}]
)
def test_all_others_take_long_rows(name: str, trial: Trials) -> None:
    one = trial(name)
    schema, *records = audit_logs(one.target.tap)
    lines = [schema, records[1], with_long_text(records[0], 5_000_000), records[2]]
    one.load(lines)
    assert one.difference(lines) == (Counter(), Counter())


@pytest.mark.parametrize("name", [name for name in TARGETS if name.startswith("target-postgres")])
def test_what_a_database_refuses_is_not_acknowledged(
    name: str, trial: Trials, postgres_url: str
) -> None:
    one = trial(name)
    schema, *records = audit_logs()
    place = sql.Identifier(one.place.settings["default_target_schema"])
    odd = sql.Literal(records[50]["record"]["event_id"])
    with closing(psycopg.connect(postgres_url, autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(place))
        connection.execute(
            sql.SQL("CREATE TABLE {}.audit_logs (event_id varchar CHECK (event_id <> {}))").format(
                place, odd
            )
        )
    one.refuses([schema, *records[:100]], "check constraint")


@pytest.mark.parametrize("name", ["target-jsonl", "target-csv"])
def test_what_a_full_disk_refuses_is_not_acknowledged(name: str, trial: Trials) -> None:
    one = trial(name)
    schema, *records = audit_logs(one.target.tap)
    lines = [schema, records[0], with_long_text(records[1], 5_000_000), records[2]]
    full = ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh"]
    one.refuses(lines, "File too large", command=lambda words: [*full, *words])


@shows("After a run that was cut off within a line")
@pytest.mark.parametrize("is_timestamped", [False, True])
def test_json_lines_go_on_where_they_were_cut_off(
    is_timestamped: bool, trial: Trials, tmp_path: Path
) -> None:
    one = trial("target-jsonl")
    schema, *records = audit_logs()
    (tmp_path / f"{AUDIT}.jsonl").write_text(json.dumps(records[0]["record"])[:-10])
    one.load([schema, *records[:3]], do_timestamp_file=is_timestamped)
    torn = tmp_path / f"{AUDIT}.jsonl"
    (new,) = set(tmp_path.glob("*.jsonl")) - {torn} or {torn}
    readable = 3 if is_timestamped else 2
    assert sum(is_json(line) for line in new.read_bytes().splitlines()) == readable


def is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize("name", ["target-s3", "target-s3-parquet"])
def test_what_storage_refuses_is_not_acknowledged(name: str, trial: Trials) -> None:
    one = trial(name)
    absent = {"aws": {"aws_bucket": "absent"}}
    one.refuses(audit_logs(one.target.tap)[:10], "bucket does not exist", cloud_provider=absent)


def in_batches(folder: Path, tap: str) -> list[Line]:
    """Give what a tap says whose records go through files."""
    batches = documented.settings_of_tap(matrix.BATCH_TAP)["batch_config"]
    batches |= {"storage": {"root": f"file://{folder}/batches"}, "batch_size": 300}
    lines = say({**documented.settings_of_tap(tap), "batch_config": batches})
    assert not any(line["type"] == "RECORD" for line in lines)
    return lines


@pytest.mark.parametrize("name", ["target-csv", "target-elasticsearch"])
def test_batches_are_taken(name: str, trial: Trials, tmp_path: Path) -> None:
    one = trial(name)
    one.load(in_batches(tmp_path, one.target.tap))
    assert one.difference(said(one.target.tap)) == (Counter(), Counter())
    assert list((tmp_path / "batches").iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("target-s3", "KeyError: 'batch_start_time'"),
        ("target-s3-parquet", "KeyError: 'batch_start_time'"),
        ("target-jsonl", "'NoneType' object has no attribute"),
        ("target-duckdb", "Unknown message type BATCH"),
        ("target-postgres-pipelinewise", "Unknown message type BATCH"),
    ],
)
def test_batches_are_refused(name: str, reason: str, trial: Trials, tmp_path: Path) -> None:
    one = trial(name)
    lines = [line for line in in_batches(tmp_path, one.target.tap) if line["type"] != "STATE"]
    one.refuses(lines, reason)


@shows("Batches are lost")
def test_batches_are_lost(trial: Trials, tmp_path: Path) -> None:
    one = trial("target-kafka")
    one.load(in_batches(tmp_path, one.target.tap))
    assert (one.folder / "states").read_bytes()
    assert not one.place.read().rows


def test_every_limit_is_shown() -> None:
    page = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", documented.PAGE.read_text("utf-8"))  # no links
    sections = re.findall(r"^## target-.*?(?=^## )", page, re.MULTILINE | re.DOTALL)
    limits = [
        " ".join(limit.split())
        for section in sections
        for limit in re.findall(r"^- (.*?)(?=^- |^```|^$|\Z)", section, re.MULTILINE | re.DOTALL)
    ]
    known = _shown | ELSEWHERE.keys()
    assert len(sections) == len(table.ALL)
    assert [limit for limit in limits if not any(words in limit for words in known)] == []
    assert [words for words in known if not any(words in limit for limit in limits)] == []
