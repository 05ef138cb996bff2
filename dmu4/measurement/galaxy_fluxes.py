"""Total fluxes of the fitted discs and bulges in one band, and how well the models describe the image."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.forced import SUM_IN_ANY_ORDER
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.stamps import parts, render
from dmu4.measurement.structure import Structure
from dmu4.measurement.template_sums import template_sums


class ModelFluxes(NamedTuple):
    """Fluxes of the disc and bulge of N objects; NaN where neither they nor a point source can be fitted.

    Attributes
    ----------
    flux, error
        Total flux and its error [N], which includes the errors of the shape and of the neighbours, and the correlation
        of the noise.
    """

    flux: np.ndarray
    error: np.ndarray


def model_fluxes(
    profiles: Profiles,
    fit: BandFit,
    structure: Structure,
    inflation: ErrorInflation,
    *,
    point: np.ndarray,
    point_error: np.ndarray,
) -> ModelFluxes:
    """Total fluxes with the structure of each object.

    Extended objects have the flux of the simultaneous fit. Objects that are subtracted as point sources, but have a
    structure, get the flux of that structure after the neighbours are subtracted; it is that of a point source for
    those as small as stars. Objects without a structure have the flux of a point source.

    Parameters
    ----------
    profiles
        The models of the simultaneous fit.
    fit
        The fit, and the residual image.
    structure
        Discs and bulges of all objects.
    inflation
        Error inflation due to the correlation of the noise.
    point, point_error
        Point-source fluxes, and errors that include neighbours and correlated noise.
    """
    flux, error = np.array(point, float), np.array(point_error, float)
    extended = ~profiles.is_point
    cost = np.divide(
        fit.forced.error, fit.forced.isolated_error, out=np.ones(len(profiles)), where=fit.forced.error > 0
    )
    flux[extended] = fit.forced.flux[extended]
    error[extended] = (_wider(fit, fit.forced.power, inflation) * fit.forced.error)[extended]
    small = np.flatnonzero(~extended & structure.fitted)
    for part in parts(len(small)):
        some = small[part]
        of_structure = Profiles(
            x=profiles.x[some],
            y=profiles.y[some],
            covariance=structure.disc[some],
            size=profiles.size[some],
            bulge=structure.bulge[some],
            bulge_fraction=structure.bulge_fraction[some],
        )
        sums = template_sums(fit, some, (render(of_structure, fit.kernels, fit.cell[some]),))
        power = sums.normal[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            flux[some] = sums.right[:, 0] / power
            error[some] = _wider(fit, power, inflation) * np.sqrt(sums.noise[:, 0, 0]) / power * cost[some]
    known = structure.fitted & np.isfinite(flux)
    error[known] = np.hypot(error[known], (structure.flux_error * np.abs(flux))[known])
    return ModelFluxes(flux, error)


def _wider(fit: BandFit, power: np.ndarray, inflation: ErrorInflation) -> np.ndarray:
    """Error inflation for models with these sums of squares: that of the circle with their noise-equivalent area."""
    of_psf = np.full(len(power), 4 * np.pi * fit.sigma**2)
    area = np.divide(1, power, out=of_psf.copy(), where=power > 0)
    return inflation.psf * inflation.of_area(area) / inflation.of_area(of_psf)


def neighbour_fraction(fit: BandFit) -> np.ndarray:
    """Fraction of the light at each object that belongs to its neighbours, weighted by its model [N].

    The simultaneous fit makes the sum of the object's model times the image equal to that of its model times all
    models; what is not its own is its neighbours'. NaN without a flux, or without light.
    """
    forced = fit.forced
    known = np.isfinite(forced.flux) & (forced.signal > 0)
    own = np.divide(
        np.nan_to_num(forced.flux) * forced.power, forced.signal, out=np.full(len(known), np.nan), where=known
    )
    return 1 - own


def model_chi2(fit: BandFit) -> np.ndarray:
    """Mean of residual^2 / variance over the pixels of each object, weighted by its model [N]; NaN without data."""
    models = fit.models
    corners = (models.offset, models.size, models.x0, models.y0)
    chi2, seen = _weighted_chi2(models.pixels, *corners, fit.residual, fit.variance, fit.usable)
    return np.divide(chi2, seen, out=np.full(len(seen), np.nan), where=seen > 0.1)


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _weighted_chi2(
    pixels: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    usable: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the usable pixels of stamps M: of M residual^2 / variance, and of M [stamp]."""
    ny, nx = usable.shape
    chi2, seen = np.zeros(len(size)), np.zeros(len(size))
    for i in range(len(size)):
        total, light = 0.0, 0.0
        x_from, x_to = max(x0[i], 0), min(x0[i] + size[i], nx)
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            at = offset[i] + (y - y0[i]) * size[i] - x0[i]
            stamp, known = pixels[at + x_from : at + x_to], usable[y, x_from:x_to]
            rest, spread = residual[y, x_from:x_to], variance[y, x_from:x_to]
            for k in range(len(known)):
                value = float(stamp[k]) if known[k] else 0.0
                total += value * rest[k] * rest[k] / (spread[k] if known[k] else 1.0)
                light += value
        chi2[i], seen[i] = total, light
    return chi2, seen
