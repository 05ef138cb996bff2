"""A catalogue of a million rows and all columns, written as Parquet: time and memory, and how little a cone reads.

Run it as ``python -m tests.benchmarks.bench_catalogue``.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import SchemaColumn, schema_columns
from dmu5.catalogue import open_catalogue
from dmu5.writers import write_parquet
from tests.benchmarks.verdicts import Verdicts, print_versions

BANDS = ("g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk")
ROWS = 1_000_000
PROVENANCE = Provenance("lsst-ir-fusion", "0" * 40, "no", "1", "bench.yaml", *["0"] * 5)


def make_table(columns: list[SchemaColumn], rows: int) -> Table:
    """Random objects on two square degrees; every column of numbers has noise, and a tenth of them no value."""
    rng = np.random.default_rng(1)
    table = Table()
    noise = rng.normal(1000, 300, rows).astype(np.float32)
    noise[rng.uniform(size=rows) < 0.1] = np.nan
    for number, column in enumerate(columns):
        if column.dtype == "f4":
            table[column.name] = np.roll(noise, 1009 * number)
        elif column.dtype == "?":
            table[column.name] = rng.uniform(size=rows) < 0.5
        elif column.dtype.startswith("U"):
            table[column.name] = np.full(rows, "i", column.dtype)
        else:
            table[column.name] = np.arange(rows).astype(column.dtype)
    table["coord_ra"], table["coord_dec"] = rng.uniform(150, 151.4, rows), rng.uniform(-0.7, 0.7, rows)
    return table


def peak_memory() -> float:
    """Largest memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> int:
    """Print each figure beside its limit; 1 if one is missed."""
    columns, verdicts = schema_columns(BANDS), Verdicts()
    print_versions("pyarrow", "astropy")
    table = make_table(columns, ROWS)
    with tempfile.TemporaryDirectory() as name:
        start, used = time.perf_counter(), time.process_time()
        path = write_parquet(table, Path(name), columns, tract=1, provenance=PROVENANCE)
        print(f"{ROWS} rows, {len(columns)} columns, {path.stat().st_size / 1e9:.2f} GB", end=" ")
        print(f"in {time.perf_counter() - start:.1f} s;", end=" ")
        verdicts.at_most("CPU", time.process_time() - used, 60, " s")  # others may use the machine too
        verdicts.at_most("memory, with the table", peak_memory(), 4, " GB")
        condition = open_catalogue(path).cone(150.6, 0.1, 20.0).condition
        fragment = next(iter(ds.dataset(str(path)).get_fragments()))
        share = len(fragment.subset(condition).row_groups) / len(fragment.row_groups)
        verdicts.at_most("fraction of the file that a cone of 20 arcsec reads", share, 0.05)
    return verdicts.end()


if __name__ == "__main__":
    raise SystemExit(main())
