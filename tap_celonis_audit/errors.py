"""What went wrong, who can mend it, and how: the verdicts on answers and failures.

Messages name hosts, paths, settings, permissions, scopes and Celonis' Support ID; never bodies,
header values, credentials or anything personal.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUPPORT_ID = re.compile(
    r"Support ID:?\s*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII | re.IGNORECASE
)
PERMISSIONS_PAGE = "Admin & Settings › Permissions › Team permissions"
_CHECK_URL = "Check that api_url is the URL of the team, such as https://acme.eu-1.celonis.cloud"


class Action(Enum):
    """What the client does about a failure."""

    FAIL = auto()
    RETRY = auto()
    """Ask again, up to ``max_retries`` times; then fail."""
    RENEW = auto()
    """Ask again with a new token, once; then fail."""
    WAIT = auto()
    """Ask again when Celonis lets requests through, up to ``max_rate_limit_wait_seconds``."""


class Who(StrEnum):
    """Who can mend it."""

    CONFIGURATION = "configuration"
    PERMISSION = "permission"
    CELONIS = "Celonis"
    NETWORK = "network"


class Lack(StrEnum):
    """What is missing before a stream can be read; each needs the ones before."""

    REACHABLE = "not reachable"
    AUTHENTICATED = "not authenticated"
    PERMITTED = "not permitted"
    READABLE = "not readable"


class TapError(Exception):
    """A failure that ends the stream, told in one line that says what to do."""

    def __init__(self, text: str, *, verdict: Verdict | None = None) -> None:
        super().__init__(text)
        self.verdict = verdict or UNFORESEEN
        self.wait_seconds: float | None = None
        """How long Celonis asks to wait before the next try, if it does."""

    @property
    def action(self) -> Action:
        """What to do about it."""
        return self.verdict.action


class TeamError(TapError):
    """A failure that every stream would meet: the host, the network, the OAuth client."""


class ParametersError(TapError):
    """Celonis does not understand the request."""


class GoneError(TapError):
    """Celonis does not serve this path, or not any more."""


class CredentialsError(TapError):
    """Celonis refused the key, or a permission is missing: it answers both alike."""


class TooLargeError(TapError):
    """An answer does not fit into memory; with fewer records it may."""


class RateLimitError(TeamError):
    """Celonis asks to wait for longer than this run may."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of the table below."""

    action: Action
    who: Who
    lack: Lack
    text: str
    """What to tell, with the names of facts in braces."""
    error: type[TapError] = TapError


UNFORESEEN = Verdict(Action.FAIL, Who.CELONIS, Lack.READABLE, "")

VERDICTS = {
    # Answers
    "redirect": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.REACHABLE,
        f"{{host}} redirects instead of answering ({{status}}). {_CHECK_URL}",
        TeamError,
    ),
    "web page": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.REACHABLE,
        f"{{host}} answers with a web page instead of data. {_CHECK_URL}",
        TeamError,
    ),
    "400": Verdict(
        Action.FAIL,
        Who.CELONIS,
        Lack.READABLE,
        "Celonis does not understand the request to {path} (400). Please report this.{support}",
        ParametersError,
    ),
    "401": Verdict(
        Action.RENEW,
        Who.CONFIGURATION,
        Lack.AUTHENTICATED,
        "Celonis refused the credentials (401). Check that the key is complete, belongs to {host} "
        "and was not deleted. If it is good: {grant}.",
        CredentialsError,
    ),
    "401 everywhere": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.AUTHENTICATED,
        "Celonis refused the credentials (401) for every stream. Check that the key is complete, "
        "belongs to {host} and was not deleted. If it is good: {grant}.",
        TeamError,
    ),
    "401 token": Verdict(
        Action.RENEW,
        Who.PERMISSION,
        Lack.PERMITTED,
        "Celonis refused a new access token (401). {grant}.",
    ),
    "403": Verdict(
        Action.FAIL,
        Who.PERMISSION,
        Lack.PERMITTED,
        "Celonis refused access (403). {grant}. If the team restricts IP addresses, allow the one "
        "that this runs on.",
    ),
    "404": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.READABLE,
        f"{{host}} has no {{path}} ({{status}}). {_CHECK_URL}",
        GoneError,
    ),
    "429": Verdict(
        Action.WAIT,
        Who.CELONIS,
        Lack.READABLE,
        "Celonis refuses requests because there were too many (429).",
    ),
    "5xx": Verdict(
        Action.RETRY,
        Who.CELONIS,
        Lack.READABLE,
        "Celonis keeps failing ({status}). Try again later; if it stays, ask Celonis "
        "support.{support}",
    ),
    "another status": Verdict(
        Action.FAIL,
        Who.CELONIS,
        Lack.READABLE,
        "Celonis answered {path} with the unexpected status {status}. Try again later; if it "
        "stays, please report this.{support}",
    ),
    "unreadable": Verdict(
        Action.RETRY,
        Who.CELONIS,
        Lack.READABLE,
        "Celonis keeps sending unreadable answers to {path}. Try again later; if it stays, ask "
        "Celonis support.",
    ),
    "too large": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.READABLE,
        "An answer of {path} with a single record is larger than {limit}. Lower "
        "max_parallel_requests, since answers under way at once share the memory.",
        TooLargeError,
    ),
    "export too large": Verdict(
        Action.FAIL,
        Who.CELONIS,
        Lack.READABLE,
        "The answer of {path} is larger than {limit}, and Celonis gives it whole only. Deselect "
        "the stream. Please report this.",
    ),
    "too deep": Verdict(
        Action.FAIL,
        Who.CELONIS,
        Lack.READABLE,
        "A record of {path} is nested too deeply to be read. Please report this.",
    ),
    "rate limit": Verdict(
        Action.FAIL,
        Who.CELONIS,
        Lack.READABLE,
        "Celonis refuses requests because there were too many (429), and asks to wait {wait} "
        "seconds, more than max_rate_limit_wait_seconds allow. Run again after {when}; if this "
        "stays, look for other clients that use the same key.",
        RateLimitError,
    ),
    # The token endpoint
    "OAuth client": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.AUTHENTICATED,
        "Celonis refused the OAuth client (401). Check client_id and client_secret, and that "
        "oauth_client_auth is as the client was registered.",
        TeamError,
    ),
    "scope": Verdict(
        Action.FAIL,
        Who.PERMISSION,
        Lack.PERMITTED,
        'The OAuth client does not hold the scope "{scope}". Add it to the client in Admin & '
        "Settings › Applications. Then: {grant}.",
    ),
    "no token endpoint": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.REACHABLE,
        f"{{host}} has no usable token endpoint ({{status}}). {_CHECK_URL}",
        TeamError,
    ),
    "token endpoint": Verdict(
        Action.RETRY,
        Who.CELONIS,
        Lack.AUTHENTICATED,
        "The token endpoint of {host} keeps failing ({status}). Try again later; if it stays, ask "
        "Celonis support.{support}",
        TeamError,
    ),
    "no token": Verdict(
        Action.RETRY,
        Who.CELONIS,
        Lack.AUTHENTICATED,
        "The token endpoint of {host} sends no usable token. Try again later; if it stays, ask "
        "Celonis support.",
        TeamError,
    ),
    # No answer
    "DNS": Verdict(
        Action.RETRY,
        Who.NETWORK,
        Lack.REACHABLE,
        "There is no host {host}. Check api_url, and DNS on this machine.",
        TeamError,
    ),
    "refused": Verdict(
        Action.RETRY,
        Who.NETWORK,
        Lack.REACHABLE,
        "{host} refuses connections. Check api_url, and firewalls on the way.",
        TeamError,
    ),
    "timeout": Verdict(
        Action.RETRY,
        Who.NETWORK,
        Lack.REACHABLE,
        "{host} does not answer in time. Check that it can be reached from here, or raise "
        "request_timeout_seconds.",
        TeamError,
    ),
    "broken": Verdict(
        Action.RETRY,
        Who.NETWORK,
        Lack.REACHABLE,
        "The connection to {host} keeps breaking. Check the network, and firewalls on the way.",
        TeamError,
    ),
    "certificate": Verdict(
        Action.FAIL,
        Who.NETWORK,
        Lack.REACHABLE,
        "The TLS certificate of {host} is not trusted ({reason}). Behind a proxy that inspects "
        "traffic, name its certificate in ca_bundle.",
        TeamError,
    ),
    "no TLS": Verdict(
        Action.FAIL,
        Who.NETWORK,
        Lack.REACHABLE,
        "{host} does not speak TLS as expected. Check the host and port in api_url, and proxies on "
        "the way.",
        TeamError,
    ),
    "proxy": Verdict(
        Action.RETRY,
        Who.NETWORK,
        Lack.REACHABLE,
        "The proxy did not let a request to {host} through. Check the environment variables "
        "HTTPS_PROXY and NO_PROXY.",
        TeamError,
    ),
    "proxy password": Verdict(
        Action.FAIL,
        Who.NETWORK,
        Lack.REACHABLE,
        "The proxy on the way to {host} asks for a user name and password (407). Give them in the "
        "environment variable HTTPS_PROXY, as http://user:password@proxy:port",
        TeamError,
    ),
    "bad URL": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.REACHABLE,
        "A request to {host} cannot be made. Check api_url and user_agent, and the environment "
        "variables HTTPS_PROXY and NO_PROXY.",
        TeamError,
    ),
    "certificate bundle": Verdict(
        Action.FAIL,
        Who.CONFIGURATION,
        Lack.REACHABLE,
        "There are no certificates where {name} points. Correct it, or remove it.",
        TeamError,
    ),
}


def failure(case: str, **facts: object) -> TapError:
    """Make the failure of a row of the table, with the facts that its text names."""
    verdict = VERDICTS[case]
    return verdict.error(verdict.text.format(**facts), verdict=verdict)


def rate_limit(seconds: float) -> TapError:
    """Make the failure of a wait that is too long."""
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    return failure("rate limit", wait=f"{seconds:.0f}", when=f"{when:%Y-%m-%d %H:%M} UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One of Celonis' usage APIs and what it takes to use it."""

    path: str
    scope: str
    """OAuth scope, in the spelling with ``:read``."""
    permission: str = ""
    """As it is labelled in the team permissions, if that is documented."""
    newer_permission: str = ""
    """As newer versions of the product label it."""
    oauth_only: bool = False
    """Whether Celonis documents it for OAuth clients alone."""
    long_list: str | None = None
    """The member of an answer that may be so long that its items are not decoded at once."""

    @property
    def grant(self) -> str:
        """How an administrator grants it."""
        return grant([self])


def grant(apis: Iterable[Api]) -> str:
    """Say how an administrator grants the use of several APIs."""
    labels = [
        f'"{api.permission}" ("{api.newer_permission}" in newer versions)'
        for api in apis
        if api.permission
    ]
    what = f"Tick {' and '.join(labels)}" if labels else "Tick what it takes (it is not documented)"
    return f"{what} for this application in {PERMISSIONS_PAGE}"


_STATUSES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "400",
    HTTPStatus.UNAUTHORIZED: "401",
    HTTPStatus.FORBIDDEN: "403",
    HTTPStatus.NOT_FOUND: "404",
    HTTPStatus.GONE: "404",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "proxy password",
    HTTPStatus.REQUEST_TIMEOUT: "5xx",
    HTTPStatus.TOO_EARLY: "5xx",
    HTTPStatus.TOO_MANY_REQUESTS: "429",
}
_CLASSES = {3: "redirect", 5: "5xx"}


def judge_status(
    api: Api, *, status: int, host: str, body: str, oauth: bool, wait_seconds: float | None = None
) -> TapError:
    """Say what an answer that is not 200 or 204 means.

    Args:
        api: What was asked.
        status: HTTP status.
        host: Host that answered.
        body: The answer's text; only a Support ID is taken from it.
        oauth: Whether an OAuth token was sent.
        wait_seconds: How long Celonis asks to wait.
    """
    advice = api.grant
    if oauth:
        advice += f', and grant its OAuth client the scope "{api.scope}"'
    elif api.oauth_only:
        advice = (
            "Celonis documents this API for OAuth clients only. Give client_id and client_secret "
            f'of one with the scope "{api.scope}", or deselect the stream'
        )
    case = _STATUSES.get(status) or _CLASSES.get(status // 100, "another status")
    if case == "401" and oauth:
        case = "401 token"
    error = failure(
        case,
        status=status,
        host=host,
        path=api.path,
        grant=advice,
        support=support_id(body),
    )
    error.wait_seconds = wait_seconds
    return error


def judge_token_status(
    *, status: int, host: str, body: str, wait_seconds: float | None = None
) -> TapError:
    """Say what an answer of the token endpoint means that OAuth does not know.

    Args:
        status: HTTP status.
        host: Host that answered.
        body: The answer's text; only a Support ID is taken from it.
        wait_seconds: How long Celonis asks to wait.
    """
    case = _STATUSES.get(status) or _CLASSES.get(status // 100)
    if case not in {"429", "5xx", "redirect"}:
        case = "no token endpoint"
    elif case == "5xx":
        case = "token endpoint"
    error = failure(case, status=status, host=host, support=support_id(body))
    error.wait_seconds = wait_seconds
    return error


def support_id(body: str) -> str:
    """Give the sentence that names Celonis' Support ID, if an answer does."""
    found = _SUPPORT_ID.search(body)
    return f" Celonis Support ID: {found[1]}." if found else ""


#: What a failure is, by the first of these exceptions among its causes.
_KINDS: dict[str, tuple[type[BaseException], ...]] = {
    "proxy": (requests.exceptions.ProxyError,),
    "certificate": (ssl.SSLCertVerificationError,),
    "broken": (ssl.SSLEOFError, ssl.SSLZeroReturnError),
    "no TLS": (ssl.SSLError,),
    "unreadable": (requests.exceptions.ContentDecodingError,),
    "DNS": (socket.gaierror,),
    "timeout": (requests.exceptions.Timeout, TimeoutError),
    "refused": (ConnectionRefusedError,),
}


def judge_failure(error: Exception, *, host: str, path: str) -> TapError:
    """Say what a request that got no answer means."""
    causes = list(_causes(error))
    case = next(
        (
            case
            for case, kinds in _KINDS.items()
            if any(isinstance(cause, kinds) for cause in causes)
        ),
        "bad URL" if isinstance(error, ValueError) else "broken",
    )
    if case == "proxy" and any("407" in str(cause) for cause in causes if type(cause) is OSError):
        case = "proxy password"
    reasons = (each for each in causes if isinstance(each, ssl.SSLCertVerificationError))
    reason = next((each.verify_message.rstrip(".") for each in reasons), "")
    return failure(case, host=host, path=path, reason=reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    # urllib3 keeps some in its arguments only.
    within = (each for each in error.args if isinstance(each, BaseException))
    cause = error.__cause__ or error.__context__ or next(within, None)
    if cause is not None:
        yield from _causes(cause)
