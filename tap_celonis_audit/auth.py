"""Three ways in: application key, user API key, OAuth 2.0 client credentials.

https://developer.celonis.com/celonis-apis/authentication/
"""

from __future__ import annotations

import sys
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from requests.auth import AuthBase, HTTPBasicAuth

from tap_celonis_audit.errors import TapError, TeamError, TransientError, judge_failure

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from tap_celonis_audit.errors import Api
    from tap_celonis_audit.settings import Settings

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

    def renew(self, api: Api) -> bool:  # noqa: ARG002 -- likewise
        """Drop a credential that was refused; tell whether another one can be had."""
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
        self._url = f"{settings.base_url}/oauth2/token"
        self._host = settings.netloc
        self._client_id = settings.client_id or ""
        self._client_secret = settings.client_secret or ""
        self._timeout = (10, settings.request_timeout_seconds)
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
            TapError: Celonis refuses the client or the scope.
            TransientError: No usable answer this time.
        """
        with self._lock:
            auth, renew_at = self._tokens.get(api.scope, (None, 0.0))
            if auth is None or self._monotonic() >= renew_at:
                token, life = self._get_token(api)
                auth = HeaderAuth("Bearer", token)
                leeway = min(LEEWAY_SECONDS, life / 2)
                self._tokens[api.scope] = auth, self._monotonic() + life - leeway
            return auth

    def renew(self, api: Api) -> bool:
        """Drop a token that was refused; tell whether another one can be had."""
        with self._lock:
            return self._tokens.pop(api.scope, None) is not None

    def _get_token(self, api: Api) -> tuple[str, float]:
        # Newest pages of Celonis print the scopes without ":read".
        for scope in (api.scope, api.scope.removesuffix(":read")):
            for style in list(self._styles):
                answer = self._ask(scope, style)
                if answer.status_code == HTTPStatus.OK:
                    self._styles = [style]
                    return self._read(answer)
                if _error_of(answer) == "invalid_scope":
                    self._styles = [style]
                    break
            else:
                raise TeamError(
                    "Celonis refused the OAuth client (401). Check client_id and client_secret, "
                    "and that oauth_client_auth is as the client was registered."
                )
        raise TapError(
            f'The OAuth client does not hold the scope "{api.scope}". Add it to the client in '
            f"Admin & Settings › Applications. Then: {api.grant}."
        )

    def _ask(self, scope: str, style: str) -> requests.Response:
        form = {"grant_type": "client_credentials", "scope": scope}
        auth: AuthBase = _NoAuth()
        if style == "basic":
            # RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
            auth = HTTPBasicAuth(quote_plus(self._client_id), quote_plus(self._client_secret))
        else:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        try:
            answer = self._session.post(
                self._url, data=form, auth=auth, timeout=self._timeout, allow_redirects=False
            )
        except OSError as error:  # requests' own errors are some, a missing file is another
            raise judge_failure(error, host=self._host) from error
        status = answer.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError(
                f"The token endpoint of {self._host} keeps failing ({status}).", becomes=TeamError
            )
        if status not in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}:
            raise TeamError(
                f"{self._host} has no usable token endpoint ({status}). Check that api_url is the "
                "URL of the team, such as https://acme.eu-1.celonis.cloud"
            )
        return answer

    def _read(self, answer: requests.Response) -> tuple[str, float]:
        try:
            body = answer.json()
            token, life = body["access_token"], float(body.get("expires_in", DEFAULT_LIFE_SECONDS))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TransientError(f"The token endpoint of {self._host} sends no token.") from error
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            raise TransientError(f"The token endpoint of {self._host} sends no usable token.")
        return token, max(life, 1.0)


def _error_of(answer: requests.Response) -> str | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, str) else None


Credentials = KeyCredentials | OAuthCredentials


def credentials_for(settings: Settings, *, session: requests.Session) -> Credentials:
    """Choose the one way in that is configured."""
    if settings.app_key:
        return KeyCredentials("AppKey", settings.app_key)
    if settings.api_key:
        return KeyCredentials("Bearer", settings.api_key)
    return OAuthCredentials(settings, session=session)
