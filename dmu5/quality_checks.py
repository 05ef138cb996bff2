"""The checks that say how good a band is: accuracy of its fluxes, errors, positions and depth, each with a verdict.

A value is within its limit, or to beware of, or fails. Limits are those for good data; each is widened by twice the
sampling error that a good value would have, and a value from too few stars is not judged but named. None of these
checks stops a release: they say how the catalogue may be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu5.accuracy import BRIGHT, FAINT, ReferenceOffset, StarFluxes, width_error
from dmu5.checks import MIN_STARS, Check
from obs_vista.bands import shown_band

_SCATTER_ERROR = 1.16
"""Standard error of `robust_scatter` of N normal values, relative, times sqrt(N): its efficiency is 37%."""


@dataclass(frozen=True)
class Limit:
    """Limits of a deviation.

    Attributes
    ----------
    good
        Largest deviation that passes.
    bad
        Largest deviation that is not a failure.
    """

    good: float
    bad: float

    def verdict(self, deviation: float, *, error: float = 0.0) -> str:
        """Verdict on the size of a deviation of a given sampling error; a deviation that is not known warns."""
        if not np.isfinite(deviation):
            return "warn"
        size = abs(deviation) - 2 * error
        return "pass" if size <= self.good else "warn" if size <= self.bad else "fail"


OUTLIERS = Limit(0.005, 0.03)
SCATTER = Limit(0.01, 0.02)
PULL_WIDTH = Limit(0.1, 0.5)
ZERO_POINT = Limit(2.0, 3.0)
TOTAL_BIAS = Limit(0.01, 0.02)
EMPTY_RATIO = Limit(0.1, 0.2)
SKY_OFFSET = Limit(0.1, 0.3)
REFERENCE_MAG = Limit(0.02, 0.05)
REFERENCE_MAS = Limit(50.0, 100.0)
BASELINE_RATIO = Limit(0.02, 0.05)
DEPTH_MAG = Limit(0.1, 0.2)
MISSING, FLAGGED, INEXACT = Limit(0.01, 0.05), Limit(0.05, 0.2), Limit(0.01, 0.05)
PAIRS = Limit(0.001, 0.01)


def _named(band: str, text: str) -> str:
    return f"{shown_band(band)}: {text}"


def _few(band: str, what: str, count: int, limit: str) -> Check:
    """The row of a check that has too few stars to be judged."""
    return Check(_named(band, what), f"only {count} stars, not judged", limit, "warn", band, False)


def flux_checks(stars: StarFluxes) -> list[Check]:
    """Outliers, scatter, pulls and total fluxes of the isolated true stars of a band."""
    band, bright = stars.band, stars.bright
    count = int(np.count_nonzero(bright))
    outlying = f"stars of {BRIGHT:.0f} sigma off by more than 3% + 3 sigma"
    scattered = f"scatter of stars of {BRIGHT:.0f} sigma"
    if count < MIN_STARS:
        few = [_few(band, what, count, limit) for what, limit in ((outlying, "<= 0.5%"), (scattered, "<= 1%"))]
        return [*few, *_pull_checks(stars), *_total_checks(stars)]
    wrong = int(np.count_nonzero(stars.outlier[bright]))
    # A single star is within the limit of any sample of fewer than 200.
    verdict = "pass" if wrong <= 1 else OUTLIERS.verdict(wrong / count)
    share = f"{100 * wrong / count:.1f}% of {count}"
    scatter = float(robust_scatter(stars.ratio[bright]))
    spread = SCATTER.verdict(scatter, error=_SCATTER_ERROR * SCATTER.good / np.sqrt(count))
    return [
        Check(_named(band, outlying), share, "<= 0.5%, fails > 3%", verdict, band, False),
        Check(_named(band, scattered), f"{100 * scatter:.2f}% of {count}", "<= 1%, fails > 2%", spread, band, False),
        *_pull_checks(stars),
        *_zero_point_checks(stars),
        *_total_checks(stars),
    ]


def _zero_point_checks(stars: StarFluxes) -> list[Check]:
    """What all bright stars have in common, in units of the error of the zero point, where that is known."""
    if not np.isfinite(stars.scale_error):
        return []
    bright = stars.ratio[stars.bright]
    offset, sampling = stars.common - 1, MEDIAN_ERROR * robust_scatter(bright) / np.sqrt(len(bright))
    pull = float(offset / np.hypot(stars.scale_error, sampling))
    value = f"{100 * offset:+.2f} +- {100 * stars.scale_error:.2f}%: {pull:+.1f} sigma"
    what, limit = "offset of bright stars over the error of the zero point", "<= 2 sigma, fails beyond 3"
    return [Check(_named(stars.band, what), value, limit, ZERO_POINT.verdict(pull), stars.band, False)]


def _pull_checks(stars: StarFluxes) -> list[Check]:
    """Widths of the pulls of bright stars, with the floor, and of faint ones, without."""
    faint = (stars.snr > FAINT[0]) & (stars.snr < FAINT[1])
    rows = []
    for what, chosen, pulls, bare in (
        (f"width of the pulls above {BRIGHT:.0f} sigma, floor included", stars.bright, stars.total_pull, stars.pull),
        (f"width of the pulls from {FAINT[0]:.0f} to {FAINT[1]:.0f} sigma", faint, stars.pull, None),
    ):
        count, limit = int(np.count_nonzero(chosen)), "1 +- 0.1, fails beyond 0.5"
        if count < MIN_STARS:
            rows.append(_few(stars.band, what, count, limit))
            continue
        width = float(robust_scatter(pulls[chosen]))
        error = width_error(pulls[chosen], None if stars.block is None else stars.block[chosen])
        verdict = PULL_WIDTH.verdict(width - 1, error=max(error, _SCATTER_ERROR / np.sqrt(count)))
        without = "" if bare is None else f" ({robust_scatter(bare[chosen]):.1f} without)"
        value = f"{width:.2f} +- {error:.2f}{without} of {count}"
        rows.append(Check(_named(stars.band, what), value, limit, verdict, stars.band, False))
    return rows


def _total_checks(stars: StarFluxes) -> list[Check]:
    """Kron and aperture fluxes of bright stars, over the fraction of light inside, against the true fluxes."""
    rows = []
    for name, total in stars.totals.items():
        ratio = (total / stars.true)[stars.bright & np.isfinite(total)]
        what, limit = f"{name} flux over the light inside, of stars, over truth", "1 +- 1%, fails beyond 2%"
        if len(ratio) < MIN_STARS:
            rows.append(_few(stars.band, what, len(ratio), limit))
            continue
        bias, error = float(np.median(ratio) - 1), MEDIAN_ERROR * robust_scatter(ratio) / np.sqrt(len(ratio))
        error = float(np.hypot(error, np.nan_to_num(stars.scale_error)))
        value = f"{100 * bias:+.2f}% of {len(ratio)}"
        rows.append(
            Check(_named(stars.band, what), value, limit, TOTAL_BIAS.verdict(bias, error=error), stars.band, False)
        )
    return rows


def reference_checks(offset: ReferenceOffset) -> list[Check]:
    """Zero point and positions of bright stars against the reference catalogue."""
    band, count = offset.band, len(offset)
    of_flux, of_place = "psfFlux of stars against the reference catalogue", "distance of stars from the references"
    limits = ("<= 0.02 mag, fails > 0.05", "<= 50 mas, fails > 100")
    if count < MIN_STARS:
        return [_few(band, what, count, limit) for what, limit in zip((of_flux, of_place), limits, strict=True)]
    magnitude, error, distance = offset.magnitude, offset.magnitude_error, offset.offsets.radial
    value = f"{magnitude:+.3f} +- {error:.3f} mag of {count}"
    return [
        Check(_named(band, of_flux), value, limits[0], REFERENCE_MAG.verdict(magnitude, error=error), band, False),
        Check(_named(band, of_place), f"{distance:.0f} mas", limits[1], REFERENCE_MAS.verdict(distance), band, False),
    ]


def empty_checks(empty: Table) -> list[Check]:
    """Scatter and level of empty apertures of each band, relative to the error that the catalogue quotes."""
    rows = []
    for row in empty:
        band, count, ratio, level = str(row["band"]), int(row["samples"]), float(row["ratio"]), float(row["offset"])
        error = float(row["error"])
        rows += [
            Check(
                _named(band, "scatter of empty circles over the quoted error"),
                f"{ratio:.2f} +- {error:.2f} of {count}",
                "1 +- 0.1, fails beyond 0.2",
                EMPTY_RATIO.verdict(ratio - 1, error=error),
                band,
                False,
            ),
            Check(
                _named(band, "level of empty circles over the quoted error"),
                f"{level:+.2f} of {count}",
                "<= 0.1, fails > 0.3",
                SKY_OFFSET.verdict(level, error=MEDIAN_ERROR * np.sqrt(2) * error),
                band,
                False,
            ),
        ]
    return rows


def baseline_checks(compared: Table) -> list[Check]:
    """Aperture fluxes of isolated bright objects over those of the baseline."""
    rows = []
    for band, count, ratio, scatter in compared.iterrows("band", "n", "ratio", "scatter"):
        what, limit = "2 arcsec aperture flux over that of the baseline", "1 +- 2%, fails beyond 5%"
        if count < MIN_STARS:
            rows.append(_few(band, what, count, limit))
            continue
        verdict = BASELINE_RATIO.verdict(ratio - 1, error=MEDIAN_ERROR * scatter / np.sqrt(count))
        rows.append(Check(_named(band, what), f"{ratio:.4f} of {count}", limit, verdict, band, False))
    return rows


def depth_checks(depths: Table) -> list[Check]:
    """Depth of the catalogue against the depth that empty apertures show, where it is known."""
    rows = []
    for row in depths[np.isfinite(np.asarray(depths["measured"], float))]:
        band, off = str(row["band"]), float(row["catalogue"] - row["measured"])
        others = [f"{name} {row[name]:.2f}" for name in ("headers", "circle", "baseline") if np.isfinite(row[name])]
        value = f"{row['catalogue']:.2f}, measured {row['measured']:.2f}" + "".join(f", {text}" for text in others)
        what, limit = "depth of the catalogue against empty apertures", "<= 0.1 mag, fails > 0.2"
        rows.append(Check(_named(band, what), value, limit, DEPTH_MAG.verdict(off), band, False))
    return rows


def census_checks(counted: Table, pairs: int, *, objects: int) -> list[Check]:
    """Missing, flagged and doubtful values of each band, and objects that were measured twice.

    Parameters
    ----------
    counted
        Table of `dmu5.accuracy.census`.
    pairs
        Number of pairs of `dmu5.accuracy.close_pairs`.
    objects
        Number of objects.
    """
    rows = []
    for row in counted:
        band = str(row["band"])
        if not row["covered"]:
            rows.append(Check(_named(band, "objects with data"), "0", "> 0", "fail", band, False))
            continue
        for name, text, limit in (
            ("missing", "psfFlux missing where there is data", MISSING),
            ("flagged", "psfFlux flagged where there is data", FLAGGED),
            ("inexact_psf", "objects whose PSF is inexact", INEXACT),
        ):
            said = f"<= {100 * limit.good:g}%, fails > {100 * limit.bad:g}%"
            value = f"{100 * row[name]:.2f}% of {row['covered']}"
            rows.append(Check(_named(band, text), value, said, limit.verdict(float(row[name])), band, False))
    verdict = PAIRS.verdict(pairs / objects if objects else 0.0)
    text = "pairs of objects within 0.3 arcsec"
    return [*rows, Check(text, f"{pairs} of {objects}", "<= 0.1%, fails > 1%", verdict, "", False)]


def worst(verdicts: Sequence[str]) -> str:
    """The worst of some verdicts; ``pass`` if there is none."""
    return next((name for name in ("fail", "warn") if name in verdicts), "pass")


def check_name(check: Check) -> str:
    """The name of a check without its band."""
    return (
        check.check.removeprefix(f"{shown_band(check.band)}: ").removeprefix(f"{check.band}: ")
        if check.band
        else check.check
    )


def verdict_table(checks: Sequence[Check], bands: Sequence[str]) -> tuple[list[str], dict[tuple[str, str], Check]]:
    """The checks of single bands as a table: the names of its rows, and the check of each name and band."""
    table = {(check_name(check), check.band): check for check in checks if check.band in bands}
    return list(dict.fromkeys(name for name, _ in table)), table


def short_value(value: str) -> str:
    """The figure at the beginning of the value of a check, for a narrow cell."""
    return "?" if value.startswith("only") else value.split(" ")[0].rstrip(",")
