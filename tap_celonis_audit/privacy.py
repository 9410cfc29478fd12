"""Pseudonyms instead of people: the same person has the same pseudonym everywhere, for ever.

A pseudonym is an HMAC-SHA256 under the user's key, so that without the key nobody can tell whether
a guess is right. What becomes what, in all texts and in all keys of objects, however deep:

| what | becomes | whatever its |
|---|---|---|
| e-mail address | ``user-<hex>@pseudonym.invalid`` | case, quotes, escapes, punycode |
| UUID | a UUID of version 8 | case, dashes |
| name of a person | ``person-<hex>`` | case, white space |
| IP address, if wished | its network, or ``ip-<hex>`` | spelling |

* A UUID does not tell what it names, so all of them are replaced, those of packages too: what could
  be joined before can be joined afterwards.
* A name is known as one where its key says so (``memberName``, ``createdBy``), and before the
  address of the same person: ``Jane Doe (jane@example.com)``. Other free text is not understood.

``python -m tap_celonis_audit.privacy`` gives the pseudonym of each line that it reads, for those
who have the key in the environment and a good reason to ask.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import sys
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import unquote

from tap_celonis_audit.values import unused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_About: TypeAlias = Literal["person", "subject", "user event", ""]
"""What an object describes: a person, what a user may do, what happened to one, or anything."""
_Meaning: TypeAlias = Literal["person", "id", "ip", ""]
"""What a value is, by its key: "id" is one of a person that may be a number."""

_DOMAIN = "pseudonym.invalid"
#: Texts up to here are remembered with their pseudonymized form, so many of them.
_CACHED_LENGTH, _CACHED_TEXTS = 256, 8_192
#: Longer local parts and names are none.
_MAX_QUOTED, _MAX_NAME = 128, 100

_AT = re.compile(r"[@\uff20\ufe6b]|%(?:25)*40|(?<!\\)\\+u0040|&#0*64;|&#x0*40;", re.IGNORECASE)
# Beyond ASCII, all but punctuation can be in an address.
_BEYOND = (
    r"[^\x00-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\u2000-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]"
)
# To be matched against reversed text: local parts are found from their end.
_LOCAL = re.compile(
    r"(?:(?!(?![7bde]2)[0-9a-f][0-3]00u)[0-9a-f]{4}u\\+"
    r"|(?:[7bde]2|[0-9]3|[1-9a-f][46]|[0-9a][57]|f5|[0-9a-f][89a-f])(?:52)*%"
    rf"|[\w.+\-'!$*^~`]|{_BEYOND})+",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"(?:\\+u(?!00[0-7])[0-9a-f]{4}"
    r"|%(?:25)*(?:[89a-f][0-9a-f]|2[de]|3[0-9]|[46][1-9a-f]|[57][0-9a])"
    rf"|[a-z0-9.\-]|{_BEYOND})+|\[[0-9a-z:.]+\]",
    re.IGNORECASE,
)
# What is left of an escape sequence whose beginning is no part of a local part.
_AFTER_BACKSLASH = re.compile(r"u[0-9a-f]{4}|[bfnrt]", re.IGNORECASE)
_AFTER_PERCENT = re.compile(r"(?:25)*[0-9a-f]{2}", re.IGNORECASE)
_ESCAPE = re.compile(r"(?<!\\)\\+u([0-9a-f]{4})", re.IGNORECASE)
_WHOLE = re.compile(r"\w[^\s@\"<>(),;:\\/?&%\u2000-\u206f]*@\w[\w.-]*\w")
_BEFORE_ADDRESS = re.compile(r"[(<]\s*(?:mailto:)?$", re.IGNORECASE)
_LAST_WORDS = re.compile(r"[^,;:|<>()\[\]{}=\r\n\t/\\\"]*$")

_UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?:(?<![0-9a-f])|(?<=%[0-9a-f]{2}))[0-9a-f]{32}(?![0-9a-f])",
    re.IGNORECASE,
)
_IP = re.compile(
    r"(?<![0-9A-Za-z.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z]|\.[0-9])"
    r"|(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%\w+)?"
)
_IPV4_BITS, _IPV6_BITS = 24, 48

_PEOPLE = (
    "users?|members?|persons?|people|employees?|owners?|creators?|authors?|assignees?|admins?|"
    "inviters?|invitees?|requesters?|recipients?|approvers?|actors?|senders?|receivers?|contacts?|"
    "managers?|delegates?"
)
# Keys without case and separators: "memberName", "member_name" and "Member Name" are one.
_PERSON = re.compile(
    rf".*(?:{_PEOPLE})(?:ids?|uuids?|names?|logins?|fullname|displayname)?"
    r"|.*(?:first|last|full|display|given|family|sur|nick|middle|user|login)names?"
    r"|.*e?mail(?:s|address|addresses)?"
    r"|(?!sorted|grouped|ordered|partitioned|indexed).*ed(?:by|for)"
)
_PART_OF_PERSON = re.compile(r".*name|login|label|initials|phone|mobile|id")
_NAME = re.compile(r"(?:old|new|previous|current)?name")
_SUBJECT = re.compile(r"subject(?:name|id|description)")
_IDS = re.compile(r".*(?:id|login)s?")
_ADDRESS = re.compile(
    r"(?:source|client|remote|user|host)?ip(?:address(?:es)?)?|remoteaddr(?:ess)?"
)
_USER_EVENT = re.compile(r"(?:^|[_ ])(?:USER|MEMBER|MEMBERSHIP)(?:[_ ]|$)")
_PLATFORM = re.compile(r"\S+ \(SYSTEM\)")
_PSEUDONYMS = re.compile(
    rf"user-[0-9a-f]{{32}}@{re.escape(_DOMAIN)}|person-[0-9a-f]{{32}}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{12}8[0-9a-f]{19}"
    r"|mailto:|[\s(){}\[\]<>,;\"']"
)
#: A member of a JSON object that is written in a text.
_MEMBER = re.compile(r'"((?:[^"\\]|\\.){1,64})"\s*:\s*"((?:[^"\\]|\\.)*)"')


class Pseudonymizer:
    """Replaces who did it by a pseudonym.

    Args:
        key: What keeps guesses from being confirmed.
        ip_addresses: ``keep``, ``truncate`` (to /24 and /48) or ``hash``.
    """

    def __init__(self, key: str, *, ip_addresses: str = "keep") -> None:
        self._key = key.encode()
        self._ip_addresses = ip_addresses
        self._cached_text = lru_cache(_CACHED_TEXTS)(self._text)
        self._cached_key = lru_cache(_CACHED_TEXTS)(self._read_key)
        self.event_key = self._mac("event", "")
        """For digests from which nobody can guess what was digested."""
        self.key_id = self._mac("key", "").hex()[:8]
        """Tells this key from others, and nothing else about it."""

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Replace every identity in a record of an API."""
        event = record.get("event")
        is_about_user = isinstance(event, str) and _USER_EVENT.search(event)
        return self._object(record, "user event" if is_about_user else "")

    def text(self, text: str) -> str:
        """Replace every identity in a text that can be recognized without knowing what it is."""
        return self._cached_text(text) if len(text) <= _CACHED_LENGTH else self._text(text)

    def person(self, text: str) -> str:
        """Replace every identity in a text that names a person; all of it, if need be."""
        if _PLATFORM.fullmatch(text) or not text.strip():
            return text
        replaced = self.text(text)
        if _PSEUDONYMS.sub("", replaced):
            return self._name(text)
        return replaced

    def _object(self, members: Mapping[str, Any], about: _About) -> dict[str, Any]:
        subject = members.get("subjectType") or members.get("subject_type")
        if isinstance(subject, str) and "USER" in subject.upper():
            about = "subject"
        found: dict[str, Any] = {}
        for key, member in members.items():
            read = self._cached_key if len(key) <= _CACHED_LENGTH else self._read_key
            name, meaning = read(key, about)
            # Two spellings of one address are one afterwards.
            found[unused(name, found)] = (
                None if member is None else self._value(member, meaning, about)
            )
        return found

    def _read_key(self, key: str, about: _About) -> tuple[str, _Meaning]:
        """Give what a key becomes, and what it says of the value."""
        return self._text(key), _meaning(key, about)

    def _value(self, value: Any, meaning: _Meaning, about: _About) -> Any:  # noqa: ANN401 -- any JSON value
        if isinstance(value, str):
            if not meaning:
                return self.text(value)
            return self._ip(value) if meaning == "ip" else self.person(value)
        if isinstance(value, dict):
            return self._object(value, "person" if meaning in {"person", "id"} else about)
        if isinstance(value, list):
            return [self._value(item, meaning, about) for item in value]
        if meaning == "id" and isinstance(value, int | float) and not isinstance(value, bool):
            return self._name(str(value))
        return value

    def _text(self, text: str) -> str:
        done = 0
        parts: list[str] = []
        if '":' in text or '" :' in text:
            for match in _MEMBER.finditer(text):
                if _meaning(match[1], "") in {"person", "id"}:
                    name = _unescape(match[2])
                    replaced = self.person(name)
                    parts += (
                        self._free_text(text[done : match.start(2)]),
                        match[2] if replaced == name else replaced,
                    )
                    done = match.end(2)
        return "".join([*parts, self._free_text(text[done:])])

    def _free_text(self, text: str) -> str:
        if not _AT.search(text):
            return self._rest(text)
        if _WHOLE.fullmatch(text):
            return self._email(*text.split("@"))
        done = 0
        parts: list[str] = []
        for start, end, local, host in _addresses(text):
            before = self._rest(text[done:start])
            if text[end : end + 1] in {")", ">"}:
                before = self._with_name(before)
            parts += before, self._email(local, host)
            done = end
        return "".join([*parts, self._rest(text[done:])])

    def _with_name(self, before: str) -> str:
        """Replace the name in ``Jane Doe (``, which an address follows."""
        bracket = _BEFORE_ADDRESS.search(before)
        if bracket is None:
            return before
        head = before[: bracket.start()].rstrip(' \t"\\')
        name = _LAST_WORDS.search(head[-_MAX_NAME:])
        found = name[0].strip() if name else ""
        if not any(map(str.isalpha, found)) or _UUID.search(found):
            return before
        at = len(head) - len(name[0]) + name[0].index(found) if name else 0
        return f"{before[:at]}{self._name(found)}{before[at + len(found) :]}"

    def _rest(self, text: str) -> str:
        """Replace what is not an e-mail address."""
        if len(text) >= 32:  # noqa: PLR2004 -- digits of a UUID
            text = _UUID.sub(self._uuid, text)
        if self._ip_addresses != "keep" and (":" in text or "." in text):
            text = _IP.sub(self._ip_in_text, text)
        return text

    def _email(self, local: str, host: str) -> str:
        local = _unescape(local).replace("\\", "").strip('"')
        address = f"{local}@{_unicode_host(_unescape(host))}"
        return f"user-{self._mac('email', _caseless(address)).hex()[:32]}@{_DOMAIN}"

    def _name(self, name: str) -> str:
        return f"person-{self._mac('name', ' '.join(_caseless(name).split())).hex()[:32]}"

    def _uuid(self, match: re.Match[str]) -> str:
        digits = self._mac("uuid", match[0].replace("-", "").lower()).hex()
        variant = "89ab"[int(digits[16], 16) % 4]
        groups = digits[:8], digits[8:12], f"8{digits[13:16]}", f"{variant}{digits[17:20]}"
        return ("-" if "-" in match[0] else "").join((*groups, digits[20:32]))

    def _ip(self, text: str) -> str:
        """Replace the addresses in what should be one; all of it if it is none."""
        replaced = self.text(text)
        if self._ip_addresses == "keep" or replaced != text or not text.strip():
            return replaced
        try:
            ipaddress.ip_address(text.strip())
        except ValueError:
            return f"ip-{self._mac('ip', _caseless(text)).hex()[:32]}"
        return text  # It is a network's already.

    def _ip_in_text(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0].partition("%")[0])
        except ValueError:
            return match[0]
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if self._ip_addresses == "hash":
            return f"ip-{self._mac('ip', str(address)).hex()[:32]}"
        bits = _IPV4_BITS if address.version == 4 else _IPV6_BITS  # noqa: PLR2004 -- IPv4
        return str(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)

    def _mac(self, kind: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")


def _addresses(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Find e-mail addresses: where each begins and ends, its local part and its host."""
    done = 0
    for at in _AT.finditer(text):
        host = _HOST.match(text, at.end())
        end = host.start() + len(host[0].rstrip(".-")) if host else at.end()
        start = _local_start(text, done, at.start())
        if start < at.start() and at.end() < end:
            yield start, end, text[start : at.start()], text[at.end() : end]
            done = end
        else:
            done = at.end()


def _local_start(text: str, low: int, at: int) -> int:
    """Find where the local part begins that ends here; here if there is none."""
    if at > low and text[at - 1] == '"':
        quote = text.rfind('"', max(low, at - _MAX_QUOTED), at - 1)
        while quote > low and text[quote - 1] == "\\":  # JSON within JSON has them escaped.
            quote -= 1
        return at if quote < 0 else quote
    found = _LOCAL.match(text[low:at][::-1])
    if found is None:
        return at
    start = at - found.end()
    before = text[start - 1] if start > low else ""
    tail = None
    if before == "\\":
        tail = _AFTER_BACKSLASH.match(text, start, at)
    elif before == "%":
        tail = _AFTER_PERCENT.match(text, start, at)
    start = tail.end() if tail else start
    return at - len(text[start:at].lstrip(".+-'!$*^~`"))


def _unescape(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    while "%" in text and (once := unquote(text)) != text:
        text = once
    return text


def _unicode_host(host: str) -> str:
    if "xn--" not in host.lower():
        return host
    labels = host.lower().split(".")
    for number, label in enumerate(labels):
        if label.startswith("xn--"):
            try:
                labels[number] = label[4:].encode("ascii").decode("punycode")
            except UnicodeError:
                continue
    return ".".join(labels)


def _caseless(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _squeeze(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower()


def _meaning(key: str, about: _About) -> _Meaning:
    """Tell what a value under this key is."""
    name = "".join(filter(str.isalnum, key)).lower()
    if _ADDRESS.fullmatch(name):
        return "ip"
    is_person = (
        _PERSON.fullmatch(name)
        or (about == "person" and _PART_OF_PERSON.fullmatch(name))
        or (about == "user event" and _NAME.fullmatch(name))
        or (about == "subject" and _SUBJECT.fullmatch(name))
    )
    if not is_person:
        return ""
    return "id" if _IDS.fullmatch(name) else "person"


def _main() -> None:
    key = os.environ.get("TAP_CELONIS_AUDIT_PSEUDONYMIZATION_KEY")
    if not key:
        sys.exit("Set TAP_CELONIS_AUDIT_PSEUDONYMIZATION_KEY to the key that the tap uses.")
    pseudonymizer = Pseudonymizer(key)
    for line in sys.stdin:
        print(pseudonymizer.person(line.strip()))  # noqa: T201 -- its output


if __name__ == "__main__":
    _main()
