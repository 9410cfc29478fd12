"""The tap: settings in, streams out."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from tap_celonis_audit import sdk
from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import CredentialsError, TapError, TeamError, failure, grant
from tap_celonis_audit.pool import Pool
from tap_celonis_audit.privacy import Pseudonymizer
from tap_celonis_audit.settings import SCHEMA, Settings
from tap_celonis_audit.streams import STREAMS

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click
    from singer_sdk import Stream


class TapCelonisAudit(sdk.Tap):
    """Singer tap for the usage data of a Celonis team."""

    name = "tap-celonis-audit"
    config_jsonschema: ClassVar[dict[str, Any]] = SCHEMA
    stream_names: ClassVar[tuple[str, ...]] = tuple(stream.name for stream in STREAMS)

    @cached_property
    def settings(self) -> Settings:
        """The configuration, checked."""
        return Settings.from_config(self.config, now=self.clock())

    @cached_property
    def client(self) -> Client:
        """What asks Celonis; one for all streams."""
        return Client(self.settings, clock=self.clock)

    @cached_property
    def pool(self) -> Pool:
        """What runs requests side by side; one for all streams."""
        return Pool(self.settings.max_parallel_requests)

    @cached_property
    def pseudonymizer(self) -> Pseudonymizer | None:
        """What replaces people by pseudonyms, if that is wished; one for all streams."""
        settings = self.settings
        if settings.pseudonymization == "none":
            return None
        return Pseudonymizer(
            settings.pseudonymization_key or "",
            ip_addresses=settings.pseudonymization_ip_addresses,
        )

    @staticmethod
    def clock() -> float:
        """Give this machine's time, in seconds since 1970."""
        return time.time()

    def time_is_up(self) -> bool:
        """Tell whether this run has taken as long as it may."""
        minutes = self.settings.max_run_minutes
        return minutes is not None and self.clock() * 1000 - self.initialized_at >= minutes * 60_000

    def run_time(self, stream: sdk.Stream) -> float:
        """Give the time at which this run takes the log to be, in seconds since 1970.

        This machine's clock or Celonis', whichever is behind: an event must not be taken for
        settled because one of them is fast. It stands still during a run.
        """
        if "_run_time" not in self.__dict__ and self.client.server_time is None:
            stream.peek()
        return self._run_time

    @cached_property
    def _run_time(self) -> float:
        now = self.clock()
        server = self.client.server_time
        return now if server is None else min(now, server)

    @override
    def discover_streams(self) -> list[sdk.Stream]:
        return [stream(self) for stream in STREAMS]

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        if not _is_state(state):
            raise TapError(
                "The state is not a Singer state. Give the value of the last STATE message, or "
                "none to start over."
            )
        super().load_state(state)

    @override
    def make_contact(self) -> None:
        if any("team" in state for state in self.state.get("bookmarks", {}).values()):
            return
        selected = [each for each in self.streams.values() if each.selected]
        self._peek(selected, until_one_answers=True)

    @override
    def close(self) -> None:
        # The next run of this object, if there is one, gets new ones, and another time.
        self.__dict__.pop("_run_time", None)
        for name in ("pool", "client"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def _peek(self, streams: Sequence[Stream], *, until_one_answers: bool) -> None:
        """Ask each stream for as little as possible, and say what came.

        Raises:
            TapError: Streams do not answer.
        """
        refused: dict[sdk.Stream, TapError] = {}
        for stream in streams:
            if not isinstance(stream, sdk.Stream):
                continue
            try:
                total = stream.peek()
            except TeamError:
                raise
            except TapError as error:
                refused[stream] = error
                continue
            number = "an unknown number of" if total is None else total
            self.logger.info("%s: works, %s records to read", stream.name, number)
            if until_one_answers:
                return
        if 1 < len(refused) == len(streams) and all(
            isinstance(error, CredentialsError) for error in refused.values()
        ):
            apis = [stream.api for stream in refused]
            raise failure("401 everywhere", host=self.settings.netloc, grant=grant(apis))
        for stream, refusal in refused.items():
            self.note_failure(stream.name, TapError(f"{refusal.verdict.lack}. {refusal}"))
        self.fail_if_any()

    @classmethod
    @override
    def cb_test(
        cls,
        ctx: click.Context,
        param: click.Option,
        value: str,
    ) -> None:
        if value != "all":
            super().cb_test(ctx, param, value)
            return
        given = ctx.params["config"]
        tap = cls(config=given.config, parse_env_config=given.parse_env)
        # Who waits in front of a terminal wants to know what is wrong now, and no records.
        retries = min(1, tap.settings.max_retries)
        tap.settings = replace(tap.settings, max_retries=retries, page_size=1)
        try:
            tap._peek([*tap.streams.values()], until_one_answers=False)
        finally:
            tap.close()
        ctx.exit()


def _is_state(state: object) -> bool:
    """Tell whether this is a Singer state, or nothing yet."""
    if not isinstance(state, dict):
        return False
    bookmarks = state.get("bookmarks", None if state else {})
    return isinstance(bookmarks, dict) and all(
        isinstance(bookmark, dict)
        and isinstance(parts := bookmark.get("partitions", []), list)
        and all(isinstance(part, dict) for part in parts)
        for bookmark in bookmarks.values()
    )
