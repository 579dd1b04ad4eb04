"""The geometry of small figures: where intervals, curves and bars go. Templates turn it into
SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scoter.evaluation.significance import Estimate
from scoter.report.page import Number, number


@dataclass(frozen=True)
class Whiskers:
    """Intervals of one column on one scale that holds zero: for each its ends and middle, or None
    where it has no interval."""

    width: int
    places: list[dict[str, float] | None]
    zero: float
    ticks: list[tuple[float, str]]


def whiskers(intervals: Sequence[Estimate | None], width: int) -> Whiskers:
    """Where the intervals go in a column `width` pixels wide.

    >>> whiskers([Estimate(0.5, 0.0, 1.0), None], 116).places
    [{'low': 8.0, 'mean': 58.0, 'high': 108.0}, None]
    """
    ends = [end for one in intervals if one is not None for end in (one.low, one.high)]
    scale = Scale(min([0.0, *ends]), max([0.0, *ends]), 8, width - 8)
    places = [
        None if one is None else {key: scale(getattr(one, key)) for key in ("low", "mean", "high")}
        for one in intervals
    ]
    return Whiskers(width, places, scale(0.0), scale.ticks(4))


def verdict(found: Estimate) -> str:
    """What an interval of a difference says.

    >>> verdict(Estimate(0.2, 0.1, 0.3)), verdict(Estimate(0.0, -0.1, 0.1))
    ('above zero', 'includes zero')
    """
    return "above zero" if found.low > 0 else "below zero" if found.high < 0 else "includes zero"


def line_chart(
    series: Sequence[tuple[int, str, list[tuple[float, float]]]],
    width: int,
    height: int,
    *,
    from_zero: bool = False,
) -> Any:
    """The geometry of a line chart in SVG units, or None without a point: ticks, and one polyline
    per series."""
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
        best = max(points, key=lambda point: point[1])
        last = (
            f"{name}: {number(points[0][1])} at epoch {points[0][0]:.0f}, "
            f"{number(points[-1][1])} at epoch {points[-1][0]:.0f}"
        )
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(
            {
                "colour": colour,
                "name": name,
                "path": path,
                "places": places,
                "best": best,
                "told": last,
            }
        )
    box = {"left": left, "bottom": bottom, "width": width, "height": height}
    ticks = {
        "x": across.ticks(6 if width > 400 else 3, whole=True),
        "y": [(up(level), f"{level:.6g}") for level in levels],
    }
    return {**box, **ticks, "lines": lines, "told": "; ".join(line["told"] for line in lines)}


@dataclass(frozen=True)
class Bars:
    """Bars of one column on one scale from zero: each with its label, its value and its length."""

    width: int
    zero: float
    full: float  # the length of the longest possible bar
    rows: list[dict[str, Any]]
    ticks: list[tuple[float, str]]


def bars(
    values: Sequence[tuple[str, Number]],
    width: int = 200,
    highest: Number | None = None,
) -> Bars:
    """Bars in a column `width` pixels wide, from zero to `highest`; what is below zero has none.

    Args:
        highest: the end of the scale; by default the first round value that holds every bar.

    Example:
        >>> bars([("layer 1", 0.25)], highest=1.0).rows
        [{'label': 'layer 1', 'value': 0.25, 'length': 46.0}]
    """
    longest = max([1e-12, *(value for _, value in values)])
    levels = _tick_values(0.0, highest or longest, 3)
    scale = Scale(0.0, highest or levels[-1], 8, width - 8)
    rows: list[dict[str, Any]] = []
    for label, value in values:
        rows.append(
            {"label": label, "value": value, "length": max(0.0, round(scale(value) - 8, 2))}
        )
    ticks = [(scale(level), f"{level:.6g}") for level in levels if level <= scale.high]
    return Bars(width, 8.0, width - 16.0, rows, ticks)


class Scale:
    """Values in [low, high] to places in [start, end], linearly; a range without width lies in the
    middle."""

    def __init__(self, low: Number, high: Number, start: Number, end: Number) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: Number) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, count: int, *, whole: bool = False) -> list[tuple[float, str]]:
        """Round values on the scale, with their places."""
        slack = 1e-9 * (self.high - self.low)
        values = _tick_values(self.low, self.high, count, whole)
        return [
            (self(value), f"{value:.6g}")
            for value in values
            if self.low - slack <= value <= self.high + slack
        ]


def _tick_values(low: Number, high: Number, count: int, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if high - low < 1e-6 * max(abs(low), abs(high)):
        low, high = low - 0.05 * abs(low), high + 0.05 * abs(high)
    return [
        float(value)
        for value in MaxNLocator(count, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)
    ]
