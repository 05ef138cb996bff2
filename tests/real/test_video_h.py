"""The release of four H frames of one VIRCAM detector, on the HSC grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu5.diagnostics import primary
from dmu5.steps import read_catalogue


@pytest.fixture(scope="module")
def video_h(release: Callable[[str], Survey]) -> Survey:
    """Four H stacks of one detector."""
    return release("video_h")


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
