"""The coadds of a survey in an LSST Butler repository, which are read in place."""

from __future__ import annotations

from lsst.daf.butler import Butler, MissingDatasetTypeError

from dmu0.sky.skymap import chosen_patches
from dmu0.surveys import Optical, Survey, SurveyError
from obs_vista.bands import plain_band


def find_coadds(survey: Survey, tracts: str = "") -> dict[tuple[int, int, str], str]:
    """The coadds of the survey's patches in its Butler repository.

    Parameters
    ----------
    survey
        The survey; the keys ``butler`` and ``collection`` of its sections of kind lsst name repository and collection.
    tracts
        Numbers of the tracts, separated by spaces; empty: all of the survey.

    Returns
    -------
    dict
        (tract, patch, band) -> address of the coadd; "" if the repository has none.

    Raises
    ------
    SurveyError
        If the repository cannot be opened or lacks the collection.
    """
    found: dict[tuple[int, int, str], str] = {}
    for optical in survey.optical:
        if optical.butler is not None:
            found |= _find_in(optical, survey, chosen_patches(survey, tracts))
    return found


def _find_in(optical: Optical, survey: Survey, patches: dict[int, list[int]]) -> dict[tuple[int, int, str], str]:
    """`find_coadds` for one section of the survey file."""
    wanted = {(tract, patch, band): "" for tract in patches for patch in patches[tract] for band in optical.bands}
    labels = {plain_band(band): band for band in optical.bands}
    bands = ", ".join(f"'{band}'" for band in labels)
    try:
        with Butler.from_config(optical.butler, collections=optical.collection) as butler:
            for tract in patches:
                where = f"tract = {tract} AND band IN ({bands})"
                for ref in butler.query_datasets("deep_coadd", where=where, explain=False, limit=None):
                    band = labels[str(ref.dataId["band"])]
                    key = (int(ref.dataId["tract"]), int(ref.dataId["patch"]), band)
                    if key in wanted:
                        wanted[key] = str(butler.getURI(ref))
    except (FileNotFoundError, LookupError, MissingDatasetTypeError) as error:
        message = f"{survey.path}: optical.butler {optical.butler}, optical.collection {optical.collection}: {error}"
        raise SurveyError(message) from error
    return wanted
