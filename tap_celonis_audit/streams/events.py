"""What the streams of events have in common: time, identity, and being read completely."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import typing as th
from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from tap_celonis_audit import sdk
from tap_celonis_audit.cursor import Link
from tap_celonis_audit.errors import ParametersError, RateLimitError, TapError, failure
from tap_celonis_audit.follow import Follower
from tap_celonis_audit.keys import digest, digest_record
from tap_celonis_audit.reader import Event, Page, Reader
from tap_celonis_audit.state import Bookmark
from tap_celonis_audit.values import replace_odd
from tap_celonis_audit.windows import (
    format_bound,
    format_second,
    format_zoned_bound,
    parse_instant,
)

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from singer_sdk.helpers.types import Context

    from tap_celonis_audit.client import Answer
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
#: A last run longer ago than this makes counts of that time worthless.
STALE_SECONDS = 86_400
#: State is written at most this often while a stream runs.
STATE_INTERVAL_SECONDS = 10.0


class EventStream(sdk.Stream):
    """A log that is read from its last bookmark to now."""

    primary_keys = ("event_id",)
    replication_key = "timestamp"

    identity_fields: ClassVar[tuple[str, ...]]
    """Fields of the API's record that make the event what it is, besides its timestamp."""
    bound_spellings: ClassVar[tuple[Callable[[int], str], ...]] = (format_bound, format_zoned_bound)
    """How to write `from` and `to`, the likeliest first."""

    def __init__(self, tap: TapCelonisAudit) -> None:
        super().__init__(tap)
        self.tap = tap
        self._known_fields = {*self.identity_fields, "timestamp"}
        self._state_written_at = 0.0
        self._has_odd_texts = False
        self._spellings = list(self.bound_spellings)

    def columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Make the stream's own columns of an API record."""
        raise NotImplementedError

    def misfits(self, record: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 -- for streams that have some
        """Give the values that their columns cannot hold, for `additional_fields`."""
        return {}

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        tap = self.tap
        with tap.failing(self.name):
            try:
                yield from self._follow()
            except RecursionError:
                raise failure("too deep", path=self.api.path) from None

    @override
    def peek(self) -> int | None:
        settings, now = self.tap.settings, int(self.tap.clock())
        return self._fetch(settings.start, now, 0, 1).total

    def _follow(self) -> Iterable[dict[str, Any]]:
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
        reader = Reader(
            self._fetch,
            self._parse,
            name=self.name,
            page_size=settings.page_size,
            pool=tap.pool,
        )
        follower = Follower(
            reader,
            bookmark,
            commit=lambda: self._commit(bookmark),
            now=lambda: tap.run_time(self.api),
            settle_seconds=settings.settle_seconds,
            late_seconds=settings.late_arrival_seconds,
            time_is_up=tap.time_is_up,
            is_stale=tap.clock() - bookmark.watermark > STALE_SECONDS,
            name=self.name,
        )
        number, begun = 0, _reach(bookmark)
        try:
            for rows in follower.rows(start=settings.start, end=settings.end):
                for row in rows:
                    yield self._row(row.event_id, row.event)
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

    def _fetch(self, first: int, last: int, number: int, size: int) -> Page:
        answer = self._ask(first, last, number, size)
        self._has_odd_texts |= answer.is_odd
        return make_page(answer.body, size=size, path=self.api.path, weight=answer.size)

    def _ask(self, first: int, last: int, number: int, size: int) -> Answer:
        """Ask for a page, at first contact in another spelling of time if one is not understood."""
        while True:
            spell, *others = self._spellings
            bounds = {"from": spell(first), "to": spell(last)}
            try:
                answer = self.tap.client.get(
                    self.api, {"pageNumber": number, "pageSize": size, **bounds}
                )
            except ParametersError:
                if not others:
                    raise
                self._spellings = others
            else:
                self._spellings = [spell]
                return answer

    def _parse(self, record: dict[str, Any]) -> Event:
        try:
            return make_event(
                record,
                team=self.tap.settings.team,
                stream=self.name,
                identity_fields=self.identity_fields,
                key=self.tap.pseudonymizer.event_key if self.tap.pseudonymizer else None,
            )
        except RecursionError:
            raise failure("too deep", path=self.api.path) from None

    def _row(self, event_id: str, event: Event) -> dict[str, Any]:
        # The id is that of the record as it came.
        record = replace_odd(event.record) if self._has_odd_texts else event.record
        if self.tap.pseudonymizer:
            record = self.tap.pseudonymizer.record(record)
        known = self._known_fields
        additional = self.misfits(record)
        if not record.keys() <= known:
            unknown = {name: value for name, value in record.items() if name not in known}
            additional = unknown | additional
        return {
            "event_id": event_id,
            "timestamp": event.timestamp,
            **self.columns(record),
            "team": self.tap.settings.team,
            "additional_fields": additional or None,
        }


def _reach(bookmark: Bookmark) -> tuple[object, ...]:
    return bookmark.start, bookmark.watermark, bookmark.gap


def make_page(body: Mapping[str, Any] | None, *, size: int, path: str, weight: int = 0) -> Page:
    """Read the envelope of an answer.

    Args:
        body: The answer's JSON object, or None for "no content".
        size: Records that were asked for.
        path: What was asked, for messages.
        weight: Bytes of the answer.

    Raises:
        TapError: There is no list of records.
    """
    if body is None:
        return Page([], 0, size)
    records = _records(body, path)
    served = _natural(body.get("pageSize"))
    return Page(
        records, _natural(body.get("totalCount")), min(size, served) if served else size, weight
    )


def make_link(body: Mapping[str, Any] | None, *, path: str, weight: int = 0) -> Link:
    """Read the envelope of an answer with a cursor; see `make_page`."""
    if body is None:
        return Link([], None)
    token = body.get("nextPageToken")
    if token is not None and not isinstance(token, str):
        raise TapError(f"Celonis answers {path} with a page token that is no text.")
    return Link(_records(body, path), token or None, _natural(body.get("totalCount")), weight)


def make_event(
    record: dict[str, Any],
    *,
    team: str,
    stream: str,
    identity_fields: tuple[str, ...],
    key: bytes | None = None,
) -> Event:
    """Place a record in time and give it its key."""
    instant = parse_instant(record.get("timestamp"))
    if instant is None:
        identity = {name: record.get(name) for name in (*identity_fields, "timestamp")}
        base = digest(team=team, stream=stream, identity=identity, key=key)
        return Event(base, None, "", record)
    base = digest_record(
        record, team=team, stream=stream, fields=identity_fields, timestamp=instant.text, key=key
    )
    return Event(base, instant.second, instant.text, record)


def _records(body: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """Find the list of records; only for numbered pages is its name documented."""
    lists = [value for value in body.values() if isinstance(value, list)]
    records = body.get("content", lists[0] if len(lists) == 1 else None)
    records = [] if records is None else records
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise TapError(f"Celonis answers {path} without a list of records.")
    return records


def _natural(value: object) -> int | None:
    """Read a count, as a number or as text; None if it is none."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 and value is not True else None
