"""Probabilities that objects are point sources and stars, from their sizes and colours in all bands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from scipy.special import expit

from dmu4.objects.colours import Colours, fit_colours, rarely_other
from dmu4.objects.sizes import (
    ITERATIONS,
    LOG_WIDTHS,
    PointWidths,
    Population,
    fit_points,
    fit_population,
    point_densities,
    point_density,
    point_log_odds,
    width_densities,
)
from obs_vista.photometry import magnitude_of

COLOUR_FLUX = "gaap0p7Flux"
"""The flux of the colours: the same part of a galaxy in all bands, with the least noise for small ones."""

COLOUR_SIGNAL_TO_NOISE = 10.0
"""Signal to noise in two bands above which the colours of an object are well measured."""

RARE = 0.01
"""Fraction of point sources with the size of galaxies: blends, wrong PSFs; and of galaxies with that of point sources
where colours do not tell how many there are."""

KNOWN_GALAXIES = 100.0
"""Number of galaxies that the last of these fractions counts as, beside those of the survey."""

ENOUGH = 3000
"""Number of objects that is enough for the fits; of more, every nth is used."""

ROWS = 50_000
"""Number of objects whose probabilities are computed at once."""


@dataclass(frozen=True)
class Evidence:
    """What is known of the kinds of N objects in B bands.

    Attributes
    ----------
    excess, excess_error
        Squared widths before the seeing and their errors in arcsec^2 [N, B]; NaN if unknown.
    flux, flux_error
        Point-source fluxes and errors in nJy [N, B], NaN if unknown: the magnitudes of the objects.
    colour_flux, colour_error
        Fluxes of the same part of each object in all bands, with the errors of bright sources included [N, B].
    """

    excess: np.ndarray
    excess_error: np.ndarray
    flux: np.ndarray
    flux_error: np.ndarray
    colour_flux: np.ndarray
    colour_error: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Evidence:
        """Some of the objects."""
        return Evidence(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @classmethod
    def of_table(cls, objects: Table, bands: Sequence[str]) -> Evidence:
        """The evidence in the columns of some bands of an object table; what is flagged is unknown."""

        def columns(name: str, flag: str) -> np.ndarray:
            found = np.full((len(objects), len(bands)), np.nan)
            for number, band in enumerate(bands):
                good = ~np.asarray(objects[f"{band}_{flag}"], bool)
                found[good, number] = np.asarray(objects[f"{band}_{name}"], float)[good]
            return found

        colour = columns(COLOUR_FLUX, f"{COLOUR_FLUX}_flag")
        floor = np.nan_to_num(columns("fluxFloor", f"{COLOUR_FLUX}_flag"))
        return cls(
            columns("sizeExcess", "psfFlux_flag"),
            columns("sizeExcessErr", "psfFlux_flag"),
            columns("psfFlux", "psfFlux_flag"),
            columns("psfFluxErr", "psfFlux_flag"),
            colour,
            np.hypot(columns(f"{COLOUR_FLUX}Err", f"{COLOUR_FLUX}_flag"), floor * colour),
        )

    @property
    def magnitude(self) -> np.ndarray:
        """Magnitudes [N, B]; that of the error where the flux is less, NaN where it is unknown."""
        return magnitude_of(np.fmax(self.flux, np.where(self.flux_error > 0, self.flux_error, np.nan)))

    @property
    def sized(self) -> np.ndarray:
        """Whether the size is known [N, B]."""
        return np.isfinite(self.excess) & (self.excess_error > 0) & np.isfinite(self.flux)


@dataclass(frozen=True)
class Kinds:
    """Probabilities of N objects; NaN if nothing is known.

    Attributes
    ----------
    band
        That of a point source from the size in each band [N, B].
    point
        That of a point source from the sizes in all bands.
    star
        That of a star from the sizes and the colours.
    """

    band: np.ndarray
    point: np.ndarray
    star: np.ndarray


@dataclass(frozen=True)
class KindModel:
    """The point sources, galaxies and colours of a survey.

    Attributes
    ----------
    points
        Excess of point sources in each band.
    bands
        Point sources and galaxies by magnitude in each band, from the size there.
    together
        The same from the sizes in all bands together.
    order
        Numbers of the bands; the magnitude of an object is that of the first of them in which it has one.
    colours
        Colours of stars and galaxies at this magnitude; None if they are not known.
    compact
        Fraction of galaxies with the size of point sources in all bands together.
    """

    points: tuple[PointWidths, ...]
    bands: tuple[Population, ...]
    together: tuple[Population, ...]
    order: tuple[int, ...]
    colours: Colours | None
    compact: float = RARE


def fit_kinds(evidence: Evidence) -> KindModel:
    """Learn the sizes and colours of stars and galaxies from the objects of a survey, one row each."""
    evidence = evidence[:: max(len(evidence.flux) // ENOUGH, 1)]
    magnitude, sized = evidence.magnitude, evidence.sized
    fits = [
        fit_points(*(one[sized[:, b], b] for one in (evidence.excess, evidence.excess_error, magnitude)))
        for b in range(sized.shape[1])
    ]
    points = tuple(fit[0] for fit in fits)
    seen = np.sum(evidence.flux > 5 * evidence.flux_error, axis=0)
    order = tuple(int(b) for b in np.argsort(-seen, kind="stable"))
    point, widths = _densities(evidence, points)
    together = []
    for b in range(sized.shape[1]):
        known = sized.any(axis=1) & np.isfinite(magnitude[:, b])
        of_band = fits[b][1]
        together.append(fit_population(magnitude[known, b], point[known], widths[known], start=of_band))
    model = KindModel(points, tuple(fit[1] for fit in fits), tuple(together), order, None)
    return _with_colours(model, evidence)


def _with_colours(model: KindModel, evidence: Evidence) -> KindModel:
    """The model with the colours of stars and galaxies, and what these say of compact galaxies."""
    ratio, prior = _of_all_sizes(model, evidence)
    known = np.isfinite(prior)
    of_all, ratio, prior = evidence[known], ratio[known], prior[known]
    bright = np.sum(of_all.colour_flux > COLOUR_SIGNAL_TO_NOISE * of_all.colour_error, axis=1) > 1
    magnitude = _first(of_all.magnitude, model.order)[0]
    fluxes = of_all.colour_flux, of_all.colour_error, magnitude
    colours = fit_colours(*fluxes, expit(rarely_other(ratio, RARE) + prior), bright=bright)
    if colours is None:
        return model
    of_colours = colours.log_ratio(*(one[bright] for one in fluxes))
    return replace(model, colours=colours, compact=compact_fraction(ratio[bright], of_colours, prior[bright]))


def compact_fraction(of_sizes: np.ndarray, of_colours: np.ndarray, prior: np.ndarray) -> float:
    """Fraction of galaxies that have the size of point sources, by expectation maximization.

    Stars and galaxies each have their own size or, rarely, that of the other kind; colours tell the kinds apart.

    Parameters
    ----------
    of_sizes, of_colours
        Logs of the ratios of the densities of sizes, and of colours, for a star and a galaxy [N].
    prior
        Log of the prior odds of a star [N].
    """
    star, galaxy = -np.logaddexp(0, -prior), -np.logaddexp(0, prior)
    stars = np.logaddexp(np.log1p(-RARE) + of_sizes, np.log(RARE)) + star + of_colours
    fraction = RARE
    for _ in range(ITERATIONS):
        extended, compact = np.log1p(-fraction) + galaxy, np.log(fraction) + of_sizes + galaxy
        galaxies = np.logaddexp(extended, compact)
        total = np.logaddexp(stars, galaxies)
        found, count = (float(np.exp(one - total).sum()) for one in (compact, galaxies))
        fraction = (found + RARE * KNOWN_GALAXIES) / (count + KNOWN_GALAXIES)
    return fraction


def _densities(evidence: Evidence, points: Sequence[PointWidths]) -> tuple[np.ndarray, np.ndarray]:
    """Log densities of all sizes of each object for a point source [N], and for galaxies of each width [N, width]."""
    point, widths = np.zeros((len(evidence.flux), 2)), np.zeros((len(evidence.flux), len(LOG_WIDTHS)))
    for b, one in enumerate(points):
        size = evidence.excess[:, b], evidence.excess_error[:, b], one
        point += point_densities(*size)
        widths += width_densities(*size)
    return point_density(point), widths


def _first(values: np.ndarray, order: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The first finite value of each row in an order of the columns, and its column; NaN and -1 if there is none."""
    found, column = np.full(len(values), np.nan), np.full(len(values), -1)
    for b in order:
        new = (column < 0) & np.isfinite(values[:, b])
        found[new], column[new] = values[new, b], b
    return found, column


def _of_all_sizes(model: KindModel, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Logs of the ratio of the densities of all sizes for a point source and a galaxy, and of the prior odds [N].

    Both are NaN without any flux.
    """
    magnitude, column = _first(evidence.magnitude, model.order)
    point, widths = _densities(evidence, model.points)
    ratio, prior = np.full((2, len(magnitude)), np.nan)
    for b in np.unique(column[column >= 0]):
        rows = column == b
        ratio[rows], prior[rows] = point_log_odds(model.together[b], magnitude[rows], point[rows], widths[rows])
    return ratio, prior


def find_kinds(model: KindModel, evidence: Evidence) -> Kinds:
    """Probabilities of objects.

    Parameters
    ----------
    model
        The sizes and colours of stars and galaxies.
    evidence
        Sizes and fluxes of the objects, in the bands of the model.
    """
    parts = [_find(model, evidence[start : start + ROWS]) for start in range(0, max(len(evidence.flux), 1), ROWS)]
    return Kinds(*(np.concatenate([getattr(part, name) for part in parts]) for name in Kinds.__dataclass_fields__))


def _find(model: KindModel, evidence: Evidence) -> Kinds:
    magnitude, sized = evidence.magnitude, evidence.sized
    in_band = np.full(sized.shape, np.nan)
    for b, (points, population) in enumerate(zip(model.points, model.bands, strict=True)):
        rows = sized[:, b]
        size = evidence.excess[rows, b], evidence.excess_error[rows, b], points
        point, widths = point_density(point_densities(*size)), width_densities(*size)
        ratio, prior = point_log_odds(population, magnitude[rows, b], point, widths)
        in_band[rows, b] = expit(rarely_other(ratio, RARE) + prior)
    ratio, prior = _of_all_sizes(model, evidence)
    known, has_size = np.isfinite(prior), evidence.sized.any(axis=1)
    log_odds = np.full(len(prior), np.nan)
    log_odds[known] = rarely_other(ratio[known], RARE, model.compact) + prior[known]
    star, coloured = log_odds.copy(), np.zeros(len(log_odds), bool)
    if model.colours is not None:
        coloured = known & (np.sum(evidence.colour_flux > 3 * evidence.colour_error, axis=1) > 1)
        place = _first(magnitude, model.order)[0]
        star[known] += model.colours.log_ratio(evidence.colour_flux[known], evidence.colour_error[known], place[known])
    return Kinds(
        in_band,
        np.where(has_size, expit(log_odds), np.nan),
        np.where(has_size | coloured, expit(star), np.nan),
    )


def kind_columns(objects: Table, bands: Sequence[str], *, detection: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The columns of the probabilities of all objects of a tract.

    Parameters
    ----------
    objects
        Object table; the primary rows are what sizes and colours of stars and galaxies are learned from.
    bands
        Bands of the table.
    detection
        Bands that are judged together; each of the others is judged alone. Empty: all.
    """
    together = [band for band in bands if not detection or band in detection]
    kinds = _kinds_in(objects, together)
    columns = {"pointProbability": kinds.point, "starProbability": kinds.star}
    columns |= {f"{band}_pointProbability": kinds.band[:, b] for b, band in enumerate(together)}
    alone = (band for band in bands if band not in together)
    return columns | {f"{band}_pointProbability": _kinds_in(objects, [band]).band[:, 0] for band in alone}


def _kinds_in(objects: Table, bands: Sequence[str]) -> Kinds:
    """The kinds of all objects of a table from some of its bands."""
    evidence = Evidence.of_table(objects, bands)
    return find_kinds(fit_kinds(evidence[np.asarray(objects["detect_isPrimary"], bool)]), evidence)
