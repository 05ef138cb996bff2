"""Identifiers of our objects in the reference catalogues of a survey: Gaia, VISTA (VSA), Pan-STARRS, 2MASS."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table

from dmu0.files.atomic import written_whole
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import SchemaColumn
from dmu0.surveys import Survey
from dmu2.merging import at_epoch
from dmu2.steps import read_references
from dmu5.arrow_tables import arrow_schema, to_arrow
from dmu5.associations import associate
from dmu5.lsst_objects import associate_lsst
from dmu5.writers import parquet_options

IDENTIFIERS = MappingProxyType(
    {
        "gaia": ("gaia_source_id", "source_id in Gaia"),
        "vista": ("vsa_sourceID", "sourceID in the VISTA Science Archive"),
        "ps1": ("ps1_objID", "objID in Pan-STARRS"),
        "twomass": ("twomass_pts_key", "pts_key (Cntr) in 2MASS"),
    }
)
"""Reference catalogue -> column of its identifier in an association, and its meaning."""

RADIUS = 1.0
"""Largest distance of an object from its counterpart, arcsec."""


def associate_references(survey: Survey, objects: Table, *, provenance: Provenance) -> dict[str, Table]:
    """Find our objects in the reference catalogues of a survey, and write one file ``<name>_objects.parquet`` for each.

    Stars of known motion are compared where they were at the median date of the images. An object and an entry are
    paired if each is the nearest of the other within `RADIUS`; objects without a counterpart have no row. A catalogue
    without identifiers has running numbers.

    Parameters
    ----------
    survey
        The survey; its manifest lists the files.
    objects
        Catalogue with one row per object.
    provenance
        Provenance to store in the files.

    Returns
    -------
    dict
        Name of the catalogue -> pairs, with the columns of `pair_columns`; catalogues without files are not there, and
        have no file.
    """
    folder = survey.folders[5] / "catalogue"
    for name in IDENTIFIERS:
        (folder / f"{name}_objects.parquet").unlink(missing_ok=True)  # of an earlier release
    references, _ = read_references(survey)
    date = _median_date(objects, survey)
    found = {}
    for name, reference in references.items():
        identifier = IDENTIFIERS[name][0]
        ra, dec = at_epoch(reference, date)
        theirs = Table({identifier: np.asarray(reference["id"]), "ra": ra, "dec": dec})
        found[name] = associate(objects, theirs, identifier=identifier, ra="ra", dec="dec", radius=RADIUS)
        columns = pair_columns(name)
        schema = arrow_schema(columns, provenance.words())
        with written_whole(folder / f"{name}_objects.parquet") as part:
            pq.write_table(to_arrow(found[name], columns, schema, slice(None)), part, **parquet_options(columns))
    return found


def associate_all(survey: Survey, objects: Table, *, provenance: Provenance) -> dict[str, Table]:
    """Pairs with every list that a survey names: `associate_references`, and ``lsst`` by `associate_lsst`."""
    found = associate_references(survey, objects, provenance=provenance)
    pairs = associate_lsst(survey, objects, provenance=provenance)
    return found if pairs is None else found | {"lsst": pairs}


def pair_columns(name: str) -> tuple[SchemaColumn, ...]:
    """The three columns of the association with a reference catalogue."""
    identifier, meaning = IDENTIFIERS[name]
    return (
        SchemaColumn("objectId", "i8", "", "meta.id;meta.main", "Identifier in this catalogue", nullable=False),
        SchemaColumn(identifier, "i8", "", "meta.id.cross", meaning, nullable=False),
        SchemaColumn(
            "separation", "f4", "arcsec", "pos.angDistance", "Distance between the two positions", nullable=False
        ),
    )


def _median_date(objects: Table, survey: Survey) -> float:
    """Median date (MJD) of the images in which positions were measured; J2015.5 if none is known."""
    dates = [np.nan]
    for band in survey.bands:
        mine = np.asarray(objects["refBand"]).astype(str) == band
        dates += np.ma.filled(np.ma.asarray(objects[f"{band}_epoch"]).astype(float), np.nan)[mine].tolist()
    known = np.asarray(dates)[np.isfinite(dates)]
    return float(np.median(known)) if len(known) else 57206.0
