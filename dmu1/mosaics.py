"""Mosaics: published coadds whose names do not say of which patch they are, and the patches that each reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from astropy.table import Table

from dmu0.published.coadds import read_geometry
from dmu0.sky.tract import Patch
from dmu0.surveys import Survey
from dmu1.coverage import reaches

COADD_KINDS = ("optical_coadd", "vista_coadd")
"""Kinds of the manifest's files that are coadds."""


def with_mosaics(manifest: Table, survey: Survey) -> Table:
    """The manifest, in which a coadd of a survey with a sky map of one patch is of any patch: -1.

    There each file is of the one patch by its name, wherever it lies.
    """
    if survey.sky_map.kind != "single":
        return manifest
    manifest = manifest.copy()
    coadds = np.isin(np.asarray(manifest["kind"]).astype(str), COADD_KINDS)
    for name in ("tract", "patch"):
        manifest[name][coadds] = -1
    return manifest


class Outlines:
    """Corners of the images of the manifest's files, each header read once.

    Parameters
    ----------
    survey
        The survey, which knows where its files are.
    """

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._known: dict[str, np.ndarray | None] = {}

    def __call__(self, row: Table.Row) -> np.ndarray | None:
        """The outer corners of a file's image, ICRS deg, shape (4, 2); None if it has no world coordinates.

        Raises
        ------
        OpticalError
            If the file holds no image, or its header makes no sense.
        """
        path = str(row["path"])
        if path not in self._known:
            wcs, (ny, nx) = read_geometry(self._survey.folders.input_path(path))
            x, y = np.array([0, nx, nx, 0]) - 0.5, np.array([0, 0, ny, ny]) - 0.5
            self._known[path] = None if wcs is None else np.column_stack(wcs.pixel_to_world_values(x, y))
        return self._known[path]


def coadds_of_patches(
    manifest: Table, survey: Survey, patches: Sequence[Patch]
) -> Iterator[tuple[Patch, str, list[Table.Row]]]:
    """The usable coadds of each patch and band that has any.

    Parameters
    ----------
    manifest
        Input files, as dmu0 lists them.
    survey
        The survey.
    patches
        Patches of interest.

    Yields
    ------
    patch, band, rows
        Rows of the manifest: one, or several where the tiles of a mosaic share the patch.
    """
    manifest, outline = with_mosaics(manifest, survey), Outlines(survey)
    usable = (manifest["state"] == "ok") & np.isin(np.asarray(manifest["kind"]).astype(str), COADD_KINDS)
    rows = list(manifest[usable])
    corners = [outline(row) if (row["tract"], row["patch"]) == (-1, -1) else None for row in rows]
    for patch in patches:
        found: dict[str, list[Table.Row]] = {}
        for row, edge in zip(rows, corners, strict=True):
            place = (int(row["tract"]), int(row["patch"]))
            here = place == (patch.tract.id, patch.id) or place == (-1, -1)
            if here and (edge is None or reaches(edge, patch)):
                found.setdefault(str(row["band"]), []).append(row)
        for band, of_band in sorted(found.items()):
            yield patch, band, of_band
