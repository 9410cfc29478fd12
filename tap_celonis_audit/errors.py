"""What went wrong, who can mend it, and how: the verdicts on answers and failures.

Messages name hosts, paths, settings, permissions, scopes and Celonis' Support ID; never bodies,
header values, credentials or anything personal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import requests

_SUPPORT_ID = re.compile(
    r"Support ID:?\s*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII | re.IGNORECASE
)
PERMISSIONS_PAGE = "Admin & Settings › Permissions › Team permissions"


class TapError(Exception):
    """A failure that ends the stream, told in one line that says what to do."""


class TeamError(TapError):
    """A failure that every stream would meet: the host, the network, the OAuth client."""


class ParametersError(TapError):
    """Celonis does not understand the request."""


class CredentialsError(TapError):
    """Celonis refused the key, or a permission is missing: it answers both alike."""


class TransientError(Exception):
    """A failure that may be gone at the next try; its text is the verdict if it is not."""

    def __init__(
        self,
        verdict: str,
        *,
        becomes: type[TapError] = TapError,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(verdict)
        self._becomes = becomes
        self.wait_seconds = wait_seconds

    def final(self) -> TapError:
        """Make the failure that it is when no more tries are left."""
        return self._becomes(str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One of Celonis' usage APIs and what it takes to use it."""

    path: str
    scope: str
    """OAuth scope, in the spelling with ``:read``."""
    permission: str
    """As it is labelled in the team permissions."""
    newer_permission: str
    """As newer versions of the product label it."""

    @property
    def grant(self) -> str:
        """How an administrator grants it."""
        return (
            f'Tick "{self.permission}" ("{self.newer_permission}" in newer versions) for this '
            f"application in {PERMISSIONS_PAGE}"
        )


def judge_status(  # noqa: PLR0911 -- a table, one row a status
    api: Api, *, status: int, host: str, body: str, oauth: bool, wait_seconds: float | None = None
) -> TapError | TransientError:
    """Say what an answer that is not 200 or 204 means.

    Args:
        api: What was asked.
        status: HTTP status.
        host: Host that answered.
        body: The answer's text; only a Support ID is taken from it.
        oauth: Whether an OAuth token was sent.
        wait_seconds: How long Celonis asks to wait, for 429.
    """
    scope = f', and grant its OAuth client the scope "{api.scope}"' if oauth else ""
    grant = f"{api.grant[0].lower()}{api.grant[1:]}"
    support = _SUPPORT_ID.search(body)
    shown = f" Celonis Support ID: {support[1]}." if support else ""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return TeamError(
            f"{host} redirects instead of answering ({status}). Check that api_url is the URL of "
            "the team, such as https://acme.eu-1.celonis.cloud"
        )
    if status == HTTPStatus.BAD_REQUEST:
        return ParametersError(
            f"Celonis does not understand the request to {api.path} (400). Please report "
            f"this.{shown}"
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return CredentialsError(
            "Celonis refused the credentials (401). Check that the key is complete, belongs to "
            f"{host} and was not deleted. If it is good, {grant}{scope}."
        )
    if status == HTTPStatus.FORBIDDEN:
        return TapError(
            f"Celonis refused access (403). {api.grant}{scope}. If the team restricts IP "
            "addresses, allow the one that this runs on."
        )
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return TapError(
            f"{host} has no {api.path} ({status}). Check that api_url is the URL of the team, "
            "such as https://acme.eu-1.celonis.cloud"
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return TransientError(
            "Celonis keeps refusing requests because there were too many (429). Run less often, "
            "or look for other clients that use the same key.",
            wait_seconds=wait_seconds,
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return TransientError(
            f"Celonis keeps failing ({status}). Try again later; if it stays, ask Celonis "
            f"support.{shown}"
        )
    return TapError(f"Celonis answered {api.path} with the unexpected status {status}.{shown}")


def judge_failure(error: OSError, *, host: str) -> TapError | TransientError:
    """Say what a request that got no answer means."""
    if not isinstance(error, requests.RequestException):
        return TeamError(
            "There is no certificate bundle where the environment variable REQUESTS_CA_BUNDLE or "
            "CURL_CA_BUNDLE points. Correct it, or remove it."
        )
    if isinstance(error, requests.exceptions.SSLError):
        return TeamError(
            f"The TLS certificate of {host} is not trusted. Behind a proxy that inspects traffic, "
            "name its certificate bundle in the environment variable REQUESTS_CA_BUNDLE."
        )
    if isinstance(error, requests.exceptions.ProxyError):
        verdict = (
            f"The proxy did not let a request to {host} through. Check the environment variables "
            "HTTPS_PROXY and NO_PROXY."
        )
    elif isinstance(error, requests.exceptions.Timeout):
        verdict = (
            f"{host} does not answer in time. Check that it can be reached from here, or raise "
            "request_timeout_seconds."
        )
    elif "NameResolutionError" in str(error):
        verdict = f"There is no host {host}. Check api_url, and DNS on this machine."
    elif "refused" in str(error):
        verdict = f"{host} refuses connections. Check api_url, and firewalls on the way."
    else:
        verdict = f"The connection to {host} keeps breaking. Check the network."
    return TransientError(verdict, becomes=TeamError)
