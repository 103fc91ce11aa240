"""The charts of the page: Vega-Lite, drawn to SVG without a script, in colours that the page's style sheet decides.

Nothing in a chart is a stranger's text: days, figures and our own words only.
Not here: the tables that say the same in words (look.py).
"""

import base64
from collections.abc import Sequence
from typing import Any

from pipelines.page.says import ChangeDay, Page, TrendDay

WIDTH, HEIGHT = 460, 190
INK, FAINT, FIRST, SECOND, GAP = (f"var(--{name})" for name in ("ink", "line", "first", "second", "gap"))

CONFIG = {
    "font": "system-ui, sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": FAINT,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "labelFontSize": 13,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
    },
    # The page has a legend of its own, in text that does not shrink with the chart.
    "legend": {"disable": True},
}

Spec = dict[str, Any]


def charts(page: Page) -> dict[str, str]:
    """SVG by name: shares, gb, changes. Of a single day there is none: a chart needs two."""
    if len(page.changes) < 2:
        return {}
    days = [str(each.day) for each in page.changes]
    torn = [str(each.day) for each in page.changes if not each.is_whole]
    return {
        "shares": _svg(_line(page.trend, "shares", days, torn)),
        "gb": _svg(_line(page.trend, "gb", days, torn)),
        "changes": _svg(_bars(page.changes, days, torn)),
    }


def thumbnail(page: Page) -> str:
    """The shares over time as a Markdown image, small enough to show in an event log; empty for a single day."""
    if len(page.changes) < 2:
        return ""
    import vl_convert

    days = [str(each.day) for each in page.changes]
    axes = {"axis": None}
    spec = {
        "width": 150,
        "height": 30,
        "padding": 2,
        "background": None,
        "config": {"view": {"stroke": None}},
        "data": {"values": [each for each in _points(page.trend, "shares") if each["is_whole"]]},
        "mark": {"type": "line", "strokeWidth": 1.5, "point": {"size": 8}},
        "encoding": {
            "x": {"field": "day", "type": "ordinal", "scale": {"domain": days}, **axes},
            "y": {"field": "value", "type": "quantitative", "scale": {"zero": False}, **axes},
            "color": {"field": "series", "scale": _series("#3b82c4", "#c77414"), "legend": None},
        },
    }
    image = base64.b64encode(vl_convert.vegalite_to_png(spec, scale=1)).decode()
    return f"![shares given (blue) and received (orange)](data:image/png;base64,{image})"


def _svg(spec: Spec) -> str:
    # V8 and Vega take a second of CPU to start: only for who draws.
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg({**spec, "width": WIDTH, "height": HEIGHT, "config": CONFIG})
    # The image is the element around it, which has a name and a text: of every mark nobody wants to hear.
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)


def _line(trend: Sequence[TrendDay], field: str, days: list[str], torn: list[str]) -> Spec:
    """Lines break where not all was proven; a hollow point counts only the listings that were."""
    points = _points(trend, field)
    y = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": False, "nice": True},
        "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 5},
    }
    series = {"field": "series", "type": "nominal"}
    color = {**series, "scale": _series(FIRST, SECOND)}
    shape = {**series, "scale": _series("circle", "square")}
    dash = {**series, "scale": _series([1, 0], [5, 3])}
    fill = {
        "condition": {"test": "datum.is_whole", "field": "series", "scale": color["scale"]},
        "value": "var(--paper)",
    }
    line = {"type": "line", "strokeWidth": 2, "invalid": "break-paths-show-path-domains"}
    return {
        "layer": [
            _shade(days, torn),
            {
                "data": {"values": [each if each["is_whole"] else {**each, "value": None} for each in points]},
                "mark": line,
                "encoding": {"x": _days(days), "y": y, "color": color, "strokeDash": dash},
            },
            {
                "data": {"values": [each for each in points if each["value"] is not None]},
                "mark": {"type": "point", "size": 45, "strokeWidth": 2, "opacity": 1},
                "encoding": {"x": _days(days), "y": y, "stroke": color, "shape": shape, "fill": fill},
            },
        ],
    }


def _bars(changes: Sequence[ChangeDay], days: list[str], torn: list[str]) -> Spec:
    """Granted upwards, withdrawn downwards."""
    kinds = {"domain": ["granted", "withdrawn"], "range": [FIRST, SECOND]}
    bars: list[dict[str, Any]] = [
        {"day": str(each.day), "kind": kind, "value": value}
        for each in changes
        for kind, value in (("granted", each.granted), ("withdrawn", -each.withdrawn))
        if value
    ]
    most = max((abs(each["value"]) for each in bars), default=1)
    y = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [-most, most], "nice": True},
        "axis": {"labelExpr": "format(abs(datum.value), ',d')", "tickMinStep": 1, "tickCount": 5},
    }
    color = {"field": "kind", "type": "nominal", "scale": kinds}
    return {
        "layer": [
            _shade(days, torn),
            {
                "data": {"values": bars},
                "mark": {"type": "bar", "width": {"band": 0.7}},
                "encoding": {"x": _days(days), "y": y, "color": color},
            },
            {"data": {"values": [{}]}, "mark": {"type": "rule", "stroke": INK}, "encoding": {"y": {"datum": 0}}},
        ],
    }


def _points(trend: Sequence[TrendDay], field: str) -> list[dict[str, Any]]:
    return [
        {"day": str(each.day), "series": each.direction, "value": getattr(each, field), "is_whole": each.is_whole}
        for each in trend
    ]


def _days(days: list[str]) -> Spec:
    """Every day has its place, also one without a value. Text, not time: a day must not move with a time zone."""
    axis = {
        "labelExpr": "slice(datum.value, 5)",
        "labelAngle": 0,
        "labelOverlap": "parity",
        "grid": False,
        "title": None,
    }
    return {"field": "day", "type": "ordinal", "scale": {"domain": days, "type": "band"}, "axis": axis}


def _shade(days: list[str], torn: list[str]) -> Spec:
    return {
        "data": {"values": [{"day": each} for each in torn]},
        "mark": {"type": "bar", "color": GAP, "width": {"band": 1}, "y": 0, "y2": HEIGHT},
        "encoding": {"x": _days(days)},
    }


def _series(given: Any, received: Any) -> Spec:
    return {"domain": ["given", "received"], "range": [given, received]}
