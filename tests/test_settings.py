from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from singer_sdk.helpers.capabilities import BATCH_CONFIG, FLATTENING_CONFIG, STREAM_MAPS_CONFIG

from tap_celonis_audit.settings import (
    SCHEMA,
    Settings,
    from_environment,
    misspelt,
    problems,
    read_texts,
)
from tap_celonis_audit.tap import TapCelonisAudit
from tap_celonis_audit.windows import BEGINNING

URL = "https://acme.eu-1.celonis.cloud"
GOOD: dict[str, Any] = {"api_url": URL, "app_key": "a-key"}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def known_settings() -> dict[str, Any]:
    schema = {"properties": dict(SCHEMA["properties"])}
    TapCelonisAudit.append_builtin_config(schema)
    return schema


def complaints(**changes: Any) -> list[str]:
    """Say what is wrong with a good configuration after these changes; None leaves one out."""
    config = {name: value for name, value in (GOOD | changes).items() if value is not None}
    schema = known_settings()
    return problems(read_texts(config, schema), schema)


def the_complaint(**changes: Any) -> str:
    (only,) = complaints(**changes)
    return only


@pytest.mark.parametrize(
    "way",
    [
        {"app_key": "k"},
        {"api_key": "k"},
        {"client_id": "c", "client_secret": "s"},
        {"app_key": "k", "api_key": "", "client_id": "", "client_secret": ""},
    ],
)
def test_each_way_to_authenticate_is_enough(way: dict[str, str]) -> None:
    assert problems({"api_url": URL, **way}, known_settings()) == []


@pytest.mark.parametrize(
    "ways",
    [
        {"app_key": "k", "api_key": "k"},
        {"app_key": "k", "client_id": "c", "client_secret": "s"},
        {"app_key": "k", "client_secret": "s"},
        {"api_key": "k", "client_id": "c"},
        {"app_key": "k", "api_key": "k", "client_id": "c", "client_secret": "s"},
    ],
)
def test_two_ways_at_once_are_told_by_name(ways: dict[str, str]) -> None:
    (line,) = problems({"api_url": URL, **ways}, known_settings())
    assert "are configured at once" in line
    assert "exactly one" in line
    named = line.partition(" are configured")[0]
    assert ("app_key" in named) == ("app_key" in ways)
    assert ("api_key" in named) == ("api_key" in ways)


@pytest.mark.parametrize("nothing", [{}, {"app_key": ""}, {"app_key": None, "client_id": ""}])
def test_no_way_to_authenticate_is_told(nothing: dict[str, str | None]) -> None:
    (line,) = problems({"api_url": URL, **nothing}, known_settings())
    assert line.startswith("No way to authenticate")
    assert all(name in line for name in ("app_key", "api_key", "client_id", "client_secret"))


@pytest.mark.parametrize(
    ("given", "missing"), [("client_id", "client_secret"), ("client_secret", "client_id")]
)
def test_half_an_oauth_client_is_told(given: str, missing: str) -> None:
    line = the_complaint(app_key=None, **{given: "x"})
    assert line.startswith(f"{missing} is missing")


@pytest.mark.parametrize(
    "key", ["two\nlines", "tab\there", "k\u00e9y", "zero\u200bwidth", "nul\0", "end\r"]
)
@pytest.mark.parametrize("name", ["app_key", "api_key", "client_secret"])
def test_a_key_that_no_header_can_carry_is_told_and_not_shown(name: str, key: str) -> None:
    ways = {"app_key": None, name: key} | ({"client_id": "c"} if name == "client_secret" else {})
    line = the_complaint(**ways)
    assert line.startswith(f"{name} holds a line break or another character")
    assert key not in line


@pytest.mark.parametrize(
    "key",
    [
        " s3cret",
        "s3cret ",
        '"s3cret"',
        "'s3cret'",
        "AppKey s3cret",
        "appkey: s3cret",
        "Bearer s3cret",
        "Authorization: AppKey s3cret",
    ],
)
@pytest.mark.parametrize("name", ["app_key", "api_key", "client_secret"])
def test_a_key_that_was_pasted_with_more_is_told_and_not_shown(name: str, key: str) -> None:
    ways = {"app_key": None, name: key} | ({"client_id": "c"} if name == "client_secret" else {})
    line = the_complaint(**ways)
    assert line.startswith(f"{name} is more than a key: it has space or quotation marks around")
    assert "s3cret" not in line


@pytest.mark.parametrize("key", ["a b", "bearers", "it's", '"', "AppKey", "a'", "=="])
def test_a_key_may_hold_anything_else(key: str) -> None:
    assert complaints(app_key=key) == []


@pytest.mark.parametrize("url", [None, "", "  "])
def test_a_missing_url_is_told_with_an_example(url: str | None) -> None:
    line = the_complaint(api_url=url)
    assert line.startswith("api_url is missing")
    assert URL in line


@pytest.mark.parametrize(
    "url",
    [
        "acme.eu-1.celonis.cloud",
        "ftp://acme.eu-1.celonis.cloud",
        "https://",
        "https:///path",
        "https://acme.eu-1.celonis.cloud:port",
        "https://acme.eu-1.celonis.cloud:99999",
        "https://[::1",
        "//acme.eu-1.celonis.cloud",
        "https://acme .eu-1.celonis.cloud",
        "https://https://acme.eu-1.celonis.cloud",
        "https://<team>.eu-1.celonis.cloud",
        '"https://acme.eu-1.celonis.cloud"',
        "https:/acme.eu-1.celonis.cloud",
    ],
)
def test_what_is_no_url_is_told_and_not_shown(url: str) -> None:
    line = the_complaint(api_url=url)
    assert line.startswith("api_url is not a URL")
    assert url not in line.partition("such as")[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.eu-1.celonis.cloud",
        "HTTP://acme.eu-1.celonis.cloud",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0:8765",
    ],
)
def test_http_to_another_machine_is_refused(url: str) -> None:
    assert the_complaint(api_url=url).startswith("api_url must start with https://")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765", URL]
)
def test_http_to_this_machine_is_fine(url: str) -> None:
    assert complaints(api_url=url) == []


@pytest.mark.parametrize(
    "url", ["https://user:pw-in-url@acme.eu-1.celonis.cloud", "http://pw-in-url@127.0.0.1:1"]
)
def test_credentials_in_the_url_are_refused_and_not_shown(url: str) -> None:
    line = the_complaint(api_url=url)
    assert "must not hold a user name or password" in line
    assert "pw-in-url" not in line


@pytest.mark.parametrize(
    ("url", "base", "team"),
    [
        (URL, URL, "acme.eu-1.celonis.cloud"),
        (f" {URL}/ \n", URL, "acme.eu-1.celonis.cloud"),
        (f"{URL}/ui/team/permissions?tab=1#x", URL, "acme.eu-1.celonis.cloud"),
        ("HTTPS://Acme.EU-1.celonis.cloud", URL, "acme.eu-1.celonis.cloud"),
        ("http://127.0.0.1:8765/x", "http://127.0.0.1:8765", "127.0.0.1"),
        ("http://[::1]:8765/", "http://[::1]:8765", "::1"),
    ],
)
def test_the_url_is_reduced_to_scheme_and_host(url: str, base: str, team: str) -> None:
    assert complaints(api_url=url) == []
    settings = Settings.from_config(GOOD | {"api_url": url})
    assert (settings.base_url, settings.team) == (base, team)
    assert settings.netloc == base.partition("://")[2]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("pagesize", "page_size"), ("appkey", "app_key"), ("stream_map", "stream_maps")],
)
def test_a_misspelt_setting_suggests_the_right_one(wrong: str, meant: str) -> None:
    assert the_complaint(**{wrong: "hidden"}) == (
        f'"{wrong}" is not a setting of this tap: did you mean "{meant}"?'
    )


def test_whatever_it_is_called_a_setting_is_told_in_one_line() -> None:
    line = the_complaint(**{"a\n\x1b[31mb\u202e": 1})
    assert line == '"a\\n\\u001b[31mb\\u202e" is not a setting of this tap: remove it.'


def test_a_setting_of_something_else_is_to_be_removed() -> None:
    assert the_complaint(warehouse="hidden") == (
        '"warehouse" is not a setting of this tap: remove it.'
    )


@pytest.mark.parametrize("value", [7_654_321, True, ["s3cret"], {"s3cret": 1}, 1.5])
@pytest.mark.parametrize("name", ["app_key", "client_secret", "api_url", "start_date"])
def test_a_value_of_the_wrong_type_is_not_quoted(name: str, value: object) -> None:
    changes = {name: value} | (
        {"app_key": None, "client_id": "c"} if name == "client_secret" else {}
    )
    line = the_complaint(**changes)
    assert line == f"{name} must be a text."


@pytest.mark.parametrize("value", ["50.5", "1e2", "true", 50.5, True, [50], "s3cret", "\u0665"])
def test_a_number_must_be_whole(value: object) -> None:
    assert the_complaint(page_size=value) == "page_size must be a whole number."


@pytest.mark.parametrize("value", ["ture", "ja", "2", 1, "[" * 100_000])
def test_a_switch_is_on_or_off(value: object) -> None:
    assert the_complaint(include_internal_members=value) == (
        "include_internal_members must be true or false."
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("page_size", "50", 50),
        ("page_size", " 50 ", 50),
        ("max_retries", "0", 0),
        ("include_internal_members", "false", False),
        ("include_internal_members", "No", False),
        ("include_internal_members", "TRUE", True),
        ("stream_maps", '{"members": null}', {"members": None}),
        ("app_key", "50", "50"),
        ("start_date", "2026-01-01", "2026-01-01"),
    ],
)
def test_a_setting_may_be_written_as_a_text(name: str, text: str, value: object) -> None:
    schema = known_settings()
    assert read_texts({name: text}, schema) == {name: value}
    read = read_texts({name: value}, schema)[name]
    assert (read, type(read)) == (value, type(value))
    environ = {f"TAP_{name.upper()}": text, "TAP_UNKNOWN": text, name.upper(): text}
    assert from_environment(environ, schema, prefix="TAP_") == {name: text}


def test_what_is_empty_is_not_set() -> None:
    config: dict[str, Any] = {}
    for name in SCHEMA["properties"]:
        config |= {name: ""}
    assert read_texts(config, known_settings()) == {}
    assert read_texts(dict.fromkeys(config), known_settings()) == {}
    tap = TapCelonisAudit(config=config | GOOD)
    assert tap.settings == TapCelonisAudit(config=GOOD).settings


def test_a_misspelt_setting_is_told_when_it_is_empty_too() -> None:
    assert "pagesize" in the_complaint(pagesize="")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("page_size", 0, "at least 1 and at most 200"),
        ("page_size", 201, "at least 1 and at most 200"),
        ("settle_seconds", 1, "at least 2"),
        ("late_arrival_seconds", -1, "at least 0 and at most 604800"),
        ("request_timeout_seconds", 0, "at least 1"),
        ("max_retries", -1, "at least 0"),
    ],
)
def test_numbers_have_bounds(name: str, value: int, rule: str) -> None:
    assert the_complaint(**{name: value}) == f"{name} must be {rule}."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page_size", 1),
        ("page_size", 200),
        ("settle_seconds", 2),
        ("late_arrival_seconds", 0),
        ("request_timeout_seconds", 1),
        ("max_retries", 0),
    ],
)
def test_the_bounds_themselves_are_fine(name: str, value: int) -> None:
    assert complaints(**{name: value}) == []
    assert getattr(Settings.from_config(GOOD | {name: value}), name) == value


def test_a_choice_is_one_of_its_values() -> None:
    assert the_complaint(oauth_client_auth="digest") == (
        "oauth_client_auth must be one of auto, basic, post."
    )


@pytest.mark.parametrize("name", ["start_date", "end_date"])
@pytest.mark.parametrize("date", ["tomorrow", "2026-02-30", "31.01.2026", "03/04/2025", "-1"])
def test_what_is_no_date_is_told_with_the_forms(name: str, date: str) -> None:
    line = the_complaint(**{name: date})
    assert line.startswith(f"{name} is not a date. Write 2025-01-31")
    assert date not in line


@pytest.mark.parametrize("end", ["2025-01-31", "2025-01-30T23:59:59Z", "2025-01-31T01:00+01:00"])
def test_the_start_lies_before_the_end(end: str) -> None:
    assert the_complaint(start_date="2025-01-31", end_date=end) == (
        "start_date must be before end_date."
    )


def test_dates_are_read_relative_to_the_run() -> None:
    config = GOOD | {"start_date": "30 days ago", "end_date": "2026-02-28T12:00:00+02:00"}
    settings = Settings.from_config(config, now=NOON)
    assert settings.start == NOON - 30 * 86_400
    assert settings.end == datetime(2026, 2, 28, 10, tzinfo=UTC).timestamp()


def test_without_dates_all_history_up_to_now_is_read() -> None:
    settings = Settings.from_config(GOOD)
    assert (settings.start, settings.end) == (BEGINNING, None)


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_date_is_none(nothing: str | None) -> None:
    config = GOOD | {"start_date": nothing, "end_date": nothing}
    assert problems(config, known_settings()) == []
    assert Settings.from_config(config).end is None


def test_every_problem_is_told_at_once_one_line_each() -> None:
    found = complaints(
        api_url="http://acme.eu-1.celonis.cloud",
        api_key="another",
        page_size="many",
        start_date="soon",
        pagesize=3,
    )
    assert len(found) == 5
    assert not any("\n" in line for line in found)
    assert all(line.endswith((".", "?")) for line in found)


def test_defaults_are_those_of_the_schema() -> None:
    bare = Settings.from_config(GOOD)
    defaults = {
        name: spec["default"] for name, spec in SCHEMA["properties"].items() if "default" in spec
    }
    assert Settings.from_config(GOOD | defaults) == bare
    del defaults["emit_activate_version_messages"]  # the SDK reads that itself
    assert {name: getattr(bare, name) for name in defaults} == defaults
    assert bare.user_agent.startswith("tap-celonis-audit/")


def test_the_credentials_are_secrets_and_nothing_else_is() -> None:
    secrets = {name for name, spec in SCHEMA["properties"].items() if spec.get("secret")}
    assert secrets == {
        "app_key",
        "api_key",
        "client_id",
        "client_secret",
        "pseudonymization_key",
    }


def test_the_sdks_own_settings_are_known() -> None:
    names = {
        name
        for config in (BATCH_CONFIG, FLATTENING_CONFIG, STREAM_MAPS_CONFIG)
        for name in config["properties"]
    }
    assert {"stream_maps", "flattening_enabled", "batch_config"} <= names
    given = {"stream_maps": {}, "flattening_enabled": True, "flattening_max_depth": 1}
    assert complaints(**given) == []
    assert names <= known_settings()["properties"].keys()


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        ("TAP_CELONIS_AUDIT_PAGESIZE", {"pagesize": ""}),
        ("TAP_CELONIS_AUDIT_PSEUDONYMISATION", {"pseudonymisation": ""}),
        ("TAP_CELONIS_AUDIT_START_DAT", {"start_dat": ""}),
        ("TAP_CELONIS_AUDIT_PAGE_SIZE", {}),
        ("TAP_CELONIS_AUDIT_STREAM_MAPS", {}),
        ("TAP_CELONIS_AUDIT_LOGLEVEL", {}),
        ("TAP_CELONIS_AUDIT_B_PAGE_SIZE", {}),
        ("TAP_CELONIS_AUDIT_EAST_APP_KEY", {}),
        ("TAP_CELONIS_AUDIT__LOAD_SCHEMA", {}),
        ("TAP_CELONIS_AUDIT__SELECT_FILTER", {}),
        ("TAP_CELONIS_AUDIT_B__START_DATE", {}),
        ("TAP_CELONIS_AUDIT_OWNER", {}),
        ("PAGESIZE", {}),
    ],
)
def test_a_misspelt_variable_is_found(variable: str, found: dict[str, str]) -> None:
    schema = known_settings()
    assert misspelt({variable: "s3cret"}, schema, prefix="TAP_CELONIS_AUDIT_") == found
    for name in found:
        (problem,) = problems(GOOD | found, schema)
        assert f'"{name}" is not a setting of this tap: did you mean' in problem
