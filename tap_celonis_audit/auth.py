"""Three ways in: application key, user API key, OAuth 2.0 client credentials.

https://developer.celonis.com/celonis-apis/authentication/
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from requests.auth import AuthBase, HTTPBasicAuth

from tap_celonis_audit.errors import failure, judge_failure, judge_token_status
from tap_celonis_audit.pace import wait_seconds
from tap_celonis_audit.session import CONNECT_TIMEOUT_SECONDS, TRANSPORT_ERRORS, read_body

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from tap_celonis_audit.errors import Api
    from tap_celonis_audit.settings import Settings

logger = logging.getLogger(__name__)

PATH = "/oauth2/token"
MAX_TOKEN_BYTES = 1024 * 1024
#: A token is renewed this long before it ends (or at half its life, if that is shorter).
LEEWAY_SECONDS = 60.0
#: A token lives this long if Celonis does not say.
DEFAULT_LIFE_SECONDS = 899.0


class HeaderAuth(AuthBase):
    """Sends ``Authorization: <scheme> <credential>``; keeps requests from asking ``.netrc``."""

    def __init__(self, scheme: str, credential: str) -> None:
        self._value = f"{scheme} {credential}"

    @override
    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = self._value
        return r


class _NoAuth(AuthBase):
    """Sends nothing, and keeps requests from asking ``.netrc``."""

    @override
    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


class KeyCredentials:
    """An application key or a user API key: one header, for ever."""

    oauth = False

    def __init__(self, scheme: str, key: str) -> None:
        self._auth = HeaderAuth(scheme, key)

    def authorize(self, api: Api) -> AuthBase:  # noqa: ARG002 -- a key is good for every API
        """Give what signs a request to this API."""
        return self._auth

    def renew(self, api: Api, refused: AuthBase) -> bool:  # noqa: ARG002 -- a key cannot be renewed
        """Drop what was refused; tell whether another one can be had."""
        return False


class OAuthCredentials:
    """OAuth 2.0 client credentials: one short-lived token a scope, renewed in time."""

    oauth = True

    def __init__(
        self,
        settings: Settings,
        *,
        session: requests.Session,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{settings.base_url}{PATH}"
        self._host = settings.netloc
        self._client_id = settings.client_id or ""
        self._client_secret = settings.client_secret or ""
        self._timeout = (CONNECT_TIMEOUT_SECONDS, settings.request_timeout_seconds)
        self._session = session
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[HeaderAuth, float]] = {}
        # Celonis' own pages disagree on which of the two a client is registered for.
        self._styles = {"basic": ["basic"], "post": ["post"], "auto": ["basic", "post"]}[
            settings.oauth_client_auth
        ]

    def authorize(self, api: Api) -> AuthBase:
        """Give what signs a request to this API, getting a token first where needed.

        Raises:
            TapError: Celonis refuses the client or the scope, or gives no usable answer this time.
        """
        with self._lock:
            auth, renew_at = self._tokens.get(api.scope, (None, 0.0))
            if auth is None or self._monotonic() >= renew_at:
                token, life = self._get_token(api)
                auth = HeaderAuth("Bearer", token)
                leeway = min(LEEWAY_SECONDS, life / 2)
                self._tokens[api.scope] = auth, self._monotonic() + life - leeway
            return auth

    def renew(self, api: Api, refused: AuthBase) -> bool:
        """Drop a token that was refused, unless another thread has done so; always true."""
        with self._lock:
            if api.scope in self._tokens and self._tokens[api.scope][0] is refused:
                del self._tokens[api.scope]
        return True

    def _get_token(self, api: Api) -> tuple[str, float]:
        # Newest pages of Celonis print the scopes without ":read".
        for scope in (api.scope, api.scope.removesuffix(":read")):
            for style in list(self._styles):
                status, answer = self._ask(scope, style)
                if status == HTTPStatus.OK:
                    self._styles = [style]
                    return self._read(answer)
                if answer.get("error") == "invalid_scope":
                    self._styles = [style]
                    break
            else:
                raise failure("OAuth client")
        raise failure("scope", scope=api.scope, grant=api.grant)

    def _ask(self, scope: str, style: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "client_credentials", "scope": scope}
        auth: AuthBase = _NoAuth()
        if style == "basic":
            # RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
            auth = HTTPBasicAuth(quote_plus(self._client_id), quote_plus(self._client_secret))
        else:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        try:
            response = self._session.post(
                self._url,
                data=form,
                auth=auth,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            with response:
                body = read_body(response, MAX_TOKEN_BYTES) or b""
        except TRANSPORT_ERRORS as error:
            raise judge_failure(error, host=self._host, path=PATH) from error
        status = response.status_code
        logger.debug("POST %s: %d", PATH, status)
        if status not in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}:
            raise judge_token_status(
                status=status,
                host=self._host,
                body=body.decode("utf-8", "replace"),
                wait_seconds=wait_seconds(response.headers),
            )
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        return status, answer if isinstance(answer, dict) else {}

    def _read(self, answer: dict[str, Any]) -> tuple[str, float]:
        token = answer.get("access_token")
        try:
            life = float(answer.get("expires_in", DEFAULT_LIFE_SECONDS))
        except (TypeError, ValueError):
            life = math.nan
        is_usable = isinstance(token, str) and token.isascii() and token.isprintable()
        if not (is_usable and token and math.isfinite(life)):
            raise failure("no token", host=self._host)
        return token, max(life, 1.0)


Credentials = KeyCredentials | OAuthCredentials


def credentials_for(settings: Settings, *, session: requests.Session) -> Credentials:
    """Choose the one way in that is configured."""
    if settings.app_key:
        return KeyCredentials("AppKey", settings.app_key)
    if settings.api_key:
        return KeyCredentials("Bearer", settings.api_key)
    return OAuthCredentials(settings, session=session)
