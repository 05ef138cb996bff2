"""The amount of work in a survey: detectors, patches, bands, and the pixels in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from dmu0.files.expected import find_stacks
from dmu0.files.tables import read_table
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey
from dmu0.surveys.first_look import NotAnImageError, look_at

VISTA_PIXEL = 0.339
"""Side of a pixel of a VIRCAM detector, arcsec."""

DETECTORS = 16


@dataclass(frozen=True)
class SurveySize:
    """What a release has to process, in the units of ``costs.yaml``.

    Attributes
    ----------
    stacks, detectors
        Number of VISTA stacks, and of their detector images.
    detector_mpix
        Millions of pixels of all detectors.
    tracts, patches
        Number of tracts and patches.
    patch_mpix
        Millions of pixels of all patches.
    vista_tract_bands
        Number of pairs of tract and band with VISTA stacks.
    vista_patch_bands, optical_patch_bands, patch_bands
        Number of pairs of patch and band: those coadded here, those imported, both.
    vista_band_mpix, optical_band_mpix, patch_band_mpix
        Millions of pixels of those pairs.
    overlaps
        Number of pairs of detector and patch.
    resampled_mpix
        Millions of pixels of patches that single detectors cover, in total.
    """

    stacks: float = 0.0
    detectors: float = 0.0
    detector_mpix: float = 0.0
    tracts: float = 0.0
    patches: float = 0.0
    patch_mpix: float = 0.0
    vista_tract_bands: float = 0.0
    vista_patch_bands: float = 0.0
    optical_patch_bands: float = 0.0
    patch_bands: float = 0.0
    vista_band_mpix: float = 0.0
    optical_band_mpix: float = 0.0
    patch_band_mpix: float = 0.0
    overlaps: float = 0.0
    resampled_mpix: float = 0.0

    def cost(self, per: Mapping[str, float]) -> float:
        """The sum over units of their number times their cost; ``fixed`` counts once."""
        return sum(cost * (1.0 if unit == "fixed" else getattr(self, unit)) for unit, cost in per.items())

    def of_one(self, quanta: str) -> SurveySize:
        """The share of one quantum, of which there are as many as the unit ``quanta`` counts."""
        number = max(1.0, getattr(self, quanta))
        return SurveySize(**{item.name: getattr(self, item.name) / number for item in fields(self)})


def survey_size(survey: Survey, known: Mapping[str, float], *, tracts: str = "", stacks: int = 0) -> SurveySize:
    """Count the work of a release.

    Parameters
    ----------
    survey
        The survey.
    known
        Sizes that cannot be counted before the inputs are there: ``stacks``, ``patches``, ``side`` (px of a detector),
        ``detectors``, ``overlaps``, ``covered`` (patches' areas that single detectors cover, in total).
    tracts
        Tracts to process; empty: all of the survey. The known sizes are those of all.
    stacks
        Number of stacks, if it is known otherwise; 0: count the files, or take the known number.
    """
    known = {} if tracts else dict(known)
    patches = survey_patches(survey, tracts)
    number = float(known.get("patches", len(patches)))
    area = float(np.mean([patch.outer_bbox.area for patch in patches])) / 1e6
    counted = _inventory(survey) if not (tracts or stacks) else {}
    files = find_stacks(survey)
    n_stacks = float(stacks or len(files) or known.get("stacks", 0))
    detectors = float(counted.get("detectors", known.get("detectors", n_stacks * DETECTORS)))
    side = _side(files) or float(known.get("side", 2048))
    overlaps, covered = _overlaps(survey, detectors, side, limit=number)
    overlaps = float(counted.get("overlaps", known.get("overlaps", overlaps)))
    covered = float(counted.get("covered", known.get("covered", covered)))
    n_tracts = float(len({patch.tract.id for patch in patches}))
    ours = len(survey.vista.stack_bands) if survey.vista is not None else 0
    stacked = ours if n_stacks else 0
    vista, optical = number * stacked, number * (len(survey.bands) - ours)
    return SurveySize(
        stacks=n_stacks,
        detectors=detectors,
        detector_mpix=detectors * side**2 / 1e6,
        tracts=n_tracts,
        patches=number,
        patch_mpix=number * area,
        vista_tract_bands=n_tracts * stacked,
        vista_patch_bands=vista,
        optical_patch_bands=optical,
        patch_bands=vista + optical,
        vista_band_mpix=vista * area,
        optical_band_mpix=optical * area,
        patch_band_mpix=(vista + optical) * area,
        overlaps=overlaps,
        resampled_mpix=covered * area,
    )


def _side(files: list) -> float:
    """Mean side in pixels of the detector images of the first readable stack; 0 if there is none."""
    for path in files[:3]:
        try:
            return float(np.sqrt(np.prod(look_at(path).shape)))
        except NotAnImageError:
            continue
    return 0.0


def _inventory(survey: Survey) -> dict[str, float]:
    """Detectors that reach patches, their overlaps and the area that they cover, if dmu1 has counted them."""
    path = survey.folders[1] / "coverage.parquet"
    if not path.exists():
        return {}
    table = read_table(path)
    if not len(table):
        return {}
    reached = {(str(row["path"]), int(row["hdu"])) for row in table}
    return {"detectors": len(reached), "overlaps": len(table), "covered": float(np.sum(table["overlap"]))}


def _overlaps(survey: Survey, detectors: float, side: float, *, limit: float) -> tuple[float, float]:
    """Expected number of pairs of detector and patch, and the area that they have in common, in patches.

    Detectors are taken to lie anywhere in a large area tiled by patches. A square of side d touches on average
    ((d + o) / p)^2 squares of side o on a grid of pitch p, and covers (d / p)^2 (o / p)^2 of the area of these, counted
    in squares of side o: (d / o)^2 (o / p)^2.
    """
    grid = survey.sky_map
    if grid.kind == "single":
        return detectors, detectors
    pitch = grid.patch_inner * grid.pixel_scale
    outer = (grid.patch_inner + 2 * grid.patch_border) * grid.pixel_scale
    extent = side * VISTA_PIXEL
    touched = min(((extent + outer) / pitch) ** 2, limit)
    return detectors * touched, detectors * min((extent / pitch) ** 2, touched)
