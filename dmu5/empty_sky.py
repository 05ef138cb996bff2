"""Empty apertures of a survey: scatter and level of the sky between objects, against the errors of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from astropy.table import Table, vstack

from dmu0.surveys import Survey
from dmu1.steps import patches_to_make
from dmu4.butler.repository import open_butler
from dmu4.review.objects import empty_aperture_ratios, read_patch
from dmu5.steps import read_catalogue


def empty_sky(survey: Survey, *, tracts: str = "", patches: int = 3) -> Table:
    """Scatter and level of empty circles of 2 arcsec radius in the first patches of each tract.

    All rows of the catalogue count as objects: those that are not primary too, because the borders of patches, where
    circles are as well, have no others at the edge of a survey.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to sample, separated by spaces; all if empty.
    patches
        Number of patches of each tract.

    Returns
    -------
    Table
        Columns of `dmu4.review.objects.empty_aperture_ratios`, one row per band with a coadd.
    """
    needed = [f"{band}_ap12Flux{end}" for band in survey.bands for end in ("", "Err", "_flag")]
    found = []
    with open_butler(survey) as butler:
        for tract, numbers in patches_to_make(survey, tracts).items():
            objects = read_catalogue(survey, tracts=str(tract), columns=["x", "y", *needed])
            cubes = (read_patch(butler, skymap=survey.sky_map.name, tract=tract, patch=number) for number in numbers)
            if len(objects):
                some = islice((cube for cube in cubes if cube is not None), patches)
                found.append(empty_aperture_ratios(some, objects))
    return combine(found, survey.bands)


def combine(tables: Sequence[Table], bands: Sequence[str]) -> Table:
    """Combine the ratios of several tracts: quadratic mean of the ratios, mean of the offsets, weighted by samples."""
    rows = []
    whole = (
        vstack([table for table in tables if len(table)]) if any(map(len, tables)) else empty_aperture_ratios((), [])
    )
    for band in bands:
        here = whole[(whole["band"] == band) & np.isfinite(np.asarray(whole["ratio"], float))]
        weight = np.asarray(here["samples"], float)
        if weight.sum():
            ratio = float(np.sqrt(np.average(np.square(here["ratio"]), weights=weight)))
            share = weight / weight.sum()
            error = float(np.sqrt(np.sum(np.square(share * np.asarray(here["error"], float)))))
            rows.append((band, int(weight.sum()), ratio, error, float(np.average(here["offset"], weights=weight))))
    names = ("band", "samples", "ratio", "error", "offset")
    return Table(rows=rows or None, names=names, dtype=("U8", int, float, float, float))
