"""Start a sandbox from the command line: ``python -m tap_celonis_audit.sandbox``."""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from tap_celonis_audit.sandbox import api
from tap_celonis_audit.sandbox.access import ClientAuth, Refusal, Unauthorized
from tap_celonis_audit.sandbox.api import APIS
from tap_celonis_audit.sandbox.control import CONTROL_PATH, HAPPEN_PATH
from tap_celonis_audit.sandbox.cursors import End, Quirk, Span
from tap_celonis_audit.sandbox.front import GoneStatus
from tap_celonis_audit.sandbox.members import DateStyle
from tap_celonis_audit.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_PREFIX = "TAP_CELONIS_AUDIT_"
_DEFAULT_MINUTES = 120.0
_DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(Sandbox).parameters.items()
}


class _Parser(argparse.ArgumentParser):
    """A parser that refuses in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more, and exit with status 2."""
        self.exit(2, f"error: {message} (--help explains every option)\n")


def _parser() -> argparse.ArgumentParser:  # noqa: PLR0915 - a list of options
    parser = _Parser(
        prog="python -m tap_celonis_audit.sandbox",
        usage="%(prog)s [options]",
        description="Play the Celonis usage APIs on 127.0.0.1 from an invented, realistic team.",
        epilog="The Celonis documentation leaves many things open. Most options decide one of them,"
        " so that you can see how a reader copes; the defaults are the friendliest reading.",
    )

    def option(group: argparse._ArgumentGroup, name: str, explanation: str, **kwargs: Any) -> None:  # noqa: ANN401 - passed on to argparse
        default = _DEFAULTS.get(name)
        if default not in (None, (), False):
            shown = ",".join(default) if isinstance(default, tuple) else default
            explanation += f" (default: {shown})"
        group.add_argument(
            f"--{name.replace('_', '-')}", default=default, help=explanation, **kwargs
        )

    team = parser.add_argument_group("the team and its time")
    option(team, "seed", "which team to invent: one seed, one team", type=int, metavar="N")
    option(team, "days", "whole days of history; 0 starts empty", type=int, metavar="N")
    option(
        team,
        "now",
        "what time it is in the sandbox, such as 2026-03-01T12:00:00Z"
        " (default: the start of this hour)",
        metavar="TIME",
    )
    option(
        team,
        "running",
        "let the clock run and the team work on; without it time stands still until you"
        f" POST {HAPPEN_PATH}",
        action="store_true",
    )
    option(
        team,
        "retention_days",
        "delete older events at midnight, as an administrator can set it: what does a reader do"
        " when history vanishes? 0 keeps everything",
        type=int,
        metavar="N",
    )
    option(
        team,
        "stories",
        "let something happen that an auditor should find: a guessed password, an administrator"
        f" made at night, a deleted log and others; GET {CONTROL_PATH} tells what",
        action="store_true",
    )

    logs = parser.add_argument_group(
        "how the logs are read, where the documentation leaves it open"
    )
    option(
        logs,
        "order",
        "in what order do records come? unstable: events of one millisecond change places between"
        " two requests; shuffled: all of them do",
        choices=get_args(api.Order),
    )
    option(
        logs,
        "bounds",
        "do from and to belong to the range? half-open: from does, to does not",
        choices=get_args(api.Bounds),
    )
    option(
        logs,
        "precision",
        "are fractions of a second in from and to honoured, or is everything cut to the second?",
        choices=get_args(api.Precision),
    )
    option(
        logs,
        "empty",
        "how does an empty page come: as status 204 without a body, or as an empty list?",
        choices=get_args(api.Empty),
    )
    option(
        logs,
        "max_page_size",
        "does the server silently give smaller pages than asked for?",
        type=int,
        metavar="N",
    )
    option(
        logs,
        "count",
        "can totalCount be trusted? exact, missing, negative, text, frozen:N (always N), capped:N"
        " (at most N)",
        metavar="WHAT",
    )
    option(
        logs,
        "page_base",
        "which number does the first page have? one that counts from 1 takes 0 for 1",
        type=int,
        metavar="N",
    )
    option(
        logs,
        "ignore",
        f"which query parameters does the server not honour? a list of {', '.join(api.PARAMETERS)}",
        type=_list,
        metavar="NAMES",
    )
    option(
        logs,
        "shift_hours",
        "is a time without a zone taken for local time? from and to are off by so many hours",
        type=float,
        metavar="HOURS",
    )

    cursors = parser.add_argument_group("how version 2 is read, with a cursor")
    option(
        cursors,
        "v2_span",
        "does version 2 have from and to?",
        choices=get_args(Span),
    )
    option(cursors, "v2_list_key", "what is the list of records called?", metavar="NAME")
    option(cursors, "v2_count", "is there a totalCount? as --count", metavar="WHAT")
    option(
        cursors,
        "v2_end",
        "how does nextPageToken come on the last page?",
        choices=get_args(End),
    )
    option(
        cursors,
        "v2_token_ttl_seconds",
        "how long does a page token live, by the sandbox's clock? 0 is for ever",
        type=float,
        metavar="N",
    )
    option(
        cursors,
        "v2_max_limit",
        "does the server silently give smaller pages than asked for?",
        type=int,
        metavar="N",
    )
    option(
        cursors,
        "v2_quirk",
        "what goes wrong? repeat: the second page comes twice; hole: an empty page before it;"
        " stuck: the second page for ever; loop: from the beginning after the last page; endless:"
        " empty pages after it",
        choices=get_args(Quirk),
    )

    tables = parser.add_argument_group("members and permissions")
    option(
        tables,
        "last_login",
        "how is lastLogin written? 12/10/2023, 6:49:07 AM UTC is the documented example, and leaves"
        " open what is the month; mixed: differently from member to member",
        choices=get_args(DateStyle),
    )
    option(
        tables,
        "permission_items",
        "at least so many items in the permissions export; large companies have up to 100000",
        type=int,
        metavar="N",
    )
    option(
        tables,
        "extra_fields",
        "do members, permissions and Studio adoption have fields that nobody documented?",
        action="store_true",
    )

    access = parser.add_argument_group("who may ask")
    option(
        access,
        "gone",
        f"what the team does not have (any more), a list of {', '.join(api.PATHS)}",
        type=_list,
        metavar="NAMES",
    )
    option(
        access,
        "gone_status",
        "which status tells so?",
        choices=get_args(GoneStatus),
    )
    option(
        access,
        "oauth_only",
        "the APIs that take access tokens only, and no keys; the documentation of permissions says"
        " both, here and there",
        type=_list,
        metavar="NAMES",
    )
    option(
        access,
        "permissions",
        f"the APIs that the credentials may use, a list of {', '.join(APIS)}",
        type=_list,
        metavar="NAMES",
    )
    option(
        access,
        "refusal",
        "which status tells of a missing permission? the documentation knows both",
        choices=get_args(Refusal),
    )
    option(
        access,
        "unauthorized",
        "how does a 401 look? a problem document, {'error': 'Unauthorized'}, or nothing",
        choices=get_args(Unauthorized),
    )
    option(access, "scopes", "what the OAuth client holds", type=_list, metavar="NAMES")
    option(
        access,
        "oauth_client_auth",
        "how must the OAuth client authenticate? the documentation disagrees with itself",
        choices=get_args(ClientAuth),
    )
    option(
        access,
        "token_ttl_seconds",
        "how long an access token lives, by the sandbox's clock",
        type=float,
        metavar="N",
    )

    server = parser.add_argument_group("the server")
    option(server, "port", "port on 127.0.0.1; 0 takes a free one", type=int, metavar="N")
    option(server, "latency_ms", "how long does an answer take, at least?", type=float, metavar="N")
    option(
        server,
        "rate_limit",
        "how many requests a second are allowed? the number is not published for these APIs;"
        " 0 is no limit",
        type=int,
        metavar="N",
    )
    server.add_argument(
        "--max-minutes",
        type=float,
        default=_DEFAULT_MINUTES,
        metavar="N",
        help=f"end by itself after so long (default: {_DEFAULT_MINUTES:g})",
    )
    server.add_argument(
        "--write-env",
        type=Path,
        metavar="FILE",
        help="write the tap's settings into this dotenv file; its other lines stay",
    )
    option(server, "verbose", "log one line a request to standard error", action="store_true")
    return parser


def _list(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.replace(",", " ").split() if name)


def _write_env(file: Path, settings: dict[str, str]) -> None:
    """Set the settings in a dotenv file and leave its other lines alone."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in settings]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in settings.items())])
    file.write_text(f"{text}\n", encoding="utf-8")


def _greeting(sandbox: Sandbox, settings: dict[str, str]) -> str:
    state = sandbox.state()
    exports = "\n".join(f"  export {name}={value}" for name, value in settings.items())
    return f"""\
Sandbox of the Celonis usage APIs: {sandbox.url}
It is {state["now"]} there; {state["audit"]} audit events, {state["logins"]} login events,
{state["adoption"]} uses of Studio, {state["members"]} members,
{state["permissions"]} permissions.

Settings of the tap, to paste into a shell:
{exports}
Other ways in, instead of the application key:
  {_PREFIX}API_KEY={sandbox.api_key}
  {_PREFIX}CLIENT_ID={sandbox.client_id} {_PREFIX}CLIENT_SECRET={sandbox.client_secret}

Then run the tap:
  tap-celonis-audit --config=ENV > events.jsonl
Let something happen, and run it again:
  curl -X POST {sandbox.url}{HAPPEN_PATH} -d '{{"audit": 10, "logins": 5, "advance_seconds": 600}}'
People and permissions come and go with "joins", "leaves", "moves", "grants" and "revocations".
Ctrl-C ends the sandbox."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes or the time is over, and return the exit status."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    env_file: Path | None = options.pop("write_env")
    try:
        sandbox = Sandbox(**options)
    except (OSError, OverflowError, ValueError) as error:
        parser.error(str(error))
    settings = {f"{_PREFIX}API_URL": sandbox.url, f"{_PREFIX}APP_KEY": sandbox.app_key}

    def end(_: int, __: FrameType | None) -> None:
        sandbox.end()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with sandbox:
        if env_file is not None:
            try:
                _write_env(env_file, settings)
            except OSError as error:
                parser.error(f"cannot write {env_file}: {error.strerror}")
        print(_greeting(sandbox, settings), flush=True)  # noqa: T201 - this is what a user came for
        sandbox.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
