"""The figures of a report, drawn by matplotlib without a display: each a PNG, with what it shows in words."""

import io
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from eval.compare.document import Plot
from eval.metrics.bootstrap import Interval
from eval.visible_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
"""Okabe and Ito's, which stay apart for colour-blind readers, in another order."""
Line = tuple[str, Sequence[tuple[float, float]]]
"""Which model it is of, and its points."""
Estimates = Mapping[str, Mapping[str, Interval | None]]
"""By split and model."""
Panels = Mapping[str, Sequence[Line]]
"""By heading."""


def bars(name: str, caption: str, estimates: Estimates) -> Plot:
    """Bars of each model, split by split, with intervals; a model without a figure leaves a gap that says so."""
    return Plot(name, caption, partial(_draw_bars, estimates))


def curves(name: str, caption: str, panels: Panels, unit: str, titles: Sequence[str]) -> Plot:
    """Lines over steps, a panel per metric; runs of one model share its colour, the same as in the bars of `titles`."""
    return Plot(name, caption, partial(_draw_curves, panels, unit, _colours(titles)))


def _draw_bars(estimates: Estimates) -> bytes:
    titles = list(next(iter(estimates.values())))
    canvas, (axes,) = _canvas(1, width=max(6.0, 0.45 * len(estimates) * len(titles) + 2))
    colours = _colours(titles)
    for group, found in enumerate(estimates.values()):
        for place, (title, each) in enumerate(found.items()):
            _bar(axes, group * (len(titles) + 1) + place, each, colours[title])
    middle = (len(titles) - 1) / 2
    axes.set_xticks([group * (len(titles) + 1) + middle for group in range(len(estimates))], map(_label, estimates))
    axes.set_xlim(-0.75, len(estimates) * (len(titles) + 1) - 1.25)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share")
    return _png(canvas, colours)


def _draw_curves(panels: Panels, unit: str, colours: Mapping[str, str]) -> bytes:
    from matplotlib.ticker import MaxNLocator

    canvas, axes = _canvas(len(panels), width=5.0 * len(panels))
    shown = {title for lines in panels.values() for title, _ in lines}
    for panel, (metric, lines) in zip(axes, panels.items(), strict=True):
        for title, points in lines:
            mark = "o" if len(points) < 12 else ""
            steps, values = zip(*points, strict=True)
            panel.plot(steps, values, color=colours[title], linewidth=1.2, alpha=0.8, marker=mark, markersize=3)
        panel.set_title(metric, fontsize=10)
        panel.set_xlabel("step")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel(unit)
    return _png(canvas, {title: colour for title, colour in colours.items() if title in shown})


def _bar(axes: "Axes", x: float, found: Interval | None, colour: str) -> None:
    if found is None:
        axes.text(x, 0.01, "none", rotation=90, ha="center", va="bottom", fontsize=8, color="#555555")
        return
    mean = found.estimate
    low, high = (mean if end is None else end for end in (found.low, found.high))
    reach = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    axes.bar(x, mean, width=0.85, color=colour, yerr=reach, capsize=3, ecolor="#222222")


def _canvas(panels: int, width: float) -> "tuple[Canvas, list[Axes]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(min(width, 14), 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = list(canvas.subplots(1, panels, sharey=True, squeeze=False)[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", linewidth=0.4, color="#cccccc")
        each.set_axisbelow(True)
    return canvas, axes


def _png(canvas: "Canvas", colours: Mapping[str, str]) -> bytes:
    """The finished picture, with a legend of the models."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=_label(title)) for title, colour in colours.items()]
    columns = min(6, len(handles))
    canvas.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names stand in the tables too
        canvas.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _colours(titles: Sequence[str]) -> dict[str, str]:
    return {title: COLOURS[number % len(COLOURS)] for number, title in enumerate(titles)}


def _label(text: str) -> str:
    """A name as text: matplotlib takes dollar signs for mathematics."""
    return one_line(text, 40).replace("$", r"\$")
