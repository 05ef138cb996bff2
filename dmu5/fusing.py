"""From the pipeline's object tables to the catalogue: adds reddening and halos of stars, and checks the schema."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import healsparse
import numpy as np
from astropy.table import Table
from lsst.daf.butler import MissingCollectionError, MissingDatasetTypeError

from dmu0.schema.columns import SchemaColumn
from dmu0.schema.tables import with_schema
from dmu0.surveys import Survey, chosen_tracts
from dmu2.bright_stars import BrightStars
from dmu4.butler.repository import open_butler

log = logging.getLogger(__name__)

OBJECT = "object"
"""Dataset type of the pipeline's tables, one per tract."""


def read_objects(survey: Survey, tracts: str = "") -> dict[int, Table]:
    """The pipeline's object tables, by tract.

    Parameters
    ----------
    survey
        The survey; its Butler repository is that of dmu4.
    tracts
        Tracts to read, separated by spaces; all existing ones if empty.

    Raises
    ------
    FileNotFoundError
        If there is no repository.
    """
    wanted = chosen_tracts(survey, tracts)
    found: dict[int, Table] = {}
    with open_butler(survey) as butler:
        try:
            references = butler.query_datasets(OBJECT, explain=False)
        except (MissingDatasetTypeError, MissingCollectionError):
            log.warning("The repository of %s has no dataset type %r: no tract was finished.", survey.name, OBJECT)
            return found
        for reference in references:
            tract = int(reference.dataId["tract"])
            if tract in wanted:
                found[tract] = butler.get(reference)
    return {tract: found[tract] for tract in wanted if tract in found}


def fuse(
    objects: Table,
    columns: Sequence[SchemaColumn],
    *,
    ebv_map: Path | None = None,
    stars: BrightStars | None = None,
) -> Table:
    """The catalogue of a tract from its object table, with all columns, units and descriptions of the schema.

    Parameters
    ----------
    objects
        The pipeline's table, with all columns of the schema except those that are added here.
    columns
        The schema.
    ebv_map
        A healsparse map of E(B-V); None: ``ebv`` is NaN.
    stars
        Bright stars with halos; None: none are known.

    Raises
    ------
    SchemaError
        If the columns of the table differ from the schema.
    """
    table = objects.copy()
    ra, dec = np.asarray(table["coord_ra"], float), np.asarray(table["coord_dec"], float)
    if "ebv" not in table.colnames:
        table["ebv"] = look_up_ebv(ra, dec, ebv_map)
    distance = np.full(len(table), np.nan) if stars is None else stars.distances(ra, dec)
    table["brightStar_distance"] = distance.astype(np.float32)
    table["brightStar_flag"] = np.nan_to_num(distance, nan=np.inf) < 1
    return with_schema(table, columns)


def look_up_ebv(ra: np.ndarray, dec: np.ndarray, ebv_map: Path | None) -> np.ndarray:
    """Galactic reddening at positions in deg, from a healsparse map; NaN without a map and outside it.

    Raises
    ------
    FileNotFoundError
        If the map does not exist.
    """
    if ebv_map is None:
        return np.full(len(ra), np.nan, np.float32)
    if not ebv_map.exists():
        raise FileNotFoundError(
            f"There is no map of E(B-V) {ebv_map}: correct the parameter ebv_map, or leave it empty."
        )
    sky = healsparse.HealSparseMap.read(str(ebv_map))
    values = np.asarray(sky.get_values_pos(ra, dec, lonlat=True), np.float32)
    return np.where(values == np.float32(sky.sentinel), np.nan, values).astype(np.float32)
