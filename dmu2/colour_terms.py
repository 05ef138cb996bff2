"""Colour terms: transformations between photometric systems, published or fitted to matched stars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.ndimage import median_filter

from dmu0.robust_statistics import robust_scatter
from dmu2.catalogues import TWOMASS_VEGA_TO_AB
from obs_vista.bands import VISTA_BANDS
from obs_vista.photometry import POGSON, flux_of, magnitude_of


@dataclass(frozen=True)
class ColourTerm:
    """m(band) = m(base) + c0 + c1 C + c2 C^2 with the colour C = m(first) - m(second).

    Attributes
    ----------
    system
        Catalogue of base and colour, ``2mass`` or ``ps1``.
    band
        Resulting band.
    base, first, second
        Names of fluxes, e.g. ``tmass_j``.
    coefficients
        Coefficients c0, c1, c2.
    magnitudes
        Magnitude system of the coefficients, ``Vega`` or ``AB``.
    colour_range
        Range of colours in which the term is valid.
    """

    system: str
    band: str
    base: str
    first: str
    second: str
    coefficients: tuple[float, float, float]
    magnitudes: str
    colour_range: tuple[float, float]

    @property
    def order(self) -> int:
        """1 for a straight line, 2 for a parabola."""
        return 2 if self.coefficients[2] else 1


def _twomass(band: str, base: str, slope: float) -> ColourTerm:
    # The stars of the published fit are of low reddening; J-Ks of 0 to 1 spans A to late M dwarfs.
    return ColourTerm("2mass", band, f"tmass_{base}", "tmass_j", "tmass_k", (0.0, slope, 0.0), "Vega", (0.0, 1.0))


def _ps1(band: str, other: str, c0: float, c1: float, c2: float, low: float, high: float) -> ColourTerm:
    return ColourTerm("ps1", band, f"ps1_{band}", f"ps1_{band}", f"ps1_{other}", (c0, c1, c2), "AB", (low, high))


PUBLISHED: Mapping[str, ColourTerm] = {
    term.band: term
    for term in (
        # 2MASS to VISTA: Gonzalez-Fernandez et al. 2018, MNRAS 474, 5459, Vega.
        _twomass("vz", "j", 0.86),
        _twomass("vy", "j", 0.46),
        _twomass("vj", "j", -0.031),
        _twomass("vh", "h", 0.015),
        _twomass("vk", "k", -0.006),
        # PS1 to HSC: the colour terms of the HSC pipeline (Aihara et al. 2022, PASJ 74, 247), AB; ranges: dwarfs.
        _ps1("g", "r", 0.005728, 0.061749, -0.001125, -0.4, 1.5),
        _ps1("r", "i", -0.000144, 0.001369, -0.008380, -0.4, 1.5),
        _ps1("i", "z", 0.000643, -0.130078, -0.006855, -0.4, 1.0),
        _ps1("z", "y", -0.005362, -0.221551, -0.308279, -0.3, 0.6),
        _ps1("y", "z", -0.002055, 0.209680, 0.227296, -0.6, 0.3),
    )
}
"""The published term of each band."""

SLOPE_TOLERANCE = 0.05
"""Typical difference between published slopes of a filter, mag per mag: smaller differences are no disagreement."""

PIVOT_ERROR_MAX = 0.005
"""Largest effect in mag of the errors of a fit on typical stars for the fit to be used."""

RANGE_TOLERANCE = 3.0
"""Colours may be outside the range of a term by this many of their errors."""

_FLOOR = 0.01
# Additional scatter (mag) of variable stars and unresolved pairs beyond their quoted errors.

ERROR_LIMITS = (0.03, 0.05, 0.1)
"""Limits on typical errors of catalogued magnitudes: a fit uses the first limit that leaves `ENOUGH_STARS`."""

ENOUGH_STARS = 150

MIN_STARS = 40
"""Smallest number of stars of a fit."""

TABLE_COLUMNS = (
    ("system", "U8"), ("band", "U8"), ("colour", "U24"), ("magnitudes", "U4"),
    ("slope", "f8"), ("slope_err", "f8"), ("curvature", "f8"), ("curvature_err", "f8"),
    ("intercept", "f8"), ("intercept_err", "f8"), ("n", "i8"), ("scatter", "f8"),
    ("colour_min", "f8"), ("colour_max", "f8"), ("colour_median", "f8"),
    ("published_slope", "f8"), ("published_curvature", "f8"), ("published_intercept", "f8"),
    ("used", "U9"), ("reason", "U160"),
)  # fmt: skip
"""Columns of ``colour_terms.ecsv``."""


@dataclass(frozen=True)
class Fit:
    """A colour term fitted to stars.

    Attributes
    ----------
    coefficients, errors
        Coefficients c0, c1, c2 and their standard errors, from bootstrap resampling.
    covariance
        Covariance of the coefficients [3, 3].
    number
        Number of stars used.
    scatter
        Standard deviation of the residuals in mag, from their median absolute deviation.
    colour_range, colour_median
        2nd and 98th percentile, and the median, of the colours.
    """

    coefficients: tuple[float, float, float]
    errors: tuple[float, float, float]
    covariance: np.ndarray
    number: int
    scatter: float
    colour_range: tuple[float, float]
    colour_median: float

    @classmethod
    def nothing(cls, number: int = 0) -> Fit:
        """The result for too few stars."""
        unknown = (np.nan,) * 3
        return cls(unknown, unknown, np.full((3, 3), np.nan), number, np.nan, (np.nan, np.nan), np.nan)


def magnitude_errors(flux: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Errors of magnitudes, from fluxes and their errors."""
    flux = np.asarray(flux, float)
    return POGSON * np.asarray(error, float) / np.where(flux > 0, flux, np.nan)


def vega_to_ab(name: str) -> float:
    """AB minus Vega magnitude of a VISTA band or of a 2MASS flux name."""
    return TWOMASS_VEGA_TO_AB[name[-1]] if name.startswith("tmass_") else VISTA_BANDS[name].vega_to_ab


def system_magnitudes(table: Table, name: str, system: str) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes and errors of a flux column, in the system (``Vega`` or ``AB``) of a colour term."""
    flux, error = np.asarray(table[f"{name}_flux"], float), np.asarray(table[f"{name}_fluxErr"], float)
    offset = vega_to_ab(name) if system == "Vega" else 0.0
    return magnitude_of(flux) - offset, magnitude_errors(flux, error)


def apply(term: ColourTerm, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors (nJy, AB) of a band from those of a catalogue.

    The result is NaN for a star that lacks the base or the colour, or whose colour is outside the range of the term:
    otherwise it could cause errors of tenths of a magnitude in zero points. For a straight line, which noise does not
    bias, outside means by more than `RANGE_TOLERANCE` errors of the colour: a sharp limit near the colours of many
    stars (J-Ks of M dwarfs is 0.9) drops those whose Ks is too bright by its noise, and those left are too faint on
    average. A parabola is not extrapolated.
    """
    needed = (term.base, term.first, term.second)
    if any(f"{name}_flux" not in table.colnames for name in needed):
        return np.full(len(table), np.nan), np.full(len(table), np.nan)
    measured = [system_magnitudes(table, name, term.magnitudes) for name in needed]
    (base, _), (first, first_error), (second, second_error) = measured
    colour = first - second
    c0, c1, c2 = term.coefficients
    magnitude = base + c0 + c1 * colour + c2 * colour**2
    room = RANGE_TOLERANCE * np.hypot(first_error, second_error) if term.order == 1 else 0.0
    low, high = term.colour_range
    magnitude[~((colour >= low - room) & (colour <= high + room))] = np.nan
    error = np.sqrt(reference_variance(term, table, colour, term.coefficients))
    offset = vega_to_ab(term.band) if term.magnitudes == "Vega" else 0.0
    flux = flux_of(magnitude + offset)
    return flux, np.where(np.isfinite(flux), flux * error / POGSON, np.nan)


def reference_variance(
    term: ColourTerm, table: Table, colour: np.ndarray, coefficients: tuple[float, float, float]
) -> np.ndarray:
    """Variance (mag^2) of base + polynomial(colour), in which magnitudes shared by base and colour count once.

    Parameters
    ----------
    term
        Colour term, which defines the fluxes of base and colour.
    table
        The stars.
    colour
        Colours of the stars.
    coefficients
        Coefficients c0, c1, c2.
    """
    slope = coefficients[1] + 2 * coefficients[2] * colour
    weight = {term.base: 1.0}
    weight[term.first] = weight.get(term.first, 0.0) + slope
    weight[term.second] = weight.get(term.second, 0.0) - slope
    total = np.zeros(len(table))
    for name, factor in weight.items():
        _, error = system_magnitudes(table, name, term.magnitudes)
        total += (factor * error) ** 2
    return total


def fit_term(term: ColourTerm, table: Table, *, resamples: int = 100, seed: int = 0) -> tuple[Fit, Table]:
    """Fit a colour term to stars that have instrumental and catalogued fluxes.

    The errors of base and colour are correlated, and would bias an ordinary fit: the sums of the normal equations are
    corrected for the contribution of the known errors (the moment-corrected estimator of errors in variables; Fuller
    1987, Measurement Error Models, sec. 3.1; for straight lines, BCES of Akritas & Bershady 1996, ApJ 470, 706).

    Parameters
    ----------
    term
        Published term, which defines the fluxes, the starting values and the order of the fit.
    table
        Stars with ``<name>_flux`` and ``<name>_fluxErr`` of base and colour, and ``instrument_flux`` and
        ``instrument_fluxErr`` of the band, all nJy AB.
    resamples
        Number of bootstrap resamples.
    seed
        Seed of the random numbers of the bootstrap.

    Returns
    -------
    fit
        The fit; coefficients are NaN with fewer than 10 stars.
    stars
        Table with colour, difference (m(band) - m(base)), error, residual and whether the star was used.
    """
    stars = _star_table(term, table)
    for limit in ERROR_LIMITS:
        stars["used"] = _bright(stars, limit)
        if stars["used"].sum() >= ENOUGH_STARS:
            break
    use = np.flatnonzero(stars["used"])
    if len(use) < 10:
        return Fit.nothing(len(use)), stars
    colour = np.asarray(stars["colour"])
    solution = _solve(term, stars[use])
    rng = np.random.default_rng(seed)
    samples = np.array([_solve(term, stars[rng.choice(use, len(use))]) for _ in range(resamples)])
    covariance = np.cov(samples, rowvar=False)
    stars["residual"] = stars["difference"] - np.polyval(solution[::-1], colour)
    residual = np.asarray(stars["residual"])[use]
    scatter = robust_scatter(residual)
    low, median, high = (float(value) for value in np.percentile(colour[use], [2, 50, 98]))
    errors = tuple(float(error) for error in np.sqrt(np.diag(covariance)))
    return Fit(tuple(map(float, solution)), errors, covariance, len(use), scatter, (low, high), median), stars


def _bright(stars: Table, limit: float) -> np.ndarray:
    """Valid stars whose instrumental magnitude is bright enough for typical catalogued errors to be below a limit.

    A cut on catalogued magnitudes or errors would select stars with upward noise fluctuations, and bias their colours.
    """
    valid = np.flatnonzero(stars["valid"])
    order = valid[np.argsort(np.asarray(stars["magnitude"])[valid])]
    typical = median_filter(np.asarray(stars["worst"])[order], size=21, mode="nearest")
    bright = np.zeros(len(stars), bool)
    faint = np.flatnonzero(typical > limit)
    bright[order[: faint[0] if len(faint) else len(order)]] = True
    return bright


def _star_table(term: ColourTerm, table: Table) -> Table:
    """Colour and difference of each star, the parts of their errors, and which stars are valid."""
    offset = vega_to_ab(term.band) if term.magnitudes == "Vega" else 0.0
    magnitude = magnitude_of(table["instrument_flux"]) - offset
    error = magnitude_errors(table["instrument_flux"], table["instrument_fluxErr"])
    base, base_error = system_magnitudes(table, term.base, term.magnitudes)
    first, first_error = system_magnitudes(table, term.first, term.magnitudes)
    second, second_error = system_magnitudes(table, term.second, term.magnitudes)
    stars = Table({"colour": first - second, "difference": magnitude - base, "magnitude": magnitude})
    stars["var_difference"] = error**2 + base_error**2
    stars["var_colour"] = first_error**2 + second_error**2
    # Of y = m - base with x = first - second, which share a flux.
    stars["covariance"] = second_error**2 * (term.base == term.second) - first_error**2 * (term.base == term.first)
    stars["worst"] = np.max([error, base_error, first_error, second_error], axis=0)
    # Noise scatters colours out of the range: a sharp cut would bias the slope.
    low, high = term.colour_range
    room = RANGE_TOLERANCE * np.sqrt(stars["var_colour"])
    inside = (stars["colour"] >= low - room) & (stars["colour"] <= high + room)
    stars["valid"] = np.isfinite(stars["difference"]) & np.isfinite(stars["worst"]) & inside
    stars["used"] = np.zeros(len(stars), bool)
    stars["residual"] = np.full(len(stars), np.nan)
    return stars


def _solve(term: ColourTerm, stars: Table) -> np.ndarray:
    """The best-fitting c0, c1, c2; c2 is zero for a straight line.

    Sums over noisy colours x and differences y are corrected for the contribution of their known errors, and stars are
    weighted by their inverse variance, in a few iterations that reject deviations of more than four times the scatter.
    Softer weights would lower the scatter of the stars used, which would then contain less noise than is corrected for.
    """
    x, y = np.asarray(stars["colour"]), np.asarray(stars["difference"])
    var_x, var_xy = np.asarray(stars["var_colour"]), np.asarray(stars["covariance"])
    size = term.order + 1
    # Expected powers and products of the true colours, given the observed ones.
    powers = np.stack([np.ones_like(x), x, x**2 - var_x, x**3 - 3 * x * var_x, x**4 - 6 * x**2 * var_x + 3 * var_x**2])
    products = np.stack([y, x * y - var_xy, x**2 * y - var_x * y - 2 * x * var_xy])[:size]
    design = np.stack([powers[row : row + size] for row in range(size)])
    published = np.array(term.coefficients)[:size]
    solution = published.copy()
    solution[0] += np.median(y - np.polyval(published[::-1], x))
    for _ in range(8):
        slope = np.polyval(np.polyder(np.append(solution, 0.0)[::-1]), x)
        variance = np.asarray(stars["var_difference"]) - 2 * slope * var_xy + slope**2 * var_x + _FLOOR**2
        residual = (y - np.polyval(solution[::-1], x)) / np.sqrt(variance)
        spread = max(robust_scatter(residual, about=0), 0.5)
        weight = (np.abs(residual) < 4 * spread) / variance
        solution = np.linalg.lstsq(design @ weight, products @ weight)[0]
    return np.append(solution, np.zeros(3 - size))


def choose(term: ColourTerm, fit: Fit) -> tuple[str, str]:
    """Whether to use the fitted or the published term, with the reason.

    The fitted term is used if it is well constrained (enough stars; the errors of slope and curvature shift stars by no
    more than `PIVOT_ERROR_MAX` at the median colour, and four times that at the ends of the colour range) and
    consistent (predictions within three standard errors plus a tolerance of `SLOPE_TOLERANCE` in slope). Its intercept
    is never used: it contains the zero point of the instrument, which calibration determines.
    """
    if fit.number < MIN_STARS:
        return "published", f"{fit.number} stars, fewer than {MIN_STARS}"
    ends = np.array([fit.colour_median, *fit.colour_range])
    design = np.stack([ends, ends**2])
    error = np.sqrt(np.einsum("ik,ij,jk->k", design, fit.covariance[1:, 1:], design))
    if error[0] > PIVOT_ERROR_MAX or error[1:].max() > 4 * PIVOT_ERROR_MAX:
        return "published", f"fit errors shift typical stars by {error[0]:.3f} mag; the limit is {PIVOT_ERROR_MAX}"
    # Colour zero is where both agree by definition (Vega, or a flat spectrum in AB).
    change = design.T @ (np.array(fit.coefficients[1:]) - np.array(term.coefficients[1:]))
    allowed = 3 * error + SLOPE_TOLERANCE * np.abs(ends)
    if (np.abs(change) > allowed).any():
        worst = int(np.argmax(np.abs(change) / allowed))
        return "published", f"the fit differs by {change[worst]:+.3f} mag at a colour of {ends[worst]:.2f}"
    return "fitted", f"{fit.number} stars, {change[0]:+.3f} mag from the published term at the median colour"


def table_row(term: ColourTerm, fit: Fit) -> dict[str, float | str]:
    """One row of ``colour_terms.ecsv``."""
    used, reason = choose(term, fit)
    low, high = fit.colour_range if used == "fitted" else term.colour_range
    return {
        "system": term.system, "band": term.band, "colour": f"{term.first}-{term.second}",
        "magnitudes": term.magnitudes,
        "slope": fit.coefficients[1], "slope_err": fit.errors[1],
        "curvature": fit.coefficients[2], "curvature_err": fit.errors[2],
        "intercept": fit.coefficients[0], "intercept_err": fit.errors[0],
        "n": fit.number, "scatter": fit.scatter, "colour_min": low, "colour_max": high,
        "colour_median": fit.colour_median, "published_slope": term.coefficients[1],
        "published_curvature": term.coefficients[2], "published_intercept": term.coefficients[0],
        "used": used, "reason": reason,
    }  # fmt: skip


def terms_table(rows: list[dict[str, float | str]]) -> Table:
    """The table of all colour terms, which has its columns even without rows."""
    table = Table(names=[name for name, _ in TABLE_COLUMNS], dtype=[dtype for _, dtype in TABLE_COLUMNS])
    for row in rows:
        table.add_row([row[name] for name, _ in TABLE_COLUMNS])
    for name in ("intercept", "intercept_err", "scatter", "colour_min", "colour_max", "colour_median"):
        table[name].unit = "mag"
    return table


def terms_in_use(table: Table) -> dict[str, ColourTerm]:
    """The colour term to use in each band according to a table of terms; the published one for bands without a row."""
    terms = dict(PUBLISHED)
    for row in table:
        term = PUBLISHED[str(row["band"])]
        if row["used"] == "fitted":
            coefficients = (term.coefficients[0], float(row["slope"]), float(row["curvature"]))
            colours = float(row["colour_min"]), float(row["colour_max"])
            term = ColourTerm(
                term.system, term.band, term.base, term.first, term.second, coefficients, term.magnitudes, colours
            )
        terms[term.band] = term
    return terms
