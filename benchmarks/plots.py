"""The plots of the performance page, as SVG files."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Row, medians
from benchmarks.peers import AUTOMATIC, LIMIT, OWN, PEERS
from benchmarks.saving import SAME

WIDTH: Final = {OWN: 2.5, AUTOMATIC: 2.0, LIMIT: 2.5}
"""Of the lines that matter most."""
SETTINGS: Final = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "autostate",  # the same figures give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "font.size": 9,
}

Lines = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        title: What it shows.
        name: The name of its file.
        lines: The points of each participant.
        labels: What the axes count.
        scale: That of the axes.
    """

    title: str
    name: str
    lines: Lines
    labels: tuple[str, str]
    scale: str = "log"


def plots(rows: Sequence[Row]) -> Iterator[Plot]:
    """Give all plots for which there are figures."""
    dicts = [row for row in rows if row.data.get("case", {}).get("shape") == "dicts"]
    altered = [row for row in dicts if row.data["case"]["operation"] == "alter"]
    sizes = _lines([row for row in altered if row.data["case"]["number"] == SAME], "size")
    if sizes:
        title = f"A save of {SAME:,} changed entries, against the size of the state"
        yield Plot(title, "size.svg", sizes, ("entries of the state", "ms"))
    # Of the largest state of which much was changed.
    cases = [row.data["case"] for row in altered]
    much = {case["size"] for case in cases if case["number"] * 10 >= case["size"]}
    for size in sorted(much)[-1:]:
        some = [row for row in altered if row.data["case"]["size"] == size]
        shares = _lines(some, "number")
        title = f"A save of a dict of {size:,} dicts, against the number of changed entries"
        if shares:
            yield Plot(title, "changed.svg", shares, ("changed entries", "ms"))
    phases: dict[str, Any] = {}
    for row in rows:
        if "phase" in row.data:
            phases.setdefault(row.data["phase"], row.data)  # the first run that measured it
    for phase, data in phases.items():
        name = f"stalls-{phase.replace(' ', '-').replace('()', '')}.svg"
        title = f"Stalls of an event loop: {phase}"
        lines = {"plain dicts": data["plain"], "autostate": data["own"]}
        yield Plot(title, name, lines, ("seconds", "ms"), scale="linear")


def draw(found: Iterable[Plot], folder: Path) -> None:
    """Draw plots, and remove those of earlier runs; nothing without matplotlib.

    Args:
        found: The plots.
        folder: Where their files lie.
    """
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots are drawn: `make bench` installs matplotlib")
        return
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.svg"):
        path.unlink()
    for plot in found:
        _draw(plot, folder / plot.name)


def _lines(rows: Sequence[Row], axis: str) -> Lines:
    """Collect the points of each participant, in milliseconds."""
    lines: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        for name, taken in medians(row.rounds).items():
            if name in PEERS:
                lines[name].append((row.data["case"][axis], taken * 1000))
    return {name: sorted(points) for name, points in lines.items() if len(points) > 1}


def _draw(plot: Plot, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(SETTINGS):
        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        colours = mpl.colormaps["tab20"]  # each participant has its own in all plots
        for name, points in plot.lines.items():
            xs, ys = zip(*points, strict=True)
            marker = "o" if plot.scale == "log" else ""
            width, colour = WIDTH.get(name, 1), colours((*PEERS, *plot.lines).index(name))
            look = {"linewidth": width, "color": colour, "marker": marker, "markersize": 3}
            axes.plot(xs, ys, label=name, **look)
        across, up = plot.labels
        axes.set(title=plot.title, xlabel=across, ylabel=up, xscale=plot.scale, yscale=plot.scale)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
