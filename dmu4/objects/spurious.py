"""Probability that an object is no astronomical source, from its fluxes in all bands and the fit of its model.

Every object has one of a set of spectra, each of free brightness. Real sources have the spectra of those objects of the
survey that are seen well in several bands; few are seen by one of optical and VISTA images alone, because they moved
between them, or have no flux at all bluewards of some band. An artefact has flux in the images of one band alone: a
trail of a satellite, a bad column, a cosmic ray, a peak of the noise. The residue of a bright star, or the noise of
several bands, has fluxes of either sign; so have real sources that were fitted wrongly with their neighbours. Part of
the artefacts do not look like a source at all: their `modelChi2` is larger than that of sources of the same signal to
noise in the same band. How frequent each of these is follows from the objects themselves, in ranges of signal to noise,
by expectation maximization (Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1) with a weak prior.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from astropy.table import Table
from scipy.special import logsumexp

from dmu4.objects.colours import fill_from_similar
from dmu4.objects.misfit import SIGNALS, Misfit, Signals, at_best, fit_misfit, mixed
from obs_vista.bands import VISTA_BANDS, get_band, plain_band

LIBRARY, PART = 200, 20
"""Largest number of spectra of real sources, and of those of which the flux in some bands is left out."""

FEWEST = 25
"""Smallest number of well-seen objects; with fewer, nothing is known."""

WELL_SEEN = 20.0
"""Signal to noise in the best band of well-seen objects: their noise is small beside that of a faint one."""

SEEN = 5.0
"""Their signal to noise in further bands."""

SEVERAL = 3
"""Number of bands in which well-seen objects are seen; two in surveys of two or three bands, one in those of one."""

SCATTER = 0.15
"""Relative scatter of fluxes about a spectrum: the distance of real spectra from the nearest one of the library."""

FAINTEST = 4.0
"""Smallest signal to noise in all bands together of a source that can be detected."""

RESIDUES = (2.0, 5.0, 20.0)
"""Scatter of the fluxes of residues in units of their errors: noise in several bands, and residues of stars."""

PRIOR = {"whole": 0.97, "part": 0.01, "red": 0.003, "single": 0.015, "residue": 0.002, "blended": 0.002}
"""Fractions of objects before any is seen: real ones with flux in all bands, in the optical or VISTA bands alone and in
the reddest bands alone; artefacts of single bands and residues; and real ones whose neighbours left them wrong fluxes.
Each is shared equally by the variants of its kind."""

REAL = ("whole", "part", "red", "blended")
"""Those of them that are real."""

SHARED = 0.1
"""Fraction of the light of others at an object at which half of those with fluxes like a residue are real."""

KNOWN = 300.0
"""Number of objects that the prior counts as."""

KNOWN_THERE = 30.0
"""Number of objects of each range of signal to noise that the fractions at all of them count as."""

BAD, KNOWN_BAD = 0.5, 4.0
"""Fraction of artefacts that do not look like a source before any is seen, and number of artefacts this counts as."""

ENOUGH = 10_000
"""Number of objects that is enough for the fractions; of more, every nth is used."""

ROWS = 20_000
"""Number of objects whose probabilities are computed at once."""

ITERATIONS = 30


@dataclass(frozen=True)
class SpuriousModel:
    """Real sources and artefacts of a survey.

    Attributes
    ----------
    spectra
        Relative fluxes of real sources and of artefacts of single bands [spectrum, band].
    kind, variant
        Kind of each spectrum, see `PRIOR`, and number of its variant.
    known
        Whether real sources are known to have flux in each band; the other bands are not used.
    misfit
        Distribution of `modelChi2`.
    share
        Fraction of the objects of each of the ranges `SIGNALS` that are of each variant [range, variant].
    bad
        Fraction of the artefacts that do not look like a source.
    """

    spectra: np.ndarray
    kind: np.ndarray
    variant: np.ndarray
    known: np.ndarray
    misfit: Misfit
    share: np.ndarray
    bad: float = BAD

    @property
    def kinds(self) -> np.ndarray:
        """Kind of each variant; the last are those without a spectrum."""
        of_spectra = self.kind[np.unique(self.variant, return_index=True)[1]]
        return np.concatenate([of_spectra, *([kind] * len(RESIDUES) for kind in ("residue", "blended"))])

    @property
    def is_real(self) -> np.ndarray:
        """Whether each variant is of real sources."""
        return np.isin(self.kinds, REAL)

    def usable(self, signals: Signals) -> Signals:
        """What is known in the bands in which real sources are known."""
        return Signals(*(np.where(self.known, getattr(signals, name), np.nan) for name in Signals.__dataclass_fields__))

    def log_densities(self, signals: Signals) -> np.ndarray:
        """Log of the density of the fluxes of each variant [N, variant], up to a common constant."""
        seen = np.isfinite(signals.flux)
        value, variance = np.where(seen, signals.flux, 0.0), np.where(seen, np.square(signals.error), 1.0)
        each = _free_brightness(self.spectra, seen, value, variance + np.square(SCATTER * np.maximum(value, 0)))
        edges = np.flatnonzero(np.diff(self.variant, prepend=-1, append=-1))
        columns = [_log_mean(each[:, low:high]) for low, high in pairwise(edges)]
        for scatter in RESIDUES:
            wider = np.where(seen, variance * (1 + scatter**2), 1.0)
            columns.append(-0.5 * np.sum(np.square(value) / wider + np.log(wider), axis=1))
        # Such fluxes are also what neighbours leave of a real source, the more often the more of the light is theirs.
        others = np.clip(np.nan_to_num(at_best(signals, signals.others)[0]), 0.1 * SHARED, None)
        real = others / (others + SHARED)
        wrong = columns[-len(RESIDUES) :]
        columns[-len(RESIDUES) :] = [one + np.log(2 * (1 - real)) for one in wrong]
        columns += [one + np.log(2 * real) for one in wrong]
        return np.column_stack(columns)


def _free_brightness(spectra: np.ndarray, seen: np.ndarray, value: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log of the density of fluxes for each spectrum [N, spectrum], up to a common constant.

    All brightnesses that can be detected are equally likely in mag; the integral over them is that of a Gaussian.
    """
    weight = np.where(seen, 1 / variance, 0.0)
    cross, power = (weight * value) @ spectra.T, weight @ np.square(spectra).T
    best = cross / np.sqrt(np.maximum(power, 1e-300))
    constant = -0.5 * (np.sum(weight * np.square(value), axis=1) + np.log(variance).sum(axis=1))
    amplitude = np.maximum(best, FAINTEST)
    return constant[:, None] + 0.5 * np.square(best) - 0.5 * np.square(amplitude - best) - np.log(amplitude)


def _log_mean(density: np.ndarray) -> np.ndarray:
    top = density.max(axis=1)
    return top + np.log(np.mean(np.exp(density - top[:, None]), axis=1))


def well_seen(signals: Signals) -> np.ndarray:
    """Whether each object is seen well in the best band, and seen in several [N]; one with a negative flux is not."""
    signal = np.where(np.isfinite(signals.flux), signals.signal, 0.0)
    bands = int(np.isfinite(signals.flux).any(axis=0).sum())
    several = np.sum(signal > SEEN, axis=1) >= min(SEVERAL, max(bands - 1, min(bands, 2)))
    return several & (signal.max(axis=1, initial=0) > WELL_SEEN) & (signal.min(axis=1, initial=0) > -SEEN)


def fit_spurious(signals: Signals, bands: Sequence[str]) -> SpuriousModel | None:
    """Learn the spectra of real sources, and the fractions of artefacts, from the objects of a survey.

    Parameters
    ----------
    signals
        Fluxes and fits of the objects, one row each.
    bands
        Labels of their bands.

    Returns
    -------
    SpuriousModel or None
        None if fewer than `FEWEST` objects are well seen.
    """
    signals = signals[:: max(len(signals.flux) // ENOUGH, 1)]
    seen = np.flatnonzero(well_seen(signals))
    if len(seen) < FEWEST:
        return None
    library, known = real_spectra(signals[_spread(seen, LIBRARY, by=signals.signal)])
    spectra, kind, variant = _with_parts(library, known, bands)
    misfit = fit_misfit(signals[seen])
    model = SpuriousModel(spectra, kind, variant, known, misfit, np.ones((len(SIGNALS), 1)))
    share = np.array([PRIOR[one] / np.sum(model.kinds == one) for one in model.kinds])
    model = replace(model, share=np.tile(share / share.sum(), (len(SIGNALS), 1)))
    return _with_fractions(model, signals)


def _spread(rows: np.ndarray, number: int, *, by: np.ndarray) -> np.ndarray:
    """Some of the rows, evenly from the lowest to the highest signal to noise."""
    rows = rows[np.argsort(np.nanmax(by[rows], axis=1), kind="stable")]
    return rows[np.unique(np.linspace(0, len(rows) - 1, number).astype(int))]


def real_spectra(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of well-seen objects [spectrum, band], with the largest flux one; and whether each band is known.

    In a band without flux to be seen an object has a tenth of the error; a band that it lacks is that of similar ones.
    """
    logs = np.log(np.maximum(signals.flux, 0.1 * signals.error))
    filled = fill_from_similar(logs)
    known = np.isfinite(filled).mean(axis=0) > 0.5
    filled = filled[np.isfinite(filled[:, known]).all(axis=1)]
    filled = np.where(known, filled, -np.inf)
    return np.exp(filled - filled.max(axis=1, keepdims=True)), known


def _with_parts(
    library: np.ndarray, known: np.ndarray, bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All spectra of real sources and artefacts, the kind of each, and the number of its variant."""
    infrared = np.array([plain_band(band) in VISTA_BANDS for band in bands])
    wavelength = np.array([get_band(band).wavelength for band in bands])
    some = library[:: -(-len(library) // PART)]
    sets = [("whole", library)]
    for half in (infrared & known, ~infrared & known):
        # A part of a single band cannot be told from an artefact.
        if half.sum() > 1 and (known & ~half).any():
            sets.append(("part", some * half))
    for edge in np.unique(wavelength[known])[1:]:
        redder = known & (wavelength >= edge)
        if redder.sum() > 1:
            sets.append(("red", redder[None].astype(float)))
    sets += [("single", np.eye(len(bands))[[band]]) for band in np.flatnonzero(known)]
    kind = np.concatenate([np.full(len(one), name) for name, one in sets])
    variant = np.concatenate([np.full(len(one), number) for number, (_, one) in enumerate(sets)])
    return np.concatenate([one for _, one in sets]), kind, variant


def _weighted(model: SpuriousModel, density: np.ndarray, ratio: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Log of the density of fluxes and misfit of each variant, times its fraction in the range [N, variant]."""
    of_artefact = np.log1p(model.bad * (ratio - 1))
    return density + np.log(model.share[step]) + np.where(model.is_real, 0.0, of_artefact[:, None])


def _with_fractions(model: SpuriousModel, signals: Signals) -> SpuriousModel:
    """The model with the most likely fractions."""
    signals = model.usable(signals)
    signals = signals[np.isfinite(signals.flux).any(axis=1)]
    density, (ratio, step) = model.log_densities(signals), model.misfit.ratio(signals)
    prior, real = model.share[0], model.is_real
    for _ in range(ITERATIONS):
        each = _weighted(model, density, ratio, step)
        each = np.exp(each - logsumexp(each, axis=1, keepdims=True))
        artefact = each[:, ~real].sum(axis=1)
        # How many of the objects with fluxes like a residue are real is given by their neighbours.
        residue, blended = (np.flatnonzero(model.kinds == kind) for kind in ("residue", "blended"))
        each[:, residue] = each[:, blended] = 0.5 * (each[:, residue] + each[:, blended])
        bad = artefact @ (model.bad * ratio / (1 + model.bad * (ratio - 1)))
        of_all = mixed(each.sum(axis=0), prior, KNOWN)
        counts = np.array([each[step == number].sum(axis=0) for number in range(len(SIGNALS))])
        bad = float((bad + KNOWN_BAD * BAD) / (artefact.sum() + KNOWN_BAD))
        model = replace(model, share=mixed(counts, of_all, KNOWN_THERE), bad=bad)
    return model


def find_spurious(model: SpuriousModel, signals: Signals) -> np.ndarray:
    """Probability that each object is no astronomical source [N]; NaN if it has no flux in a band of the model."""
    found = np.full(len(signals.flux), np.nan)
    for start in range(0, len(found), ROWS):
        part = model.usable(signals[start : start + ROWS])
        each = _weighted(model, model.log_densities(part), *model.misfit.ratio(part))
        of_artefact = logsumexp(each[:, ~model.is_real], axis=1) - logsumexp(each, axis=1)
        found[start : start + ROWS] = np.where(np.isfinite(part.flux).any(axis=1), np.exp(of_artefact), np.nan)
    return np.clip(found, 0, 1)


def spurious_probability(objects: Table, bands: Sequence[str], *, detection: Collection[str] = ()) -> np.ndarray:
    """The column `spuriousProbability` of all objects of a tract [N]; NaN if nothing is known.

    Parameters
    ----------
    objects
        Object table; the primary rows are what real sources and artefacts are learned from.
    bands
        Bands of the table.
    detection
        Bands that are used; the others change nothing. Empty: all.
    """
    used = [band for band in bands if not detection or band in detection]
    signals = Signals.of_table(objects, used)
    model = fit_spurious(signals[np.asarray(objects["detect_isPrimary"], bool)], used)
    return np.full(len(objects), np.nan) if model is None else find_spurious(model, signals)
