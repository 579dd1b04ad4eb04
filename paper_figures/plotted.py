"""The numbers that a figure draws, read back from its axes, as text: what a notebook prints beside
a picture."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FuncFormatter


def plotted(figure: Figure) -> str:
    """Every axis' drawn data, to four digits: one line for a bar, a point with its interval, a
    curve or a cloud of points.

    >>> from paper_figures.figures import draw
    >>> print(plotted(draw("staleness")).splitlines()[1])
      0: 0.071 [0.06055, 0.0831]
    """
    lines: list[str] = []
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>" or not axes.axison:
            continue
        across, up = (" ".join(label.split()) for label in (axes.get_xlabel(), axes.get_ylabel()))
        drawn = [f"  {line}" for line in _drawn(axes)]
        heading = " | ".join(part for part in (axes.get_title(), up, across) if part)
        lines += [heading, *drawn] if drawn else []
    return "\n".join(lines)


def _drawn(axes: Axes) -> Iterable[str]:
    inside = {id(part) for container in axes.containers for part in _parts(container)}
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            yield from _errorbar(axes, container)
        elif isinstance(container, BarContainer) and container.errorbar is None:
            yield from _bars(axes, container)
    for line in axes.lines:
        x, y = (np.asarray(values, float) for values in line.get_data())
        if id(line) in inside or len(x) < 2 or (name := str(line.get_label())).startswith("_"):
            continue
        if len(x) == 2 and (x[0] == x[1] or y[0] == y[1]):  # a line across the whole axis
            yield f"{name}: {_short(x[0] if x[0] == x[1] else y[0])}"
            continue
        for values, other, along_y in ((x, y, False), (y, x, True)):
            if _has_words(
                axes, along_y
            ):  # points shifted aside have the name of their place, not the shift
                named = zip(_names(axes, values, along_y), other, strict=True)
                yield from (f"{name}, {place}: {_short(value)}" for place, value in named)
                break
        else:
            yield f"{name}: {_curve(x, y)}"
    for cloud in axes.collections:
        if isinstance(cloud, PathCollection) and not str(cloud.get_label()).startswith("_"):
            points = np.asarray(cloud.get_offsets(), float)
            middle = ", ".join(_short(value) for value in points.mean(axis=0))
            yield f"{cloud.get_label()}: {len(points)} points, mean ({middle})"


def _curve(x: np.ndarray, y: np.ndarray) -> str:
    """Some points of a curve, its ends among them."""
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), 7)).astype(int))
    return ", ".join(f"({_short(x[at])}, {_short(y[at])})" for at in shown)


def _errorbar(axes: Axes, container: Any) -> Iterable[str]:
    across = container.has_xerr
    ends = np.array([segment[:, 0 if across else 1] for segment in container[2][0].get_segments()])
    bars = [
        other
        for other in axes.containers
        if isinstance(other, BarContainer) and other.errorbar is container
    ]
    if container[0] is not None:
        x, y = (np.asarray(values, float) for values in container[0].get_data())
        middle, places = (x, y) if across else (y, x)
    else:  # the bars that it stands on
        boxes = [patch.get_bbox() for patch in bars[0].patches]
        middle = np.array([box.width if across else box.height for box in boxes])
        places = np.array(
            [(box.y0 + box.y1) / 2 if across else (box.x0 + box.x1) / 2 for box in boxes]
        )
    owner = bars[0] if bars else container
    name = "" if str(owner.get_label()).startswith("_") else f"{owner.get_label()}, "
    names = _names(axes, places, along_y=across)
    for place, value, (low, high) in zip(names, middle, ends, strict=True):
        yield f"{name}{place}: {_short(value)} [{_short(low)}, {_short(high)}]"


def _bars(axes: Axes, container: Any) -> Iterable[str]:
    flat = all(abs(patch.get_x()) < 1e-12 for patch in container.patches)
    for patch in container.patches:
        place = (
            patch.get_y() + patch.get_height() / 2
            if flat
            else patch.get_x() + patch.get_width() / 2
        )
        (name,) = _names(axes, np.array([place]), along_y=flat)
        yield f"{name}: {_short(patch.get_width() if flat else patch.get_height())}"


def _names(axes: Axes, places: np.ndarray, along_y: bool) -> list[str]:
    """What stands at a place: the label of the nearest tick where the axis has words, else the
    number itself."""
    if not _has_words(axes, along_y):
        return [_short(place) for place in places]
    axis = axes.yaxis if along_y else axes.xaxis
    formatter = axis.get_major_formatter()
    ticks = np.asarray(axis.get_ticklocs(), float)
    nearest = [int(np.abs(ticks - place).argmin()) for place in places]
    return [" ".join(str(formatter(ticks[at], at)).split()) for at in nearest]


def _has_words(axes: Axes, along_y: bool) -> bool:
    axis = axes.yaxis if along_y else axes.xaxis
    words = isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter)
    return words and axis.get_scale() == "linear"


def _parts(container: Any) -> Iterable[Any]:
    for part in container:
        yield from part if isinstance(part, tuple) else (part,)


def _short(value: Any) -> str:
    # Processors differ in the last bits, which decide how a tie such as .87525 is rounded: they are
    # dropped first.
    return f"{0.0 if abs(value) < 5e-13 else float(f'{value:.10g}'):.4g}"
