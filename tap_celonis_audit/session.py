"""Sessions of requests as the tap wants them: where trust comes from, and for how long to wait."""

from __future__ import annotations

import io
import logging
import os
import ssl
import sys
import time
from http.client import HTTPException, HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from tap_celonis_audit.errors import failure

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from urllib3.connectionpool import ConnectionPool

    from tap_celonis_audit.settings import Settings

CONNECT_TIMEOUT_SECONDS = 10
#: An answer has to be there as a whole after so many times the time that it may keep silent.
DEADLINE_FACTOR = 3
#: The first of these that is set names what is trusted instead of the certificates that come with
#: requests. The first two are known to curl and requests, the last to OpenSSL.
BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

#: A prime below 256 KiB: urllib3 (2.6 to 2.8) repeats what follows a member of a gzip body that
#: ends just where a piece of this size does; with Python 3.14.8, members of any round size do.
_CHUNK_BYTES = 262_139
#: A page is received in two or three pieces; after each, its thread has to wait for its turn.
_BUFFER_BYTES = 1 << 16
#: What a request may raise: requests lets some exceptions of others through.
TRANSPORT_ERRORS = (OSError, ValueError, HTTPError, HTTPException)

# It quotes headers that it does not understand, in a warning.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class _TimedSocket(io.RawIOBase):
    """What a socket receives, up to a deadline.

    A timeout of a socket is one of each single receive: it does not end an answer that comes byte
    by byte.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._timeout = sock.gettimeout() or CONNECT_TIMEOUT_SECONDS
        self._deadline = time.monotonic() + DEADLINE_FACTOR * self._timeout

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer does not end")
        self._sock.settimeout(min(left, self._timeout))
        return self._raw.readinto(buffer)

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer, of a proxy too, that has to come in time: status, headers and body together."""

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedSocket(sock), _BUFFER_BYTES)


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _TLSConnection(HTTPSConnection):
    response_class = _TimedResponse


class _Adapter(HTTPAdapter):
    """Trusts what a TLS context trusts, and does not wait for ever."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__()

    @override
    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if isinstance(pool, HTTPConnectionPool):
            chosen = _TLSConnection if pool.scheme == "https" else _Connection
            pool.ConnectionCls = chosen  # ty: ignore[invalid-assignment]  # as urllib3 itself does
        return pool

    @override
    def build_connection_pool_key_attributes(
        self,
        request: requests.PreparedRequest,
        verify: bool | str,
        cert: str | tuple[str, str] | None = None,
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"cert_reqs": "CERT_REQUIRED", "ssl_context": self._context}

    @override
    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **kwargs)

    @override
    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        # It would add certificates to the context.
        pass


def make_context(settings: Settings) -> ssl.SSLContext | None:
    """Say whose certificates are trusted; None if there is nothing to encrypt.

    Raises:
        TeamError: A file that should hold certificates does not.
    """
    if settings.base_url.startswith("http:"):
        return None
    name = next((each for each in BUNDLE_VARIABLES if os.environ.get(each)), "")
    bundle = os.environ[name] if name else DEFAULT_CA_BUNDLE_PATH
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, bundle, name=f"the environment variable {name}")
    if settings.ca_bundle:
        _trust(context, settings.ca_bundle, name="ca_bundle")
    return context


def _trust(context: ssl.SSLContext, path: str, *, name: str) -> None:
    is_folder = Path(path).is_dir()  # with hashes as names, as OpenSSL makes it
    try:
        context.load_verify_locations(**{"capath" if is_folder else "cafile": path})
    except OSError:
        raise failure("certificate bundle", name=name) from None


def make_session(settings: Settings, context: ssl.SSLContext | None) -> requests.Session:
    """Make a session for one thread.

    Proxies come from the environment. ``.netrc`` is not read, cookies are not kept.
    """
    session = requests.Session()
    session.trust_env = False
    session.proxies = get_environ_proxies(settings.base_url)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": settings.user_agent, "Accept": "application/json"})
    adapter = _Adapter(context)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def read_body(response: requests.Response, limit: int) -> bytes | None:
    """Read and unpack a body; None if it is longer than so many bytes."""
    chunks, size = [], 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
    return b"".join(chunks)
