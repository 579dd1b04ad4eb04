"""Where intervals, curves and bars go in small figures; the templates draw them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scoter.evaluation.significance import Estimate
from scoter.report.page import Number, number

Tick = tuple[float, str]
Series = tuple[int, str, list[tuple[float, float]]]  # colour, name, points

_COLOURS = {
    **{"tiger": 7, "tiger-meanpool": 3, "scoter": 2, "sasrec-ce": 1, "sasrec-ce-scoter": 5},
    **{"gru4rec": 4, "gru4rec-scoter": 4, "sasrec-bce": 6},
}


def colour(method: str) -> int:
    """The number of a method's colour in the style sheet, on every page the same; others are grey.

    >>> colour("tiger"), colour("popularity")
    (7, 0)
    """
    return _COLOURS.get(method, 0)


@dataclass(frozen=True)
class Whiskers:
    """Intervals of one column on one scale that holds zero."""

    width: int  # of the column, in pixels
    places: list[dict[str, float] | None]  # low, mean, high; None without an interval
    zero: float
    ticks: list[Tick]


def whiskers(intervals: Sequence[Estimate | None], width: int) -> Whiskers:
    """Where the intervals go in a column `width` pixels wide."""
    ends = [end for one in intervals if one is not None for end in (one.low, one.high)]
    scale = Scale(min([0.0, *ends]), max([0.0, *ends]), 8, width - 8)
    places = [
        None if one is None else {key: scale(getattr(one, key)) for key in ("low", "mean", "high")}
        for one in intervals
    ]
    return Whiskers(width, places, scale(0.0), scale.ticks(4))


def verdict(difference: Estimate) -> str:
    """What an interval of a difference says: above zero, below zero or includes zero."""
    if difference.low > 0:
        return "above zero"
    return "below zero" if difference.high < 0 else "includes zero"


class Line(NamedTuple):
    """One curve of a chart."""

    colour: int
    name: str
    path: str  # points of a polyline
    places: list[tuple[float, float]]
    best: tuple[float, float]  # the point with the highest value
    summary: str  # first and last value, for who listens


@dataclass(frozen=True)
class LineChart:
    """A line chart in SVG units."""

    width: int
    height: int
    left: int  # where the axes start
    bottom: int
    x: list[Tick]
    y: list[Tick]
    lines: list[Line]

    @property
    def summary(self) -> str:
        return "; ".join(line.summary for line in self.lines)


def line_chart(
    series: Sequence[Series], width: int, height: int, *, from_zero: bool = False
) -> LineChart | None:
    """The chart of some curves over epochs, or None without a point."""
    xs = [x for _, _, points in series for x, _ in points]
    ys = [y for _, _, points in series for _, y in points]
    if not xs:
        return None
    left, bottom = 52, height - 26
    across = Scale(min(xs), max(xs), left + 8, width - 12)
    levels = _tick_values(0.0 if from_zero else min(ys), max(ys), 4)
    up = Scale(levels[0], levels[-1], bottom, 12)
    lines = []
    for colour, name, points in series:
        places = [(across(x), up(y)) for x, y in points]
        ends = (f"{number(y)} at epoch {x:.0f}" for x, y in (points[0], points[-1]))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        best = max(points, key=lambda point: point[1])
        lines.append(Line(colour, name, path, places, best, f"{name}: {', '.join(ends)}"))
    ticks = [(up(level), f"{level:.6g}") for level in levels]
    xticks = across.ticks(6 if width > 400 else 3, whole=True)
    return LineChart(width, height, left, bottom, xticks, ticks, lines)


class Bar(NamedTuple):
    label: str
    value: Number
    length: float  # in pixels


@dataclass(frozen=True)
class Bars:
    """Bars of one column on one scale from zero."""

    width: int  # of the column, in pixels
    zero: float
    full: float  # the length of the longest possible bar
    rows: list[Bar]
    ticks: list[Tick]


def bars(values: Sequence[tuple[str, Number]], highest: Number | None = None) -> Bars:
    """Bars on one scale up to `highest`; what is below zero has no length.

    >>> bars([("layer 1", 0.25)], highest=1.0).rows
    [Bar(label='layer 1', value=0.25, length=46.0)]
    """
    width, longest = 200, max([1e-12, *(value for _, value in values)])
    levels = _tick_values(0.0, highest or longest, 3)
    scale = Scale(0.0, highest or levels[-1], 8, width - 8)
    rows = [Bar(label, value, max(0.0, round(scale(value) - 8, 2))) for label, value in values]
    ticks = [(scale(level), f"{level:.6g}") for level in levels if level <= scale.high]
    return Bars(width, 8.0, width - 16.0, rows, ticks)


@dataclass(frozen=True)
class Scale:
    """Values in [low, high] to places in [start, end]; without a range, to the middle."""

    low: Number
    high: Number
    start: Number
    end: Number

    def __call__(self, value: Number) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, count: int, *, whole: bool = False) -> list[Tick]:
        """Round values on the scale, with their places."""
        slack = 1e-9 * (self.high - self.low)
        values = _tick_values(self.low, self.high, count, whole)
        inside = [value for value in values if self.low - slack <= value <= self.high + slack]
        return [(self(value), f"{value:.6g}") for value in inside]


def _tick_values(low: Number, high: Number, count: int, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if high - low < 1e-6 * max(abs(low), abs(high)):
        low, high = low - 0.05 * abs(low), high + 0.05 * abs(high)
    locator = MaxNLocator(count, integer=whole, steps=[1, 2, 5, 10])
    return [float(value) for value in locator.tick_values(low, high)]
