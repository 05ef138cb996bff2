"""LSST's identifiers of our objects, from its table of objects: Parquet files or a HATS catalogue of the whole sky."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from astropy.table import Table
from mocpy import MOC

from dmu0.files.atomic import written_whole
from dmu0.files.expected import find_object_tables
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import SchemaColumn
from dmu0.surveys import Survey, SurveyError
from dmu5.arrow_tables import arrow_schema, to_arrow
from dmu5.associations import associate
from dmu5.writers import parquet_options

RADIUS = 0.5
"""Largest distance of an object from that of LSST, arcsec: both are measured on the same pixels, at the same epoch."""

COLUMNS = (
    SchemaColumn("objectId", "i8", "", "meta.id;meta.main", "Identifier in this catalogue", nullable=False),
    SchemaColumn("lsst_objectId", "i8", "", "meta.id.cross", "objectId in LSST's Object table", nullable=False),
    SchemaColumn("separation", "f4", "arcsec", "pos.angDistance", "Distance between the two positions", nullable=False),
)
"""Columns of the association."""

FILE = "lsst_objects.parquet"
"""File of the association in the folder of the catalogue."""

_NEEDED = ("objectId", "coord_ra", "coord_dec")
_ORDER = 12  # HEALPix cells of 52 arcsec: larger than RADIUS, much smaller than partitions


def associate_lsst(survey: Survey, objects: Table, *, provenance: Provenance) -> Table | None:
    """Find which object of LSST each of our objects is, and write it to ``catalogue/lsst_objects.parquet``.

    Objects are paired if each is the nearest of the other within `RADIUS`. Objects without a counterpart have no row.

    Parameters
    ----------
    survey
        The survey; ``optical.objects`` names LSST's table.
    objects
        Catalogue with one row per object.
    provenance
        Provenance to store in the file.

    Returns
    -------
    Table or None
        The pairs, with `COLUMNS`; None if the survey names no table, in which case there is no file.

    Raises
    ------
    SurveyError
        If the table is not there, or lacks a column.
    """
    path = survey.folders[5] / "catalogue" / FILE
    pattern = next((optical.objects for optical in survey.optical if optical.objects is not None), None)
    if pattern is None:
        path.unlink(missing_ok=True)  # of an earlier release
        return None
    found = find_object_tables(survey)
    if not found:
        raise SurveyError(
            f"{survey.path}: optical.objects names nothing that is there: {survey.input_folder / pattern}. Give "
            "Parquet files or the folder of a HATS catalogue, or leave the key out."
        )
    theirs = read_lsst_objects(found, objects, what=f"{survey.path}: optical.objects {pattern}")
    theirs.rename_column("objectId", "lsst_objectId")
    pairs = associate(objects, theirs, identifier="lsst_objectId", ra="coord_ra", dec="coord_dec", radius=RADIUS)
    schema = arrow_schema(COLUMNS, provenance.words())
    with written_whole(path) as part:
        pq.write_table(to_arrow(pairs, COLUMNS, schema, slice(None)), part, **parquet_options(COLUMNS))
    return pairs


def read_lsst_objects(paths: list[Path], objects: Table, *, what: str) -> Table:
    """Identifiers and positions of LSST's objects around ours; only the partitions and rows that are near are read.

    Parameters
    ----------
    paths
        Parquet files, or the folder of a HATS catalogue or collection.
    objects
        Catalogue with ``coord_ra`` and ``coord_dec``.
    what
        What the table is called in an error.

    Returns
    -------
    Table
        objectId, coord_ra and coord_dec; one row per object where the table tells primary rows.

    Raises
    ------
    SurveyError
        If a column is missing.
    """
    ra, dec = (np.asarray(objects[f"coord_{axis}"], float) for axis in ("ra", "dec"))
    files = [str(file) for path in paths for file in ([path] if path.is_file() else _partitions(path, ra, dec))]
    if not files or not len(objects):
        return Table({name: np.zeros(0, np.int64 if name == "objectId" else float) for name in _NEEDED})
    table = ds.dataset(files, format="parquet")
    if missing := [name for name in _NEEDED if name not in table.schema.names]:
        raise SurveyError(f"{what} has no column {', '.join(missing)}; it has {', '.join(table.schema.names[:20])}.")
    arrow = table.to_table(columns=list(_NEEDED), filter=_near(ra, dec, table.schema))
    return Table({name: arrow[name].to_numpy() for name in _NEEDED})


def _partitions(folder: Path, ra: np.ndarray, dec: np.ndarray) -> Iterator[Path]:
    """Files of a HATS catalogue in which objects within `RADIUS` of the positions may be."""
    from hats.catalog import Catalog, CatalogCollection  # slow to import
    from hats.loaders import read_hats

    catalogue = read_hats(folder)
    main = catalogue.main_catalog if isinstance(catalogue, CatalogCollection) else catalogue
    if not isinstance(main, Catalog):
        raise SurveyError(
            f"{folder} is a HATS {type(main).__name__}, not a catalogue of objects: give its main catalogue."
        )
    around = MOC.from_lonlat(ra * u.deg, dec * u.deg, max_norder=_ORDER).add_neighbours()
    for path in main.filter_by_moc(around).get_pixel_paths():
        yield from sorted(Path(path).rglob("*.parquet")) if Path(path).is_dir() else [Path(path)]


def _near(ra: np.ndarray, dec: np.ndarray, schema: pa.Schema) -> pc.Expression:
    """Rows in the box of the positions, of which statistics of the files tell most; primary ones where it is said."""
    reach = RADIUS / 3600
    wide = reach / max(np.cos(np.radians(min(np.abs(dec).max() + reach, 90))), 1e-6)
    chosen = (pc.field("coord_dec") >= dec.min() - reach) & (pc.field("coord_dec") <= dec.max() + reach)
    if ra.max() - ra.min() < 180 and ra.min() > wide and ra.max() < 360 - wide:  # elsewhere the box is a ring
        chosen &= (pc.field("coord_ra") >= ra.min() - wide) & (pc.field("coord_ra") <= ra.max() + wide)
    return chosen & pc.field("detect_isPrimary") if "detect_isPrimary" in schema.names else chosen
