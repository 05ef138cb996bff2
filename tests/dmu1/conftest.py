"""Small stacks and inventories to try the summaries on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

PRIMARY = {
    "TELESCOP": "VISTA",
    "INSTRUME": "VIRCAM",
    "RADECSYS": "FK5",
    "EQUINOX": 2000.0,
    "EXPTIME": 10.0,
    "MJD-OBS": 55139.25,
    "ESO DET DIT": 10.0,
    "ESO DET NDIT": 6,
    "ESO INS FILT1 NAME": "H",
    "ESOGRADE": "A",
    "OBSTATUS": "Completed",
}
EXTENSION = {
    "RADECSYS": "ICRS",
    "CTYPE1": "RA---ZPN",
    "CTYPE2": "DEC--ZPN",
    "CRVAL1": 35.7,
    "CRVAL2": -5.1,
    "CD1_1": 0.0,
    "CD1_2": 9.48e-5,
    "CD2_1": -9.48e-5,
    "CD2_2": 0.0,
    "PV2_1": 1.0,
    "PV2_3": 44.0,
    "PV2_5": -10300.0,
    "FILTER": "H",
    "NICOMB": 7,
    "SKYSUB": "done",
    "SEEING": 2.2,
    "ELLIPTIC": 0.05,
    "MAGZPT": 23.85,
    "MAGZRR": 0.01,
    "SKYLEVEL": 8400.0,
    "SKYNOISE": 8.8,
    "ESO DET EXP NO": 12016,
}


def _set(header: fits.Header, cards: dict[str, object]) -> None:
    for keyword, value in cards.items():
        if value is None:
            header.remove(keyword, ignore_missing=True)
        else:
            header[f"HIERARCH {keyword}" if len(keyword) > 8 else keyword] = value


@pytest.fixture
def make_stack(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small pawprint stack with RICE-compressed extensions, as CASU does."""

    def write(
        name: str = "v20091103_00354_st.fit",
        *,
        detectors: tuple[int, ...] = (1, 2, 5, 16),
        shape: tuple[int, int] = (32, 40),
        primary: dict[str, object] | None = None,
        cards: dict[str, object] | None = None,
    ) -> Path:
        hdus = fits.HDUList([fits.PrimaryHDU()])
        _set(hdus[0].header, PRIMARY | (primary or {}))
        rng = np.random.default_rng(500)
        for place, detector in enumerate(detectors):
            pixels = rng.normal(8400, 8.8, (shape[0] + place, shape[1])).astype(np.float32)
            hdu = fits.CompImageHDU(pixels, compression_type="RICE_1", name=f"DET1.CHIP{detector}")
            column, row = (detector - 1) % 4, (detector - 1) // 4
            axis = {"CRPIX1": 100.0 - 60 * column, "CRPIX2": 100.0 - 60 * row, "ESO DET CHIP NO": detector}
            _set(hdu.header, EXTENSION | axis | (cards or {}))
            hdus.append(hdu)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        hdus.writeto(path)
        return path

    return write


@pytest.fixture
def make_manifest() -> Callable[..., Table]:
    """A manifest of some files, with the columns that dmu1 reads."""

    def make(*rows: dict[str, object]) -> Table:
        blank = {"path": "", "kind": "vista_stack", "band": "", "tract": -1, "patch": -1}
        blank |= {"sha256": "0", "state": "ok", "reason": ""}
        table = Table(rows=[blank | row for row in rows], names=list(blank))
        for name in ("state", "reason"):
            table[name] = table[name].astype("U40")
        return table

    return make
