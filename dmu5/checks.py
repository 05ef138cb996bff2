"""The checks of a release: the measured value, the limit, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import ascii as ascii_tables
from astropy.table import Table

from dmu0.files.tables import write_ecsv
from dmu0.schema.columns import schema_columns
from dmu3.truth import FluxComparison
from dmu5.diagnostics import Completeness, Locus, Offsets
from dmu5.file_columns import deviations, file_columns
from dmu5.selection_function import Curve

VERDICTS = ("pass", "warn", "fail")
"""Verdicts of a check, from good to bad."""


class Check(NamedTuple):
    """A measured value beside its limit.

    Attributes
    ----------
    check
        What is measured.
    value, limit
        The value and its limit, with units.
    verdict
        One of `VERDICTS`: a value within its limit, one to beware of, or a failure.
    band
        Label of the band; empty for the whole catalogue.
    stops
        Whether a failure stops the release: then the catalogue is wrong, not merely less accurate than wanted.
    """

    check: str
    value: str
    limit: str
    verdict: str
    band: str = ""
    stops: bool = True

    def __str__(self) -> str:
        return f"{self.verdict}  {self.check}: {self.value} (limit {self.limit})"


def held(check: str, value: str, limit: str, kept: bool, *, band: str = "", stops: bool = True) -> Check:
    """A check that passes or fails."""
    return Check(check, value, limit, "pass" if kept else "fail", band, stops)


def stopping(checks: Sequence[Check]) -> list[str]:
    """The failed checks that stop the release, as text."""
    return [str(check) for check in checks if check.verdict == "fail" and check.stops]


COMPLETENESS_MIN = 0.95
FLUX_BIAS_MAX = 0.02
OFFSET_MAX = 30.0
"""Limit of the median distance of bright stars from their true positions, mas."""
LOCUS_MAX = 0.1
"""Limit of the median J-Ks offset from the locus of real dwarf stars, mag."""
MIN_STARS = 10
"""Smallest number of stars for a meaningful median; with fewer a check fails."""


def column_checks(paths: Sequence[Path], bands: Sequence[str]) -> list[Check]:
    """Check the columns of each file against the schema: names, order, types, units, UCDs and descriptions.

    Parameters
    ----------
    paths
        Files of the catalogue to read, in Parquet, FITS or VOTable format.
    bands
        Bands of the survey.
    """
    columns = schema_columns(bands)
    rows = []
    for path in paths:
        found = file_columns(path)
        wrong = deviations(found, columns)
        name = f"{path.parent.name}/{path.name}" if path.suffix == ".parquet" else path.name
        measured = f"{len(wrong)} in {len(found)}" + (f": {'; '.join(wrong[:2])}" if wrong else "")
        rows.append(held(f"{name}: columns that deviate from the schema", measured, f"0 in {len(columns)}", not wrong))
    return rows


def object_checks(catalogue: Table) -> list[Check]:
    """Check that no objectId occurs twice."""
    identifiers = np.asarray(catalogue["objectId"])
    repeated = len(identifiers) - len(np.unique(identifiers))
    return [held("objectIds that come twice", str(repeated), "0", repeated == 0)]


def coverage_checks(catalogue: Table, bands: Sequence[str]) -> list[Check]:
    """Check that there are no fluxes without data, and that every NaN flux is flagged."""
    rows = []
    for band in bands:
        flux = np.asarray(catalogue[f"{band}_psfFlux"], float)
        outside = int(np.sum(np.isfinite(flux) & (np.asarray(catalogue[f"{band}_coverage"]) == 0)))
        unsaid = int(np.sum(~np.isfinite(flux) & ~np.asarray(catalogue[f"{band}_psfFlux_flag"], bool)))
        what = f"{band}: fluxes without data, NaN without flag"
        rows.append(held(what, f"{outside}, {unsaid}", "0, 0", not outside + unsaid, band=band))
    return rows


def star_checks(found: Completeness, fluxes: Sequence[FluxComparison], positions: Offsets) -> list[Check]:
    """Check the completeness, positions and fluxes of isolated true stars."""
    percent = f"{100 * found.fraction:.1f}% of {found.wanted}"
    rows = [
        held(
            "isolated stars of 5 sigma in any band that were found",
            percent,
            f">= {100 * COMPLETENESS_MIN:.0f}%",
            found.fraction >= COMPLETENESS_MIN,
        )
    ]
    kept = len(positions) >= MIN_STARS and positions.radial <= OFFSET_MAX
    measured = f"{positions.radial:.1f} mas of {len(positions)}"
    rows.append(held("median distance of bright stars from the truth", measured, f"<= {OFFSET_MAX:.0f} mas", kept))
    for item in fluxes:
        kept = len(item) >= MIN_STARS and abs(item.bias) <= FLUX_BIAS_MAX
        measured = f"{100 * item.bias:+.2f}% of {len(item)}"
        limit = f"<= {100 * FLUX_BIAS_MAX:.0f}%"
        what = f"{item.band}: median bias of psfFlux, isolated stars of 20 sigma"
        rows.append(held(what, measured, limit, kept, band=item.band))
    return rows


def locus_checks(locus: Locus | None) -> list[Check]:
    """Check that real stars lie on the dwarf locus; no row without one of the four bands, or with too few stars."""
    if locus is None:
        return []
    offset, count = locus.offset()
    if count < MIN_STARS:
        return []
    kept = abs(offset) <= LOCUS_MAX
    what = "median J-Ks of stars of 0.5 < g-i < 1.5 from real dwarfs"
    # Where the stars of a real sky lie is a result, to be looked at: it stops no release.
    return [held(what, f"{offset:+.3f} mag of {count}", f"<= {LOCUS_MAX} mag", kept, stops=False)]


def selection_checks(
    catalogue: Table, bands: Sequence[str], completeness: dict[str, Curve], purity: dict[str, Curve]
) -> list[Check]:
    """Check that usable objects have depths, that bright sources are complete, and that bright objects are real.

    Bright means at least one magnitude brighter than the median depth of the band; for real skies only the depths are
    checked.
    """
    rows = []
    for band in bands:
        depth = np.asarray(catalogue[f"{band}_depth5"], float)
        usable = np.asarray(catalogue[f"{band}_usable"], bool)
        unknown = int(np.sum(usable & ~np.isfinite(depth)))
        rows.append(held(f"{band}: usable objects without a depth", str(unknown), "0", unknown == 0, band=band))
        limit = (
            float(np.median(depth[usable & np.isfinite(depth)])) - 1 if (usable & np.isfinite(depth)).any() else np.nan
        )
        for what, curves, least in (("completeness", completeness, 0.85), ("purity", purity, 0.9)):
            if band not in curves:
                continue
            bright = curves[band].edges[1:] <= limit
            total, chosen = curves[band].total[bright].sum(), curves[band].chosen[bright].sum()
            value = chosen / total if total else np.nan
            measured = f"{100 * value:.1f}% of {total} brighter than {limit:.1f}"
            name = f"{band}: {what} a magnitude above the depth"
            rows.append(held(name, measured, f">= {100 * least:.0f}%", value >= least, band=band))
    return rows


def write_checks(rows: Sequence[Check], path: Path) -> Table:
    """Write the checks of a notebook for the release page, one column per attribute of `Check`."""
    table = Table(rows=list(rows) or None, names=Check._fields, dtype=["U128", "U256", "U96", "U4", "U8", bool])
    write_ecsv(table, path)
    return table


def read_checks(folder: Path) -> dict[str, list[Check]]:
    """All checks in a folder, by the name of the file."""
    found = {}
    for path in sorted(folder.glob("*.ecsv")):
        table = ascii_tables.read(path, format="ecsv")
        # Empty text is masked in such files.
        texts = [["" if value is np.ma.masked else str(value) for value in table[name]] for name in Check._fields[:-1]]
        found[path.stem] = [
            Check(check, value, limit, verdict, band, bool(stops))
            for check, value, limit, verdict, band, stops in zip(*texts, table["stops"], strict=True)
        ]
    return found
