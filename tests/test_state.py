from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_celonis_audit import state as state_module
from tap_celonis_audit.errors import TapError
from tap_celonis_audit.state import FINGERPRINT_BYTES, MAX_FINGERPRINTS, Bookmark, Watch
from tap_celonis_audit.windows import BEGINNING, format_second

TEAM = "acme.eu-1.celonis.cloud"
NOW = 1_800_000_000


def prints(number: int, seed: int = 0) -> tuple[bytes, ...]:
    chance = random.Random(seed)
    return tuple(chance.randbytes(FINGERPRINT_BYTES) for _ in range(number))


def read(state: dict[str, Any]) -> Bookmark | None:
    return Bookmark.from_state(
        json.loads(json.dumps(state)), team=TEAM, start=BEGINNING, late_seconds=3600, now=NOW
    )


@given(
    st.integers(0, 10**9),
    st.dictionaries(st.integers(0, 10**6), st.integers(1, 5), max_size=50),
    st.booleans(),
)
def test_a_watch_survives_being_packed(
    start: int, counts: dict[int, int], with_fingerprints: bool
) -> None:
    watch = Watch(start)
    watch.replace(
        start,
        start + 10**6 + 1,
        {start + at: prints(number, at) for at, number in counts.items()},
    )
    if not with_fingerprints:
        watch.fingerprints.clear()
    assert Watch.unpack(start, watch.pack()) == watch


def test_a_bookmark_survives_json() -> None:
    bookmark = Bookmark.fresh(TEAM, NOW - 9_000)
    bookmark.watch.replace(NOW - 9_000, NOW, {NOW - 50: prints(3), NOW - 20: prints(1)})
    bookmark.watermark, bookmark.checked = NOW, True
    bookmark.gap = (NOW - 99_000, NOW - 50_000)
    state = bookmark.to_state()
    assert read(state) == bookmark
    assert {type(value) for value in state.values()} == {str}
    assert state["replication_key_value"] == format_second(NOW)


def test_forgetting_goes_back_to_a_quiet_second() -> None:
    watch = Watch(0)
    watch.replace(0, 5_000, {second: prints(1, second) for second in range(0, 5_000, 2)})
    watch.forget(before=3_000)
    assert watch.start == 2_999
    assert watch.expected(0, 3_000) == 0
    assert watch.expected(3_000, 5_000) == 1_000
    watch.replace(0, 5_000, {second: prints(1, second) for second in range(2_999, 5_000)})
    watch.forget(before=4_900)
    assert watch.start == 4_000


def test_the_oldest_fingerprints_go_first_and_the_counts_stay() -> None:
    watch = Watch(0)
    watch.replace(0, 10, {1: prints(MAX_FINGERPRINTS), 2: prints(5), 3: prints(5)})
    assert watch.limit()
    assert set(watch.fingerprints) == {2, 3}
    assert watch.expected(0, 10) == MAX_FINGERPRINTS + 10
    assert not watch.limit()
    assert Watch.unpack(0, watch.pack()) == watch


def test_the_state_is_bounded() -> None:
    watch = Watch(NOW - 86_400)
    watch.replace(
        watch.start, NOW, {second: prints(3, second) for second in range(watch.start, NOW)}
    )
    watch.limit()
    bookmark = Bookmark(TEAM, BEGINNING, NOW, watch)
    assert len(json.dumps(bookmark.to_state())) < 1_000_000


def test_no_state_is_a_fresh_start() -> None:
    assert read({}) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"replication_key_value": "soon"}, "damaged"),
        ({"replication_key_value": None}, "damaged"),
        ({"replication_key_value": 1_800_000_000_000}, "damaged"),
        ({"replication_key_value": format_second(NOW + 90_000)}, "future"),
        ({"version": "2"}, "newer version"),
        ({"version": 2}, "newer version"),
        ({"team": "other.eu-1.celonis.cloud"}, "another team"),
        ({"team": None}, "another team"),
        ({"start": ""}, "damaged"),
        ({"watch_start": "x"}, "damaged"),
        ({"watch": "x"}, "damaged"),
        ({"watch": "AAAA"}, "damaged"),
    ],
)
def test_a_state_that_cannot_be_trusted_is_refused(change: dict[str, Any], says: str) -> None:
    state = Bookmark.fresh(TEAM, NOW - 9_000).to_state() | change
    with pytest.raises(TapError, match=says) as told:
        read(state)
    assert "empty state" in str(told.value)


def test_every_damaged_byte_of_the_watch_is_noticed() -> None:
    watch = Watch(0)
    watch.replace(0, 100, {5: prints(2), 50: prints(1)})
    data = base64.b64decode(watch.pack())
    for index in range(len(data)):
        damaged = bytearray(data)
        damaged[index] ^= 1
        with pytest.raises(ValueError, match=r"damaged|checksum"):
            Watch.unpack(0, base64.b64encode(damaged).decode())
    for end in range(1, len(data)):
        with pytest.raises(ValueError, match=r"damaged|checksum"):
            Watch.unpack(0, base64.b64encode(data[:end]).decode())


def test_a_bare_bookmark_is_moved_back_by_what_may_have_come_late() -> None:
    bookmark = read({"replication_key_value": format_second(NOW - 100)})
    assert bookmark is not None
    assert bookmark.watermark == NOW - 3_700
    assert bookmark.watch == Watch(NOW - 3_700)


def test_the_version_in_the_state_is_the_one_that_is_read() -> None:
    assert Bookmark.fresh(TEAM, NOW).to_state()["version"] == state_module.VERSION
