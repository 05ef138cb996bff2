"""Any transformation from pixels to the sky as TAN with polynomials (TPV), which every program reads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from dmu0.sky.sphere import mean_position, tangent_offsets

MAX_ERROR = 0.02
"""Pixels by which a position may differ after a transformation was written as TPV."""

DEGREE = 5
"""Degree of the polynomials; the terms of TPV that depend on the radius are not used."""

Positions = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class ProjectionError(ValueError):
    """A transformation cannot be written as TPV."""


def is_linear(wcs: WCS, shape: tuple[int, int]) -> bool:
    """Whether the plane of a projection is linear in the pixels of an image (ny, nx): no SIP and no TPV."""
    if wcs.has_distortion:
        return False
    pixels = _grid(shape, 3) + 1
    linear = (pixels - wcs.wcs.crpix) @ wcs.pixel_scale_matrix.T
    return bool(np.abs(wcs.wcs.p2s(pixels, 1)["imgcrd"] - linear).max() < 1e-10)


def _grid(shape: tuple[int, int], number: int) -> np.ndarray:
    """Pixels all over an image to its outer edges, (n, 2), counted from 0."""
    ny, nx = shape
    x, y = np.meshgrid(np.linspace(-0.5, nx - 0.5, number), np.linspace(-0.5, ny - 0.5, number + 1))
    return np.column_stack([x.ravel(), y.ravel()])


def _terms(u: np.ndarray, v: np.ndarray) -> dict[int, np.ndarray]:
    """Terms of a polynomial of TPV by the m of their card PVi_m; u is the axis's own coordinate."""
    terms, number = {0: np.ones_like(u)}, 0
    for degree in range(1, DEGREE + 1):
        for power in range(degree + 1):
            number += 1
            terms[number] = u ** (degree - power) * v**power
        if degree % 2:
            number += 1  # the radius to this power
    return terms


def tpv_header(positions: Positions, shape: tuple[int, int], *, name: str) -> fits.Header:
    """TAN with polynomials, about the middle of an image, that has the positions of another transformation.

    Parameters
    ----------
    positions
        Function from x and y of pixels, counted from 0, to RA and Dec in degrees, ICRS.
    shape
        (ny, nx) of the image.
    name
        Name of the transformation in messages.

    Raises
    ------
    ProjectionError
        If positions differ by more than `MAX_ERROR` pixels.
    """
    pixels = _grid(shape, 14)
    ra, dec = positions(pixels[:, 0], pixels[:, 1])
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        raise ProjectionError(f"{name}: some pixels of the image have no position.")
    centre = mean_position(ra, dec)
    plane = np.column_stack(tangent_offsets(ra, dec, centre=centre))
    middle = pixels.mean(axis=0)
    design = np.column_stack([pixels - middle, np.ones(len(pixels))])
    matrix = np.linalg.lstsq(design, plane, rcond=None)[0][:2].T
    u, v = ((pixels - middle) @ matrix.T).T
    cards = fits.Header({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CUNIT1": "deg", "CUNIT2": "deg"})
    cards.update({"CRVAL1": centre[0], "CRVAL2": centre[1], "CRPIX1": middle[0] + 1, "CRPIX2": middle[1] + 1})
    for (row, column), value in np.ndenumerate(matrix):
        cards[f"CD{row + 1}_{column + 1}"] = value
    scale = np.abs(np.column_stack([u, v])).max()  # terms of order one, for the solver
    for axis, (one, two) in enumerate(((u, v), (v, u)), start=1):
        terms = _terms(one / scale, two / scale)
        solution = np.linalg.lstsq(np.column_stack(list(terms.values())), plane[:, axis - 1] / scale, rcond=None)[0]
        for (number, value), degree in zip(zip(terms, solution, strict=True), _degrees(), strict=True):
            cards[f"PV{axis}_{number}"] = value * scale ** (1 - degree)
    cards["RADESYS"], cards["EQUINOX"] = "ICRS", 2000.0
    _check(positions, cards, shape, name)
    return cards


def _degrees() -> list[int]:
    """Degree of each of `_terms`."""
    return [0] + [degree for degree in range(1, DEGREE + 1) for _ in range(degree + 1)]


def _check(positions: Positions, cards: fits.Header, shape: tuple[int, int], name: str) -> None:
    """Compare positions between the pixels that were fitted."""
    pixels = _grid(shape, 23)
    ra, dec = positions(pixels[:, 0], pixels[:, 1])
    again = WCS(cards).all_pix2world(pixels[:, 0], pixels[:, 1], 0)
    east, north = tangent_offsets(again[0], again[1], centre=mean_position(ra, dec))
    wanted = tangent_offsets(ra, dec, centre=mean_position(ra, dec))
    scale = np.sqrt(abs(np.linalg.det([[cards[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])))
    worst = float(np.hypot(east - wanted[0], north - wanted[1]).max() / scale)
    if not worst < MAX_ERROR:
        raise ProjectionError(
            f"{name}: as polynomials (TPV) positions would be off by {worst:.3g} px; in the baseline, take "
            "the engine 'reproject'."
        )
