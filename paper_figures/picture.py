"""A figure with its data: a method of `Panel` draws each value and keeps it, as text and a table.

Marks that carry no value (zero lines, labels) are drawn on `Panel.axes` alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

KINDS = ("interval", "curve", "line", "cloud")
Numbers = Sequence[float] | np.ndarray | range
Names = Sequence[str] | None  # of the places, where they have names
Look = dict[str, Any]  # what matplotlib is told of colours and marks
Ends = tuple[Numbers, Numbers, Numbers]  # low, mean, high


@dataclass(frozen=True)
class Series:
    """Values drawn alike: intervals, a curve, a line across the panel, or a cloud of points."""

    kind: str  # one of KINDS; a panel's series are listed in their order
    label: str  # of the legend; "" without one
    at: np.ndarray  # where each value stands on the other axis
    values: np.ndarray
    names: Names = None
    low: np.ndarray | None = None  # ends of the intervals
    high: np.ndarray | None = None

    def lines(self) -> Iterator[str]:
        """To four digits: a line for each interval and each place in words, else for the series."""
        words = self.names or [_short(place) for place in self.at]
        values = [_short(value) for value in self.values]
        label = f"{self.label}, " if self.label else ""
        if self.low is not None and self.high is not None:
            ends = zip(words, values, self.low, self.high, strict=True)
            for word, value, low, high in ends:
                yield f"{label}{word}: {value} [{_short(low)}, {_short(high)}]"
        elif self.kind == "line":
            yield f"{self.label}: {values[0]}"
        elif self.kind == "cloud":
            middle = f"{_short(np.mean(self.at))}, {_short(np.mean(self.values))}"
            yield f"{self.label}: {len(values)} points, mean ({middle})"
        elif self.names is None:
            shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), 7)).astype(int))
            points = ", ".join(f"({words[at]}, {values[at]})" for at in shown)
            yield f"{self.label}: {points}"
        else:
            yield from (f"{label}{word}: {v}" for word, v in zip(words, values, strict=True))


@dataclass
class Panel:
    """Axes, and the series that were drawn on them."""

    axes: Axes
    series: list[Series] = field(default_factory=list)

    def intervals(
        self, at: Numbers, ends: Ends, names: Names = None, across: bool = False, **look: Any
    ) -> None:
        """Points with whiskers at the places `at`, along the x axis where `across`."""
        look |= {"xerr" if across else "yerr": self._kept(at, ends, names, look)}
        x, y = (ends[1], at) if across else (at, ends[1])
        self.axes.errorbar(x, y, **look)

    def bars(
        self, at: Numbers, ends: Ends, size: float, names: Names, across: bool = False, **look: Any
    ) -> BarContainer:
        """Bars with whiskers, `size` thick, along the x axis where `across`."""
        look |= {"xerr" if across else "yerr": self._kept(at, ends, names, look)}
        draw = self.axes.barh if across else self.axes.bar
        return draw(at, ends[1], size, **look)

    def curve(
        self,
        x: Numbers,
        y: Numbers,
        label: str,
        names: Names = None,
        across: bool = False,
        **look: Any,
    ) -> None:
        """A line or marks through points; the values are the x where `across`."""
        self.axes.plot(x, y, label=label, **look)
        places, values = (y, x) if across else (x, y)
        self._keep("curve", label, places, values, names)

    def line(self, value: float, label: str, across: bool = False, **look: Any) -> None:
        """A line through the whole panel: up and down at x = `value`, or `across` at y."""
        (self.axes.axhline if across else self.axes.axvline)(value, label=label, **look)
        self._keep("line", label, [0.0], [value])

    def cloud(self, x: Numbers, y: Numbers, label: str, **look: Any) -> Any:
        """Points of which only the number and the mean are told in words."""
        self._keep("cloud", label, x, y)
        return self.axes.scatter(x, y, label=label, **look)

    def rows(self, names: Sequence[str]) -> None:
        """Names down the left side, the first on top."""
        self.axes.set_yticks(range(len(names)), names)
        self.axes.set_ylim(len(names) - 0.5, -0.5)

    def lines(self) -> list[str]:
        """The heading, and all series in words; nothing where no value was drawn."""
        axes = self.axes
        drawn = [f"  {line}" for series in self.ordered() for line in series.lines()]
        heading = (axes.get_title(), *map(_flat, (axes.get_ylabel(), axes.get_xlabel())))
        return [" | ".join(filter(None, heading)), *drawn] if drawn else []

    def ordered(self) -> list[Series]:
        return sorted(self.series, key=lambda series: KINDS.index(series.kind))

    def _kept(self, at: Numbers, ends: Ends, names: Names, look: Look) -> np.ndarray:
        low, mean, high = (np.asarray(values, float) for values in ends)
        self._keep("interval", look.get("label", ""), at, mean, names, low, high)
        return np.stack([mean - low, high - mean])

    def _keep(
        self, kind: str, label: str, at: Numbers, values: Numbers, names: Names = None, *ends: Any
    ) -> None:
        words = None if names is None else [_flat(name) for name in names]
        places, drawn = (np.asarray(numbers, float) for numbers in (at, values))
        self.series.append(Series(kind, label, places, drawn, words, *ends))


@dataclass(frozen=True)
class Picture:
    """A figure, and the panels that hold its data."""

    figure: Figure
    panels: list[Panel]

    def numbers(self) -> str:
        """The data as text, panel by panel.

        >>> from paper_figures.figures import draw
        >>> print(draw("staleness").numbers().splitlines()[1])
          0: 0.164 [0.1484, 0.1809]
        """
        return "\n".join(line for panel in self.panels for line in panel.lines())

    def data(self) -> pd.DataFrame:
        """One row for each value: panel (its number), kind, series, place, value, low, high."""
        frames = [
            pd.DataFrame(
                {
                    "panel": number,
                    "kind": series.kind,
                    "series": series.label,
                    "place": series.names or series.at,
                    "value": series.values,
                    "low": np.nan if series.low is None else series.low,
                    "high": np.nan if series.high is None else series.high,
                }
            )
            for number, panel in enumerate(self.panels)
            for series in panel.ordered()
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def columns(rows: Sequence[Mapping[str, Any]], *keys: str) -> Iterator[np.ndarray]:
    """Some columns of rows, each as an array."""
    return (np.array([row[key] for row in rows], float) for key in keys)


def ends_of(rows: Sequence[Mapping[str, Any]]) -> Ends:
    """The low end, the mean and the high end of each row."""
    low, mean, high = columns(rows, "low", "mean", "high")
    return low, mean, high


def _flat(text: str) -> str:
    return " ".join(text.split())


def _short(value: Any) -> str:
    # Processors differ in the last bits, which decide how a tie such as .87525 is rounded: they are
    # dropped first.
    return f"{0.0 if abs(value) < 5e-13 else float(f'{value:.10g}'):.4g}"
