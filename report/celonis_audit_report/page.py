"""The page: findings first, then questions with figures, charts and tables, in one file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from datetime import date, datetime, timedelta
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from celonis_audit_report.charts import draw
from celonis_audit_report.sections import KINDS, SECTIONS, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celonis_audit_report.sections import Section
    from celonis_audit_report.warehouse import Answer, Warehouse

# More findings of one kind are folded.
_SHOWN = 3
_NUMBER = (int, float)


def render(warehouse: Warehouse, *, days: int, bookmarks: Mapping[str, str] | None = None) -> str:
    """Make the page.

    Args:
        warehouse: Answers the queries.
        days: How many days the period has.
        bookmarks: Until when the tap has proven each log, if somebody knows.
    """
    window = warehouse.ask("window")
    findings = warehouse.ask("findings")
    environment = Environment(
        loader=PackageLoader("celonis_audit_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": words, "cell": cell, "sort_key": sort_key, "moment": moment}
    style, script = _asset("page.css"), _asset("page.js")
    as_of = window.only["as_of"]
    teams = [team for (team,) in warehouse.ask("teams").rows]
    # Where there is but one team, nobody needs to read its name on each row.
    unsaid = "team" if len(teams) == 1 else ""
    return environment.get_template("page.html").render(
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - likewise
        policy="; ".join(
            (
                "default-src 'none'",
                f"style-src 'sha256-{_hash(style)}'",
                f"script-src 'sha256-{_hash(script)}'",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        window=window,
        settings=window.only,
        days=days,
        since=as_of - timedelta(days=days),
        teams=teams,
        findings=findings,
        groups=_groups(findings),
        severities=Counter(record["severity"] for record in findings.records),
        shown=_SHOWN,
        earlier=warehouse.ask("findings_earlier").without(unsaid),
        sections=[_section(warehouse, section, unsaid=unsaid) for section in SECTIONS],
        bookmarks=bookmarks or {},
        is_numeric=is_numeric,
    )


def bookmarks_of(state: str) -> dict[str, str]:
    """Read until when each log was proven from the state of the tap, as ``meltano state get``.

    Raises:
        ValueError: It is no such state.
    """
    parsed = json.loads(state)
    if not isinstance(parsed, dict):
        raise TypeError("the state must be a JSON object")
    singer = parsed.get("singer_state") or parsed.get("completed", {}).get("singer_state") or parsed
    return {
        stream: bookmark["replication_key_value"]
        for stream, bookmark in sorted(singer.get("bookmarks", {}).items())
        if "replication_key_value" in bookmark
    }


def words(name: str) -> str:
    """Turn the name of a column into a heading."""
    text = name.removesuffix("_at").replace("_", " ")
    for wrong, right in (("ip address", "IP address"), ("celonis", "Celonis")):
        text = text.replace(wrong, right)
    return text[:1].upper() + text[1:]


def moment(value: datetime | None) -> str:
    """Write a time for people and for machines."""
    if value is None:
        return Markup("–")
    return Markup('<time datetime="{}Z">{}</time>').format(
        value.isoformat(timespec="seconds"), f"{value:%Y-%m-%d %H:%M}"
    )


def cell(value: Any) -> str:  # noqa: ANN401 - whatever a database gives
    """Write a value of a table."""
    match value:
        case None | datetime():
            text = moment(value)
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case float():
            text = f"{value:,.1f}"
        case _:
            text = str(value)
    return text


def sort_key(value: Any) -> str:  # noqa: ANN401 - whatever a database gives
    """Write a value so that the page can put it in order."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)


def is_numeric(answer: Answer, column: int) -> bool:
    """Tell whether a column holds nothing but numbers."""
    values = [row[column] for row in answer.rows if row[column] is not None]
    return bool(values) and all(
        isinstance(value, _NUMBER) and not isinstance(value, bool) for value in values
    )


def _section(warehouse: Warehouse, section: Section, *, unsaid: str) -> dict[str, Any]:
    figures = warehouse.ask(section.figures)
    return {
        "name": section.name,
        "question": section.question,
        "answer": section.answer(figures.only),
        "figures": figures,
        "charts": [
            {
                "data": data,
                "reading": chart.reading,
                "svg": Markup(draw(chart.plan, data.records, chart.query)),  # noqa: S704 - cleaned
            }
            for chart in section.charts
            for data in [warehouse.ask(chart.query)]
        ],
        "tables": [warehouse.ask(table).without(unsaid) for table in section.tables],
    }


def _groups(findings: Answer) -> list[dict[str, Any]]:
    """Put findings of one kind and severity together, in the order in which they came."""
    place = {record["kind"]: index for index, record in reversed([*enumerate(findings.records)])}
    records = sorted(findings.records, key=lambda record: place[record["kind"]])
    return [
        {"kind": kind, "about": KINDS.get(kind, UNKNOWN), "findings": list(found)}
        for kind, found in groupby(records, key=lambda record: record["kind"])
    ]


def _asset(name: str) -> str:
    return files("celonis_audit_report").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
