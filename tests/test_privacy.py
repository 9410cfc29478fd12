from __future__ import annotations

import ipaddress
import json
import logging
import subprocess
import sys
import unicodedata
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outputs import Output, run_tap

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.keys import digest, event_id
from tap_celonis_audit.privacy import Pseudonymizer
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sandbox.history import company
from tap_celonis_audit.settings import SCHEMA, problems

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

NOW = "2026-03-01T12:00:00Z"
DAYS = 5
SEED = 1
KEY = "0123456789abcdef" * 4
PSEUDONYMOUS: dict[str, Any] = {"pseudonymization": "hmac-sha256", "pseudonymization_key": KEY}

EMAIL = "jürgen.o'groß+siem@münchen.example"


def spellings_of(address: str) -> dict[str, str]:
    """Write an address as different services do."""
    local, host = address.split("@")
    return {
        "upper case": address.upper(),
        "capitals": address.title(),
        "decomposed": unicodedata.normalize("NFD", address),
        "punycode": f"{local}@{host.encode('idna').decode()}",
        "quoted": '"jürgen.o\'groß+siem"@münchen.example',
        "at the end of a sentence": f"Ask {address}.",
        "in brackets": f"({address})",
        "in angle brackets": f"<{address}>",
        "in quotes": f"'{address}'",
        "in a list": f"a@b.example,{address};c@d.example",
        "mailto": f"mailto:{address}?subject=Hi",
        "in a URL": f"https://acme.example/users?mail={quote(address)}&page=2",
        "in a URL, plainly": f"https://acme.example/users?mail={address}&page=2",
        "in a URL in a URL": f"https://acme.example/?next={quote(quote(f'/u?mail={address}'))}",
        "after an encoded space": f"by%20{address.replace('@', '%40')}",
        "in JSON": json.dumps({"to": address}, ensure_ascii=False),
        "in ASCII JSON": json.dumps({"to": f"\n{address}"}),
        "in JSON in JSON": json.dumps(json.dumps({"to": [f"\t{address}\n"]})),
        "in JSON for HTML": json.dumps(f"<{address}>")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e"),
        "in JSON with all escaped": json.dumps(address).replace("@", "\\u0040"),
        "in HTML": f"<a>{address.replace('@', '&#64;')}</a>",
        "full width": address.replace("@", "\uff20"),
        "in Japanese": f"担当者「{address}」",
    }


SPELLINGS = spellings_of(EMAIL)
UUID = "8161c24e-2b32-44eb-bedb-ede2267be989"


@pytest.fixture(scope="module")
def privacy() -> Pseudonymizer:
    return Pseudonymizer(KEY)


def values_of(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from (key, *values_of(member))
    elif isinstance(value, list):
        for item in value:
            yield from values_of(item)
    elif isinstance(value, str):
        yield value


class TestEmails:
    @pytest.mark.parametrize("case", SPELLINGS)
    def test_every_spelling_has_the_same_pseudonym(self, privacy: Pseudonymizer, case: str) -> None:
        replaced = privacy.text(SPELLINGS[case])
        assert privacy.text(EMAIL) in replaced
        for part in ("rgen", "gro", "siem", "nchen"):
            assert part not in replaced.casefold()

    def test_what_is_around_an_address_stays(self, privacy: Pseudonymizer) -> None:
        pseudonym = privacy.text("jane@example.com")
        for text in (
            "Ask {}.",
            "mailto:{}?subject=Hi",
            "https://acme.example/users?mail={}&page=2",
            '{{"to": ["{}", 1]}}',
            "a: {}\nb: {}, {}",
            "100% of {}",
        ):
            raw = text.replace("{}", "jane@example.com")
            assert privacy.text(raw) == text.replace("{}", pseudonym)

    @pytest.mark.parametrize(
        "text",
        ["", "@", "@handle", "jane@", "a @ b", "@@", '"@', "no address", "3:4", "%40", "\\u0040"],
    )
    def test_what_is_no_address_stays(self, privacy: Pseudonymizer, text: str) -> None:
        assert privacy.text(text) == text

    @pytest.mark.parametrize(
        "address",
        ["jane", "o=neill@example.com", "x/y@example.com", "Jane Doe", "DOMAIN\\jane", "a b@c.d"],
    )
    def test_whatever_stands_in_a_column_for_addresses_is_replaced(
        self, privacy: Pseudonymizer, address: str
    ) -> None:
        replaced = privacy.record({"email": address})["email"]
        for part in ("jane", "neill", "Doe", "DOMAIN", "x/", "a b"):
            assert part not in replaced
        assert privacy.record({"email": address.upper()})["email"] == replaced

    @given(
        st.from_regex(r"[a-zäöéß0-9][a-zäöéß0-9._+\-]{0,20}[a-zäöéß0-9]", fullmatch=True),
        st.from_regex(r"[a-z0-9äöé]{1,10}(\.[a-z0-9]{2,8}){1,2}", fullmatch=True),
        st.text(" \n,;()<>[]:|=/?&#", max_size=3),
        st.text(" \n,;()<>[]:|=/?&#", max_size=3),
    )
    def test_an_address_is_found_between_any_delimiters(
        self, local: str, host: str, before: str, after: str
    ) -> None:
        privacy = Pseudonymizer(KEY)
        address = f"{local}@{host}"
        replaced = privacy.text(f"x {before}{address}{after} y")
        assert privacy.text(address) in replaced
        assert address not in replaced

    def test_long_texts_take_no_more_than_linear_time(self, privacy: Pseudonymizer) -> None:
        # Each of these would take minutes in quadratic time.
        for piece in ("a", "a@", "@", '"', "\\", "%4", "a.", "\\u00", "1:", "(", '"a":"', "0-"):
            text = piece * (100_000 // len(piece))
            privacy.text(text)
            privacy.text(f"{text}@example.com")


class TestUuids:
    @pytest.mark.parametrize(
        "text", [UUID, UUID.upper(), f"urn:uuid:{UUID}", f"x%20{UUID}", f"\\f{UUID}", f"_{UUID}_"]
    )
    def test_every_spelling_has_the_same_pseudonym(self, privacy: Pseudonymizer, text: str) -> None:
        pseudonym = privacy.text(UUID)
        assert pseudonym[14] == "8"
        assert pseudonym != UUID
        assert privacy.text(text) == text.lower().replace(UUID, pseudonym)

    def test_dashes_make_no_difference(self, privacy: Pseudonymizer) -> None:
        bare = UUID.replace("-", "")
        assert privacy.text(bare) == privacy.text(UUID).replace("-", "")
        assert privacy.text(f"%20{bare}") == f"%20{privacy.text(bare)}"

    def test_longer_numbers_stay(self, privacy: Pseudonymizer) -> None:
        checksum = "0123456789abcdef" * 4
        assert privacy.text(checksum) == checksum


class TestPeople:
    def test_an_actor_can_still_be_taken_apart(self, privacy: Pseudonymizer) -> None:
        label = privacy.record({"userId": f"{UUID} (jane@example.com)"})["userId"]
        assert label == f"{privacy.text(UUID)} ({privacy.text('jane@example.com')})"

    def test_the_platform_itself_is_nobody(self, privacy: Pseudonymizer) -> None:
        record = {"userId": "celonis-service (SYSTEM)", "userRole": "SYSTEM"}
        assert privacy.record(record) == record

    @pytest.mark.parametrize(
        "text",
        [
            "Jane Doe (jane@example.com)",
            "Jane Doe <jane@example.com>",
            '"Jane Doe" <jane@example.com>',
            "Joe (joe@example.com), Jane Doe (mailto:jane@example.com)",
            json.dumps({"who": "Jane Doe (jane@example.com)"}),
            json.dumps({"memberName": "Jane Doe"}),
            json.dumps({"x": [{"user_name": "JANE DOE", "y": 1}]}),
        ],
    )
    def test_a_name_known_as_such_has_the_same_pseudonym(
        self, privacy: Pseudonymizer, text: str
    ) -> None:
        replaced = privacy.text(text)
        assert privacy.person("jane  doe") in replaced
        assert "doe" not in replaced.casefold()
        if text.startswith(("{", "[")):
            assert json.loads(replaced).keys() == json.loads(text).keys()

    @pytest.mark.parametrize(
        "record",
        [
            {"message": {"memberName": "Jane Doe"}},
            {"message": {"Member Name": "Jane Doe"}},
            {"message": {"created-by": "Jane Doe"}},
            {"message": {"changedFor": ["Jane Doe"]}},
            {"message": {"owner": {"name": "Jane Doe", "id": 7_654_321}}},
            {"message": {"userId": 7_654_321}},
            {"event": "USER_NAME_UPDATED", "message": {"oldName": "Jane", "newName": "Jane Doe"}},
            {"subjectType": "USER", "subjectName": "Jane Doe", "subjectId": "jane.doe"},
            {"user": {"email": "jane", "firstName": "Jane", "lastName": "Doe"}},
            {"nameAndEmail": "Jane Doe (jane@example.com)", "userId": "jane"},
            {"message": {"jane@example.com": {"JANE@example.com": [[{"user": "jane"}]]}}},
        ],
    )
    def test_keys_tell_what_names_a_person(
        self, privacy: Pseudonymizer, record: dict[str, Any]
    ) -> None:
        text = json.dumps(privacy.record(record)).casefold()
        for part in ("jane", "doe", "7654321"):
            assert part not in text

    def test_what_names_something_else_stays(self, privacy: Pseudonymizer) -> None:
        record = {
            "event": "USER_JOIN_GROUP",
            "userRole": "ADMIN",
            "timestamp": "2025-02-25T14:52:10.903Z",
            "ipAddress": "192.0.2.17",
            "message": {
                "group_name": "経理部",
                "packageKey": "cold-chain-14",
                "recipients": 22,
                "sortedBy": "date",
                "rowCount": 7,
                "enabled": True,
                "version": None,
            },
            "diffPayload": {"oldValue": "MEMBER", "newValue": "ADMIN"},
        }
        assert privacy.record(record) == record
        record = {"event": "DATA_MODEL_UPDATED", "message": {"tables": [{"name": "VBAK"}]}}
        assert privacy.record(record) == record

    def test_no_member_is_lost_where_two_keys_become_one(self, privacy: Pseudonymizer) -> None:
        keys = ["Jane@example.com", "jane@example.com", "JANE@example.com"]
        replaced = privacy.record({"message": dict.fromkeys(keys, 1)})["message"]
        assert len(replaced) == 3

    def test_another_key_gives_other_pseudonyms(self, privacy: Pseudonymizer) -> None:
        other = Pseudonymizer(f"{KEY}x")
        for text in (UUID, "jane@example.com"):
            assert other.text(text) != privacy.text(text)
        assert other.key_id != privacy.key_id
        assert other.event_key != privacy.event_key


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("192.0.2.17", "192.0.2.0"),
            ("::ffff:192.0.2.17", "192.0.2.0"),
            ("2001:db8:1:2::3", "2001:db8:1::"),
            ("2001:DB8:0001:0002:0:0:0:3", "2001:db8:1::"),
            ("fe80::1%eth0", "fe80::"),
        ],
    )
    def test_truncated(self, address: str, network: str) -> None:
        privacy = Pseudonymizer(KEY, ip_addresses="truncate")
        record = {"ipAddress": address, "message": {"text": f"from {address}, port 80"}}
        replaced = privacy.record(record)
        assert replaced["ipAddress"] == network
        assert replaced["message"]["text"] == f"from {network}, port 80"
        assert str(ipaddress.ip_address(network)) == network

    def test_hashed(self) -> None:
        privacy = Pseudonymizer(KEY, ip_addresses="hash")
        record = {"ipAddress": "2001:DB8::1", "message": {"source-ip": ["2001:db8:0::1", "host7"]}}
        replaced = privacy.record(record)
        first, second = replaced["message"]["source-ip"]
        assert replaced["ipAddress"] == first
        assert first.startswith("ip-")
        assert second.startswith("ip-")
        assert first != second

    def test_what_is_no_address_stays(self) -> None:
        privacy = Pseudonymizer(KEY, ip_addresses="hash")
        record = {"message": {"at": "12:30:45", "version": "1.30.12", "x": "x::y", "y": "1.2.3"}}
        assert privacy.record(record) == record


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"pseudonymization": "hmac-sha256"}, "pseudonymization_key is missing. Make one"),
        (PSEUDONYMOUS | {"pseudonymization_key": "s3cret"}, "shorter than 32"),
        (PSEUDONYMOUS | {"pseudonymization_key": " " * 40}, "shorter than 32"),
        (PSEUDONYMOUS | {"pseudonymization_key": f"{KEY}\n"}, "line break"),
        (PSEUDONYMOUS | {"pseudonymization_key": 7_654_321}, "must be a text"),
        ({"pseudonymization_key": KEY}, "nothing is pseudonymized"),
        ({"pseudonymization_ip_addresses": "hash"}, "nothing is pseudonymized"),
        ({"pseudonymization": "md5"}, "must be one of none, hmac-sha256"),
        (PSEUDONYMOUS | {"pseudonymization_ip_addresses": "x"}, "must be one of keep, truncate"),
    ],
)
def test_wrong_settings_are_told(config: dict[str, Any], says: str) -> None:
    good = {"api_url": "https://acme.eu-1.celonis.cloud", "app_key": "k"}
    (problem,) = problems(good | config, SCHEMA)
    assert says in problem
    assert "s3cret" not in problem
    assert "7654321" not in problem
    assert problems(good | PSEUDONYMOUS, SCHEMA) == []


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    """Give a team whose members are written in every spelling and every place."""
    with Sandbox(seed=SEED, days=DAYS, now=NOW) as sandbox:
        user = sandbox.team.users[0]
        spelled = [*spellings_of(user.email).values()]
        spelled += [user.email.upper(), user.id.upper(), f"{user.name} ({user.email})", user.label]
        for number, text in enumerate(spelled):
            second = f"2026-02-28T10:{number:02}:00.000Z"
            sandbox.audit.add(
                {
                    "userId": user.label,
                    "event": "USER_NOTED",
                    "timestamp": second,
                    "message": {"note": text, text: {"deep": [[text]]}},
                    "diffPayload": {"oldValue": text, "newValue": json.dumps({"a": text})},
                    "newField": {"who": text},
                    "ipAddress": user.address,
                }
            )
            sandbox.logins.add(
                {
                    "authenticationEventType": "BAD_CREDENTIALS",
                    "email": text,
                    "success": False,
                    "timestamp": second,
                }
            )
        yield sandbox


def identities(sandbox: Sandbox) -> set[str]:
    """Give id, e-mail address and name of everybody who was a member in these days."""
    today = sandbox.clock.now_ms // 86_400_000
    users = {
        user
        for day in range(today - DAYS, today + 1)
        for team in [company(SEED).team(day)]
        for user in (*team.users, *(one for change in team.changes for one in change))
    }
    assert len(users) >= 300
    return {text for user in users for text in (user.id, user.email, user.name)}


def found_in(text: str, identities: Iterable[str]) -> set[str]:
    """Search a text for identities, in every spelling."""
    folded = text.casefold()
    return {
        identity
        for identity in identities
        for spelling in (
            identity,
            quote(identity),
            json.dumps(identity)[1:-1],
            json.dumps(json.dumps(identity)[1:-1])[1:-1],
            unicodedata.normalize("NFD", identity),
            identity.replace("-", "") if len(identity) == 36 else identity,
            b64encode(identity.encode()).decode().rstrip("="),
        )
        if spelling.casefold() in folded
    }


def sync(sandbox: Sandbox, state: dict[str, Any] | None = None, **config: Any) -> Output:
    return run_tap({"api_url": sandbox.url, "app_key": sandbox.app_key, **config}, state=state)


@pytest.fixture(scope="module")
def plain(sandbox: Sandbox) -> Output:
    return sync(sandbox)


class TestWholeTap:
    @pytest.mark.parametrize("ip_addresses", ["truncate", "hash"])
    def test_nobody_is_named_in_records_state_or_logs(
        self,
        sandbox: Sandbox,
        plain: Output,
        caplog: pytest.LogCaptureFixture,
        ip_addresses: str,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        output = sync(sandbox, **PSEUDONYMOUS, pseudonymization_ip_addresses=ip_addresses)
        again = sync(
            sandbox,
            state=output.states[-1],
            **PSEUDONYMOUS,
            pseudonymization_ip_addresses=ip_addresses,
        )
        assert again.rows == []
        text = json.dumps([output.lines, again.lines], ensure_ascii=False) + caplog.text
        people = identities(sandbox)
        hosts = {user.address for user in sandbox.team.users}
        assert found_in(text, people | hosts) == set()
        seen = found_in(json.dumps(plain.lines, ensure_ascii=False), people | hosts)
        assert len(seen) > 300, "this search finds people where they are"

    def test_everything_else_is_as_without(self, sandbox: Sandbox, plain: Output) -> None:
        output = sync(sandbox, **PSEUDONYMOUS)
        assert len(output.ids) == len(set(output.ids)) == len(plain.ids)
        kept = ["timestamp", "event", "user_role", "actor_type", "port", "ip_address", "team"]
        kept += ["authentication_event_type", "success"]
        assert sorted([row.get(name) or "" for name in kept] for row in output.rows) == sorted(
            [row.get(name) or "" for name in kept] for row in plain.rows
        )

    def test_people_can_be_counted_and_joined_across_streams_and_runs(
        self, sandbox: Sandbox, plain: Output
    ) -> None:
        half, rest = "2026-02-25", "2026-02-26"
        early = sync(sandbox, end_date=rest, **PSEUDONYMOUS)
        late = sync(sandbox, start_date=half, **PSEUDONYMOUS)

        def actors(*outputs: Output) -> set[str]:
            return {
                row["actor_email"].casefold()
                for output in outputs
                for row in output.rows
                if row.get("actor_email")
            }

        def visitors(*outputs: Output) -> set[str]:
            return {
                row["email"].casefold()
                for output in outputs
                for row in output.rows
                if row.get("email")
            }

        assert len(actors(early, late)) == len(actors(plain)) > 50
        assert len(actors(early, late) & visitors(early, late)) == len(
            actors(plain) & visitors(plain)
        )

    def test_an_id_cannot_be_computed_from_a_guess(self, sandbox: Sandbox, plain: Output) -> None:
        login = next(row for row in plain.rows if row.get("success"))
        guess = digest(
            team="127.0.0.1",
            stream="login_history",
            identity={
                "authenticationEventType": login["authentication_event_type"],
                "email": login["email"],
                "success": True,
                "timestamp": login["timestamp"],
            },
        )
        assert event_id(guess, ordinal=0) == login["event_id"], "without pseudonyms it can"
        output = sync(sandbox, **PSEUDONYMOUS)
        assert {stream for stream, _ in output.ids} == {"audit_logs", "login_history"}
        assert set(output.ids).isdisjoint(plain.ids)
        state = json.dumps(output.states)
        assert KEY not in state

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({}, PSEUDONYMOUS),
            (PSEUDONYMOUS, {}),
            (PSEUDONYMOUS, PSEUDONYMOUS | {"pseudonymization_key": KEY[::-1]}),
        ],
        ids=["switched on", "switched off", "another key"],
    )
    def test_a_state_of_other_pseudonyms_is_refused(
        self,
        sandbox: Sandbox,
        caplog: pytest.LogCaptureFixture,
        before: dict[str, Any],
        after: dict[str, Any],
    ) -> None:
        state = sync(sandbox, **before).states[-1]
        with pytest.raises(TapError, match=r"^Failed: audit_logs, login_history"):
            sync(sandbox, state=state, **after)
        errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert all("another pseudonymization" in error for error in errors)
        assert all("--full-refresh" in error for error in errors)
        assert sync(sandbox, state=state, **before).rows == []

    def test_a_state_from_before_there_were_pseudonyms_goes_on(
        self, sandbox: Sandbox, plain: Output
    ) -> None:
        state = json.loads(json.dumps(plain.states[-1]))
        for bookmark in state["bookmarks"].values():
            assert bookmark.pop("pseudonyms") == ""
        assert sync(sandbox, state=state).rows == []

    def test_the_way_of_treating_ip_addresses_may_change(self, sandbox: Sandbox) -> None:
        state = sync(sandbox, **PSEUDONYMOUS).states[-1]
        hashed = {**PSEUDONYMOUS, "pseudonymization_ip_addresses": "hash"}
        assert sync(sandbox, state=state, **hashed).rows == []


def test_the_command_gives_pseudonyms(privacy: Pseudonymizer) -> None:
    command = [sys.executable, "-m", "tap_celonis_audit.privacy"]
    lines = ["JANE@example.com", UUID, "Jane Doe", "Jane Doe (jane@example.com)"]
    result = subprocess.run(
        command,
        input="\n".join(lines),
        env={"TAP_CELONIS_AUDIT_PSEUDONYMIZATION_KEY": KEY, "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    email, uuid, name, both = result.stdout.splitlines()
    assert email == privacy.text("jane@example.com")
    assert uuid == privacy.text(UUID)
    assert both == f"{name} ({email})"
    without = subprocess.run(command, env={}, capture_output=True, check=False, text=True)
    assert without.returncode == 1
    assert "PSEUDONYMIZATION_KEY" in without.stderr
