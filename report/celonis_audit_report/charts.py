"""Charts as SVG: drawn by Vega-Lite when the page is made, coloured by the page.

A chart is drawn twice, for wide and for narrow screens. Nothing in it runs: what is not plain
drawing is taken out, and each mark tells its value as its title.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import vl_convert  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Record = Mapping[str, Any]
    Spec = dict[str, Any]

WIDE = 720
NARROW = 340

_SVG = "http://www.w3.org/2000/svg"
_DRAWING = {"svg", "g", "path", "line", "rect", "text", "tspan", "defs", "clipPath", "title"}
_ATTRIBUTES = {
    *("viewBox", "transform", "d", "x", "y", "x2", "y2", "x1", "y1", "width", "height"),
    *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"),
    *("stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity", "display"),
    *("text-anchor", "font-size", "font-weight", "clip-path", "id"),
}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SERIES = ["var(--series-1)", "var(--series-2)", "var(--series-3)"]
_WEEKS = 27
_FAILED = "Failed attempts"
# What a mark says of itself when somebody points at it.
_TOLD: Spec = {"description": {"field": "told", "type": "nominal"}}

# Control characters, mostly.
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ET.register_namespace("", _SVG)


def power_by_kind(rows: Sequence[Record], width: int) -> Spec:
    """Draw who holds powerful permissions."""
    named = [{**row, "object_type": row["object_type"].replace("_", " ").lower()} for row in rows]
    return _bars(
        named,
        width,
        y={"field": "object_type", "title": None, "sort": "-x"},
        x={"field": "permissions", "title": "Powerful permissions", "stack": True},
        told="{object_type}: {permissions} of {holder}s",
        color=_colour("holder", sorted({row["holder"] for row in rows})),
    )


def changes_weekly(rows: Sequence[Record], width: int) -> Spec:
    """Draw changes by week."""
    directions = ["granted", "revoked", "changed"]
    return _frame(
        rows,
        width,
        height=190,
        mark={"type": "bar", "width": round(0.7 * (width - 60) / _WEEKS)},
        encoding={
            "x": _time("week", "Week from", unit="yearmonthdate", width=width),
            "y": _number("changes", "Changes"),
            "color": _colour("direction", directions),
            "order": {"field": "direction", "type": "nominal"},
        },
        told="Week from {week:%-d %b %Y}: {changes} {direction}",
    )


def logins_daily(rows: Sequence[Record], width: int) -> Spec:
    """Draw logins above failures, each with a scale of its own."""
    return {
        "vconcat": [
            {
                "width": width - 60,
                "height": 120,
                "title": outcome,
                "transform": [{"filter": {"field": "outcome", "equal": outcome}}],
                "mark": {
                    "type": "bar",
                    "width": {"band": 0.75},
                    "color": "var(--alarm)" if outcome == _FAILED else _SERIES[0],
                },
                "encoding": {
                    "x": _time("day", "Day", unit="yearmonthdate", width=width),
                    "y": _number("attempts", outcome) | {"title": None},
                    **_TOLD,
                },
            }
            for outcome in ("Logins", _FAILED)
        ],
        "data": {"values": _values(rows, "{day:%a %-d %b}: {attempts:,} {outcome}")},
    }


def failure_reasons(rows: Sequence[Record], width: int) -> Spec:
    """Draw why logins failed."""
    named = [{**row, "reason": str(row["reason"]).replace("_", " ")} for row in rows]
    return _bars(
        named,
        width,
        y={"field": "reason", "title": None, "sort": "-x"},
        x={"field": "attempts", "title": "Failed attempts"},
        color={"value": "var(--alarm)"},
        told="{reason}: {attempts:,}",
    )


def hours(rows: Sequence[Record], width: int) -> Spec:
    """Draw the hours of the week."""
    named = [{**row, "weekday": _WEEKDAYS[row["weekday"] - 1]} for row in rows]
    step = 3 if width == WIDE else 6
    return _frame(
        named,
        width,
        height=190,
        mark={"type": "rect", "color": _SERIES[0], "cornerRadius": 2},
        encoding={
            "x": {
                "field": "hour",
                "type": "ordinal",
                "title": "Hour of the day",
                "scale": {"domain": list(range(24)), "paddingInner": 0.08},
                "axis": {"values": list(range(0, 24, step)), "labelAngle": 0, "grid": False},
            },
            "y": {
                "field": "weekday",
                "type": "ordinal",
                "title": None,
                "scale": {"domain": list(_WEEKDAYS), "paddingInner": 0.08},
                "axis": {"grid": False},
            },
            "opacity": {
                "field": "events",
                "type": "quantitative",
                "scale": {"type": "sqrt", "range": [0.12, 1]},
                "legend": None,
                "title": "Events",
            },
        },
        told="{weekday}, {hour}:00: {events:,} events",
    )


def log_days(rows: Sequence[Record], width: int) -> Spec:
    """Draw each log by day, with its silent days marked."""
    x = _time("day", "Day", unit="yearmonthdate", width=width)
    return {
        "vconcat": [
            {
                "title": log,
                "transform": [{"filter": {"field": "log", "equal": log}}],
                "width": width - 60,
                "height": 74,
                "layer": [
                    {
                        "transform": [{"filter": "datum.is_silent"}],
                        "mark": {"type": "rule", "color": "var(--alarm)", "strokeWidth": 3},
                        "encoding": {"x": x, **_TOLD},
                    },
                    {
                        "mark": {"type": "bar", "color": _SERIES[0], "width": {"band": 0.8}},
                        "encoding": {
                            "x": x,
                            "y": _number("events", "Events") | {"title": None},
                            **_TOLD,
                        },
                    },
                ],
            }
            for log in sorted({row["log"] for row in rows})
        ],
        "data": {"values": _values(rows, "{day:%a %-d %b}: {events:,} events")},
    }


def adoption_weekly(rows: Sequence[Record], width: int) -> Spec:
    """Draw active users by week."""
    return _frame(
        rows,
        width,
        height=190,
        mark={"type": "line", "strokeWidth": 2.5, "point": {"size": 14, "filled": True}},
        encoding={
            "x": _time("week", "Week from", unit="yearmonthdate", width=width),
            "y": _number("users", "People"),
            "color": _colour("people", ["Logged in", "Used Studio"]),
        },
        told="Week from {week:%-d %b %Y}: {users:,} {people}",
    )


def draw(plan: Callable[[Sequence[Record], int], Spec], rows: Sequence[Record], name: str) -> str:
    """Draw a chart for wide and for narrow screens, and give both as SVG."""
    return "".join(
        _clean(
            vl_convert.vegalite_to_svg({**plan(rows, width), "config": _config(width)}),
            name=f"{name}-{css_class}",
            css_class=css_class,
        )
        for width, css_class in ((WIDE, "wide"), (NARROW, "narrow"))
    )


def _bars(rows: Sequence[Record], width: int, *, x: Spec, y: Spec, color: Spec, told: str) -> Spec:
    """Plan horizontal bars, as high as there are."""
    return _frame(
        rows,
        width,
        height={"step": 26},
        mark={"type": "bar", "height": {"band": 0.7}},
        encoding={
            "y": {"type": "nominal", "axis": {"grid": False, "labelLimit": 170}} | y,
            "x": _number(x["field"], x["title"]) | x,
            "color": color,
        },
        told=told,
    )


def _frame(
    rows: Sequence[Record],
    width: int,
    *,
    height: int | Spec,
    mark: Spec,
    encoding: Spec,
    told: str,
) -> Spec:
    return {
        "data": {"values": _values(rows, told)},
        "width": width,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "mark": mark,
        "encoding": encoding | _TOLD,
    }


def _time(field: str, title: str, *, unit: str, width: int) -> Spec:
    return {
        "field": field,
        "type": "temporal",
        "timeUnit": unit,
        "title": None,
        "axis": {
            "format": "%-d %b",
            "grid": False,
            "tickCount": 8 if width == WIDE else 4,
            "labelOverlap": True,
            "description": title,
        },
    }


def _number(field: str, title: str) -> Spec:
    axis = {"tickCount": 4, "format": "~s", "tickMinStep": 1}
    return {"field": field, "type": "quantitative", "title": title, "axis": axis}


def _colour(field: str, names: Sequence[str]) -> Spec:
    scale = {"domain": [_value(name) for name in names], "range": _SERIES[: len(names)]}
    legend = {"orient": "top", "title": None, "symbolType": "square"}
    return {"field": field, "type": "nominal", "scale": scale, "legend": legend, "title": None}


def _values(rows: Sequence[Record], told: str) -> list[Record]:
    return [
        {key: _value(value) for key, value in ({**row, "told": told.format(**row)}).items()}
        for row in rows
    ]


def _value(value: object) -> object:
    # A date alone would be taken for UTC and be shown in the zone of the machine.
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return _NOT_IN_XML.sub("", value)
    return f"{value.isoformat()}T00:00:00" if isinstance(value, date) else value


def _config(width: int) -> Spec:
    size = 12 if width == WIDE else 11
    return {
        "background": None,
        "padding": {"left": 10, "right": 10, "top": 4, "bottom": 4},
        "view": {"stroke": None},
        "axis": {
            "labelColor": "var(--quiet)",
            "titleColor": "var(--quiet)",
            "gridColor": "var(--line)",
            "domainColor": "var(--line)",
            "tickColor": "var(--line)",
            "labelFontSize": size,
            "titleFontSize": size,
            "titleFontWeight": "normal",
            "domain": False,
        },
        "legend": {"labelColor": "var(--text)", "labelFontSize": size},
        "title": {
            "color": "var(--text)",
            "fontSize": size + 1,
            "fontWeight": 600,
            "anchor": "start",
        },
        "concat": {"spacing": 18},
    }


def _clean(svg: str, *, name: str, css_class: str) -> str:
    """Keep drawing only, with names of its own, and let marks tell their values as titles."""
    root = ET.fromstring(svg)  # noqa: S314 - drawn a moment ago, by us
    _clean_element(root, name)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("class", css_class)
    root.set("aria-hidden", "true")
    return ET.tostring(root, encoding="unicode")


def _clean_element(element: ET.Element, name: str) -> None:
    told = element.get("aria-label")
    is_mark = element.get("role") == "graphics-symbol" and element.get("aria-roledescription") in {
        *("bar", "rect mark", "point", "rule mark"),
    }
    for key, value in list(element.attrib.items()):
        if key not in _ATTRIBUTES:
            del element.attrib[key]
        elif key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "clip-path":
            element.set(key, re.sub(r"url\(#([\w-]+)\)", rf"url(#{name}-\1)", value))
    for child in list(element):
        if child.tag.removeprefix(f"{{{_SVG}}}") in _DRAWING:
            _clean_element(child, name)
        else:
            element.remove(child)
    if told and is_mark:
        title = ET.Element(f"{{{_SVG}}}title")
        title.text = told
        element.insert(0, title)
