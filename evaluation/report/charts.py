"""Charts as SVG of our own: lines over steps, bars, stacked shares. Colours are the page's, so both themes work.

Nothing is smoothed or interpolated: a long series is thinned to the lowest and highest point of each of a few
hundred columns, so that every point drawn was measured and no spike is lost.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from evaluation.report.formats import short
from evaluation.report.markup import Markup, join, tag

Point = tuple[float, float]
_COLUMNS = 320  # of thinned series; two points each
_MARKED = 40  # a series with at most so many points shows them


@dataclass(frozen=True)
class Series:
    """One line. `colour` counts in the page's palette; a band is (x, low, high)."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    faint: bool = False
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare with."""

    name: str
    value: float


@dataclass(frozen=True)
class Bar:
    """One bar: its value, what is written at its end, and optionally an interval and a mark to compare with."""

    value: float
    text: str
    colour: int = 0
    name: str = ""
    interval: tuple[float, float] | None = None
    mark: float | None = None


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str,
    x_label: str = "step",
    levels: Sequence[Level] = (),
    height: int = 300,
    width: int = 760,
    y_text: Callable[[float], str] = short,
) -> Markup:
    """A figure with axes, a legend where there is more than one line, and the values of marked points on hover."""
    series = [one for one in series if one.points]
    frame = _Frame(series, levels, width, height)
    drawn = join(
        frame.grid(y_text, x_label),
        [frame.level(level, y_text, at % 2 == 1) for at, level in enumerate(levels)],
        [frame.band(one) for one in series],
        [frame.line(one) for one in series],
        [frame.marks(one, y_text, x_label) for one in series if len(one.points) <= _MARKED],
    )
    svg = tag("svg", drawn, viewBox=f"0 0 {width} {height}", role="img", aria_label=f"{title}, {unit}", class_="chart")
    legend = _legend([(one.name, one.colour) for one in series]) if len(series) > 1 else None
    return tag("figure", tag("figcaption", tag("b", title), tag("span", unit, class_="unit"), legend), svg)


small_chart = partial(line_chart, width=372, height=190)  # two beside each other


def bar_chart(
    title: str, unit: str, rows: Sequence[tuple[str, Sequence[Bar]]], *, width: int = 760, full: float | None = None
) -> Markup:
    """Horizontal bars in groups, one group a row, with the figures written at their ends; `full` is the whole scale."""
    label, tail, thick, gap = 150, 150, 13, 14
    bars = [bar for _, group in rows for bar in group]
    longest = full or max([bar.value for bar in bars] + [bar.interval[1] for bar in bars if bar.interval] + [0]) or 1
    drawn, y = [], 4.0
    for name, group in rows:
        middle = y + thick * len(group) / 2
        drawn.append(
            tag("text", _clipped(name, 22), tag("title", name), x=label - 10, y=middle + 4, text_anchor="end", class_="label")
        )
        for bar in group:
            drawn.append(_bar(bar, label, y, (width - label - tail) / longest, thick))
            y += thick
        y += gap
    svg = tag("svg", drawn, viewBox=f"0 0 {width} {y - gap + 6:.0f}", role="img", aria_label=title, class_="chart")
    legend = _legend(list(dict.fromkeys((bar.name, bar.colour) for bar in bars if bar.name)))
    return tag("figure", tag("figcaption", tag("b", title), tag("span", unit, class_="unit"), legend), svg)


def share_bar(parts: Sequence[tuple[str, float, str]]) -> Markup:
    """One bar of the full width made of (name, amount, CSS class) parts."""
    total = sum(amount for _, amount, _ in parts) or 1
    drawn, x = [], 0.0
    for name, amount, kind in parts:
        width = 1000 * amount / total
        drawn.append(
            tag("rect", tag("title", f"{name}: {amount:,.0f}"), x=x, y=0, width=max(0.0, width - 1.5), height=10, class_=kind)
        )
        x += width
    return tag("svg", drawn, viewBox="0 0 1000 10", preserveAspectRatio="none", class_="share", aria_hidden="true")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from within [low, high], near to `about` of them, 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    return [round(at * step, 12) for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def thinned(points: Sequence[Point], columns: int = _COLUMNS) -> list[Point]:
    """At most two of the points (in order of x) for each of `columns` columns: the lowest and the highest."""
    if len(points) <= 2 * columns:
        return list(points)
    kept = [points[0]]
    for column in range(columns):
        part = points[column * len(points) // columns : (column + 1) * len(points) // columns]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


class _Frame:
    """The rectangle of a chart and the way from values to places."""

    def __init__(self, series: Sequence[Series], levels: Sequence[Level], width: int, height: int) -> None:
        xs = [x for one in series for x, _ in one.points] or [0.0, 1.0]
        ys = [y for one in series for _, y in one.points] + [level.value for level in levels]
        ys += [edge for one in series for _, low, high in one.band for edge in (low, high)]
        self.x0, self.x1 = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, min(xs) + 0.5)
        low, high = min(ys, default=0.0), max(ys, default=1.0)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self.y0, self.y1 = max(0.0, low - room) if low >= 0 else low - room, high + room
        self.whole = all(float(x).is_integer() for x in xs)
        self.left, self.right, self.top, self.bottom = 52, width - 14, 10, height - 36

    def x(self, value: float) -> float:
        return self.left + (value - self.x0) / (self.x1 - self.x0) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.y0) / (self.y1 - self.y0) * (self.bottom - self.top)

    def grid(self, y_text: Callable[[float], str], x_label: str) -> Markup:
        rows = [
            join(
                tag("line", x1=self.left, x2=self.right, y1=self.y(value), y2=self.y(value), class_="grid"),
                tag("text", y_text(value), x=self.left - 8, y=self.y(value) + 4, text_anchor="end", class_="tick"),
            )
            for value in ticks(self.y0, self.y1, max(3, (self.bottom - self.top) // 45))
        ]
        columns = [
            join(
                tag("line", x1=self.x(value), x2=self.x(value), y1=self.bottom, y2=self.bottom + 4, class_="axis"),
                tag("text", short(value), x=self.x(value), y=self.bottom + 17, text_anchor="middle", class_="tick"),
            )
            for value in ticks(self.x0, self.x1, max(3, (self.right - self.left) // 110))
            if not self.whole or float(value).is_integer()
        ]
        base = tag("line", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom, class_="axis")
        return join(rows, columns, base, tag("text", x_label, x=self.right, y=self.bottom + 31, text_anchor="end", class_="tick"))

    def level(self, level: Level, y_text: Callable[[float], str], named_left: bool) -> Markup:
        """Names stand at alternate ends, so that those of two near levels do not cover each other."""
        y = self.y(level.value)
        x, anchor = (self.left + 4, "start") if named_left else (self.right, "end")
        return join(
            tag("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="level"),
            tag("text", f"{level.name} {y_text(level.value)}", x=x, y=y - 6, text_anchor=anchor, class_="level-name"),
        )

    def line(self, series: Series) -> Markup:
        path = "M" + " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in thinned(series.points))
        kind = "line faint" if series.faint else "line" if len(series.points) <= _COLUMNS else "line fine"
        return tag("path", d=path, class_=kind, style=f"stroke:var(--c{series.colour % 8})")

    def band(self, series: Series) -> Markup | None:
        if len(series.band) < 2:
            return None
        edge = [(x, high) for x, _, high in series.band] + [(x, low) for x, low, _ in reversed(series.band)]
        path = "M" + " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in edge) + "Z"
        return tag("path", d=path, class_="band", style=f"fill:var(--c{series.colour % 8})")

    def marks(self, series: Series, y_text: Callable[[float], str], x_label: str) -> list[Markup]:
        colour, name = f"fill:var(--c{series.colour % 8})", f"{series.name}, {x_label}"
        return [
            tag(
                "circle",
                tag("title", f"{name} {x:,.0f}: {y_text(y)}"),
                cx=self.x(x),
                cy=self.y(y),
                r=2.6,
                class_="mark",
                style=colour,
            )
            for x, y in series.points
        ]


def _bar(bar: Bar, left: float, y: float, scale: float, thick: float) -> Markup:
    width, furthest = max(1.0, bar.value * scale), left + bar.value * scale
    parts = [tag("rect", x=left, y=y + 1, width=width, height=thick - 2, rx=2, style=f"fill:var(--c{bar.colour % 8})")]
    if bar.interval:
        low, high = (left + edge * scale for edge in bar.interval)
        furthest = max(furthest, high)
        whiskers = "".join(f"M{x:.1f},{y + 3:.1f}v{thick - 6:.1f}" for x in (low, high))
        parts.append(tag("path", d=f"M{low:.1f},{y + thick / 2:.1f}H{high:.1f}{whiskers}", class_="interval"))
    if bar.mark is not None:
        x = left + bar.mark * scale
        parts.append(tag("line", tag("title", "chance"), x1=x, x2=x, y1=y - 4, y2=y + thick + 4, class_="level"))
    parts.append(tag("text", bar.text, x=furthest + 8, y=y + thick - 2.5, class_="value"))
    return join(parts)


def _legend(names: Sequence[tuple[str, int]]) -> Markup | None:
    if not names:
        return None
    entries = [tag("span", tag("i", style=f"background:var(--c{colour % 8})"), name) for name, colour in names]
    return tag("span", entries, class_="legend")


def _clipped(name: str, characters: int) -> str:
    return name if len(name) <= characters else name[: characters - 1] + "…"
