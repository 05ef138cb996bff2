"""The synthetic sky: counts, colours and the relations between the photometric systems."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from dmu0.robust_statistics import robust_scatter
from dmu0.sample.catalogues import ps1_catalogue, twomass_catalogue
from dmu0.sample.observing import airmass, altitude_azimuth, sidereal_time, time_of_hour_angle
from dmu0.sample.scene import Scene
from dmu0.sample.sky import make_sky, positions_at
from dmu0.sample.spectra import (
    PS1_TO_HSC,
    SAMPLE_BANDS,
    TWOMASS_TO_VISTA,
    galaxy_magnitudes,
    ps1_magnitudes,
    star_magnitudes,
    twomass_magnitudes,
)
from dmu0.surveys import SurveyError
from obs_vista.bands import VISTA_BANDS

CENTRE = SkyCoord(35.6 * u.deg, -5.1 * u.deg)


@pytest.fixture(scope="module")
def sky():
    """A square of 10 arcmin of the default scene."""
    return make_sky(Scene(), CENTRE, half=300, seed=1)


def _magnitudes(table) -> dict[str, np.ndarray]:
    return {band: 31.4 - 2.5 * np.log10(np.array(table[f"flux_{band}"])) for band in SAMPLE_BANDS}


def test_counts(sky) -> None:
    """Densities per square arcmin are those of the scene, and galaxies follow their slope to the faint limit."""
    galaxy = sky["type"] == "galaxy"
    assert galaxy.sum() / 100 == pytest.approx(Scene().galaxy_density, rel=0.01)
    assert (~galaxy).sum() / 100 > 16
    i = _magnitudes(sky[galaxy])["i"]
    counts, edges = np.histogram(i, np.arange(20, 26.1, 1))
    slope = np.polyfit(edges[:-1], np.log10(counts), 1)[0]
    assert slope == pytest.approx(Scene().galaxy_slope, abs=0.02)
    assert i.max() <= 26 + 1e-6
    assert len(np.unique(sky["id"])) == len(sky)


def test_one_star_is_very_bright(sky) -> None:
    """One star, inside the optical field, is much brighter than all others."""
    i = np.sort(_magnitudes(sky[sky["type"] == "star"])["i"])
    assert i[1] - i[0] > 3


def test_blends_are_natural(sky) -> None:
    """More galaxies than at random have a neighbour within 2 arcsec."""
    galaxies = sky[sky["type"] == "galaxy"]
    position = SkyCoord(galaxies["ra"], galaxies["dec"])
    _, distance, _ = position.match_to_catalog_sky(position, nthneighbor=2)
    random = 1 - np.exp(-np.pi * 2**2 * Scene().galaxy_density / 3600)
    assert np.mean(distance.arcsec < 2) > random + 0.05


@pytest.mark.parametrize(("g_i", "j_ks"), [(0.35, -0.53), (1.0, -0.29), (1.5, -0.12), (2.6, -0.04)])
def test_stars_lie_on_the_measured_locus(g_i, j_ks, rng) -> None:
    """J-Ks (AB) at some g-i is that of stars on real images, to 0.02 mag."""
    mags = star_magnitudes(np.full(2000, g_i), np.full(2000, 18.0), rng, scatter=0.02)
    assert np.median(mags["vj"] - mags["vk"]) == pytest.approx(j_ks, abs=0.02)
    assert np.std(mags["vj"] - mags["vk"]) == pytest.approx(0.02, rel=0.2)


def test_stars_follow_the_published_transformations(rng) -> None:
    """2MASS magnitudes of the stars, put through the published transformations, are their VISTA magnitudes."""
    mags = star_magnitudes(rng.uniform(0.3, 3, 500), rng.uniform(15, 20, 500), rng, scatter=0.02)
    twomass = twomass_magnitudes(mags["vj"], mags["vh"], mags["vk"])
    for band, (base, slope) in TWOMASS_TO_VISTA.items():
        vega = twomass[base] + slope * (twomass["J"] - twomass["Ks"])
        np.testing.assert_allclose(vega + VISTA_BANDS[band].vega_to_ab, mags[band], atol=1e-9)


def test_optical_joins_infrared(rng) -> None:
    """From z to Y the stars' magnitudes change smoothly: VISTA Z between HSC i and z, y between z and Y."""
    mags = star_magnitudes(np.linspace(0.3, 3, 200), np.full(200, 18.0), rng, scatter=0)
    assert np.all((mags["vz"] - mags["z"]) * (mags["vz"] - mags["i"]) <= 0)
    assert np.all((mags["y"] - mags["z"]) * (mags["y"] - mags["vy"]) <= 1e-12)


def test_ps1_inverts_the_colour_terms(rng) -> None:
    """HSC magnitudes of stars come back from their PS1 magnitudes by the colour terms, to 1 mmag."""
    mags = star_magnitudes(rng.uniform(0.3, 2.8, 500), rng.uniform(15, 20, 500), rng, scatter=0.02)
    ps1 = ps1_magnitudes(mags)
    for band, (first, second, c0, c1, c2) in PS1_TO_HSC.items():
        colour = np.clip(ps1[first] - ps1[second], -1.0, 1.5)
        np.testing.assert_allclose(ps1[band] + c0 + c1 * colour + c2 * colour**2, mags[band], atol=1e-3)


def test_the_break_moves_with_redshift() -> None:
    """A passive galaxy is reddest in g-r where the 4000 A break is between g and r, and later in r-i."""
    redshift = np.linspace(0.02, 1.2, 60)
    nothing = np.zeros(60)
    mags = galaxy_magnitudes(redshift, nothing, nothing, nothing + 20)
    assert 0.3 < redshift[np.argmax(mags["g"] - mags["r"])] < 0.6
    assert 0.55 < redshift[np.argmax(mags["r"] - mags["i"])] < 1.1
    np.testing.assert_allclose(mags["i"], 20)


def test_young_and_dusty_galaxies() -> None:
    """Young galaxies are bluer than old ones, and dust makes them redder, in every pair of neighbouring bands."""
    one = np.ones(1)
    old, young, dusty = (
        galaxy_magnitudes(0.3 * one, fraction * one, dust * one, 20 * one)
        for fraction, dust in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
    )
    for blue, red in (("g", "i"), ("i", "vj")):
        assert young[blue] - young[red] < old[blue] - old[red]
        assert dusty[blue] - dusty[red] > young[blue] - young[red]


def test_proper_motion(sky) -> None:
    """Positions at another epoch differ by the proper motion, and at the table's epoch not at all."""
    epoch = sky.meta["epoch_mjd_tai"]
    ra, dec = positions_at(sky, epoch)
    np.testing.assert_array_equal(dec, sky["dec"])
    ra, dec = positions_at(sky, epoch - 3652.5)
    np.testing.assert_allclose((sky["dec"] - dec) * 3.6e6, 10 * np.array(sky["pm_dec"]), atol=1e-3)
    east = (np.array(sky["ra"]) - ra) * np.cos(np.radians(dec)) * 3.6e6
    np.testing.assert_allclose(east, 10 * np.array(sky["pm_ra"]), atol=1e-3)


def test_sky_is_determined_by_its_seed(sky) -> None:
    """The same seed makes the same sky, another one makes another."""
    again = make_sky(Scene(), CENTRE, half=300, seed=1)
    other = make_sky(Scene(), CENTRE, half=300, seed=2)
    for name in ("ra", "flux_vk", "redshift"):
        np.testing.assert_array_equal(again[name], sky[name])
    assert not np.array_equal(other["ra"], sky["ra"])


def test_ps1_scatter_is_what_it_says(sky) -> None:
    """Stars of PS1 scatter about the truth by their errors, in position and magnitude, and faint bands are missing."""
    table = ps1_catalogue(sky, Scene(), seed=1)
    stars = sky[sky["type"] == "star"]
    match, distance, _ = SkyCoord(table["raMean"], table["decMean"]).match_to_catalog_sky(
        SkyCoord(*positions_at(stars, 56100.0), unit="deg")
    )
    near = (distance.arcsec < 0.3) & (table["gMeanPSFMag"] > 0)
    true = ps1_magnitudes(_magnitudes(stars[match[near]]))["g"]
    pull = (table["gMeanPSFMag"][near] - true) / table["gMeanPSFMagErr"][near]
    assert robust_scatter(pull, about=0) == pytest.approx(1, abs=0.1)
    east = distance.arcsec[near] / table["raMeanErr"][near] / np.sqrt(2 * np.log(2))
    assert np.median(east) == pytest.approx(1, abs=0.12)
    missing = {band: np.mean(table[f"{band}MeanPSFMag"] == -999) for band in "grizy"}
    assert 0 < missing["i"] < 0.05 < missing["y"] < 0.8
    assert np.any(table["qualityFlag"] & 128)


def test_twomass_scatter_is_what_it_says(sky) -> None:
    """Stars of 2MASS scatter by their errors and stop at the limit; errors of faint Ks are missing; flags agree."""
    table = twomass_catalogue(sky, Scene(), seed=1)
    stars = sky[sky["type"] == "star"]
    mags = _magnitudes(stars)
    true = twomass_magnitudes(mags["vj"], mags["vh"], mags["vk"])
    match, distance, _ = SkyCoord(table["RAJ2000"], table["DEJ2000"]).match_to_catalog_sky(
        SkyCoord(*positions_at(stars, 51500.0), unit="deg")
    )
    near = (distance.arcsec < 0.6) & ~table["e_Jmag"].mask
    pull = np.array(table["Jmag"] - true["J"][match])[near] / np.array(table["e_Jmag"])[near]
    assert robust_scatter(pull, about=0) == pytest.approx(1, abs=0.12)
    assert np.percentile(table["Jmag"].filled(99), 99) < Scene().twomass_limit + 0.6
    assert table["e_Kmag"].mask.any()
    assert not table["Jmag"].mask.any()
    third = np.array([flag[2] for flag in table["Qflg"]])
    assert np.all(table["e_Kmag"].mask[third == "U"])


def test_observing_geometry() -> None:
    """The field culminates north of Paranal at the latitude's distance, lowest airmass, and hour angles come back."""
    mjd = time_of_hour_angle(56200.0, ra=35.6, hour_angle=0.0)
    altitude, azimuth = altitude_azimuth(mjd, ra=35.6, dec=-5.1)
    assert altitude == pytest.approx(90 - (24.6157 - 5.1), abs=1e-6)
    assert azimuth == pytest.approx(180, abs=1e-6)  # ESO counts from the south
    later = time_of_hour_angle(56200.0, ra=35.6, hour_angle=30.0)
    assert (sidereal_time(later) - 35.6) % 360 == pytest.approx(30, abs=1e-6)
    assert airmass(later, ra=35.6, dec=-5.1) > airmass(mjd, ra=35.6, dec=-5.1)
    assert altitude_azimuth(later, ra=35.6, dec=-5.1)[1] < 180  # in the west, counted from the south through west


def test_unknown_setting_is_named() -> None:
    """A setting that the scene does not have is an error that names it."""
    with pytest.raises(SurveyError, match="galaxy_densty"):
        Scene.from_changes({"galaxy_densty": 3})
    assert Scene.from_changes({"galaxy_density": 3}).galaxy_density == 3
