"""Geometry of the VISTA focal plane: where the detectors of a pawprint are, and their projections."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from dmu0.sample.scene import VISTA_PIXEL, Scene
from dmu0.sample.visits import Visit


def detector_offset(detector: int, scene: Scene) -> tuple[float, float]:
    """Offset of the centre of a detector from the optical axis in px: four rows of four, 1 to 4 along x, then y."""
    column, row = (detector - 1) % 4, (detector - 1) // 4
    pitch_x, pitch_y = scene.pitch
    return (column - 1.5) * pitch_x, (row - 1.5) * pitch_y


def field_position(
    x: np.ndarray | float, y: np.ndarray | float, detector: int, scene: Scene
) -> tuple[np.ndarray, np.ndarray]:
    """Field positions u and v, from -1 to 1 over the focal plane, of pixels relative to the centre of a detector."""
    offset, pitch = detector_offset(detector, scene), scene.pitch
    return np.asarray((x + offset[0]) / (2 * pitch[0])), np.asarray((y + offset[1]) / (2 * pitch[1]))


def stack_wcs(visit: Visit, centre: SkyCoord, detector: int, scene: Scene) -> WCS:
    """The true ZPN projection of a detector of a visit; ``array_shape`` is the size of the stack."""
    size = int(scene.detector_pixels) + 2 * visit.margin
    offset_x, offset_y = detector_offset(detector, scene)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---ZPN", "DEC--ZPN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [
        (centre.ra.deg + visit.east / 3600 / np.cos(centre.dec.rad)) % 360,
        centre.dec.deg + visit.north / 3600,
    ]
    wcs.wcs.crpix = [(size + 1) / 2 - offset_x, (size + 1) / 2 - offset_y]
    # CASU images have right ascension growing with x at 90 deg, and are turned by 180 deg at -90 deg.
    angle = np.radians(visit.angle - 90)
    wcs.wcs.cd = VISTA_PIXEL / 3600 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 44.0), (2, 5, -10300.0)])
    wcs.array_shape = (size, size)
    wcs.wcs.set()
    return wcs


def perturbed_wcs(wcs: WCS, scene: Scene, rng: np.random.Generator) -> WCS:
    """A projection with the errors of a real astrometric fit: a shift and small linear terms."""
    wrong = wcs.deepcopy()
    middle = (np.array(wcs.array_shape[::-1]) + 1) / 2
    linear = np.eye(2) + rng.normal(0, scene.wcs_linear, (2, 2))
    shift = rng.normal(0, scene.wcs_shift / VISTA_PIXEL, 2)
    # About the detector's centre: cd' (p - middle) + cd (middle - crpix) = cd' (p - crpix').
    cd = wcs.wcs.cd @ linear
    wrong.wcs.crpix = middle - np.linalg.solve(cd, wcs.wcs.cd @ (middle - wcs.wcs.crpix)) + shift
    wrong.wcs.cd = cd
    wrong.wcs.set()
    return wrong


def reaches(wcs: WCS, centre: SkyCoord, half: float) -> bool:
    """Whether a detector reaches a square on the sky.

    Parameters
    ----------
    wcs
        True projection of the detector, with ``array_shape``.
    centre
        Centre of the square.
    half
        Half the width of the square in arcsec.
    """
    size_y, size_x = wcs.array_shape
    x, y = np.array([0, size_x, size_x, 0]) - 0.5, np.array([0, 0, size_y, size_y]) - 0.5
    ra, dec = wcs.all_pix2world(x, y, 0)
    east = ((ra - centre.ra.deg + 180) % 360 - 180) * np.cos(centre.dec.rad) * 3600
    north = (dec - centre.dec.deg) * 3600
    return all(offset.min() < half and offset.max() > -half for offset in (east, north))
