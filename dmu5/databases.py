"""The catalogue in SQLite or PostgreSQL, with TAP_SCHEMA, all from the Felis schema: what a TAP service needs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import yaml
from astropy.table import Table

from dmu5.arrow_tables import arrow_schema, to_arrow
from dmu5.observations import OBSCORE, obscore_columns

if TYPE_CHECKING:
    import sqlalchemy
    from felis.datamodel import Schema

BATCH = 4096
"""Rows that are sent to the database at once."""


def load_catalogue(url: str, folder: Path, *, images: Table | None = None) -> dict[str, int]:
    """Load a catalogue into a database; tables of an earlier load are replaced.

    Parameters
    ----------
    url
        Address of the database as in SQLAlchemy: ``sqlite:///file.db`` or ``postgresql+psycopg://user@host/name``.
    folder
        Folder of the catalogue: its ``schema.yaml`` defines the tables, ``parquet`` has the rows.
    images
        Records of the images (`dmu5.observations.obscore_records`), for ``ivoa.obscore``; None: no such table.

    Returns
    -------
    dict
        Rows loaded into each table.

    Raises
    ------
    FileNotFoundError
        If the folder has no schema.
    sqlalchemy.exc.SQLAlchemyError
        If the database cannot be reached or refuses; the tables are then empty.

    Notes
    -----
    PostgreSQL has the schemas ``lsst_ir_fusion``, ``ivoa`` and ``TAP_SCHEMA``; SQLite knows none. Positions are
    indexed in declination, identifiers by the primary key.
    """
    if not (folder / "schema.yaml").exists():
        raise FileNotFoundError(f"There is no {folder / 'schema.yaml'}: name the folder of a catalogue.")
    files = sorted(folder.glob("parquet/*/object.parquet"))
    batches = (batch for path in files for batch in pq.ParquetFile(path).iter_batches(BATCH))
    loads = [(_schema(folder / "schema.yaml"), batches)]
    if images is not None:
        columns = obscore_columns()
        records = to_arrow(images, columns, arrow_schema(columns, {}), slice(None))
        loads.append((_schema(OBSCORE), iter(records.to_batches(BATCH))))
    counts = {}
    for schema, rows in loads:
        name = schema.tables[0].name
        counts[name] = _load_table(url, schema, rows)
    _load_tap_schema(url, [schema for schema, _ in loads])
    return counts


def _schema(path: Path) -> Schema:
    from felis.datamodel import Schema  # slow to import

    return Schema.model_validate(yaml.safe_load(path.read_text()))


def _load_table(url: str, schema: Schema, batches: Iterator[pa.RecordBatch]) -> int:
    """Make the table of a schema and fill it, in one transaction."""
    import sqlalchemy
    from felis.db.database_context import create_database_context
    from felis.metadata import MetaDataBuilder

    metadata = MetaDataBuilder(schema).build()
    with create_database_context(url, metadata) as context:
        context.initialize()
        context.metadata.drop_all(context.engine)
        context.create_all()
        (table,) = context.metadata.tables.values()
        total = 0
        with context.engine.begin() as connection:
            for batch in batches:
                total += _insert(connection, table, batch)
            if "coord_dec" in table.columns:
                index = sqlalchemy.Index(f"{table.name}_coord_dec", table.columns["coord_dec"])
                index.create(connection)
    return total


def _insert(connection: sqlalchemy.Connection, table: sqlalchemy.Table, batch: pa.RecordBatch) -> int:
    """Insert rows: by COPY into PostgreSQL, which is 20 times faster than by statements."""
    raw: Any = connection.connection.driver_connection
    quote = connection.dialect.identifier_preparer.quote
    name = connection.dialect.identifier_preparer.format_table(table)
    names = ", ".join(quote(column) for column in batch.schema.names)
    if connection.dialect.name == "postgresql":
        stream = io.BytesIO()
        pa_csv.write_csv(batch, stream, pa_csv.WriteOptions(include_header=False))
        with raw.cursor() as cursor, cursor.copy(f"COPY {name} ({names}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(stream.getvalue())
    else:
        places = ", ".join("?" * batch.num_columns)
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        raw.executemany(f"INSERT INTO {name} ({names}) VALUES ({places})", rows)
    return batch.num_rows


def _load_tap_schema(url: str, schemas: Sequence[Schema]) -> None:
    """Make TAP_SCHEMA, which describes itself and the tables of the schemas."""
    from felis.db.database_context import create_database_context
    from felis.tap_schema import DataLoader, MetadataInserter, TableManager

    manager = TableManager(engine_url=url)
    with create_database_context(url, manager.metadata) as context:
        context.initialize()
        context.metadata.drop_all(context.engine)
        manager.initialize_database(context)
        MetadataInserter(manager, context).insert_metadata()
        for number, schema in enumerate(schemas, start=1):
            DataLoader(schema, manager, context, tap_schema_index=number, unique_keys=True).load()


def in_cone(ra: float, dec: float, radius: float) -> str:
    """An SQL condition for rows within ``radius`` arcsec of a position in deg, which uses the index of declinations.

    Parameters
    ----------
    ra, dec
        Centre, ICRS, deg.
    radius
        Radius, arcsec.
    """
    x, y, z = (
        np.cos(np.radians(dec)) * np.cos(np.radians(ra)),
        np.cos(np.radians(dec)) * np.sin(np.radians(ra)),
        np.sin(np.radians(dec)),
    )
    d, a = "radians(coord_dec)", "radians(coord_ra)"
    apart = (
        f"power(cos({d}) * cos({a}) - ({x!r}), 2) + power(cos({d}) * sin({a}) - ({y!r}), 2)"
        f" + power(sin({d}) - ({z!r}), 2)"
    ).replace("np.float64", "")
    reach = radius / 3600
    chord = (2 * np.sin(np.radians(reach) / 2)) ** 2
    return f"coord_dec between {dec - reach!r} and {dec + reach!r} and {apart} <= {float(chord)!r}"
