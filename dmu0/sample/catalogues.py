"""Reference catalogues of the sample, in the formats of MAST (PS1) and VizieR (2MASS)."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from dmu0.sample.fits_files import write_fits
from dmu0.sample.scene import Scene
from dmu0.sample.sky import positions_at
from dmu0.sample.spectra import ps1_magnitudes, twomass_magnitudes
from obs_vista.photometry import magnitude_of

_PS1_MJD = 56100.0
_TWOMASS_MJD = 51500.0
# i limits are settings of the scene; other bands are this much shallower or deeper.
_PS1_DEPTH = {"g": 0.4, "r": 0.2, "i": 0.0, "z": -0.6, "y": -1.6}
_TWOMASS_DEPTH = {"J": 0.0, "H": -0.7, "Ks": -1.5}
_PS1_GOOD, _PS1_EXTENDED = 4, 1


def _magnitude_errors(magnitude: np.ndarray, limit: float, at_limit: float, floor: float) -> np.ndarray:
    """Photometric error: a floor, and sky noise that amounts to ``at_limit`` mag at the limit."""
    return np.hypot(floor, at_limit * 10 ** (0.4 * (magnitude - limit)))


def _magnitudes(sky: Table) -> dict[str, np.ndarray]:
    return {name[5:]: magnitude_of(sky[name]) for name in sky.colnames if name.startswith("flux_")}


def _position(sky: Table, mjd: float, scatter: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Measured position (deg) at an epoch, with a scatter (mas) along each axis."""
    ra, dec = positions_at(sky, mjd)
    east, north = rng.normal(0, 1, (2, len(sky))) * scatter / 3.6e6
    return (ra + east / np.cos(np.radians(dec))) % 360, dec + north


def ps1_catalogue(sky: Table, scene: Scene, *, seed: int) -> Table:
    """Mean objects of PS1 above 5 sigma in i.

    Magnitudes are computed from those of HSC with the colour terms; missing values are -999, as in the archive.
    """
    rng = np.random.default_rng([seed, 8])
    hsc = _magnitudes(sky)
    true = ps1_magnitudes(hsc)
    error = {band: _magnitude_errors(true[band], scene.ps1_limit + _PS1_DEPTH[band], 0.2, 0.006) for band in true}
    seen = (error["i"] < 0.2) & (true["i"] > 13.5)
    rows = sky[seen]
    galaxy = np.array(rows["type"]) == "galaxy"
    radius = np.array(rows["r_disk"])
    scatter = np.hypot(9, 60 * error["i"][seen] / 0.2)
    ra, dec = _position(rows, _PS1_MJD, scatter, rng)
    count = len(rows)
    table = Table({"objID": 101_850_356_000_000_000 + np.arange(count), "raMean": ra * u.deg, "decMean": dec * u.deg})
    table["raMeanErr"], table["decMeanErr"] = scatter / 1000 * u.arcsec, scatter / 1000 * u.arcsec
    table["epochMean"] = _PS1_MJD + rng.normal(0, 60, count)
    table["nDetections"] = rng.integers(8, 70, count)
    # Quality: 4 good, 16 and 32 good in the stack; 1 extended. A few objects are suspect.
    suspect = rng.random(count) < 0.01
    table["qualityFlag"] = np.where(suspect, 64 | 128, _PS1_GOOD | 16 | 32 | np.where(galaxy, _PS1_EXTENDED, 0)).astype(
        np.int16
    )
    table["objInfoFlag"] = np.where(galaxy, 8_388_608, 0) | np.where(suspect, 4, 0) | 436_207_616
    for band in true:
        mag, err = true[band][seen], error[band][seen]
        # PSF magnitudes miss the outskirts of galaxies, Kron magnitudes 5 per cent of everything extended.
        psf = mag + np.where(galaxy, 1.1 * np.log10(1 + (radius / 0.55) ** 2), 0) + rng.normal(0, err)
        kron = mag + np.where(galaxy, 0.05, 0.0) + rng.normal(0, 1.4 * err)
        lost = (err > 0.25) | (rng.random(count) < 0.01)
        for name, value in (("PSFMag", psf), ("PSFMagErr", err), ("KronMag", kron), ("KronMagErr", 1.4 * err)):
            table[f"{band}Mean{name}"] = np.where(lost, -999.0, value).astype(np.float32)
            table[f"{band}Mean{name}"].unit = u.mag
        table[f"{band}Flags"] = np.where(lost, 0, 114_720).astype(np.int32)
    return table


def twomass_catalogue(sky: Table, scene: Scene, *, seed: int) -> Table:
    """Point sources of 2MASS, in Vega magnitudes, with the columns and flags of VizieR's II/246."""
    rng = np.random.default_rng([seed, 9])
    mags = _magnitudes(sky)
    true = twomass_magnitudes(mags["vj"], mags["vh"], mags["vk"])
    error = {
        name: _magnitude_errors(true[name], scene.twomass_limit + _TWOMASS_DEPTH[name], 0.11, 0.015) for name in true
    }
    extended = np.array(sky["r_disk"]) > 0.7
    seen = (error["J"] < 0.15) & ~extended & (true["Ks"] > 4)
    rows, count = sky[seen], int(seen.sum())
    scatter = np.hypot(65, 180 * error["J"][seen] / 0.11)
    ra, dec = _position(rows, _TWOMASS_MJD, scatter, rng)
    table = Table({"RAJ2000": ra * u.deg, "DEJ2000": dec * u.deg})
    major = np.round(np.clip(scatter / 1000, 0.06, None), 2).astype(np.float32)
    table["errMaj"], table["errMin"] = major * u.arcsec, major * u.arcsec
    table["errPA"] = rng.integers(0, 180, count).astype(np.int16) * u.deg
    table["_2MASS"] = _designations(ra, dec)
    grades = []
    for name, short in (("J", "J"), ("H", "H"), ("Ks", "K")):
        err = error[name][seen]
        value = true[name][seen] + rng.normal(0, err)
        absent = err > 0.3
        grades.append(np.select([absent, err < 0.1, err < 0.15, err < 0.21], ["U", "A", "B", "C"], "D"))
        no_error = absent | (rng.random(count) < 0.005)
        table[f"{short}mag"] = MaskedColumn(
            np.round(value, 3).astype(np.float32), mask=absent & (err > 0.6), unit=u.mag
        )
        table[f"e_{short}mag"] = MaskedColumn(np.round(err, 3).astype(np.float32), mask=no_error, unit=u.mag)
    table["Qflg"] = ["".join(parts) for parts in zip(*grades, strict=True)]
    table["Rflg"], table["Bflg"] = np.full(count, "222"), np.full(count, "111")
    confused = rng.random(count) < 0.02
    table["Cflg"] = np.where(confused, "c00", "000")
    table["Xflg"] = np.zeros(count, np.int16)
    table["Aflg"] = np.zeros(count, np.int16)
    table["Date"] = np.full(count, Time(_TWOMASS_MJD, format="mjd").strftime("%Y-%m-%d"))
    return table


def _designations(ra: np.ndarray, dec: np.ndarray) -> list[str]:
    """2MASS names, HHMMSSss-DDMMSSs, of positions in deg."""
    names = []
    for alpha, delta in zip(ra, dec, strict=True):
        hundredths, tenths = int(alpha / 15 * 360_000), int(abs(delta) * 36_000)
        hours, minutes = divmod(hundredths // 6000, 60)
        degrees, arcminutes = divmod(tenths // 600, 60)
        sign = "-" if delta < 0 else "+"
        names.append(
            f"{hours:02d}{minutes:02d}{hundredths % 6000:04d}{sign}{degrees:02d}{arcminutes:02d}{tenths % 600:03d}"
        )
    return names


def write_catalogue(path: Path, table: Table, name: str) -> None:
    """Write a catalogue as a FITS table."""
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    write_fits(path, [fits.PrimaryHDU(), hdu])
