"""Data of the sky viewer: pictures, their projection, and the objects drawn over them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from dmu0.files.atomic import written_whole
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey
from dmu5.diagnostics import good_flux
from dmu5.picture import Picture, tract_box
from obs_vista.bands import shown_band
from obs_vista.photometry import magnitude_of

LARGEST = 20_000
"""Largest number of objects drawn over the picture of a tract, the brightest in the band shown in red."""


def write_sky_data(survey: Survey, pictures: Sequence[Picture], catalogue: Table, target: Path) -> Path:
    """Write the data of the viewer as a script that sets ``window.FUSION_SKY``: pages on disk cannot read other files.

    Parameters
    ----------
    survey
        The survey.
    pictures
        The pictures of its tracts.
    catalogue
        Catalogue with one row per object.
    target
        The script, in the folder of the page.
    """
    tracts = [_tract_data(survey, picture, catalogue, target.parent) for picture in pictures]
    with written_whole(target) as part:
        part.write_text(f"window.FUSION_SKY = {json.dumps(tracts, separators=(',', ':'))};\n")
    return target


def _tract_data(survey: Survey, picture: Picture, catalogue: Table, folder: Path) -> dict[str, Any]:
    """Picture, projection and objects of one tract."""
    tract = next(patch.tract for patch in survey_patches(survey) if patch.tract.id == picture.tract)
    box = tract_box(survey, tract=picture.tract)
    wcs = tract.wcs.wcs
    # Row 0 of the picture is its upper edge, and the pixel (0, 0) of a WCS is the centre of the first pixel.
    matrix = tract.wcs.pixel_scale_matrix
    return {
        "tract": picture.tract,
        "picture": str(picture.path.relative_to(folder)),
        "bands": [shown_band(band) for band in picture.bands],
        "width": picture.width,
        "height": picture.height,
        "binning": picture.binning,
        "x0": box.x0,
        "y0": box.y0,
        "crpix": [float(value) - 1 for value in wcs.crpix],
        "crval": [float(value) for value in wcs.crval],
        "cd": [[float(value) for value in row] for row in matrix],
        "objects": object_data(catalogue[catalogue["tract"] == picture.tract], picture, (box.x0, box.y0)),
    }


def object_data(objects: Table, picture: Picture, origin: tuple[int, int]) -> Mapping[str, list[Any]]:
    """Columns of the objects of a tract: identifier, position in the picture and on the sky, morphology, magnitudes.

    Parameters
    ----------
    objects
        Primary objects of the tract.
    picture
        Its picture.
    origin
        Tract pixel of the lower left pixel of the picture.
    """
    red = picture.bands[0]
    order = np.argsort(-np.nan_to_num(np.asarray(objects[f"{red}_psfFlux"], float), nan=-np.inf), kind="stable")
    chosen = objects[order[:LARGEST]]
    u = (np.asarray(chosen["x"], float) - origin[0] + 0.5) / picture.binning
    v = picture.height - (np.asarray(chosen["y"], float) - origin[1] + 0.5) / picture.binning
    extended = np.nan_to_num(np.asarray(chosen["refExtendedness"], float), nan=-1)
    magnitudes = []
    for band in picture.bands:
        values = magnitude_of(np.asarray(chosen[f"{band}_psfFlux"], float))
        shown = good_flux(chosen, f"{band}_psfFlux", snr_min=1)
        magnitudes.append([round(float(m), 2) if ok else None for m, ok in zip(values, shown, strict=True)])
    return {
        "id": [int(value) for value in chosen["objectId"]],
        "u": [round(float(value), 1) for value in u],
        "v": [round(float(value), 1) for value in v],
        "ra": [round(float(value), 6) for value in chosen["coord_ra"]],
        "dec": [round(float(value), 6) for value in chosen["coord_dec"]],
        "extended": [int(value) for value in extended],
        "magnitudes": magnitudes,
    }
