"""What is remembered between runs: how far the log was read, and the recent past by heart.

A bookmark says: everything from `start` to `watermark` was emitted, and of the seconds since
`watch.start` it is known how many events each had and which. That is all it takes to find events
that appear late: ask Celonis for the count of that span, compare, and look closer if it differs.

Values in Singer state are flat texts, since Meltano merges nested dictionaries and would never
forget a key.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.windows import format_second, parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Version of the state below. Older ones are migrated, newer ones refused.
VERSION = "1"
#: Bytes of an event's id that are kept.
FINGERPRINT_BYTES = 8
#: More events than this are watched by count only.
MAX_FINGERPRINTS = 40_000
#: So many hashes of unusable records are remembered.
MAX_REPORTED = 500
#: How much of the final past is kept, to find a second without events at which to begin.
MARGIN_SECONDS = 900
#: A bookmark may be this much ahead of the clock.
_MAX_AHEAD_SECONDS = 86_400

_ADVICE = "Start over with an empty state, or give each team and plugin a state of its own."
_OTHER_PSEUDONYMS = "empty the tables, and start over with an empty state (--full-refresh)."


@dataclass(slots=True)
class Watch:
    """The events of recent seconds, known by number and by fingerprint."""

    start: int
    """Nothing is known about the seconds before."""
    counts: dict[int, int] = field(default_factory=dict)
    """Second → number of events, for seconds that have some."""
    fingerprints: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    """Second → fingerprints of its events; missing for seconds that are watched by count only."""

    def expected(self, start: int, end: int) -> int:
        """Count the known events of ``[start, end)``."""
        if end - start < len(self.counts):
            return sum(self.counts.get(second, 0) for second in range(start, end))
        return sum(number for second, number in self.counts.items() if start <= second < end)

    def is_quiet(self, second: int) -> bool:
        """Tell whether a known second has no events."""
        return second >= self.start and second not in self.counts

    def quiet(self, seconds: Iterable[int]) -> int | None:
        """Give the first of these seconds that has no events."""
        return next((second for second in seconds if self.is_quiet(second)), None)

    def replace(self, start: int, end: int, events: Mapping[int, tuple[bytes, ...]]) -> None:
        """Take over what ``[start, end)`` holds now."""
        if end - start < len(self.counts):
            old = [second for second in range(start, end) if second in self.counts]
        else:
            old = [second for second in self.counts if start <= second < end]
        for second in old:
            del self.counts[second]
            self.fingerprints.pop(second, None)
        for second, fingerprints in events.items():
            self.counts[second] = len(fingerprints)
            self.fingerprints[second] = fingerprints

    def forget(self, *, before: int) -> None:
        """Drop what lies in the final past, back to a second without events if there is one."""
        low = max(self.start, before - MARGIN_SECONDS)
        quiet = self.quiet(range(before - 1, low - 1, -1))
        self.start = low if quiet is None else quiet
        for second in [second for second in self.counts if second < self.start]:
            del self.counts[second]
            self.fingerprints.pop(second, None)

    def limit(self) -> bool:
        """Keep fingerprints of the newest events only; tell whether some were dropped."""
        total = sum(map(len, self.fingerprints.values()))
        if total <= MAX_FINGERPRINTS:
            return False
        for second in sorted(self.fingerprints):
            total -= len(self.fingerprints.pop(second))
            if total <= MAX_FINGERPRINTS:
                break
        return True

    def pack(self) -> str:
        """Write counts and fingerprints as text."""
        if not self.counts:
            return ""
        numbers: list[int] = []
        fingerprints: list[bytes] = []
        last = self.start
        for second in sorted(self.counts):
            known = self.fingerprints.get(second)
            numbers += [second - last, self.counts[second] << 1 | (known is not None)]
            fingerprints += known or ()
            last = second
        head = struct.pack(f"<I{len(numbers)}I", len(numbers), *numbers)
        packed = zlib.compress(head, 6)
        body = struct.pack("<I", len(packed)) + packed + b"".join(fingerprints)
        return base64.b64encode(struct.pack("<I", zlib.crc32(body)) + body).decode()

    @classmethod
    def unpack(cls, start: int, text: str) -> Watch:
        """Read what `pack` wrote.

        Raises:
            ValueError: The text is damaged.
        """
        watch = cls(start)
        if not text:
            return watch
        try:
            data = base64.b64decode(text, validate=True)
            (crc,), body = struct.unpack_from("<I", data), data[4:]
            if zlib.crc32(body) != crc:
                raise ValueError("checksum")
            (length,) = struct.unpack_from("<I", body)
            head = zlib.decompress(body[4 : 4 + length])
            (number,) = struct.unpack_from("<I", head)
            numbers = struct.unpack_from(f"<{number}I", head, 4)
        except (struct.error, zlib.error, binascii.Error) as error:
            raise ValueError("damaged") from error
        at, second = 4 + length, start
        for delta, packed in zip(numbers[::2], numbers[1::2], strict=True):
            second += delta
            count = packed >> 1
            watch.counts[second] = count
            if packed & 1:
                watch.fingerprints[second] = tuple(
                    body[at + index : at + index + FINGERPRINT_BYTES]
                    for index in range(0, count * FINGERPRINT_BYTES, FINGERPRINT_BYTES)
                )
                at += count * FINGERPRINT_BYTES
        return watch


@dataclass(slots=True)
class Bookmark:
    """How far one stream of one team was read."""

    team: str
    start: int
    """Everything from here (whole seconds since 1970) …"""
    watermark: int
    """… to here, exclusive, was emitted."""
    watch: Watch
    checked: bool = False
    """Whether the bounds of a request were seen to mean what they should."""
    late_seconds: int | None = None
    """How late an event could appear and be picked up, in the last run."""
    reported: tuple[str, ...] = ()
    """Hashes of records without a usable timestamp for which a run has failed already."""
    gap: tuple[int, int] | None = None
    """While older history is added: where that begins, and how far it was read."""
    pseudonyms: str = ""
    """Tells the key from others with which events are pseudonymized; empty if they are not."""

    @classmethod
    def fresh(cls, team: str, start: int, *, pseudonyms: str = "") -> Bookmark:
        """Begin where nothing was read yet."""
        return cls(team, start, start, Watch(start), pseudonyms=pseudonyms)

    def to_state(self) -> dict[str, str]:
        """Write it as the stream's Singer state."""
        return {
            "replication_key": "timestamp",
            "replication_key_value": format_second(self.watermark),
            "version": VERSION,
            "team": self.team,
            "start": format_second(self.start),
            "bounds": "checked" if self.checked else "",
            "late_arrival_seconds": "" if self.late_seconds is None else str(self.late_seconds),
            "reported": " ".join(self.reported[-MAX_REPORTED:]),
            "gap": " ".join(map(format_second, self.gap)) if self.gap else "",
            "pseudonyms": self.pseudonyms,
            "watch_start": format_second(self.watch.start),
            "watch": self.watch.pack(),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        *,
        team: str,
        start: int,
        late_seconds: int,
        now: float,
        pseudonyms: str = "",
    ) -> Bookmark | None:
        """Read the stream's Singer state; None if there is none.

        Args:
            state: What the stream's last STATE message said.
            team: Host of the team that is configured.
            start: Second from which events are wanted.
            late_seconds: How late an event may appear.
            now: Seconds since 1970.
            pseudonyms: Tells which key events are pseudonymized with; empty if they are not.

        Raises:
            TapError: The state is damaged, newer than this tap, another team's, or of events with
                other pseudonyms.
        """
        value = state.get("replication_key_value")
        if value is None:
            if state.get("version") is None:
                return None
            raise TapError(f"The state is damaged: it has no bookmark. {_ADVICE}")
        version = state.get("version", "0")
        if version not in {"0", VERSION}:
            raise TapError(
                "The state was written by a newer version of this tap. Upgrade the tap. Or: "
                f"{_ADVICE[0].lower()}{_ADVICE[1:]}"
            )
        watermark = _second(value)
        if watermark > now + _MAX_AHEAD_SECONDS:
            raise TapError(
                f"The state lies in the future ({format_second(watermark)}). Check this machine's "
                f"clock. Or: {_ADVICE[0].lower()}{_ADVICE[1:]}"
            )
        if str(state.get("pseudonyms", "")) != pseudonyms:
            # The same events have other ids: what was emitted could not be told from what is new.
            raise TapError(
                "The state is of a run with another pseudonymization or another "
                f"pseudonymization_key. Set them as they were. Or: {_OTHER_PSEUDONYMS}"
            )
        if version == "0":
            # A bare bookmark, from the first release of the tap or written by hand. Which events
            # before it appeared late is unknown, so they are emitted again: twice by key, not lost.
            start = min(start, watermark)
            watermark = max(start, watermark - late_seconds)
            return cls(team, start, watermark, Watch(watermark))
        if state.get("team") != team:
            raise TapError(f"The state is that of another team than {team}. {_ADVICE}")
        gap = str(state.get("gap", "")).split()
        late = str(state.get("late_arrival_seconds", ""))
        try:
            watch = Watch.unpack(_second(state.get("watch_start")), str(state.get("watch", "")))
        except ValueError as error:
            raise TapError(f"The state is damaged ({error}). {_ADVICE}") from error
        return cls(
            team,
            _second(state.get("start")),
            watermark,
            watch,
            checked=state.get("bounds") == "checked",
            late_seconds=int(late) if late.isdecimal() else None,
            reported=tuple(str(state.get("reported", "")).split()),
            gap=(_second(gap[0]), _second(gap[1])) if len(gap) == 2 else None,  # noqa: PLR2004 -- a pair
            pseudonyms=pseudonyms,
        )


def _second(value: object) -> int:
    instant = parse_instant(value)
    if instant is None or not isinstance(value, str):
        raise TapError(f"The state is damaged: it holds a bookmark that is no time. {_ADVICE}")
    return instant.second
