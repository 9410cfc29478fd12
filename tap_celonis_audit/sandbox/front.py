"""The APIs as a client meets them: is it there, may one use it, and what does it answer?"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tap_celonis_audit.sandbox import access
from tap_celonis_audit.sandbox.api import (
    APIS,
    PATHS,
    SCOPES,
    TOKEN_PATH,
    Reading,
    bare_scope,
    check_choice,
    check_least,
    check_names,
)
from tap_celonis_audit.sandbox.exchange import (
    Answer,
    gone,
    method_not_allowed,
    not_found,
    too_many_requests,
)
from tap_celonis_audit.sandbox.permissions import in_the_words_of_the_export

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from random import Random

    from tap_celonis_audit.sandbox.access import Credentials, Refusal, TokenDesk, Unauthorized
    from tap_celonis_audit.sandbox.cursors import Cursors
    from tap_celonis_audit.sandbox.exchange import Request
    from tap_celonis_audit.sandbox.world import World

GoneStatus: TypeAlias = Literal["404", "410"]

_ENDPOINTS = {path: name for name, path in PATHS.items()}
_OF_V2 = "v2_"


@dataclass(frozen=True, slots=True)
class Rules:
    """How the server behaves; see the sandbox for what each attribute means.

    Raises:
        ValueError: An attribute makes no sense.
    """

    reading: Reading
    cursors: Cursors
    permissions: Collection[str]
    oauth_only: Collection[str]
    gone: Collection[str]
    gone_status: GoneStatus
    refusal: Refusal
    unauthorized: Unauthorized
    rate_limit: int

    def __post_init__(self) -> None:
        check_names("permissions", self.permissions, APIS)
        check_names("oauth_only", self.oauth_only, APIS)
        check_names("gone", self.gone, tuple(PATHS))
        check_choice("gone_status", self.gone_status, get_args(GoneStatus))
        check_choice("refusal", self.refusal, get_args(access.Refusal))
        check_choice("unauthorized", self.unauthorized, get_args(access.Unauthorized))
        check_least("rate_limit", self.rate_limit, 0)

    def changed(self, changes: Mapping[str, Any]) -> Rules:
        """Return these rules with some of them changed, by the names that the sandbox has."""
        own = {field.name for field in fields(self)}
        of_reading = {
            name: value
            for name, value in changes.items()
            if name not in own and not name.startswith(_OF_V2)
        }
        of_v2 = {
            name.removeprefix(_OF_V2): value
            for name, value in changes.items()
            if name.startswith(_OF_V2)
        }
        return replace(
            self,
            reading=replace(self.reading, **of_reading),
            cursors=replace(self.cursors, **of_v2),
            **{name: value for name, value in changes.items() if name in own},
        )


class Front:
    """Answers the requests to the APIs and to the token endpoint.

    Attributes:
        rules: How it does so now.
    """

    def __init__(
        self,
        world: World,
        rules: Rules,
        *,
        credentials: Credentials,
        token_desk: TokenDesk,
        rng: Random,
    ) -> None:
        self.rules = rules
        self._world = world
        self._credentials = credentials
        self._token_desk = token_desk
        self._rate = access.RateLimit()
        self._rng = rng

    def answer(self, request: Request, *, authorization: str, form: Mapping[str, str]) -> Answer:
        """Answer a request."""
        if request.path == TOKEN_PATH:
            if request.method != "POST":
                return method_not_allowed("POST")
            return self._token_desk.answer(form, authorization, self._world.clock.now_ms)
        allowed, headers = self._rate.spend(self.rules.rate_limit)
        answer = self._api_answer(request, authorization) if allowed else too_many_requests()
        return Answer(answer.status, {**answer.headers, **headers}, answer.body)

    def _api_answer(self, request: Request, authorization: str) -> Answer:
        endpoint = _ENDPOINTS.get(request.path)
        is_gone = endpoint in self.rules.gone
        if endpoint is None or (is_gone and self.rules.gone_status == "404"):
            return not_found()
        if is_gone:
            return gone()
        if request.method != "GET":
            return method_not_allowed("GET")
        api, _, version = endpoint.partition("-")
        if (refusal := self._refusal(api, authorization)) is not None:
            return in_the_words_of_the_export(refusal) if api == "permissions" else refusal
        return self._content(api, version, request.query)

    def _content(self, api: str, version: str, query: Mapping[str, str]) -> Answer:
        world, reading = self._world, self.rules.reading
        if api == "members":
            return world.members.answer(reading, query, self._rng)
        if api == "permissions":
            return world.grants.answer(reading, self._rng)
        source = world.sources[api]
        if version == "v2":
            return self.rules.cursors.answer(source, query, reading, world.clock.now_ms)
        return reading.answer(source, query, self._rng)

    def _refusal(self, api: str, authorization: str) -> Answer | None:
        """Say no, if a credential is not good for an API."""
        rules, now_ms = self.rules, self._world.clock.now_ms
        scopes = access.scopes_of(authorization, self._credentials, self._token_desk, now_ms)
        is_oauth = access.is_oauth(authorization, self._credentials)
        if scopes is None or (api in rules.oauth_only and not is_oauth):
            return access.unauthorized(rules.unauthorized)
        if api in rules.permissions and bare_scope(SCOPES[api]) in scopes:
            return None
        return (
            access.unauthorized(rules.unauthorized) if rules.refusal == "401" else access.denied()
        )
