"""Normal equations of fits of a few templates to each source, with its neighbours subtracted."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.forced import SUM_IN_ANY_ORDER
from dmu4.measurement.stamps import StampSet


class TemplateSums(NamedTuple):
    """Sums over the usable pixels of M sources, for T templates.

    Attributes
    ----------
    normal
        Sums of the products of two templates [M, T, T].
    noise
        The same, times the variance [M, T, T].
    right
        Sums of each template times the source [M, T].
    """

    normal: np.ndarray
    noise: np.ndarray
    right: np.ndarray


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _products(first: np.ndarray, second: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    """Sums of the products of two rows, and of these times the variances."""
    product, noise = 0.0, 0.0
    for k in range(len(spread)):
        product += first[k] * second[k]
        noise += first[k] * second[k] * spread[k]
    return product, noise


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _sums(
    templates: tuple[np.ndarray, ...],
    at: np.ndarray,
    members: np.ndarray,
    models: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    flux: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    normal: np.ndarray,
    noise: np.ndarray,
    right: np.ndarray,
) -> None:
    """Add the sums of `TemplateSums`; the flat stamps of template t start at ``at[t]``."""
    ny, nx = good.shape
    rows, light = np.empty((len(templates), size.max())), np.empty(size.max())
    for number, i in enumerate(members):
        x_from, x_to = max(x0[i], 0), min(x0[i] + size[i], nx)
        width = max(x_to - x_from, 0)
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            first = (y - y0[i]) * size[i] - x0[i] + x_from
            model, rest = models[offset[i] + first :], residual[y, x_from:x_to]
            spread, known = variance[y, x_from:x_to], good[y, x_from:x_to]
            for k in range(width):
                light[k] = flux[i] * model[k] + rest[k]
            for a in range(len(templates)):
                stamp, row = templates[a][at[a, number] + first :], rows[a]
                total = 0.0
                for k in range(width):
                    row[k] = float(stamp[k]) if known[k] else 0.0
                    total += row[k] * light[k]
                right[number, a] += total
                for b in range(a + 1):
                    product, scaled = _products(row, rows[b], spread)
                    normal[number, a, b] += product
                    noise[number, a, b] += scaled


def template_sums(fit: BandFit, members: np.ndarray, templates: tuple[StampSet, ...]) -> TemplateSums:
    """The normal equations of some sources of a band: each is its model times its flux plus the residual image.

    Parameters
    ----------
    fit
        Models of all sources of the band, and the residual image.
    members
        Numbers of the sources, whose models and templates have the same stamps.
    templates
        Stamps of each template of these sources.
    """
    count = len(templates)
    normal, noise = np.zeros((2, len(members), count, count))
    right = np.zeros((len(members), count))
    if len(members):
        models, at = fit.models, np.stack([one.offset for one in templates])
        corners = (models.offset, models.size, models.x0, models.y0)
        planes = (fit.flux, fit.residual, fit.variance, fit.usable)
        pixels = tuple(one.pixels for one in templates)
        _sums(pixels, at, np.asarray(members, np.int64), models.pixels, *corners, *planes, normal, noise, right)
    for a in range(count):
        for b in range(a):
            normal[:, b, a], noise[:, b, a] = normal[:, a, b], noise[:, a, b]
    return TemplateSums(normal, noise, right)
