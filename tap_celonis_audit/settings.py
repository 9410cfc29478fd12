"""The tap's settings: what is accepted, and what is said when it is not.

Pure functions of the configuration; values of settings are never part of a message.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import ipaddress
import json
import re
import ssl
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from singer_sdk import typing as th

from tap_celonis_audit.windows import BEGINNING, parse_setting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_WAYS = "app_key; api_key; client_id with client_secret"
_TYPES: dict[str, tuple[str, type]] = {
    "string": ("a text", str),
    "integer": ("a whole number", int),
    "boolean": ("true or false", bool),
    "object": ("a JSON object", dict),
}
#: A shorter key could be found by trying: whoever holds data can tell a right guess by itself.
MIN_PSEUDONYMIZATION_KEY = 32
#: How alike a variable must be to a setting to be taken for a misspelt one.
_NEAR = 0.8
#: What people paste along with a key, and what cannot be a host: `https://https://...`, `<team>`.
_DECORATED = re.compile(
    r"""\s.*|.*\s|".*"|'.*'|`.*`|(?:authorization:\s*)?(?:appkey|bearer)[\s:=].*""", re.IGNORECASE
)
_NO_HOST = re.compile(r"[^\w.:-]|^https?$")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}

SCHEMA: dict[str, Any] = th.PropertiesList(
    th.Property(
        "api_url",
        th.StringType,
        required=True,
        title="Team URL",
        description="URL of the Celonis team, such as https://acme.eu-1.celonis.cloud",
    ),
    th.Property(
        "app_key",
        th.StringType,
        secret=True,
        title="Application key",
        description="Application key. Give this, or api_key, or client_id with client_secret",
    ),
    th.Property(
        "api_key",
        th.StringType,
        secret=True,
        title="User API key",
        description="API key of a user; it has that user's rights",
    ),
    th.Property(
        "client_id",
        th.StringType,
        secret=True,
        title="OAuth client ID",
        description="ID of an OAuth 2.0 client with the client credentials grant",
    ),
    th.Property(
        "client_secret",
        th.StringType,
        secret=True,
        title="OAuth client secret",
        description="Secret of the OAuth 2.0 client",
    ),
    th.Property(
        "oauth_client_auth",
        th.StringType,
        default="auto",
        allowed_values=["auto", "basic", "post"],
        title="OAuth client authentication",
        description="How the OAuth client sends its secret: basic, post, or auto to try both",
    ),
    th.Property(
        "start_date",
        th.StringType,
        title="Start date",
        description=(
            "First event to read: 2025-01-31, a date-time, or 30 days ago. Moved back later, the "
            "older history is added. Without it, all history is read"
        ),
    ),
    th.Property(
        "end_date",
        th.StringType,
        title="End date",
        description="Read events before this date only; same forms as start_date",
    ),
    th.Property(
        "page_size",
        th.IntegerType(minimum=1, maximum=200),
        default=200,
        title="Page size",
        description="Records per request",
    ),
    th.Property(
        "max_parallel_requests",
        th.IntegerType(minimum=1, maximum=16),
        default=4,
        title="Requests at once",
        description="How many requests may be under way at the same time",
    ),
    th.Property(
        "audit_api_version",
        th.StringType(allowed_values=["auto", "v1", "v2"]),
        default="auto",
        title="Version of the audit log API",
        description="Which version to ask; auto is v1 while the team has it, which has counts to "
        "prove completeness by",
    ),
    th.Property(
        "settle_seconds",
        th.IntegerType(minimum=2),
        default=120,
        title="Settle time (seconds)",
        description="Events younger than this are left for the next run",
    ),
    th.Property(
        "late_arrival_seconds",
        th.IntegerType(minimum=0, maximum=604_800),
        default=21_600,
        title="Late arrivals (seconds)",
        description="How late an event may appear in Celonis and still be picked up",
    ),
    th.Property(
        "include_internal_members",
        th.BooleanType,
        default=True,
        title="Internal members",
        description="Whether members includes the staff and services of Celonis",
    ),
    th.Property(
        "emit_activate_version_messages",
        th.BooleanType,
        default=False,
        title="Remove what is gone",
        description=(
            "After each complete copy of members and permissions, tell the target to remove the "
            "rows that are not in it. Only for tables that hold a single team"
        ),
    ),
    th.Property(
        "request_timeout_seconds",
        th.IntegerType(minimum=1),
        default=60,
        title="Request timeout (seconds)",
        description="How long to wait for Celonis to send something",
    ),
    th.Property(
        "max_retries",
        th.IntegerType(minimum=0),
        default=8,
        title="Retries",
        description="How often a request is repeated after a transient failure",
    ),
    th.Property(
        "max_rate_limit_wait_seconds",
        th.IntegerType(minimum=0),
        default=900,
        title="Longest wait for the rate limit (seconds)",
        description="How long a request may wait for Celonis' rate limit",
    ),
    th.Property(
        "max_run_minutes",
        th.IntegerType(minimum=1),
        title="Longest run (minutes)",
        description="End the run cleanly after that time; the next one goes on from there",
    ),
    th.Property(
        "ca_bundle",
        th.StringType,
        title="CA bundle",
        description="File with certificates in PEM form to trust in addition to the usual ones",
    ),
    th.Property(
        "user_agent",
        th.StringType,
        title="User agent",
        description="User-Agent header of every request. Default: tap-celonis-audit/<version>",
    ),
    th.Property(
        "pseudonymization",
        th.StringType,
        default="none",
        allowed_values=["none", "hmac-sha256"],
        title="Pseudonymization",
        description=(
            "hmac-sha256 replaces user ids, e-mail addresses and names by pseudonyms that only the "
            "holder of pseudonymization_key can tell; none keeps them"
        ),
    ),
    th.Property(
        "pseudonymization_key",
        th.StringType,
        secret=True,
        title="Pseudonymization key",
        description=(
            "What the pseudonyms are made with, at least 32 characters; with another key, all of "
            "them change"
        ),
    ),
    th.Property(
        "pseudonymization_ip_addresses",
        th.StringType,
        default="keep",
        allowed_values=["keep", "truncate", "hash"],
        title="Pseudonymization of IP addresses",
        description=(
            "With pseudonymization: keep IP addresses, truncate them to their network (/24, /48), "
            "or hash them"
        ),
    ),
).to_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration, checked."""

    base_url: str
    """Scheme and host, without a slash at the end."""
    team: str
    """Host of the team, which tells its rows from another team's."""
    app_key: str | None
    api_key: str | None
    client_id: str | None
    client_secret: str | None
    oauth_client_auth: str
    start: int
    """Seconds since 1970."""
    end: int | None
    """Seconds since 1970, exclusive; None for "up to now"."""
    page_size: int
    max_parallel_requests: int
    audit_api_version: str
    settle_seconds: int
    late_arrival_seconds: int
    include_internal_members: bool
    request_timeout_seconds: int
    max_retries: int
    max_rate_limit_wait_seconds: int
    max_run_minutes: int | None
    ca_bundle: str | None
    user_agent: str
    pseudonymization: str
    pseudonymization_key: str | None
    pseudonymization_ip_addresses: str

    @property
    def netloc(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base_url).netloc

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, now: float | None = None) -> Settings:
        """Take over a configuration in which `problems` finds nothing."""
        now = time.time() if now is None else now
        url = urlsplit(config["api_url"].strip())
        start, end = config.get("start_date"), config.get("end_date")
        first = parse_setting(start, now=now) if start else None
        return cls(
            base_url=f"{url.scheme.lower()}://{url.netloc.lower()}",
            team=(url.hostname or "").lower(),
            app_key=config.get("app_key"),
            api_key=config.get("api_key"),
            client_id=config.get("client_id"),
            client_secret=config.get("client_secret"),
            oauth_client_auth=config.get("oauth_client_auth", "auto"),
            start=BEGINNING if first is None else max(BEGINNING, first),
            end=parse_setting(end, now=now) if end else None,
            page_size=config.get("page_size", 200),
            max_parallel_requests=config.get("max_parallel_requests", 4),
            audit_api_version=config.get("audit_api_version", "auto"),
            settle_seconds=config.get("settle_seconds", 120),
            late_arrival_seconds=config.get("late_arrival_seconds", 21_600),
            include_internal_members=config.get("include_internal_members", True),
            request_timeout_seconds=config.get("request_timeout_seconds", 60),
            max_retries=config.get("max_retries", 8),
            max_rate_limit_wait_seconds=config.get("max_rate_limit_wait_seconds", 900),
            max_run_minutes=config.get("max_run_minutes"),
            ca_bundle=config.get("ca_bundle"),
            user_agent=config.get("user_agent")
            or f"tap-celonis-audit/{version('tap-celonis-audit')}",
            pseudonymization=config.get("pseudonymization", "none"),
            pseudonymization_key=config.get("pseudonymization_key"),
            pseudonymization_ip_addresses=config.get("pseudonymization_ip_addresses", "keep"),
        )


def problems(
    config: Mapping[str, Any], schema: Mapping[str, Any], *, streams: Collection[str] = ()
) -> list[str]:
    """Say what is wrong with a configuration: one line each, each with what to do.

    Args:
        config: The configuration as given.
        schema: JSON schema of all settings, the SDK's own included.
        streams: What streams there are.
    """
    found = list(_shape_problems(config, schema["properties"]))
    if not any(line.startswith("api_url") for line in found):
        found += _url_problems(config.get("api_url"))
    found += _credential_problems(config)
    found += _date_problems(config)
    found += _bundle_problems(config)
    found += _pseudonymization_problems(config)
    found += _batch_problems(config)
    found += _map_problems(config, streams)
    return found


def _shape_problems(config: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "remove it."
            yield f"{json.dumps(name)} is not a setting of this tap: {hint}"
            continue
        wanted = known[name]
        kind = _kind(wanted)
        if value is None or kind is None:
            continue
        type_name, python_type = _TYPES[kind]
        if not isinstance(value, python_type) or (kind == "integer" and isinstance(value, bool)):
            yield f"{name} must be {type_name}."
        elif "enum" in wanted and value not in wanted["enum"]:
            yield f"{name} must be one of {', '.join(wanted['enum'])}."
        elif kind == "integer" and not (
            wanted.get("minimum", value) <= value <= wanted.get("maximum", value)
        ):
            upper = f" and at most {wanted['maximum']}" if "maximum" in wanted else ""
            yield f"{name} must be at least {wanted['minimum']}{upper}."


def _kind(wanted: Mapping[str, Any]) -> str | None:
    types = wanted.get("type", [])
    return next((kind for kind in _TYPES if kind in types), None)


def from_environment(
    environ: Mapping[str, str], schema: Mapping[str, Any], *, prefix: str
) -> dict[str, str]:
    """Give the settings that are in the environment, as texts.

    Args:
        environ: The environment.
        schema: JSON schema of all settings.
        prefix: What the names of the variables begin with.
    """
    variables = {name: prefix + name.upper() for name in schema["properties"]}
    return {name: environ[variable] for name, variable in variables.items() if variable in environ}


def read_texts(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read settings that are written as texts, as environments and Meltano hand them over.

    What cannot be read stays a text. What is empty is not set.

    Args:
        config: The configuration as given.
        schema: JSON schema of all settings.
    """
    known = schema["properties"]
    return {
        name: _read_text(value, _kind(known[name])) if name in known else value
        for name, value in config.items()
        if name not in known or value not in ("", None)
    }


def _read_text(value: object, kind: str | None) -> object:
    if isinstance(value, str):
        if kind == "boolean" and value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
        if kind in {"integer", "object"}:
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(value)
    return value


def misspelt(
    environ: Mapping[str, str], schema: Mapping[str, Any], *, prefix: str
) -> dict[str, str]:
    """Find variables that are nearly a setting, by the name that they would have as one.

    Args:
        environ: The environment.
        schema: JSON schema of all settings.
        prefix: What the names of the variables begin with.
    """
    known = [name.upper() for name in schema["properties"]]
    # Meltano's own for this plugin have two underscores, and plugins that inherit from it put a
    # name of theirs before the setting's.
    others = tuple(f"_{name}" for name in known)
    found = {}
    for variable in environ:
        name = variable.removeprefix(prefix)
        if name == variable or name in known or "__" in variable or name.endswith(others):
            continue
        if difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
            found[name.lower()] = ""
    return found


def _url_problems(value: str | None) -> Iterator[str]:
    example = "Give the team's URL, such as https://acme.eu-1.celonis.cloud"
    if not value or not value.strip():
        yield f"api_url is missing. {example}"
        return
    try:
        url = urlsplit(value.strip())
        host, _ = url.hostname, url.port
    except ValueError:
        host, url = None, urlsplit("")
    if not host or _NO_HOST.search(host) or url.scheme.lower() not in {"http", "https"}:
        yield f"api_url is not a URL. {example}"
    elif "@" in url.netloc:
        yield "api_url must not hold a user name or password. Give the key in app_key or api_key."
    elif url.scheme.lower() == "http" and not _is_loopback(host):
        yield "api_url must start with https:// (http is for the sandbox on this machine only)."


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credential_problems(config: Mapping[str, Any]) -> Iterator[str]:
    given = {
        name for name in ("app_key", "api_key", "client_id", "client_secret") if config.get(name)
    }
    ways: list[str] = [name for name in ("app_key", "api_key") if name in given]
    if given & {"client_id", "client_secret"}:
        ways.append("client_id and client_secret")
    if not ways:
        yield f"No way to authenticate is configured. Give exactly one of: {_WAYS}."
    elif len(ways) > 1:
        yield f"{', '.join(ways)} are configured at once. Give exactly one of: {_WAYS}."
    elif len(given & {"client_id", "client_secret"}) == 1:
        other = {"client_id": "client_secret", "client_secret": "client_id"}[given.pop()]
        yield f"{other} is missing. OAuth needs client_id and client_secret."
    for name in sorted(given):
        value = config[name]
        if not isinstance(value, str):
            continue
        if not (value.isascii() and value.isprintable()):
            yield f"{name} holds a line break or another character that no key has. Copy it again."
        elif _DECORATED.fullmatch(value):
            yield (
                f"{name} is more than a key: it has space or quotation marks around it, or begins "
                'with "AppKey" or "Bearer". Give the key alone.'
            )


def _date_problems(config: Mapping[str, Any]) -> Iterator[str]:
    bounds = {}
    for name in ("start_date", "end_date"):
        value = config.get(name)
        if not value or not isinstance(value, str):
            continue
        bounds[name] = parse_setting(value, now=time.time())
        if bounds[name] is None:
            yield f"{name} is not a date. Write 2025-01-31, 2025-01-31T08:00:00Z or 30 days ago."
    start, end = bounds.get("start_date"), bounds.get("end_date")
    if start is not None and end is not None and start >= end:
        yield "start_date must be before end_date."


def _bundle_problems(config: Mapping[str, Any]) -> Iterator[str]:
    path = config.get("ca_bundle")
    if not path or not isinstance(path, str):
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):
        yield "ca_bundle does not name a readable file with certificates in PEM form. Correct it."


def _batch_problems(config: Mapping[str, Any]) -> Iterator[str]:
    if not config.get("batch_config"):
        return
    maps = config.get("stream_maps")
    if isinstance(maps, dict) and any(
        isinstance(m, dict) and "__source__" in m for m in maps.values()
    ):
        # The stream and its copy would be told of the same files.
        yield "stream_maps that copy a stream do not work with batch_config. Remove one."
    if config.get("emit_activate_version_messages"):
        # Batches do not say of which version their rows are: all of them would be removed.
        yield "emit_activate_version_messages does not work with batch_config. Remove one."


def _map_problems(config: Mapping[str, Any], streams: Collection[str]) -> Iterator[str]:
    maps = config.get("stream_maps")
    if not streams or not isinstance(maps, dict):
        return
    for alias, stream_map in maps.items():
        source = stream_map.get("__source__", alias) if isinstance(stream_map, dict) else alias
        if source != "__else__" and not fnmatch.filter(streams, str(source)):
            # What it should hide or drop would be copied.
            near = difflib.get_close_matches(str(source), streams, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(streams)}."
            yield f"{json.dumps(source)} in stream_maps is not a stream of this tap: {hint}"


def _pseudonymization_problems(config: Mapping[str, Any]) -> Iterator[str]:
    key = config.get("pseudonymization_key")
    make_one = "Make one with: openssl rand -hex 32"
    if config.get("pseudonymization") != "hmac-sha256":
        for name, unset in (
            ("pseudonymization_key", ""),
            ("pseudonymization_ip_addresses", "keep"),
        ):
            if (config.get(name) or unset) != unset:
                yield (
                    f"{name} is set, but nothing is pseudonymized. Set pseudonymization to "
                    f"hmac-sha256, or remove {name}."
                )
    elif not key:
        yield f"pseudonymization_key is missing. {make_one}"
    elif isinstance(key, str) and len(key.strip()) < MIN_PSEUDONYMIZATION_KEY:
        yield (
            f"pseudonymization_key is shorter than {MIN_PSEUDONYMIZATION_KEY} characters: it could "
            f"be found by trying, and the pseudonyms undone. {make_one}"
        )
    elif isinstance(key, str) and not key.isprintable():
        yield "pseudonymization_key holds a line break or another control character. Copy it again."
