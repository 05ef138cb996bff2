"""The figures of the release page, each with a judgement from the checks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from dmu0.files.atomic import written_whole
from dmu0.surveys import Survey
from dmu0.truth import read_truth
from dmu5 import figures
from dmu5.accuracy import ReferenceOffset, isolated_star_fluxes, read_reference_catalogue, reference_offset
from dmu5.checks import Check
from dmu5.diagnostics import stellar_locus
from dmu5.page.judgement import sentence
from dmu5.selection_function import area_of_survey


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page.

    Attributes
    ----------
    title
        Heading.
    path
        The file.
    caption
        What is shown, and what good data look like.
    judgement
        One sentence on whether it is good, from the checks.
    """

    title: str
    path: Path
    caption: str
    judgement: str


def draw_figures(survey: Survey, catalogue: Table, checks: Sequence[Check], folder: Path) -> list[PageFigure]:
    """Draw the figures of the page that can be drawn for a survey.

    Parameters
    ----------
    survey
        The survey.
    catalogue
        Catalogue with one row per object.
    checks
        All checks of the release.
    folder
        Folder of the figures.
    """
    if not len(catalogue):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (title, draw, caption, names, good) in _plans(survey, catalogue).items():
        figure = draw()
        if figure is None:
            continue
        path = folder / f"{name}.png"
        with written_whole(path) as part:
            figure.savefig(part, format="png", dpi=110)
        plt.close(figure)
        drawn.append(PageFigure(title, path, caption, sentence(checks, names, good=good)))
    return drawn


_Plan = tuple[str, Callable[[], Figure | None], str, tuple[str, ...], str]


def _plans(survey: Survey, catalogue: Table) -> dict[str, _Plan]:
    """Name of a figure -> title, function that draws it, caption, names of its checks, sentence if all pass."""
    truth, bands = read_truth(survey), survey.bands
    offsets = functools.cache(lambda: _offsets(survey, catalogue))
    return {
        "depth": (
            "Coverage and depth",
            lambda: figures.plot_depths(catalogue, bands),
            "5-sigma depth of a point source in each band minus its median, which is in the titles; grey: no data. "
            "Steps are edges of images.",
            ("depth", "empty circles"),
            "Errors and depths agree with the scatter of empty sky in every band.",
        ),
        "counts": (
            "Number counts",
            lambda: figures.plot_counts(catalogue, bands, truth=_inside(survey, truth)),
            "Objects above 5 sigma per half magnitude; the dotted line is the depth, the black one the true sky where "
            "it is known. Counts should rise up to the depth.",
            ("completeness", "purity", "were found", "come twice", "pairs of objects"),
            "Bright sources are complete, and no source was counted twice.",
        ),
        "references": (
            "Fluxes against references",
            lambda: _references(offsets()),
            "Point-source fluxes of bright stars over those of the reference catalogue; the grey zone is the limit.",
            ("reference catalogue", "baseline"),
            "Zero points agree with the references, and apertures with the baseline, in every band.",
        ),
        "pulls": (
            "Errors",
            lambda: _pulls(catalogue, truth, bands),
            "Measured minus true flux of stars above 50 sigma over their error, with and without the flux floor; "
            "correct errors follow the line.",
            ("pulls", "off by more", "scatter of stars", "light inside"),
            "Errors with the flux floor describe the deviations of stars, in every band.",
        ),
        "locus": (
            "Stellar locus",
            lambda: _locus(catalogue),
            "GAaP colours of bright point sources, and dwarf stars by Covey et al. (2007); points above are galaxies.",
            ("from real dwarfs",),
            "Stars lie on the locus of dwarfs.",
        ),
        "positions": (
            "Astrometry",
            lambda: _positions(offsets()),
            "Positions of bright stars minus those of the reference catalogue.",
            ("distance of",),
            "Positions agree with the references.",
        ),
    }


def _inside(survey: Survey, truth: Table | None) -> Table | None:
    return None if truth is None else truth[area_of_survey(survey, truth["ra"], truth["dec"])]


def _offsets(survey: Survey, catalogue: Table) -> list[ReferenceOffset]:
    """Bright stars of each band against the reference catalogue; empty without one."""
    reference = read_reference_catalogue(survey)
    return [] if reference is None else [reference_offset(reference, catalogue, band) for band in survey.bands]


def _references(offsets: Sequence[ReferenceOffset]) -> Figure | None:
    return figures.plot_references(offsets) if any(len(item) > 1 for item in offsets) else None


def _pulls(catalogue: Table, truth: Table | None, bands: Sequence[str]) -> Figure | None:
    if truth is None:
        return None
    return figures.plot_pulls([isolated_star_fluxes(truth, catalogue, band) for band in bands])


def _locus(catalogue: Table) -> Figure | None:
    locus = stellar_locus(catalogue)
    return None if locus is None or not len(locus) else figures.plot_locus(locus)


def _positions(offsets: Sequence[ReferenceOffset]) -> Figure | None:
    """Offsets in the band with most reference stars."""
    best = max(offsets, key=len, default=None)
    if best is None or not len(best):
        return None
    limit = float(np.clip(np.percentile(np.hypot(best.offsets.ra, best.offsets.dec), 90), 10, 300))
    return figures.plot_offsets(best.offsets, limit=limit, reference="reference", band=best.band)
