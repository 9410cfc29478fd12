"""The questions that an auditor asks, what answers them, and how a finding is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celonis_audit_report import charts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a query's rows, and how to read it."""

    query: str
    plan: Callable[[Sequence[Mapping[str, Any]], int], dict[str, Any]]
    reading: str


@dataclass(frozen=True, slots=True)
class Section:
    """A question.

    Attributes:
        name: Its anchor.
        figures: The query with one row of numbers.
        answer: Puts them into a sentence.
        tables: Queries whose rows are shown as tables.
    """

    name: str
    question: str
    figures: str
    answer: Callable[[Figures], str]
    charts: tuple[Chart, ...] = ()
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: how it is called, where to read on, and what to do."""

    title: str
    section: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "failed_login_burst_then_login": Kind(
        "Failed logins, then a login",
        "logins",
        "Ask the person whether it was them. If not: lock the account, end its sessions, and read"
        " what it did since.",
    ),
    "failed_login_burst": Kind(
        "A burst of failed logins",
        "logins",
        "Nobody got in. See whether the account needs a second factor.",
    ),
    "admin_granted_off_hours": Kind(
        "An administrator made outside working hours",
        "changes",
        "Ask who approved it. If nobody did: take the role away, and read what both accounts did.",
    ),
    "admin_granted": Kind(
        "A new administrator", "changes", "Compare with the request that asked for it."
    ),
    "granted_to_oneself": Kind(
        "Rights given to oneself", "changes", "Ask who approved it; let somebody else grant it."
    ),
    "dormant_admin": Kind(
        "An administrator whom nobody sees", "power", "Take the role away until it is needed."
    ),
    "gone_with_access": Kind(
        "Gone, but still with access", "gone", "Remove the permissions that still name them."
    ),
    "log_deleted": Kind(
        "A log was deleted",
        "logs",
        "Ask why. What was copied before is still in the warehouse, and is not deleted there.",
    ),
    "log_silent": Kind(
        "Days without an entry",
        "logs",
        "A holiday explains it, or an outage. If nothing does, entries may have been deleted before"
        " they were copied.",
    ),
    "log_settings_changed": Kind(
        "The settings of a log were changed",
        "logs",
        "See that retention and IP tracking are as your policy says.",
    ),
    "protection_changed": Kind(
        "The protection of the team was changed", "unusual", "Compare with the change request."
    ),
}
UNKNOWN = Kind("Something else", "unusual", "Read the event in the audit log.")


def _are(number: int) -> str:
    return f"{number:,} is" if number == 1 else f"{number:,} are"


def _many(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


SECTIONS = (
    Section(
        "power",
        "Who has power?",
        "power_figures",
        lambda f: (
            f"Of {_many(f['members'], 'member')}, {_are(f['administrators'])} administrators;"
            f" {_many(f['dormant_administrators'], 'of them has', 'of them have')} not been seen"
            " for long, or ever."
        ),
        charts=(
            Chart(
                "power_by_kind",
                charts.power_by_kind,
                "Most power should come from groups: what people hold in person is easily forgotten"
                " when they move on.",
            ),
        ),
        tables=("admins", "power_holders"),
    ),
    Section(
        "changes",
        "What changed?",
        "change_figures",
        lambda f: (
            f"{_many(f['changes_of_access'], 'change')} of access,"
            f" {f['outside_working_hours']:,} of them outside working hours;"
            f" {_many(f['new_administrators'], 'new administrator')}."
        ),
        charts=(
            Chart(
                "changes_weekly",
                charts.changes_weekly,
                "A week far above the others is a migration, or somebody who should be asked.",
            ),
        ),
        tables=("changes",),
    ),
    Section(
        "logins",
        "Who got in, and who failed?",
        "login_figures",
        lambda f: (
            f"{_many(f['people'], 'person', 'people')} logged in"
            f" {_many(f['logins'], 'time')}. {_many(f['failed_attempts'], 'attempt')} failed,"
            f" with {_many(f['bursts'], 'burst')} of failures."
        ),
        charts=(
            Chart(
                "logins_daily",
                charts.logins_daily,
                "Failures follow logins on ordinary days: people mistype. A day on which only they"
                " rise is an attack, or a broken integration.",
            ),
            Chart(
                "failure_reasons",
                charts.failure_reasons,
                "Bad credentials are typing errors or guesses; not a member and not active are"
                " people without access who try.",
            ),
        ),
        tables=("bursts", "failing_accounts"),
    ),
    Section(
        "unusual",
        "What is unusual?",
        "unusual_figures",
        lambda f: (
            f"{f['privileged_outside_working_hours']:,} of"
            f" {_many(f['privileged_actions'], 'privileged action')} were done outside working"
            f" hours; {_many(f['addresses_never_seen_before'], 'IP address', 'IP addresses')} had"
            " never been seen before."
        ),
        charts=(
            Chart(
                "hours",
                charts.hours,
                "The darker, the more events. Lonely cells at night and on weekends are worth a"
                " look.",
            ),
        ),
        tables=("off_hours", "new_addresses"),
    ),
    Section(
        "gone",
        "Who is gone but still has access?",
        "gone_figures",
        lambda f: (
            f"{_many(f['gone_with_access'], 'person who is', 'people who are')} not in the team any"
            f" more still held access; {_many(f['dormant_members'], 'member')} did nothing for"
            " long."
        ),
        tables=("gone", "gone_permissions", "dormant"),
    ),
    Section(
        "logs",
        "Is the log itself complete and untouched?",
        "log_figures",
        lambda f: (
            f"{_many(f['events'] or 0, 'event')} are loaded,"
            f" {f['events_without_an_id_of_their_own'] or 'none'} of them twice. Somebody deleted a"
            f" log {_many(f['deletions_by_hand'] or 0, 'time')} in all."
        ),
        charts=(
            Chart(
                "log_days",
                charts.log_days,
                "A red line is a day without any entry, though such days usually have some.",
            ),
        ),
        tables=("logs", "log_events"),
    ),
    Section(
        "adoption",
        "Who uses Celonis?",
        "adoption_figures",
        lambda f: (
            f"{_many(f['monthly_active_users'] or 0, 'person', 'people')} in a month, of whom"
            f" {f['daily_active_users'] or 0:,} are there on an average day."
        ),
        charts=(
            Chart(
                "adoption_weekly",
                charts.adoption_weekly,
                "A licence that nobody uses is access that nobody misses.",
            ),
        ),
        tables=("assets",),
    ),
)
