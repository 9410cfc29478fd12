"""Fails when the SDK changes an internal that `tap_celonis_audit/sdk.py` replaces or relies on.

Then compare the SDK's new code with what stands there, mend it if need be, and note the new digest.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import singer_sdk
from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.helpers._state import StateWriter
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.plugin_base import PluginBase, SingerCommand
from singer_sdk.singerlib import RecordMessage
from singer_sdk.singerlib.catalog import SelectionMask

from tap_celonis_audit import sdk

if TYPE_CHECKING:
    from collections.abc import Callable

#: Our class and the SDK's → the methods that are replaced.
REPLACED: dict[tuple[type, type], set[str]] = {
    (sdk.Stream, singer_sdk.Stream): {
        "get_replication_key_signpost",
        "_write_activate_version_message",
        "_increment_stream_state",
        "_write_starting_replication_value",
        "get_records",
        "_sync_records",
        "_write_record_message",
        "_process_record",
        "get_batches",
    },
    (sdk.LineWriter, MsgSpecWriter): {"write_message"},
    (sdk.Command, SingerCommand): {"main", "excepthook"},
    (sdk.Tap, singer_sdk.Tap): {
        "cb_config",
        "invoke",
        "get_singer_command",
        "sync_all",
        "_validate_config",
        "_handle_termination",
    },
}
#: These hand on whatever they get.
HANDED_ON = {"invoke", "main"}
#: The code of the SDK that is replaced, or that must go on calling what is.
CODE: dict[tuple[type, str], str] = {
    (singer_sdk.Stream, "get_replication_key_signpost"): "aa1053b35141",
    (singer_sdk.Stream, "_increment_stream_state"): "e00f187407fc",
    (singer_sdk.Stream, "_write_starting_replication_value"): "58295bffffd0",
    (singer_sdk.Stream, "_process_record"): "88dc804cad37",
    (singer_sdk.Stream, "_write_record_message"): "f691a5448b42",
    (singer_sdk.Stream, "_generate_record_messages"): "afd37e045e80",
    (SameRecordTransform, "transform"): "c63d1618edad",
    (RecordMessage, "to_dict"): "53c7070ce3a8",
    (RecordMessage, "__post_init__"): "3134b2b8d7a3",
    (SelectionMask, "__missing__"): "8e12221fa39d",
    (singer_sdk.Stream, "_write_activate_version_message"): "e175bf0df05e",
    (singer_sdk.Stream, "sync"): "376f3eae3139",
    (singer_sdk.Stream, "_sync_records"): "12b501fe43f0",
    (singer_sdk.Stream, "_sync_batches"): "74e6f048a4d5",
    (singer_sdk.Stream, "get_batches"): "d81934872968",
    (singer_sdk.Stream, "_generate_batch_messages"): "040bc274167c",
    (singer_sdk.Stream, "_write_state_message"): "5e2f85f7f038",
    (singer_sdk.Stream, "finalize_state_progress_markers"): "043c140ebd81",
    (singer_sdk.Tap, "sync_all"): "7c0fd67b8490",
    (singer_sdk.Tap, "_handle_termination"): "4b0668bf8294",
    (singer_sdk.Tap, "invoke"): "44ff6aa27896",
    (singer_sdk.Tap, "cb_config"): "b481ae4172e9",
    (singer_sdk.Tap, "cb_test"): "12d870a4f1ab",
    (singer_sdk.Tap, "_validate_config"): "176b1698df1d",
    (PluginBase, "__init__"): "fd7151c29cdb",
    (PluginBase, "_setup_signal_handlers"): "ae0821de0f65",
    (SingerCommand, "invoke"): "7f3d0ea83ec3",
    (SingerCommand, "excepthook"): "40572b05ed35",
    (MsgSpecWriter, "write_message"): "b53be48fc9fd",
    (StateWriter, "write_state"): "734d44e0548a",
}


def digest(function: Callable[..., Any]) -> str:
    """Hash a function's code, without its docstring, comments and layout."""
    lines = textwrap.dedent(inspect.getsource(inspect.unwrap(function))).splitlines()
    (definition,) = ast.parse("\n".join(lines)).body
    assert isinstance(definition, ast.FunctionDef)
    if ast.get_docstring(definition) is not None:
        text = definition.body[0]
        del lines[text.lineno - 1 : text.end_lineno]
    code = "".join(line.partition("  # ")[0] for line in lines if not line.lstrip().startswith("#"))
    return hashlib.sha256("".join(code.split()).encode()).hexdigest()[:12]


def overridden(cls: type) -> set[str]:
    """Name the methods that a class marks with ``@override``."""
    return {
        name
        for name, member in vars(cls).items()
        if getattr(inspect.unwrap(getattr(member, "__func__", member)), "__override__", False)
    }


@pytest.mark.parametrize(("theirs", "name"), CODE)
def test_the_sdks_code_is_the_one_that_was_read(theirs: type, name: str) -> None:
    now = digest(getattr(theirs, name))
    assert now == CODE[theirs, name], f"the SDK's {theirs.__name__}.{name} changed: read it again"


def test_the_code_of_every_internal_that_is_replaced_is_watched() -> None:
    private = {
        (theirs, name)
        for (_, theirs), names in REPLACED.items()
        for name in names
        if name.startswith("_")
    }
    assert private | {(singer_sdk.Tap, "sync_all")} <= CODE.keys()


@pytest.mark.parametrize(("ours", "theirs"), REPLACED)
def test_everything_that_is_replaced_is_watched(ours: type, theirs: type) -> None:
    assert overridden(ours) == REPLACED[ours, theirs]


@pytest.mark.parametrize(
    ("ours", "theirs", "name"),
    [(*pair, name) for pair, names in REPLACED.items() for name in sorted(names)],
)
def test_a_replacement_takes_what_the_original_takes(ours: type, theirs: type, name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters.values()
    original = inspect.signature(getattr(theirs, name)).parameters.values()
    if name in HANDED_ON:
        assert {p.kind for p in mine} >= {inspect.Parameter.VAR_KEYWORD}
    else:
        assert [(p.name, p.kind, p.default) for p in mine] == [
            (p.name, p.kind, p.default) for p in original
        ]


class Plain:
    def add(self, number: int) -> int:
        return number + 1


class Dressed:
    def add(self, number: int) -> int:
        """Add one."""
        # Since it is asked for.
        return number + 1  # the next one


class Other:
    def add(self, number: int) -> int:
        return number + 2


def test_the_digest_sees_code_and_nothing_else() -> None:
    assert digest(Plain.add) == digest(Dressed.add)
    assert digest(Plain.add) != digest(Other.add)
