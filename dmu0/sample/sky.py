"""The true sky: stars and galaxies with positions, shapes and fluxes in every band."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack

from dmu0.sample.scene import OPTICAL_MJD, Scene
from dmu0.sample.spectra import SAMPLE_BANDS, galaxy_magnitudes, star_magnitudes
from obs_vista.photometry import flux_of, magnitude_of

_COLUMNS = {
    "id": (None, "number of the source"),
    "ra": (u.deg, "ICRS right ascension at the epoch in the metadata"),
    "dec": (u.deg, "ICRS declination at the epoch in the metadata"),
    "type": (None, "star or galaxy"),
    "bulge_fraction": (None, "fraction of the flux in the de Vaucouleurs bulge, the same in all bands"),
    "r_disk": (u.arcsec, "half-light radius of the exponential disk along the major axis"),
    "r_bulge": (u.arcsec, "half-light radius of the bulge along the major axis"),
    "axis_ratio": (None, "minor over major axis of disk and bulge"),
    "angle": (u.deg, "position angle of the major axis, east of north"),
    "redshift": (None, "redshift; NaN for stars"),
    "pm_ra": (u.mas / u.yr, "proper motion in right ascension times cos(dec)"),
    "pm_dec": (u.mas / u.yr, "proper motion in declination"),
} | {f"flux_{band}": (u.nJy, f"total flux in {band}") for band in SAMPLE_BANDS}


def _place(east: np.ndarray, north: np.ndarray, centre: SkyCoord) -> SkyCoord:
    """Positions at tangent-plane offsets in arcsec from a centre."""
    offset = SkyCoord(east * u.arcsec, north * u.arcsec, frame=centre.skyoffset_frame())
    return offset.transform_to("icrs")


def _fluxes(magnitudes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"flux_{band}": flux_of(magnitudes[band]) for band in SAMPLE_BANDS}


def _stars(scene: Scene, half: float, rng: np.random.Generator) -> Table:
    """Stars in a square of half-width ``half`` (arcsec), at offsets east and north."""
    area = (2 * half / 60) ** 2
    count = round(scene.star_density * (scene.star_faint - scene.star_bright) * area)
    i = rng.uniform(scene.star_bright, scene.star_faint, count)
    # Blue turn-off stars dominate among the bright ones, M dwarfs among the faint ones.
    red = rng.random(count) < np.interp(i, [15, 20, 24], [0.45, 0.6, 0.75])
    g_i = np.where(red, rng.normal(2.35, 0.45, count), rng.normal(0.85, 0.30, count))
    # On a jittered grid stars are spread more evenly than at random, so that no detector is short of them.
    cells = int(np.ceil(np.sqrt(count))) if scene.star_grid else 1
    cell = rng.permutation(cells**2)[:count] if scene.star_grid else np.zeros(count, int)
    east = ((cell % cells + rng.random(count)) / cells * 2 - 1) * half
    north = ((cell // cells + rng.random(count)) / cells * 2 - 1) * half
    # The saturated star, its colours those of a G star, inside the optical field.
    i = np.append(i, scene.bright_star)
    g_i = np.clip(np.append(g_i, 0.8), 0.2, 3.2)
    east, north = np.append(east, -52.0), np.append(north, 38.0)
    fast = np.where(rng.random(len(i)) < 0.04, 12.0, 1.0)
    nothing = np.zeros(len(i))
    return Table(
        {"east": east, "north": north, "type": np.full(len(i), "star", "U6")}
        | {"bulge_fraction": nothing - 1, "r_disk": nothing, "r_bulge": nothing}
        | {"axis_ratio": nothing + 1, "angle": nothing, "redshift": nothing + np.nan}
        | {"pm_ra": rng.normal(0, scene.motion, len(i)) * fast, "pm_dec": rng.normal(0, scene.motion, len(i)) * fast}
        | _fluxes(star_magnitudes(g_i, i, rng, scatter=scene.locus_scatter))
    )


def _galaxies(scene: Scene, half: float, rng: np.random.Generator) -> Table:
    """Galaxies in a square of half-width ``half`` (arcsec), at offsets east and north."""
    count = round(scene.galaxy_density * (2 * half / 60) ** 2)
    low, high = (10 ** (scene.galaxy_slope * mag) for mag in (scene.galaxy_bright, scene.galaxy_faint))
    i = np.log10(rng.uniform(low, high, count)) / scene.galaxy_slope
    east, north = rng.uniform(-half, half, (2, count))
    paired = rng.random(count) < scene.paired
    host = rng.integers(count, size=count)
    distance, direction = rng.uniform(0.8, 3.0, count), rng.uniform(0, 2 * np.pi, count)
    east, north = (
        np.where(paired, east[host] + distance * np.cos(direction), east),
        np.where(paired, north[host] + distance * np.sin(direction), north),
    )
    # Redshifts grow with magnitude as in deep fields; types from passive (young = 0) to star-forming.
    redshift = np.clip(
        np.interp(i, [17, 20, 22, 24, 26], [0.08, 0.22, 0.45, 0.8, 1.05]) * rng.gamma(3, 1 / 3, count), 0.01, 3
    )
    passive = rng.random(count) < np.interp(i, [18, 22, 25], [0.45, 0.3, 0.12])
    return _galaxy_table(east, north, i, redshift, passive, rng)


def _galaxy_table(
    east: np.ndarray,
    north: np.ndarray,
    i: np.ndarray,
    redshift: np.ndarray,
    passive: np.ndarray,
    rng: np.random.Generator,
) -> Table:
    """Galaxies of given positions, magnitudes in i, redshifts and types, with random spectra and profiles."""
    count = len(i)
    young = np.where(passive, rng.uniform(0, 0.04, count), rng.beta(2, 2.2, count))
    attenuation = np.where(passive, 0.05, rng.gamma(2, 0.25, count)).clip(0, 2)
    bulge = np.where(passive, rng.uniform(0.6, 1, count), rng.beta(1, 3.5, count))
    radius = np.clip(10 ** (0.12 - 0.125 * (i - 19.5) + rng.normal(0, 0.17, count)), 0.08, 4)
    nothing = np.zeros(count)
    return Table(
        {"east": east, "north": north, "type": np.full(count, "galaxy", "U6")}
        | {"bulge_fraction": bulge, "r_disk": radius, "r_bulge": radius * rng.uniform(0.4, 0.9, count)}
        | {"axis_ratio": rng.uniform(0.25, 1, count), "angle": rng.uniform(0, 180, count), "redshift": redshift}
        | {"pm_ra": nothing, "pm_dec": nothing}
        | _fluxes(galaxy_magnitudes(redshift, young, attenuation, i))
    )


def _companions(scene: Scene, stars: Table, rng: np.random.Generator) -> Table:
    """Fainter companions, bound to some of the stars, with which they move."""
    chosen = stars[rng.random(len(stars)) < scene.star_paired]
    count = len(chosen)
    i, g = (magnitude_of(np.array(chosen[f"flux_{band}"])) for band in "ig")
    fainter = rng.uniform(0, 1, count) * np.clip(scene.star_faint - i, 0, 3)
    distance, direction = rng.uniform(0.4, 3.0, count), rng.uniform(0, 2 * np.pi, count)
    chosen["east"] += distance * np.cos(direction)
    chosen["north"] += distance * np.sin(direction)
    g_i = np.clip(g - i + 0.3 * fainter, 0.2, 3.2)  # a companion on the main sequence is redder
    for name, flux in _fluxes(star_magnitudes(g_i, i + fainter, rng, scatter=scene.locus_scatter)).items():
        chosen[name] = flux
    return chosen


def _outskirts(scene: Scene, half: float, inner: float, rng: np.random.Generator) -> Table:
    """The brighter galaxies between two squares of half-widths ``inner`` and ``half`` (arcsec)."""
    fewer = 10 ** (scene.galaxy_slope * (scene.outskirts_faint - scene.galaxy_faint))
    brighter = replace(scene, galaxy_faint=scene.outskirts_faint, galaxy_density=scene.galaxy_density * fewer)
    galaxies = _galaxies(brighter, half, rng)
    return galaxies[np.maximum(np.abs(galaxies["east"]), np.abs(galaxies["north"])) > inner]


def _cluster(scene: Scene, patches: float, rng: np.random.Generator) -> Table:
    """A cluster of galaxies at one redshift, most of them passive, with a projected density of (1 + r^2)^(-3/2)."""
    count = int(scene.cluster_members)
    redshift = rng.uniform(0.2, 0.9)
    middle = rng.uniform(-0.85 * patches, 0.85 * patches, 2)
    inside, direction = rng.uniform(0, 0.85, count), rng.uniform(0, 2 * np.pi, count)
    distance = scene.cluster_radius * np.sqrt((1 - inside) ** -2.0 - 1)
    # From a magnitude above the knee of the luminosity function to five below it; numbers grow slowly.
    knee = np.interp(redshift, [0.2, 0.5, 0.9], [17.8, 20.0, 22.0])
    i = knee - 1 + 6 * rng.beta(1.6, 1, count)
    passive = rng.random(count) < np.interp(i - knee, [-1, 3], [0.95, 0.5])
    at = np.clip(redshift + rng.normal(0, 0.003, count), 0.01, None)
    return _galaxy_table(
        middle[0] + distance * np.cos(direction), middle[1] + distance * np.sin(direction), i, at, passive, rng
    )


def make_sky(scene: Scene, centre: SkyCoord, *, half: float, seed: int, patches: float | None = None) -> Table:
    """All sources in a square on the sky.

    Parameters
    ----------
    scene
        The settings.
    centre
        Centre of the square.
    half
        Half of its width in arcsec.
    seed
        Seed of the random numbers.
    patches
        Half the width of the patches in arcsec, on which clusters are, and to 30 arcsec beyond which there are galaxies
        fainter than ``scene.outskirts_faint``; by default ``half``.

    Returns
    -------
    Table
        Identifier, position, profile, proper motion and total flux (nJy) in each band; bulge_fraction is -1 for stars.
    """
    patches = half if patches is None else patches
    inner = min(patches + 30, half)
    stars = _stars(scene, half, np.random.default_rng([seed, 2]))
    parts = [stars]
    if scene.star_paired:
        parts.append(_companions(scene, stars, np.random.default_rng([seed, 10])))
    if scene.outskirts_faint >= scene.galaxy_faint:
        parts.append(_galaxies(scene, half, np.random.default_rng([seed, 3])))
    else:
        parts.append(_galaxies(scene, inner, np.random.default_rng([seed, 3])))
        parts.append(_outskirts(scene, half, inner, np.random.default_rng([seed, 11])))
    parts += [_cluster(scene, patches, np.random.default_rng([seed, 12, k])) for k in range(int(scene.clusters))]
    table = vstack(parts)
    position = _place(np.array(table["east"]), np.array(table["north"]), centre)
    table["id"] = np.arange(1, len(table) + 1)
    table["ra"], table["dec"] = position.ra.deg, position.dec.deg
    table = table[list(_COLUMNS)]
    for name, (unit, description) in _COLUMNS.items():
        table[name].unit, table[name].description = unit, description
    table.meta = {"epoch_mjd_tai": OPTICAL_MJD}
    return table


def positions_at(table: Table, mjd: float) -> tuple[np.ndarray, np.ndarray]:
    """ICRS right ascension and declination (deg) at an epoch (MJD), after proper motion."""
    years = (mjd - table.meta["epoch_mjd_tai"]) / 365.25
    dec = np.array(table["dec"]) + np.array(table["pm_dec"]) * years / 3.6e6
    ra = np.array(table["ra"]) + np.array(table["pm_ra"]) * years / 3.6e6 / np.cos(np.radians(dec))
    return ra % 360, dec
