"""The objects as a HATS collection: partitions on the sky, a margin around each of them, and an index of identifiers.

HATS is the format of LSDB (IVOA Note HATS 1.0). A collection is written with pyarrow, because hats-import needs a
cluster of Dask workers and rewrites what fields say of themselves; paths, properties and metadata are made by `hats`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmu0.files.atomic import written_whole
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import SchemaColumn
from dmu5.arrow_tables import arrow_schema
from dmu5.writers import HEALPIX_ORDER, ROW_GROUP, parquet_options, sky_index

INDEX_COLUMN = SchemaColumn(
    "_healpix_29", "i8", "", "pos.healpix", "Nested HEALPix index of order 29 of coord_ra and coord_dec", nullable=False
)
"""The column by which HATS files are sorted and searched."""

LOWEST_ORDER = 5
"""HEALPix order of the largest partitions, 1.8 deg wide, about one tract."""

MAX_ROWS = 200_000
"""Partitions with more objects are split in four."""

MARGIN = 5.0
"""Width of the margin around partitions in arcsec: matches up to this distance across an edge are found."""


class Pixel(NamedTuple):
    """A partition of the sky.

    Attributes
    ----------
    order
        HEALPix order.
    number
        Nested HEALPix index.
    """

    order: int
    number: int

    def limits(self) -> tuple[int, int]:
        """First index of order 29 in the pixel, and the first one after it."""
        shift = 2 * (HEALPIX_ORDER - self.order)
        return self.number << shift, (self.number + 1) << shift


def choose_pixels(index: np.ndarray, *, lowest: int = LOWEST_ORDER, max_rows: int = MAX_ROWS) -> list[Pixel]:
    """Partitions for objects with the given indices, each with at most `max_rows` objects, in order on the sky.

    Parameters
    ----------
    index
        Sorted HEALPix indices of order 29.
    lowest
        Order of the largest partitions.
    max_rows
        Largest number of objects in a partition; more are possible only at one and the same position.
    """
    todo = [Pixel(lowest, int(number)) for number in np.unique(index >> 2 * (HEALPIX_ORDER - lowest))]
    found = []
    while todo:
        pixel = todo.pop()
        first, last = np.searchsorted(index, pixel.limits())
        if last - first > max_rows and pixel.order < HEALPIX_ORDER:
            todo += [Pixel(pixel.order + 1, 4 * pixel.number + quarter) for quarter in range(4)]
        elif last > first:
            found.append(pixel)
    return sorted(found, key=Pixel.limits)


@dataclass(frozen=True)
class TractRows:
    """The objects in the Parquet file of a tract.

    Attributes
    ----------
    path
        The file, sorted on the sky.
    index
        HEALPix index of order 29 of every row.
    primary
        Whether each row is the primary one of its object.
    """

    path: Path
    index: np.ndarray
    primary: np.ndarray

    @classmethod
    def of(cls, path: Path) -> TractRows:
        """Read what is needed to choose rows of a file."""
        table = pq.read_table(path, columns=["coord_ra", "coord_dec", "detect_isPrimary"])
        ra, dec, primary = (table[name].to_numpy() for name in table.column_names)
        return cls(path, sky_index(ra, dec), primary.astype(bool))

    def rows(self, chosen: np.ndarray) -> pa.Table:
        """The given rows, with their index in front; only the row groups that have some of them are read."""
        file = pq.ParquetFile(self.path)
        lengths = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        group = np.searchsorted(starts, chosen, side="right") - 1
        needed = np.unique(group)
        offset = np.concatenate([[0], np.cumsum([lengths[number] for number in needed])])[:-1]
        places = chosen - starts[group] + offset[np.searchsorted(needed, group)]
        table = file.read_row_groups([int(number) for number in needed]).take(pa.array(places))
        return table.add_column(0, INDEX_COLUMN.name, pa.array(self.index[chosen]))


def write_hats(
    paths: Sequence[Path],
    folder: Path,
    columns: Sequence[SchemaColumn],
    *,
    name: str,
    provenance: Provenance,
    max_rows: int = MAX_ROWS,
) -> int:
    """Write the primary rows of a catalogue as a HATS collection; the folder appears complete or not at all.

    Parameters
    ----------
    paths
        Parquet files of the tracts (`dmu5.writers.write_parquet`).
    folder
        Folder of the collection. Below it are ``object`` (the catalogue), ``object_margin`` and ``object_id_index``.
    columns
        The schema of the catalogue.
    name
        Name of the collection.
    provenance
        Provenance to store in the properties and in every file.
    max_rows
        Largest number of objects in a partition.

    Returns
    -------
    int
        Number of objects. If there are none, there is no folder, because HATS knows no empty catalogue.
    """
    from hats.catalog.dataset.collection_properties import CollectionProperties  # slow to import

    tracts = [TractRows.of(path) for path in paths]
    index = np.sort(np.concatenate([tract.index[tract.primary] for tract in tracts] or [np.zeros(0, np.int64)]))
    if not len(index):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    schema = arrow_schema([INDEX_COLUMN, *columns], provenance.words())
    with written_whole(folder) as part:
        part.mkdir()
        writer = _Writer(part, schema, [INDEX_COLUMN, *columns], _properties(name, provenance))
        pixels = choose_pixels(index, max_rows=max_rows)
        writer.write("object", "object", tracts, ((pixel, _inside(tracts, pixel)) for pixel in pixels))
        margins = ((pixel, _around(tracts, pixel)) for pixel in pixels)
        has_margin = writer.write("object_margin", "margin", tracts, margins)
        _write_index(part / "object_id_index", tracts, pixels, _properties(name, provenance))
        margin = {"all_margins": ["object_margin"], "default_margin": "object_margin"} if has_margin else {}
        CollectionProperties(
            name=name,
            hats_primary_table_url="object",
            all_indexes={"objectId": "object_id_index"},
            default_index="objectId",
            **margin,
            **_properties(name, provenance),
        ).to_properties_file(part)
    return len(index)


def _properties(name: str, provenance: Provenance) -> dict[str, str]:
    words = provenance.words()
    return {
        "obs_title": f"{name}: fused optical and near-infrared catalogue",
        "hats_builder": words["software"],
        "prov_progenitor": f"lsst-ir-fusion commit {words['commit']}, survey {words['survey']}",
        **{f"fusion_{key}": value for key, value in words.items()},
    }


def _inside(tracts: Sequence[TractRows], pixel: Pixel) -> list[np.ndarray]:
    """Numbers of the primary rows of each tract in a pixel."""
    return [
        start + np.flatnonzero(tract.primary[start:stop])
        for tract in tracts
        for start, stop in [np.searchsorted(tract.index, pixel.limits())]
    ]


def _around(tracts: Sequence[TractRows], pixel: Pixel) -> list[np.ndarray]:
    """Numbers of the primary rows of each tract outside a pixel, in the small cells that touch its edge."""
    from hats.pixel_math.healpix_shim import margin2order
    from hats.pixel_math.pixel_margins import get_margin

    order = max(int(margin2order(np.array([MARGIN / 60]))[0]), pixel.order)
    cells = np.array(get_margin(pixel.order, pixel.number, order - pixel.order), np.int64)
    shift = 2 * (HEALPIX_ORDER - order)
    return [np.flatnonzero(tract.primary & np.isin(tract.index >> shift, cells)) for tract in tracts]


@dataclass(frozen=True)
class _Writer:
    """Writes the partitions of a catalogue of a collection, and what describes them."""

    folder: Path
    schema: pa.Schema
    columns: Sequence[SchemaColumn]
    properties: dict[str, str]

    def write(
        self, name: str, kind: str, tracts: Sequence[TractRows], parts: Iterable[tuple[Pixel, list[np.ndarray]]]
    ) -> int:
        """Write the rows of each partition; the number of rows of all."""
        from hats.catalog import PartitionInfo
        from hats.catalog.dataset.table_properties import TableProperties
        from hats.io import paths
        from hats.io.parquet_metadata import write_parquet_metadata
        from hats.pixel_math import HealpixPixel

        base, pixels, total = self.folder / name, [], 0
        for pixel, chosen in parts:
            pieces = [tract.rows(rows) for tract, rows in zip(tracts, chosen, strict=True) if len(rows)]
            if not pieces:
                continue
            table = pa.concat_tables([piece.cast(self.schema) for piece in pieces]).sort_by(INDEX_COLUMN.name)
            place = HealpixPixel(*pixel)
            pq.write_table(
                table,
                str(paths.new_pixel_catalog_file(base, place)),
                row_group_size=ROW_GROUP,
                sorting_columns=[pq.SortingColumn(0)],
                **parquet_options(self.columns),
            )
            pixels.append(place)
            total += len(table)
        if not pixels:
            return 0
        PartitionInfo.from_healpix(pixels).write_to_file(catalog_path=base)
        write_parquet_metadata(base)
        special = {"primary_catalog": "object", "margin_threshold": MARGIN} if kind == "margin" else {}
        TableProperties(
            catalog_name=name,
            catalog_type=kind,
            total_rows=total,
            ra_column="coord_ra",
            dec_column="coord_dec",
            healpix_column=INDEX_COLUMN.name,
            healpix_order=HEALPIX_ORDER,
            hats_order=max(place.order for place in pixels),
            **special,
            **self.properties,
        ).to_properties_file(base)
        return total


def _write_index(base: Path, tracts: Sequence[TractRows], pixels: Sequence[Pixel], properties: dict[str, str]) -> None:
    """Write the partition of every object, sorted by identifier."""
    from hats.catalog.dataset.table_properties import TableProperties
    from hats.io.parquet_metadata import write_parquet_metadata

    firsts = np.array([pixel.limits()[0] for pixel in pixels], np.int64)
    tables = []
    for tract in tracts:
        ids = pq.read_table(tract.path, columns=["objectId"])["objectId"].to_numpy()[tract.primary]
        where = np.searchsorted(firsts, tract.index[tract.primary], side="right") - 1
        numbers = [np.array([getattr(pixel, name) for pixel in pixels])[where] for name in ("order", "number")]
        places = {"Norder": numbers[0].astype(np.uint8), "Npix": numbers[1].astype(np.uint64)}
        tables.append(pa.table({"objectId": ids, **places}))
    table = pa.concat_tables(tables).sort_by("objectId")
    path = base / "dataset" / "index" / "part.0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path, row_group_size=8 * ROW_GROUP, sorting_columns=[pq.SortingColumn(0)], compression="zstd")
    write_parquet_metadata(base, order_by_healpix=False)
    TableProperties(
        catalog_name=base.name,
        catalog_type="index",
        total_rows=len(table),
        primary_catalog="object",
        indexing_column="objectId",
        **properties,
    ).to_properties_file(base)
