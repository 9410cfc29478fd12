"""What the streams of events have in common: time, identity, and being read completely."""

from __future__ import annotations

import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from singer_sdk import typing as th
from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from tap_celonis_audit import sdk
from tap_celonis_audit.answers import Event
from tap_celonis_audit.errors import GoneError, RateLimitError, TapError, failure
from tap_celonis_audit.follow import Follower
from tap_celonis_audit.keys import digest, record_digester
from tap_celonis_audit.sources import NumberedPages
from tap_celonis_audit.state import Bookmark
from tap_celonis_audit.values import replace_odd
from tap_celonis_audit.windows import format_second, parse_instant

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tap_celonis_audit.client import Answer
    from tap_celonis_audit.errors import Api
    from tap_celonis_audit.privacy import Pseudonymizer
    from tap_celonis_audit.sources import Source
    from tap_celonis_audit.tap import TapCelonisAudit

#: Without a "properties" key: with an empty one, some targets drop the column without a word.
OPEN_OBJECT = th.CustomType({"type": ["object", "null"], "additionalProperties": True})

EVENT_ID = th.Property(
    "event_id",
    th.StringType,
    required=True,
    nullable=False,
    description="Identifies the event; computed from its content, since Celonis gives none",
)
TIMESTAMP = th.Property(
    "timestamp",
    th.DateTimeType,
    required=True,
    nullable=False,
    description="When it happened, in UTC",
)
ORIGIN = (
    th.Property("team", th.StringType, description="Host of the Celonis team"),
    th.Property(
        "additional_fields",
        OPEN_OBJECT,
        description="Fields that Celonis sends and this schema does not know",
    ),
)
#: What was known longer ago than this may have been deleted since: retention is 30 days or more.
#: https://docs.celonis.com/en/audit-logs.html
STALE_SECONDS = 29 * 86_400
#: State is written at most this often while a stream runs.
STATE_INTERVAL_SECONDS = 10.0
#: So many rows are made, and then written.
ROWS_AT_ONCE = 100


class EventStream(sdk.Stream):
    """A log that is read from its last bookmark to now."""

    primary_keys = ("event_id",)
    replication_key = "timestamp"

    fields: ClassVar[tuple[str, ...]]
    """Fields of the API's record that have columns of their own, besides its timestamp."""
    identity_fields: ClassVar[tuple[str, ...] | None]
    """Those that make the event what it is; None for all, known or not."""

    def __init__(self, tap: TapCelonisAudit) -> None:
        super().__init__(tap)
        self.tap = tap
        self._known_fields = {*self.fields, "timestamp"}
        self._make_row = msgspec.defstruct("Row", self.schema["properties"], gc=False)
        self._has_odd_texts = False
        """Whether a text may have come that databases refuse."""
        self._state_written_at = 0.0
        self._gone: GoneError | None = None

    def sources(self) -> list[Source]:
        """Make the versions of the API that may be asked, the preferred one first."""
        return [NumberedPages(self.ask, self.api, page_size=self.tap.settings.page_size)]

    def ask(self, api: Api, params: Mapping[str, str | int]) -> Answer:
        """Ask Celonis."""
        answer = self.tap.client.get(api, params)
        if answer.is_odd:  # Set by many threads, and never back.
            self._has_odd_texts = True
        return answer

    def columns(self, record: Mapping[str, Any]) -> tuple[object, ...]:
        """Make the values of the stream's own columns of an API record, as the schema has them."""
        raise NotImplementedError

    def misfits(self, record: Mapping[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002 -- for streams that have some
        """Give the values that their columns cannot hold, for `additional_fields`."""
        return None

    @override
    def batches(self) -> Iterable[list[msgspec.Struct]]:
        tap = self.tap
        with tap.failing(self.name):
            try:
                yield from self._follow_first_there()
            except RecursionError:
                raise failure("too deep", path=self.api.path) from None

    @override
    def peek(self) -> int | None:
        settings, now = self.tap.settings, int(self.tap.clock())
        first, last = settings.start, now if settings.end is None else min(now, settings.end)
        is_known = self.name in self.tap_state.get("bookmarks", {})
        while True:
            source = self._source
            try:
                return (source.peek if is_known else source.look)(first, last)
            except GoneError as error:
                self._give_up(source, error)

    @cached_property
    def _sources(self) -> list[Source]:
        return self.sources()

    @property
    def _source(self) -> Source:
        return self._sources[0]

    def _give_up(self, source: Source, error: GoneError) -> None:
        """Turn to the next version of the API, if this one never answered and there is one."""
        if source not in self._sources:
            return
        if source.answered or len(self._sources) == 1:
            raise self._gone or error
        self._sources.remove(source)
        self._gone = error
        self.logger.info(
            "%s: Celonis has no %s; %s is asked instead",
            self.name,
            source.api.path,
            self._source.api.path,
        )

    def _follow_first_there(self) -> Iterable[list[msgspec.Struct]]:
        while True:
            source = self._source
            try:
                yield from self._follow(source)
            except GoneError as error:
                self._give_up(source, error)
            else:
                return

    def _follow(self, source: Source) -> Iterable[list[msgspec.Struct]]:
        tap, settings = self.tap, self.tap.settings
        incremental = self.replication_method == REPLICATION_INCREMENTAL
        pseudonyms = tap.pseudonymizer.key_id if tap.pseudonymizer else ""
        bookmark = Bookmark.from_state(
            self.stream_state if incremental else {},
            team=settings.team,
            start=settings.start,
            late_seconds=settings.late_arrival_seconds,
            now=tap.clock(),
            pseudonyms=pseudonyms,
        ) or Bookmark.fresh(settings.team, settings.start, pseudonyms=pseudonyms)

        def now() -> float:
            moment = tap.run_time(self)
            if self._gone and source is not self._source:
                raise self._gone  # That was seen when the time was asked for.
            return moment

        reader = source.reader(self._parse, name=self.name, pool=tap.pool)
        follower = Follower(
            reader,
            bookmark,
            commit=lambda: self._commit(bookmark),
            now=now,
            settle_seconds=settings.settle_seconds,
            late_seconds=settings.late_arrival_seconds,
            time_is_up=tap.time_is_up,
            is_stale=tap.clock() - bookmark.watch.start > STALE_SECONDS,
            name=self.name,
        )
        number, begun = 0, _reach(bookmark)
        try:
            for rows in follower.rows(start=settings.start, end=settings.end):
                # A few at once: they are written while they are in the cache of the processor.
                for begin in range(0, len(rows), ROWS_AT_ONCE):
                    yield [
                        self._row(row.event_id, row.event)
                        for row in rows[begin : begin + ROWS_AT_ONCE]
                    ]
                number += len(rows)
        except RateLimitError as error:
            # A stream that never gets any further has to be noticed.
            if _reach(bookmark) == begun:
                raise
            self.logger.warning(
                "%s: %s The next run goes on from %s.",
                self.name,
                error,
                format_second(bookmark.watermark),
            )
        unusable = {key.hex()[:16] for key in reader.unreadable}.difference(bookmark.reported)
        bookmark.reported += tuple(sorted(unusable))
        self.save(bookmark.to_state())
        self.logger.info(
            "%s: %d events (%d of them late), %d requests, read to %s",
            self.name,
            number,
            follower.late,
            reader.requests,
            bookmark.to_state()["replication_key_value"],
        )
        if unusable:
            hashes = ", ".join(sorted(unusable)[:10])
            raise TapError(
                f"{len(unusable)} records have no usable timestamp and were left out (hashes: "
                f"{hashes}). Everything else was emitted. Please report this. The next run goes on."
            )

    def _commit(self, bookmark: Bookmark) -> None:
        """Set the state, and write it unless that was just done."""
        self.save(bookmark.to_state())
        if time.monotonic() - self._state_written_at >= STATE_INTERVAL_SECONDS:
            self.emit_state()
            self._state_written_at = time.monotonic()

    @cached_property
    def _parse(self) -> Callable[[dict[str, Any]], Event]:
        make_event = event_maker(
            team=self._team,
            stream=self.name,
            identity_fields=self.identity_fields,
            key=self._pseudonymizer.event_key if self._pseudonymizer else None,
        )

        def parse(record: dict[str, Any]) -> Event:
            try:
                return make_event(record)
            except RecursionError:
                raise failure("too deep", path=self.api.path) from None

        return parse

    @cached_property
    def _team(self) -> str:
        return self.tap.settings.team

    @cached_property
    def _pseudonymizer(self) -> Pseudonymizer | None:
        return self.tap.pseudonymizer

    def _row(self, event_id: str, event: Event) -> msgspec.Struct:
        record = event.record
        # The id is that of the record as it came.
        if self._has_odd_texts:
            record = replace_odd(record)
        if self._pseudonymizer is not None:
            record = self._pseudonymizer.record(record)
        known, additional = self._known_fields, self.misfits(record)
        if not record.keys() <= known:
            unknown = {name: value for name, value in record.items() if name not in known}
            additional = unknown | (additional or {})
        columns = self.columns(record)
        return self._make_row(event_id, event.timestamp, *columns, self._team, additional)


def _reach(bookmark: Bookmark) -> tuple[object, ...]:
    return bookmark.start, bookmark.watermark, bookmark.gap


def event_maker(
    *,
    team: str,
    stream: str,
    identity_fields: tuple[str, ...] | None,
    key: bytes | None = None,
) -> Callable[[dict[str, Any]], Event]:
    """Make what places a record in time and gives it its key."""
    digest_record = None
    if identity_fields is not None:
        digest_record = record_digester(team=team, stream=stream, fields=identity_fields, key=key)

    def make_event(record: dict[str, Any]) -> Event:
        instant = parse_instant(record.get("timestamp"))
        if instant is not None and digest_record is not None:
            text = instant.text
            return Event(digest_record(record, text), instant.second, text, record)
        names = record if identity_fields is None else (*identity_fields, "timestamp")
        identity = {name: record.get(name) for name in names}
        if instant is not None:
            identity["timestamp"] = instant.text
        base = digest(team=team, stream=stream, identity=identity, key=key)
        if instant is None:
            return Event(base, None, "", record)
        return Event(base, instant.second, instant.text, record)

    return make_event
