"""One style for the figures of all stages: colours, markers and names of bands, axis labels, panels."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from obs_vista.bands import plain_band, shown_band

_COLOURS = {
    "u": "#332288", "g": "#0066AA", "r": "#33BBEE", "i": "#009988", "z": "#117733", "y": "#8A8A1F",
    "vz": "#C9A800", "vy": "#EE7733", "vj": "#CC3311", "vh": "#EE3377", "vk": "#771155",
}  # fmt: skip
# After the colour-blind-safe palettes of P. Tol: along the spectrum, and neighbours differ in lightness.

_MARKERS = dict(zip(_COLOURS, "osDv^<>ph*X", strict=True))

MAGNITUDE = "magnitude (AB)"
"""Label of an axis of magnitudes, after the name of a band or of a flux."""

GOOD, BAD, NEUTRAL = "#0066AA", "#CC3311", "#6B7580"
"""Colours for what passes or is accepted, for what fails or is rejected, and for the rest."""

DIVERGING = "RdBu_r"
"""Colour map of offsets about zero."""


def band_colour(label: str) -> str:
    """Colour of a band; a band of a second optical survey looks like that of the first."""
    return _COLOURS[plain_band(label)]


def band_marker(label: str) -> str:
    """Marker of a band."""
    return _MARKERS[plain_band(label)]


def panels(
    count: int, *, width: float = 2.4, height: float = 2.1, columns: int = 5, share: bool = True
) -> tuple[Figure, np.ndarray]:
    """A figure with a given number of panels in rows, on common axes if shared; surplus panels are hidden.

    Parameters
    ----------
    count
        Number of panels.
    width, height
        Size of a panel in inches.
    columns
        Largest number of panels in a row.
    share
        Whether the panels have common axes.
    """
    columns = max(min(count, columns), 1)
    rows = max(-(-count // columns), 1)
    size = (width * columns + 0.6, height * rows + 0.6)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=share, sharey=share, squeeze=False, layout="constrained"
    )
    flat = axes.ravel()
    for axis in flat[count:]:
        axis.axis("off")
    for axis in flat[max(count - columns, 0) : count]:
        axis.tick_params(labelbottom=True)  # also above a hidden panel
    return figure, flat[:count]


def name_panel(axis: Axes, label: str, note: str = "") -> None:
    """Write the name of a band into a panel, and a note above it that fits its width."""
    style: dict[str, Any] = {"va": "top", "weight": "bold", "color": band_colour(label)}
    box: dict[str, Any] = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1}
    axis.text(0.04, 0.95, shown_band(label), transform=axis.transAxes, bbox=box, **style)
    if note:
        axis.set_title(note, fontsize=8, loc="left")


def band_ticks(axis: Axes, labels: list[str], notes: list[str] | None = None) -> None:
    """Name the bands along the x axis of a figure with one position per band, with a note below each."""
    short = [shown_band(label).replace("VISTA ", "VISTA\n") for label in labels]
    texts = short if notes is None else [f"{name}\n{note}" for name, note in zip(short, notes, strict=True)]
    axis.set_xticks(range(len(labels)), texts, fontsize=8)
    axis.set_xlim(-0.6, len(labels) - 0.4)
