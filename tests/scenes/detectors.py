"""A VISTA detector of known sky, PSF, zero point and positions, for tests and benchmarks of the calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import galsim
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from dmu4.detectors.astrometry import Positions
from dmu4.detectors.calibration import DetectorImage
from dmu4.detectors.reference_stars import References
from obs_vista.noise import pawprint_variance

PIXEL_SCALE = 0.3414
DETECTOR = 3
GAIN, READ_NOISE = 3.95, 5.938


@dataclass(frozen=True)
class DetectorScene:
    """What to draw.

    Parameters
    ----------
    shape
        (ny, nx).
    stars, galaxies
        How many; magnitudes (AB) follow a power law between the limits.
    magnitudes
        Bright and faint limit of stars; galaxies are a magnitude fainter.
    fwhm, beta
        PSF in pixels, before the pixel, at the detector's centre.
    variation
        Relative change of the FWHM across the detector, in x.
    sky, tilt
        Sky in counts, and its peak-to-peak change over the detector.
    frames
        NICOMB; NDIT is 1.
    zero_point
        AB magnitude of one count.
    shift
        East and north, arcsec, by which the header's positions are wrong.
    turn
        Rotation of the header's positions, in units of 1e-4.
    reference_error
        mag and mas, of the reference stars.
    """

    shape: tuple[int, int] = (320, 336)
    stars: int = 80
    galaxies: int = 60
    magnitudes: tuple[float, float] = (15.5, 20.5)
    fwhm: float = 2.2
    beta: float = 3.5
    variation: float = 0.04
    sky: float = 1000.0
    tilt: float = 8.0
    frames: int = 6
    zero_point: float = 28.0
    shift: tuple[float, float] = (0.6, -0.4)
    turn: float = 2.0
    reference_error: tuple[float, float] = (0.03, 12.0)


@dataclass(frozen=True)
class SyntheticDetector:
    """A detector and its truth.

    Parameters
    ----------
    given
        What calibration starts from.
    references
        Stars with the errors of the scene.
    header
        Cards of the stack.
    wcs
        The true transformation.
    x, y, flux
        True stars: pixels and counts.
    galaxies
        [galaxy, 3]: x, y, counts.
    noiseless
        Sources without sky and noise [y, x].
    sky
        The true sky [y, x].
    """

    given: DetectorImage
    references: References
    header: fits.Header
    wcs: WCS
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    galaxies: np.ndarray
    noiseless: np.ndarray
    sky: np.ndarray
    scene: DetectorScene = field(default_factory=DetectorScene)

    def psf(self, *, x: float, y: float) -> galsim.GSObject:
        """The true profile, without the pixel, at a place."""
        return _psf(self.scene, x)


def make_detector_scene(
    rng: np.random.Generator, scene: DetectorScene | None = None, **changes: object
) -> SyntheticDetector:
    """Draw a detector.

    Parameters
    ----------
    rng
        Random numbers.
    scene
        What to draw; `changes` replace single values of it.
    """
    scene = replace(scene or DetectorScene(), **changes)
    ny, nx = scene.shape
    x, y = rng.uniform(8, nx - 9, scene.stars), rng.uniform(8, ny - 9, scene.stars)
    flux = 10 ** (-0.4 * (_magnitudes(rng, scene.stars, *scene.magnitudes) - scene.zero_point))
    galaxy = np.zeros((scene.galaxies, 3))
    galaxy[:, 0], galaxy[:, 1] = rng.uniform(8, nx - 9, scene.galaxies), rng.uniform(8, ny - 9, scene.galaxies)
    faint = _magnitudes(rng, scene.galaxies, scene.magnitudes[0] + 2, scene.magnitudes[1] + 1)
    galaxy[:, 2] = 10 ** (-0.4 * (faint - scene.zero_point))
    image = galsim.ImageD(nx, ny, scale=1.0)
    image.setOrigin(0, 0)
    for cx, cy, counts in zip(x, y, flux, strict=True):
        _add(image, _psf(scene, cx), cx, cy, counts, size=49)
    for cx, cy, counts in galaxy:
        profile = galsim.Exponential(half_light_radius=rng.uniform(1.0, 2.5)).shear(g1=rng.uniform(-0.4, 0.4), g2=0.1)
        _add(image, galsim.Convolve(profile, _psf(scene, cx)), cx, cy, counts, size=65)
    grid_y, grid_x = np.mgrid[0:ny, 0:nx]
    sky = scene.sky + scene.tilt * (0.7 * grid_x / nx + 0.3 * (grid_y / ny) ** 2)
    pixels = image.array + sky + _noise(rng, image.array, scene)
    header = _header(scene)
    true, wrong = _transformations(scene)
    confidence = np.full(scene.shape, 100, np.int32)
    stack = pixels.astype(np.float32)
    given = DetectorImage(
        image=stack,
        variance=pawprint_variance(stack, confidence, header, DETECTOR).variance,
        confidence=confidence,
        wcs=wrong,
        seeing=float(np.hypot(scene.fwhm, 0.9)),
        saturation=33000.0,
        zero_point=(scene.zero_point + 0.06, 0.02),
    )
    references = _references(rng, scene, true, x, y, flux)
    return SyntheticDetector(given, references, header, true, x, y, flux, galaxy, image.array.copy(), sky, scene)


def _magnitudes(rng: np.random.Generator, count: int, bright: float, faint: float) -> np.ndarray:
    """Counts that grow as 10^(0.2 m)."""
    share = rng.uniform(size=count)
    low, high = 10 ** (0.2 * bright), 10 ** (0.2 * faint)
    return 5 * np.log10(low + share * (high - low))


def _psf(scene: DetectorScene, x: float) -> galsim.GSObject:
    fwhm = scene.fwhm * (1 + scene.variation * (x / scene.shape[1] - 0.5))
    return galsim.Moffat(beta=scene.beta, fwhm=fwhm).shear(g1=0.02, g2=-0.01)


def _add(image: galsim.Image, profile: galsim.GSObject, x: float, y: float, counts: float, *, size: int) -> None:
    stamp = (profile * counts).drawImage(nx=size, ny=size, scale=1.0, offset=(x - round(x), y - round(y)), dtype=float)
    stamp.setCenter(round(x), round(y))
    both = stamp.bounds & image.bounds
    if both.isDefined():
        image[both] += stamp[both]


def _noise(rng: np.random.Generator, light: np.ndarray, scene: DetectorScene) -> np.ndarray:
    """Noise of a stack of frames, interpolated bilinearly by 0.3 and 0.2 px as CASU's dribbling does."""
    n = scene.frames
    sky_frame = (READ_NOISE**2 + scene.sky / GAIN) / n
    variance = (READ_NOISE**2 + (scene.sky + np.maximum(light, 0)) / GAIN + sky_frame) / n
    white = rng.normal(size=(light.shape[0] + 1, light.shape[1] + 1))
    across = 0.7 * white[:, :-1] + 0.3 * white[:, 1:]
    return np.sqrt(variance) * (0.8 * across[:-1] + 0.2 * across[1:])


def _header(scene: DetectorScene) -> fits.Header:
    header = fits.Header()
    header["SKYLEVEL"], header["NICOMB"] = scene.sky, scene.frames
    header["HIERARCH ESO DET NDIT"] = 1
    return header


def _transformations(scene: DetectorScene) -> tuple[WCS, WCS]:
    """True ZPN transformation of a detector off the axis, and one that is shifted and turned."""
    true = WCS(naxis=2)
    true.wcs.ctype, true.wcs.crval = ["RA---ZPN", "DEC--ZPN"], [34.54, -4.99]
    true.wcs.crpix, true.wcs.radesys = [-2400.0, 4200.0], "ICRS"
    scale = PIXEL_SCALE / 3600
    true.wcs.cd = [[scale, -2e-7], [2e-7, scale]]
    true.wcs.set_pv([(2, 1, 1.0), (2, 3, 44.0), (2, 5, -10300.0)])
    true.wcs.set()
    wrong = true.deepcopy()
    turn = np.array([[1, -1e-4 * scene.turn], [1e-4 * scene.turn, 1]])
    middle = np.array([scene.shape[1] / 2, scene.shape[0] / 2])
    wrong.wcs.cd = turn @ true.wcs.cd
    shift = np.array(scene.shift) / 3600
    # the middle of the detector is off by the shift, whatever the turn
    wrong.wcs.crpix = middle - np.linalg.solve(wrong.wcs.cd, true.wcs.cd @ (middle - true.wcs.crpix) + shift)
    wrong.wcs.set()
    return true, wrong


def _references(
    rng: np.random.Generator, scene: DetectorScene, wcs: WCS, x: np.ndarray, y: np.ndarray, flux: np.ndarray
) -> References:
    magnitude_error, position_error = scene.reference_error
    count = len(x)
    sky = wcs.all_pix2world(np.stack([x, y], axis=1), 0) if count else np.empty((0, 2))
    true_flux = flux * 10 ** (-0.4 * (scene.zero_point - 31.4))
    error = np.hypot(magnitude_error / 1.0857 * true_flux, 10 ** (-0.4 * (23.5 - 31.4)))
    east, north = rng.normal(0, position_error / 3.6e6, (2, count))
    return References(
        id=np.arange(count),
        positions=Positions(
            sky[:, 0] + east / np.cos(np.radians(sky[:, 1])), sky[:, 1] + north, np.full(count, position_error)
        ),
        flux=true_flux + rng.normal(size=count) * error,
        flux_error=error,
        point_like=np.ones(count, bool),
    )
