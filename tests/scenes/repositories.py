"""A survey of two small stacks with what dmu0 to dmu2 would have left, for tests of the repository and of execution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from dmu0.files.manifest import write_manifest
from dmu0.surveys import Survey, load_survey

SURVEY = """
name: tiny
title: Two stacks of four detectors
inputs: {source: simulate}
vista: {bands: [vj], programme: TEST}
sky_map: {name: tiny_map, patch_inner: 400, patch_border: 20}
tracts: {8524: ["44,44", "45,44"]}
"""


def stack_rows(path: Path, *, exposure: int, centre: tuple[float, float], accepted: bool) -> list[dict]:
    """Rows of the selection for four detectors side by side."""
    rows = []
    for detector in range(1, 5):
        ra, dec = centre[0] + 0.02 * (detector - 2.5), centre[1]
        x, y = ra + 0.01 * np.array([-1, 1, 1, -1]), dec + 0.01 * np.array([-1, -1, 1, 1])
        corners = {f"ra{k}": x[k] for k in range(4)} | {f"dec{k}": y[k] for k in range(4)}
        common = {"path": str(path), "hdu": detector, "detector": detector, "exposure": exposure, "band": "vj"}
        timing = {"mjd": 56200.0 + exposure / 1000, "exptime": 10.0, "ndit": 6, "nicomb": 7}
        state = {"accepted": accepted, "rejected_because": "" if accepted else "OBSTATUS is Aborted"}
        paths = {"confidence_path": "", "confidence_hdu": -1, "physical_filter": "VIRCAM-J"}
        rows.append(common | timing | state | paths | corners | {"ra": ra, "dec": dec})
    return rows


def write_tiny_survey(folder: Path) -> Path:
    """Write the survey file; its data folders are to be below the same folder."""
    path = folder / "tiny.yaml"
    path.write_text(SURVEY)
    return path


def write_tiny_products(survey: Survey) -> None:
    """Write the products of dmu0 and dmu1: an accepted stack and a rejected one, and an empty manifest."""
    rows = []
    for number, accepted in ((100, True), (200, False)):
        path = survey.folders[0] / f"v20121019_{number:05d}_st.fit"
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((8, 8), np.float32)) for _ in range(4))]
        fits.HDUList(hdus).writeto(path)
        rows += stack_rows(path, exposure=number, centre=(35.6, -5.1), accepted=accepted)
    Table(rows=rows).write(survey.folders[1] / "selected.parquet")
    names = ("path", "kind", "band", "tract", "patch", "bytes", "sha256", "state", "reason")
    types = (str, str, str, int, int, int, str, str, str)
    write_manifest(survey.folders, Table(names=names, dtype=types))


def load_tiny_survey(folder: Path) -> Survey:
    """The survey of `write_tiny_survey`."""
    return load_survey(str(folder / "tiny.yaml"))
