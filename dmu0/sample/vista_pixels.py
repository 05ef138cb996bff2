"""Pixels of a CASU pawprint stack: the projection of the sky on a detector, and the noise of averaged exposures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from numba import njit
from scipy.ndimage import zoom

from dmu0.robust_statistics import robust_scatter
from dmu0.sample.render import add_gaussian, profile_covariance, render
from dmu0.sample.scene import VISTA_PIXEL, Scene
from dmu0.sample.sky import positions_at
from dmu0.sample.visits import Visit
from dmu0.sample.vista_geometry import field_position, perturbed_wcs, stack_wcs
from obs_vista.bands import get_band
from obs_vista.camera import get_detector
from obs_vista.photometry import flux_of
from obs_vista.zero_points import ab_zero_point

EXTINCTION = 0.05
"""Extinction in mag per airmass assumed by CASU in every band."""


@dataclass(frozen=True)
class Stack:
    """One detector of a pawprint stack.

    Attributes
    ----------
    image
        Image [y, x] as float64 in ADU of one DIT, including the sky; 0 where no exposure has data.
    confidence
        Confidence [y, x] as int16: 100 where all exposures contribute, 0 where none does.
    true_wcs, header_wcs
        True WCS, and the WCS in the header.
    sky_level, sky_noise
        Median and robust scatter of the pixels without sources in ADU.
    zero_point
        True zero point (Vega, 1 ADU/s, airmass 1) of this detector.
    fwhm, ellipticity
        FWHM in px and ellipticity 1 - b/a of the PSF at the centre of the detector.
    stars
        Number of stars brighter than 20 times their noise.
    """

    image: np.ndarray
    confidence: np.ndarray
    true_wcs: WCS
    header_wcs: WCS
    sky_level: float
    sky_noise: float
    zero_point: float
    fwhm: float
    ellipticity: float
    stars: int


def bad_pixels(detector: int, scene: Scene, *, seed: int) -> np.ndarray:
    """Bad native pixels of a detector, bool [y, x]: dead columns, a dead patch, scattered dead pixels."""
    rng = np.random.default_rng([seed, 4, detector])
    size = int(scene.detector_pixels)
    bad = rng.random((size, size)) < 0.001
    bad[:, rng.integers(0, size, 2)] = True
    y, x = np.ogrid[:size, :size]
    middle = rng.uniform(0.1, 0.9, 2) * size
    bad |= (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < rng.uniform(2, 14) ** 2
    if detector == 13:  # the least linear detector also has a dead strip wider than the jitter
        bad[:, size // 6 : size // 6 + 24] = True
    return bad


@njit(nogil=True, cache=True)
def _add_exposure(total, count, noise, bad, shift_x, shift_y, margin):
    """Add one exposure to a stack by bilinear interpolation, except next to bad pixels and outside the detector."""
    size = noise.shape[0]
    whole_x, whole_y = int(np.floor(shift_x)), int(np.floor(shift_y))
    ax, ay = shift_x - whole_x, shift_y - whole_y
    for j in range(total.shape[0]):
        y = j - margin + whole_y
        if y < 0 or y + 1 >= size:
            continue
        for i in range(total.shape[1]):
            x = i - margin + whole_x
            if x < 0 or x + 1 >= size:
                continue
            if bad[y, x] or bad[y, x + 1] or bad[y + 1, x] or bad[y + 1, x + 1]:
                continue
            low = (1 - ax) * noise[y, x] + ax * noise[y, x + 1]
            high = (1 - ax) * noise[y + 1, x] + ax * noise[y + 1, x + 1]
            total[j, i] += (1 - ay) * low + ay * high
            count[j, i] += 1


def stacked_noise(
    sigma: np.ndarray, visit: Visit, bad: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Noise of a stack, and the number of exposures in each pixel.

    Each exposure has independent noise in its own pixels; shifts by fractions of a pixel correlate neighbouring pixels.

    Parameters
    ----------
    sigma
        Noise of one exposure on the pixels of the stack [y, x] in ADU.
    visit
        Observation of the stack, which contains the jitter.
    bad
        Bad native pixels.
    rng
        Random number generator.
    """
    total = np.zeros(sigma.shape, np.float32)
    count = np.zeros(sigma.shape, np.int32)
    size, margin = bad.shape[0], visit.margin
    for shift_x, shift_y in visit.jitter:
        noise = rng.standard_normal((size, size), np.float32)
        y, x = margin - int(np.floor(shift_y)), margin - int(np.floor(shift_x))
        noise *= sigma[y : y + size, x : x + size]
        _add_exposure(total, count, noise, bad, shift_x, shift_y, margin)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0), count


def _sky(visit: Visit, shape: tuple[int, int], noise: float, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The sky and the residuals of its subtraction: a plane, broad waves, and stripes along rows left by destriping."""
    # Waves from a few random values through cubic splines.
    size = int(scene.sky_waves)
    waves = 0.4 * zoom(rng.standard_normal((size, size)), np.array(shape) / size, mode="nearest", grid_mode=True)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    plane = rng.normal(0, 0.6, 2)
    return visit.sky + noise * scene.sky_residual * (waves + plane[0] * x + plane[1] * y)


def _draw_trail(image: np.ndarray, wcs: WCS, centre: SkyCoord, amount: float) -> None:
    """Draw a satellite trail across the field, 2 px wide, through a point east of the centre at 35 deg."""
    step = np.linspace(-600, 600, 6000)
    east, north = 40 + step * np.cos(np.radians(35)), -20 + step * np.sin(np.radians(35))
    x, y = wcs.all_world2pix(centre.ra.deg + east / 3600 / np.cos(centre.dec.rad), centre.dec.deg + north / 3600, 0)
    inside = (x > -20) & (x < image.shape[1] + 20) & (y > -20) & (y < image.shape[0] + 20)
    for xi, yi in zip(x[inside], y[inside], strict=True):
        add_gaussian(image, xi, yi, amount, 1.6, 0.0, 1.6, amount * 1e-4)


def counts_of(flux_ab: np.ndarray, visit: Visit, zero_point: float) -> np.ndarray:
    """Counts in one DIT of sources with given flux densities, in CASU's convention (`obs_vista.zero_points`).

    Parameters
    ----------
    flux_ab
        Flux densities in nJy.
    visit
        Observation of the stack.
    zero_point
        Vega magnitude of one count per second at airmass 1, which is estimated by MAGZPT.
    """
    magnitude = ab_zero_point(
        magzpt=zero_point,
        exposure_time=visit.dit,
        extinction=EXTINCTION,
        airmass=visit.airmass,
        vega_to_ab=get_band(visit.band).vega_to_ab,
        magnitudes="Vega",
    )
    return flux_ab / flux_of(magnitude)


def _sources(visit: Visit, sky: Table, wcs: WCS, zero_point: float, detector: int, scene: Scene, floor: float):
    """Image [y, x] of the sources in ADU of one DIT, and the fluxes of the stars on it."""
    size_y, size_x = wcs.array_shape
    x, y = wcs.all_world2pix(*positions_at(sky, visit.mjd), 0)
    flux_ab = np.array(sky[f"flux_{visit.band}"])
    flux = counts_of(flux_ab, visit, zero_point)
    near = 20 + 40 * (flux > 3e3 * visit.dit) + 400 * (flux > 3e5 * visit.dit)
    use = (x > -near) & (x < size_x + near) & (y > -near) & (y < size_y + near)
    x, y, flux, rows = x[use], y[use], flux[use], sky[use]
    psf = visit.psf.covariance(*field_position(x - size_x / 2, y - size_y / 2, detector, scene))
    sky_to_pixel = np.linalg.inv(wcs.wcs.cd) / 3600
    shape = (np.array(rows["axis_ratio"]), np.array(rows["angle"]), sky_to_pixel)
    disk = profile_covariance(np.array(rows["r_disk"]), *shape)
    bulge = profile_covariance(np.array(rows["r_bulge"]), *shape)
    image = np.zeros((size_y, size_x))
    render(image, x, y, flux, np.array(rows["bulge_fraction"]), disk, bulge, psf, floor)
    inside = (np.array(rows["type"]) == "star") & (x > 0) & (x < size_x) & (y > 0) & (y < size_y)
    return image, flux[inside]


def _halo(sky: Table, wcs: WCS, visit: Visit, zero_point: float, scene: Scene) -> np.ndarray:
    """Scattered light around the brightest star [y, x] in ADU: an exponential profile of scale 12 arcsec."""
    flux_ab = np.array(sky[f"flux_{visit.band}"])
    star = int(np.argmax(np.where(np.array(sky["type"]) == "star", flux_ab, 0)))
    x, y = wcs.all_world2pix(sky["ra"][star], sky["dec"][star], 0)
    flux = scene.halo * counts_of(flux_ab[star], visit, zero_point)
    j, i = np.ogrid[: wcs.array_shape[0], : wcs.array_shape[1]]
    scale = 12 / VISTA_PIXEL
    return flux / (2 * np.pi * scale**2) * np.exp(-np.hypot(j - y, i - x) / scale)


def _psf_at_centre(visit: Visit, detector: int, scene: Scene) -> tuple[float, float]:
    """FWHM in px and ellipticity 1 - b/a of the PSF at the centre of a detector."""
    position = field_position(0.0, 0.0, detector, scene)
    distortion = float(np.hypot(*visit.psf.shape(*position)))
    return float(visit.psf.size(*position)), 1 - float(np.sqrt((1 - distortion) / (1 + distortion)))


def make_stack(visit: Visit, sky: Table, centre: SkyCoord, detector: int, scene: Scene, *, seed: int) -> Stack:
    """Simulate one detector of a pawprint stack.

    Parameters
    ----------
    visit
        Observation of the stack.
    sky
        The true sources.
    centre
        Centre of the field.
    detector
        Number of the detector, 1 to 16.
    scene
        The settings.
    seed
        Seed of the random numbers; each detector of each visit has its own stream, so that the order is irrelevant.
    """
    rng = np.random.default_rng([seed, 5, visit.exposure, detector])
    camera = get_detector(detector)
    wcs = stack_wcs(visit, centre, detector, scene)
    zero_point = visit.zero_point + rng.normal(0, scene.detector_zero_point)
    ideal = np.sqrt((camera.read_noise**2 + visit.sky / camera.gain) / (visit.ndit * visit.nicomb))
    sources, star_flux = _sources(visit, sky, wcs, zero_point, detector, scene, 1e-3 * ideal)
    if visit.trail:
        _draw_trail(sources, wcs, centre, 12 * ideal)
    background = _sky(visit, sources.shape, ideal, scene, rng) + _halo(sky, wcs, visit, zero_point, scene)
    counts = np.minimum(background + sources, camera.saturation)
    sigma = visit.noise_excess * np.sqrt((camera.read_noise**2 + counts / camera.gain) / visit.ndit)
    noise, count = stacked_noise(sigma, visit, bad_pixels(detector, scene, seed=seed), rng)
    if detector == 6:  # a column that is neither dead nor flagged: it answers too strongly
        noise[:, visit.margin + int(0.4 * scene.detector_pixels)] += 6 * ideal
    clear = (count == visit.nicomb) & (sources < 0.2 * ideal)
    residual = (background - visit.sky + noise)[clear]
    level = float(np.median(background[clear] + noise[clear]))
    fwhm, ellipticity = _psf_at_centre(visit, detector, scene)
    return Stack(
        image=np.where(count > 0, counts + noise, 0),
        confidence=np.round(100 * count / visit.nicomb).astype(np.int16),
        true_wcs=wcs,
        header_wcs=perturbed_wcs(wcs, scene, rng),
        sky_level=level,
        sky_noise=robust_scatter(residual),
        zero_point=zero_point,
        fwhm=fwhm,
        ellipticity=ellipticity,
        stars=int((star_flux > 20 * ideal * 1.4 * 4).sum()),
    )


def empty_stack(visit: Visit, centre: SkyCoord, detector: int, scene: Scene, *, seed: int) -> Stack:
    """One detector of a pawprint stack with an empty sky: white noise of the level of a real stack, and no defects.

    It takes a tenth of the time of `make_stack`, with the same projection and zero point. For the parameters see there.
    """
    rng = np.random.default_rng([seed, 5, visit.exposure, detector])
    camera = get_detector(detector)
    zero_point = visit.zero_point + rng.normal(0, scene.detector_zero_point)
    wcs = stack_wcs(visit, centre, detector, scene)
    frames = visit.ndit * visit.nicomb
    # Interpolation by random fractions of a pixel leaves 2/3 of the variance along each axis.
    noise = visit.noise_excess * np.sqrt((camera.read_noise**2 + visit.sky / camera.gain) / frames) * 2 / 3
    fwhm, ellipticity = _psf_at_centre(visit, detector, scene)
    return Stack(
        image=visit.sky + noise * rng.standard_normal(wcs.array_shape, np.float32),
        confidence=np.full(wcs.array_shape, 100, np.int16),
        true_wcs=wcs,
        header_wcs=perturbed_wcs(wcs, scene, rng),
        sky_level=visit.sky,
        sky_noise=float(noise),
        zero_point=zero_point,
        fwhm=fwhm,
        ellipticity=ellipticity,
        stars=0,
    )
