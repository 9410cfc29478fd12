"""Who may ask: credentials, access tokens, scopes and permissions, and how often."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from urllib.parse import unquote_plus

from tap_celonis_audit.sandbox.api import SCOPES, bare_scope, check_choice, check_least
from tap_celonis_audit.sandbox.clock import SECOND_MS
from tap_celonis_audit.sandbox.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ClientAuth: TypeAlias = Literal["either", "basic", "post"]
Refusal: TypeAlias = Literal["403", "401"]
Unauthorized: TypeAlias = Literal["problem", "short", "empty"]

_EVERY_SCOPE = frozenset(bare_scope(scope) for scope in SCOPES.values())


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client can show; fixed by the seed, so that a configuration survives a restart."""

    app_key: str
    api_key: str
    client_id: str
    client_secret: str

    @classmethod
    def of(cls, seed: int) -> Credentials:
        """Return the credentials of a seed: they look like what they are."""
        return cls(
            app_key=f"sandbox-app-key-{seed}",
            api_key=f"sandbox-api-key-{seed}",
            client_id=f"sandbox-client-{seed}",
            # Characters that must be encoded in a form and in a Basic header (RFC 6749, 2.3.1).
            client_secret=f"not+a/secret={seed}",
        )


class TokenDesk:
    """The token endpoint: client credentials in, short-lived access tokens out."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        scopes: Iterable[str],
        client_auth: ClientAuth,
        ttl_seconds: float,
    ) -> None:
        check_choice("oauth_client_auth", client_auth, get_args(ClientAuth))
        check_least("token_ttl_seconds", ttl_seconds, 0)
        self._credentials = credentials
        self._held = frozenset(bare_scope(scope) for scope in scopes)
        self._client_auth = client_auth
        self._ttl_seconds = ttl_seconds
        self._issued = 0
        # Access token -> (expiry in milliseconds, scopes)
        self._tokens: dict[str, tuple[int, frozenset[str]]] = {}

    def answer(self, form: Mapping[str, str], authorization: str, now_ms: int) -> Answer:
        """Answer a token request (RFC 6749, 4.4)."""
        in_header = authorization.lower().startswith("basic ")
        in_form = "client_secret" in form
        if in_header and in_form:
            return _token_error(HTTPStatus.BAD_REQUEST, "invalid_request")
        if not self._knows(form, authorization, in_header=in_header, in_form=in_form):
            return _token_error(HTTPStatus.UNAUTHORIZED, "invalid_client")
        match form.get("grant_type"):
            case "client_credentials":
                pass
            case None:
                return _token_error(HTTPStatus.BAD_REQUEST, "invalid_request")
            case _:
                return _token_error(HTTPStatus.BAD_REQUEST, "unsupported_grant_type")
        wanted = form.get("scope", "").split() or sorted(self._held)
        scopes = frozenset(bare_scope(scope) for scope in wanted)
        if not scopes <= self._held:
            return _token_error(HTTPStatus.BAD_REQUEST, "invalid_scope")
        self._issued += 1
        token = f"sandbox-token-{self._issued}"
        self._tokens[token] = (now_ms + round(self._ttl_seconds * SECOND_MS), scopes)
        payload = {
            "access_token": token,
            "token_type": "Bearer",
            "scope": " ".join(wanted),
            "expires_in": int(self._ttl_seconds),
        }
        return Answer.json(HTTPStatus.OK, payload, headers={"cache-control": "no-store"})

    def scopes_of(self, token: str, now_ms: int) -> frozenset[str] | None:
        """Return what a token is good for; None if it is unknown, revoked or expired."""
        expires_ms, scopes = self._tokens.get(token, (now_ms, frozenset[str]()))
        return scopes if now_ms < expires_ms else None

    def revoke(self) -> None:
        """Forget every token."""
        self._tokens.clear()

    def _knows(
        self, form: Mapping[str, str], authorization: str, *, in_header: bool, in_form: bool
    ) -> bool:
        shown = None
        if in_header and self._client_auth != "post":
            shown = _basic(authorization)
        elif in_form and self._client_auth != "basic":
            shown = form.get("client_id", ""), form["client_secret"]
        return shown == (self._credentials.client_id, self._credentials.client_secret)


def _basic(authorization: str) -> tuple[str, str] | None:
    """Read client credentials, form-encoded as RFC 6749 asks, from a Basic header."""
    try:
        text = base64.b64decode(authorization[len("basic ") :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, _, secret = text.partition(":")
    return unquote_plus(name), unquote_plus(secret)


def _token_error(status: HTTPStatus, error: str) -> Answer:
    headers = {"www-authenticate": "Basic"} if status == HTTPStatus.UNAUTHORIZED else None
    return Answer.json(status, {"error": error}, headers=headers)


class RateLimit:
    """So many requests in a second of real time.

    https://developer.celonis.com/celonis-apis/rate-limiting/
    """

    def __init__(self) -> None:
        self._window = (0, 0)

    def spend(self, limit: int) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is allowed, and the headers that every answer has."""
        if not limit:
            # Without a limit they never run out.
            return True, {"x-ratelimit-limit": "6000", "x-ratelimit-remaining": "6000"}
        second = int(time.monotonic())
        begun, spent = self._window
        spent = spent + 1 if begun == second else 1
        self._window = second, spent
        headers = {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(max(0, limit - spent)),
        }
        if spent > limit:
            return False, {**headers, "x-ratelimit-reset": "1"}
        return True, headers


def scopes_of(
    authorization: str, credentials: Credentials, desk: TokenDesk, now_ms: int
) -> frozenset[str] | None:
    """Return what a credential is good for; None if it is not valid."""
    scheme, _, credential = authorization.partition(" ")
    scheme = scheme.lower()
    if (scheme, credential) in {("appkey", credentials.app_key), ("bearer", credentials.api_key)}:
        return _EVERY_SCOPE
    return desk.scopes_of(credential, now_ms) if scheme == "bearer" else None


def is_oauth(authorization: str, credentials: Credentials) -> bool:
    """Tell an access token from the two kinds of keys."""
    scheme, _, credential = authorization.partition(" ")
    return scheme.lower() == "bearer" and credential != credentials.api_key


def unauthorized(form: Unauthorized) -> Answer:
    """Answer that no valid credential came."""
    match form:
        case "short":
            return Answer.json(HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"})
        case "empty":
            return Answer(HTTPStatus.UNAUTHORIZED)
        case _:
            return Answer.problem(
                HTTPStatus.UNAUTHORIZED,
                code="GENERAL_UNAUTHORIZED",
                detail="Full authentication is required to access this resource.",
            )


def denied() -> Answer:
    """Answer that the credential lacks a scope or a permission."""
    return Answer.problem(HTTPStatus.FORBIDDEN, code="ADMIN_ACCESS_ERROR", detail="Access Denied.")
