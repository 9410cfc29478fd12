from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_celonis_audit.windows import (
    BEGINNING,
    Instant,
    format_bound,
    format_second,
    parse_instant,
    parse_setting,
)

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2025-02-25T14:52:10.903Z", "2025-02-25T14:52:10.903000Z"),
        ("2025-02-25T14:52:10Z", "2025-02-25T14:52:10.000000Z"),
        ("2025-02-25T14:52:10", "2025-02-25T14:52:10.000000Z"),
        ("2025-02-25T16:52:10.5+02:00", "2025-02-25T14:52:10.500000Z"),
        ("2025-02-25T14:52:10.1234567Z", "2025-02-25T14:52:10.123456Z"),
        ("2025-02-25T00:30:00.000-23:59", "2025-02-26T00:29:00.000000Z"),
        (1740495130903, "2025-02-25T14:52:10.903000Z"),
        ("0999-02-25T14:52:10.903Z", "0999-02-25T14:52:10.903000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2025-W09-2T14:52:10.903Z", "2025-02-25T14:52:10.903000Z"),
        ("2025-02-25 14:52:10.903Z", "2025-02-25T14:52:10.903000Z"),
        ("20250225T145210.12345678", "2025-02-25T14:52:10.123456Z"),
    ],
)
def test_a_timestamp_is_read_whatever_its_spelling(value: object, text: str) -> None:
    instant = parse_instant(value)
    assert instant is not None
    assert instant.text == text
    assert instant.second == int(datetime.fromisoformat(text[:19] + "Z").timestamp())


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "yesterday",
        "2025-02-30T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "2025-02-25T14:52:10.903Z\n",
        True,
        12,
        10**15,
        1740495130.9,
        {"at": 1},
    ],
)
def test_what_is_no_timestamp_is_told_apart(value: object) -> None:
    assert parse_instant(value) is None


@given(
    moment=st.datetimes(
        datetime(1, 1, 2),  # noqa: DTZ001 - the zone comes next
        datetime(9999, 12, 30),  # noqa: DTZ001 - likewise
        timezones=st.sampled_from(
            [UTC, timezone(timedelta(hours=-5)), timezone(timedelta(minutes=345))]
        ),
    ),
    separator=st.sampled_from("T _"),
    precision=st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    zone=st.sampled_from(["Z", "+00:00"]),
)
def test_the_usual_form_is_read_as_any_other(
    moment: datetime, separator: str, precision: str, zone: str
) -> None:
    text = moment.isoformat(separator, precision)
    exact = datetime.fromisoformat(text).astimezone(UTC)
    assert parse_instant(text.replace("+00:00", zone)) == Instant(
        (exact - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1),
        f"{exact.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
    )


def test_midnight_may_be_written_as_the_end_of_a_day() -> None:
    # Newer versions of Python read it, older ones do not.
    instant = parse_instant("2025-02-25T24:00:00.000Z")
    assert instant is None or instant.text == "2025-02-26T00:00:00.000000Z"


def test_instants_sort_as_their_texts_do() -> None:
    times = ["2025-02-25T14:52:10.903Z", "2025-02-25T14:52:10Z", "2025-02-25T14:52:10.9031Z"]
    instants = [instant for time in times if (instant := parse_instant(time))]
    assert sorted(instants) == sorted(instants, key=lambda instant: instant.text)
    assert min(instants) == Instant(1740495130, "2025-02-25T14:52:10.000000Z")


def test_whole_seconds_are_written_in_both_forms() -> None:
    assert format_second(1740495130) == "2025-02-25T14:52:10.000000Z"
    assert format_bound(1740495130) == "2025-02-25T14:52:10"
    assert parse_instant(format_second(BEGINNING)) == Instant(
        BEGINNING, "2000-01-01T00:00:00.000000Z"
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        (" 2025-01-31T08:00 ", datetime(2025, 1, 31, 8, tzinfo=UTC)),
        ("2025-01-31T08:00:00+02:00", datetime(2025, 1, 31, 6, tzinfo=UTC)),
        ("30 days ago", datetime(2026, 1, 30, 12, tzinfo=UTC)),
        ("1 Hour ago", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("2 weeks ago", datetime(2026, 2, 15, 12, tzinfo=UTC)),
        ("90 years ago", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates_of_the_settings(text: str, moment: datetime) -> None:
    assert parse_setting(text, now=NOON) == int(moment.timestamp())


@pytest.mark.parametrize(
    "text", ["", "soon", "days ago", "-3 days ago", "3 fortnights ago", "31/1"]
)
def test_what_is_no_date_of_a_setting(text: str) -> None:
    assert parse_setting(text, now=NOON) is None
