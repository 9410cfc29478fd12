"""The SDK's internals that this tap replaces, where it offers no public hook.

``tests/test_sdk.py`` fails if the SDK changes one of them.

* A bookmark that follows the records (`Stream._increment_stream_state`): ours moves only after a
  whole window was proven and written, and holds more than one value.
* The value that a stream starts from (`Stream._write_starting_replication_value`): the SDK would
  write it into the state, and compare it with a ``start_date`` that may be relative here.
* What is done for each record (`Stream._sync_records`, `Stream._process_record`): the SDK looks for
  children, asks for each value whether it is selected, takes each record through its maps and
  encodes it alone; most runs have nothing of that, and then it is most of the work. Where a map
  fails (`Stream._write_record_message`), it lets Python quote the value.
* The message that a new version of a table is there (`Stream._write_activate_version_message`): the
  SDK writes it before the first record, and a run that fails after it would leave an empty table.
* Validation of the configuration (`Tap._validate_config`): the SDK quotes wrong values, secrets
  too, and does not say what to do.
* `Tap.sync_all`, which is declared final: one stream that fails must not keep the others from
  running, and the run must fail in the end.
* The command's configuration (`_ConfigInput`): see `Tap.cb_config`.
* What is said of an exception that nobody foresaw (`SingerCommand.excepthook`): the SDK quotes it,
  and values of records with it.
* Termination (`Tap._handle_termination`): the SDK ends with status 0, and writes a STATE message
  wherever it is, in the middle of a line too.
"""

from __future__ import annotations

import abc
import contextlib
import io
import json
import logging
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import msgspec
import singer_sdk
from singer_sdk.batch import Batcher
from singer_sdk.cli import plugin_cli
from singer_sdk.contrib.msgspec import MsgSpecWriter, encoder
from singer_sdk.exceptions import ConfigValidationError, MappingError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.plugin_base import JSONSchemaValidator, SingerCommand, _ConfigInput
from singer_sdk.singerlib.catalog import Catalog
from singer_sdk.singerlib.encoding import SingerMessageType

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.settings import from_environment, misspelt, problems, read_texts

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from types import FrameType, TracebackType

    import click
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib.encoding.simple import Message

    from tap_celonis_audit.errors import Api


logger = logging.getLogger(__name__)

#: Records are written in pieces of about this size.
WRITE_BYTES = 1 << 16
#: Not much more is encoded at once, whatever is written at once.
ENCODE_BYTES = 1 << 20
#: How much of a stack is shown of a failure that nobody foresaw.
_PLACES = 12


class Stream(singer_sdk.Stream):
    """A stream that keeps its state itself."""

    # Rows are made to fit their schema.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE
    # Not after so many records, but where a state tells of all records before it.
    STATE_MSG_FREQUENCY = sys.maxsize

    def __init__(self, tap: Tap) -> None:
        super().__init__(tap)
        self._writes_batches = self.get_batch_config(self.config) is not None
        self._owner = tap

    api: ClassVar[Api]
    """What is asked."""

    def peek(self) -> int | None:
        """Ask for one page at most; give how many records there are, if Celonis says.

        Raises:
            TapError: The stream cannot be read; the text says what to do.
        """
        raise NotImplementedError

    def save(self, state: Mapping[str, str]) -> None:
        """Set what the next STATE message says of this stream."""
        self.stream_state.update(state)
        self.state_manager.is_flushed = False
        self._owner.message_writer.has_new_records = False

    def emit_state(self) -> None:
        """Write a STATE message, unless records wait to be written in a batch."""
        if not self._writes_batches:
            self._owner.state_writer.write_state(self.tap_state)

    @cached_property
    def _writes_rows_as_they_are(self) -> bool:
        """Tell whether everything is selected, and nothing renamed, mapped or flattened."""
        (stream_map, *others) = self.stream_maps
        return (
            not others
            and type(stream_map) is SameRecordTransform
            and stream_map.stream_alias == self.name
            and not stream_map.flattening_enabled
            and all(self.mask.values())
        )

    @abc.abstractmethod
    def batches(self) -> Iterable[Sequence[Record | msgspec.Struct]]:
        """Give the records, some at once; what was handed out is written before the next come."""

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        for record in chain.from_iterable(self.batches()):
            yield record if isinstance(record, dict) else msgspec.structs.asdict(record)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        if not write_messages:
            # For batches, which are written later: see below.
            yield from super()._sync_records(context, write_messages=False)
            return
        with self._owner.failing(self.name):
            is_whole = context is None and self.ABORT_AT_RECORD_COUNT is None
            if is_whole and self.selected and self._writes_rows_as_they_are:
                self._write_rows()
            else:
                yield from super()._sync_records(context)

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        # The SDK would write rows as they are, with what was deselected, mapped or filtered out.
        rows: Iterable[Record] = self._sync_records(context, write_messages=False)
        if not self._writes_rows_as_they_are:
            rows = chain.from_iterable(map(self._as_written, rows))
        batcher = Batcher(self.tap_name, self.name, batch_config)
        with self._owner.failing(self.name):
            written = dict(self.stream_state)
            try:
                for manifest in batcher.get_batches(records=iter(rows)):
                    yield batch_config.encoding, manifest
                    written = dict(self.stream_state)
            except TapError:
                # Rows that waited for their batch are dropped, so no state may tell of them.
                self.stream_state.clear()
                self.stream_state.update(written)
                raise

    def _write_rows(self) -> None:
        write = self._owner.message_writer.write_records
        with self.get_record_counter() as counter, self.get_sync_timer():
            for rows in self.batches():
                write(self.name, rows, self._stream_version)
                self.state_manager.is_flushed = False
                counter.increment(len(rows))
        self._finalize_state(self.stream_state)
        self._write_state_message()

    @override
    def _write_record_message(self, record: Record) -> None:
        with self._quoting_nothing():
            super()._write_record_message(record)

    def _as_written(self, record: Record) -> list[Record]:
        """Give what RECORD messages would hold."""
        with self._quoting_nothing():
            return [message.record for message in self._generate_record_messages(record)]

    @contextlib.contextmanager
    def _quoting_nothing(self) -> Generator[None]:
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # An expression of the user's met a value that it was not made for; Python quotes it.
            raise TapError(
                f"{self.name}: stream_maps fails for a record ({type(error).__name__}). Let its "
                "expressions stand any value: fields may be missing."
            ) from None

    @override
    def _process_record(
        self,
        record: Record,
        child_context: Context | None = None,
        partition_context: Context | None = None,
    ) -> None:
        pass  # Neither children nor partitions.

    def activate_version(self) -> None:
        """Tell the target that what this run did not write is gone, if that is wished."""
        if self._stream_version is not None:
            super()._write_activate_version_message(self._stream_version)

    @override
    def _write_activate_version_message(self, full_table_version: int) -> None:
        pass

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        return None

    @override
    def _increment_stream_state(
        self, latest_record: Record, *, context: Context | None = None
    ) -> None:
        pass

    @override
    def _write_starting_replication_value(self, context: Context | None) -> None:
        pass


class _RecordLine(msgspec.Struct, gc=False):
    """A RECORD message as the SDK writes it."""

    type: str
    stream: str
    record: Record | msgspec.Struct
    version: int | msgspec.UnsetType
    time_extracted: datetime


class LineWriter(MsgSpecWriter):
    """Writes whole lines, many at once.

    Records wait until there are some kilobytes of them, or until something else is written: a STATE
    message is never ahead of its records, and never late. A signal that comes while lines are being
    written waits for their end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()
        self._lines_at_once = 1
        self.is_writing = False
        self.has_new_records = False
        """Whether there are records of which no state tells yet."""
        self.ended_by: int | None = None

    @override
    def write_message(self, message: Message) -> None:
        self.has_new_records |= message.type == SingerMessageType.RECORD
        self._waiting += self.format_message(message)
        if len(self._waiting) >= WRITE_BYTES or message.type != SingerMessageType.RECORD:
            self.flush()

    def write_records(
        self, stream: str, records: Iterable[Record | msgspec.Struct], version: int | None
    ) -> None:
        """Write RECORD messages, the same bytes as `write_message` would."""
        table = msgspec.UNSET if version is None else version
        now = datetime.now(UTC)
        self.has_new_records = True
        lines = [_RecordLine("RECORD", stream, record, table, now) for record in records]
        begin = 0
        while begin < len(lines):
            some = lines[begin : begin + self._lines_at_once]
            encoded = encoder.encode_lines(some)
            # In one step: a signal that comes in between would leave half a line.
            self._waiting += encoded
            if len(self._waiting) >= WRITE_BYTES:
                self.flush()
            begin += len(some)
            self._lines_at_once = max(1, ENCODE_BYTES * len(some) // len(encoded))

    def flush(self) -> None:
        """Write the lines that wait; end the process if the target stopped reading."""
        self.is_writing = True
        lines, self._waiting = self._waiting, bytearray()
        try:
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.buffer.write(lines)
            else:  # Redirected within the process.
                sys.stdout.write(lines.decode())
            sys.stdout.flush()
        except BrokenPipeError:
            # Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            logger.error(  # noqa: TRY400 -- no traceback for what is not an error of the tap
                "The target stopped reading. See what it says; the next run goes on from the last "
                "state that it saved."
            )
            sys.exit(1)
        finally:
            self.is_writing = False
        if self.ended_by is not None:
            sys.exit(128 + self.ended_by)


class SettingsError(TapError):
    """The configuration is not usable."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(" ".join(errors))
        self.errors = errors


def _read_object(read: Callable[[], str | bytes], name: str) -> dict[str, Any]:
    """Read a JSON object from a file that the user named.

    Raises:
        TapError: There is none.
    """
    try:
        content = json.loads(read())
    except OSError as error:
        raise TapError(f"{name} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise TapError(f"{name} is not a JSON object. Check what is in it.")
    return content


def _check_catalog(content: dict[str, Any], name: str) -> None:
    try:
        streams = Catalog.from_dict(content)
    except (AttributeError, KeyError, TypeError, ValueError):  # The SDK does not check by itself.
        streams = None
    if streams is None or "streams" not in content:
        raise TapError(f"The catalog {name} is not a Singer catalog. Make one with --discover.")


class Command(SingerCommand):
    """The command line, with one line for what a user can mend."""

    @override
    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except (ConfigValidationError, SettingsError) as error:
            for line in error.errors:
                self.logger.error(line)  # noqa: TRY400 -- no traceback for a setting
        except TapError as error:
            self.logger.error(error)  # noqa: TRY400 -- no traceback for what a user can mend
        except MappingError:
            # The SDK's message quotes the expression, in which there may be a secret.
            self.logger.error(  # noqa: TRY400 -- as above
                "stream_maps holds something that is no map or no expression. Compare it with "
                "https://sdk.meltano.com/en/latest/stream_maps.html"
            )
        sys.exit(1)

    @override
    def excepthook(
        self,
        exc_type: type[BaseException],
        exc_value: BaseException,
        exc_traceback: TracebackType | None,
    ) -> None:
        # What an exception says may be a part of a record; where it was raised never is.
        if issubclass(exc_type, KeyboardInterrupt):
            super().excepthook(exc_type, exc_value, exc_traceback)
            return
        places = [
            f"{Path(place.filename).name}:{place.lineno}"
            for place in reversed(traceback.extract_tb(exc_traceback))
        ]
        self.logger.error(
            "Unforeseen failure: %s at %s. Please report this.",
            exc_type.__name__,
            " < ".join(places[:_PLACES]),
        )


class Tap(singer_sdk.Tap):
    """A tap that runs every stream that can run, says what is wrong, and ends as it should."""

    stream_names: ClassVar[tuple[str, ...]]
    message_writer_class = LineWriter
    message_writer: LineWriter

    @cached_property
    def failures(self) -> dict[str, str]:
        """What went wrong, by stream."""
        return {}

    @plugin_cli
    @override
    def cli(cls: type[Tap]) -> click.Command:  # noqa: N805 -- the decorator gives the class
        for name in (f"{cls._env_var_prefix}LOGLEVEL", "LOGLEVEL"):
            level = os.environ.get(name, "").upper()
            if level and level not in logging.getLevelNamesMapping():
                sys.exit(f"{name} must be one of DEBUG, INFO, WARNING, ERROR.")
        return super().cli

    @classmethod
    @override
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        # The SDK reads the environment in a way that quotes wrong values, and lets a .env file
        # somewhere above the installed package win over it.
        config: dict[str, Any] = {}
        for path in value:
            if path != "ENV":
                config |= _read_object(Path(path).read_bytes, f"The config {path}")
        schema = cls.config_jsonschema
        cls.append_builtin_config(schema)
        if "ENV" in value:
            config |= from_environment(os.environ, schema, prefix=cls._env_var_prefix)
        if "ENV" in value or "MELTANO_EXTRACTOR_NAME" in os.environ:
            config |= misspelt(os.environ, schema, prefix=cls._env_var_prefix)
        return _ConfigInput(config=config)

    @classmethod
    @override
    def invoke(
        cls,
        *,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if state is not None:
            _read_object(state.read, f"The state {state.name}")
            state.seek(0)
        if catalog is not None:
            _check_catalog(_read_object(catalog.read, f"The catalog {catalog.name}"), catalog.name)
            catalog.seek(0)
        try:
            super().invoke(state=state, catalog=catalog, **kwargs)
        except ConfigValidationError as error:
            # The SDK's command would add a line that says nothing.
            raise SettingsError(error.errors) from None

    @classmethod
    @override
    def get_singer_command(cls) -> Command:
        base = super().get_singer_command()
        return Command(
            name=base.name,
            callback=base.callback,
            params=base.params,
            help=base.help,
            context_settings=base.context_settings,
            logger=cls.logger,
        )

    @abc.abstractmethod
    def make_contact(self) -> None:
        """Fail before the first message if no stream could be read."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections and threads."""

    @contextlib.contextmanager
    def failing(self, stream: str) -> Generator[None]:
        """Note a failure of one stream, so that the others run and the run fails in the end."""
        try:
            yield
        except TapError as error:
            self.note_failure(stream, error)

    def note_failure(self, stream: str, error: TapError) -> None:
        """Say why a stream failed, and remember that it did."""
        self.failures[stream] = str(error)
        self.logger.error("%s: %s", stream, str(error).removeprefix(f"{stream}: "))

    @override  # type: ignore[misc]  # final, see above
    def sync_all(self) -> None:  # ty: ignore[override-of-final-method]  # final, see above
        if not any(stream.selected for stream in self.streams.values()):
            self.logger.warning("No stream is selected: there is nothing to do")
        self.make_contact()
        try:
            super().sync_all()
        finally:
            self.close()
            self.message_writer.flush()
        self.fail_if_any()

    def fail_if_any(self) -> None:
        """Fail if a stream did."""
        if self.failures:
            raise TapError(f"Failed: {', '.join(sorted(self.failures))}. See above.")

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        self._config = read_texts(self._config, schema)
        found = problems(self._config, schema, streams=self.stream_names)
        # The SDK's validator fills in the defaults as it goes.
        list(JSONSchemaValidator(schema).iter_errors(self._config))
        if found and raise_errors:
            raise ConfigValidationError("The configuration is not usable", errors=found, schema={})
        return found

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        self.logger.error("Ended by %s", signal.Signals(signum).name)
        if self.message_writer.is_writing:
            if self.message_writer.ended_by is not None:
                os._exit(128 + signum)  # Asked twice: the target does not read.
            self.message_writer.ended_by = signum
            return
        if not self.config.get("batch_config") and not self.message_writer.has_new_records:
            # What was saved is true at any time: it moves only behind what was handed out. But a
            # target that keeps what lies before a state would get the rest of a window again, and
            # batches are handed out later.
            self.state_writer.write_state(self.state)
        sys.exit(128 + signum)
