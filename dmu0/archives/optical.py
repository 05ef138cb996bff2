"""Optical coadds: HSC files and PSF stamps by their addresses, LSST coadds from a Butler or a TAP service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lsst.daf.butler import Butler, MissingDatasetTypeError

from dmu0.archives.session import ArchiveError
from dmu0.archives.tap import datalink
from dmu0.archives.wanted import Archives, Request
from dmu0.files.expected import fill_pattern
from dmu0.sky.tract import Patch
from dmu0.surveys import SurveyError
from obs_vista.bands import get_band


def hsc_files(archives: Archives, patches: Iterable[Patch]) -> Iterator[Request]:
    """Coadds, and PSF stamps at the patches' centres, of the public data releases of HSC-SSP."""
    optical = archives.survey.optical
    files = (("hsc", "optical_coadd", optical.coadds), ("hsc_psf", "optical_psf", optical.psf_stamps))
    for patch in patches:
        for band in optical.bands:
            for archive, kind, patterns in files:
                pattern = patterns.get(band, patterns.get("default"))
                if archive in archives.queries and pattern is not None:
                    path = fill_pattern(pattern, band=band, filter_name=get_band(band).physical_filter, patch=patch)
                    yield Request(archive, kind, path, _patch_query(archives, archive, band, patch))


def _patch_query(archives: Archives, archive: str, band: str, patch: Patch) -> str:
    """A query or address of the survey file for one band of one patch."""
    names = {"band": band, "filter": get_band(band).physical_filter, "tract": patch.tract.id, "patch": patch.id}
    names |= {"patch_x": patch.index[0], "patch_y": patch.index[1], "radius": "0.02"}
    names |= {"ra": f"{patch.center.ra.deg:.7f}", "dec": f"{patch.center.dec.deg:.7f}"}
    return archives.fill(archive, **names)


def lsst_files(archives: Archives, patches: Iterable[Patch]) -> Iterator[Request]:
    """LSST coadds that a TAP service (ObsCore with DataLink) gives for the bands of some patches.

    Raises
    ------
    ArchiveError
        If the service has more than one coadd of a band and patch, so that the query must be narrowed.
    """
    optical = archives.survey.optical
    for patch in patches:
        for band in optical.bands:
            pattern = optical.coadds.get(band, optical.coadds.get("default"))
            if pattern is None:
                raise SurveyError(f"{archives.survey.path}: optical.coadds has no pattern for the band {band}.")
            rows = archives.ask("lsst", _patch_query(archives, "lsst", band, patch))
            if len(rows) > 1:
                raise ArchiveError(f"inputs.query.lsst gives {len(rows)} coadds for {patch} {band}: narrow it to one.")
            for row in rows:
                address = str(row["access_url"])
                session = archives.session("lsst", address)
                links = datalink(address, session=session, patience=archives.patience, wait=archives.wait)
                (link,) = [link for link in links if str(link["semantics"]) == "#this"][:1] or [None]
                if link is not None:
                    path = fill_pattern(pattern, band=band, filter_name=get_band(band).physical_filter, patch=patch)
                    yield Request("lsst", "optical_coadd", path, str(link["access_url"]))


def butler_coadds(archives: Archives) -> dict[tuple[int, int, str], str]:
    """Which coadds of the survey's patches its Butler repository has: (tract, patch, band) -> where; "" if it has not.

    They stay in the repository, from where the pipeline reads them.

    Raises
    ------
    ArchiveError
        If the repository cannot be opened, or does not have the collection.
    """
    optical = archives.survey.optical
    wanted = {(patch.tract.id, patch.id, band): "" for patch in archives.patches for band in optical.bands}
    try:
        with Butler.from_config(optical.butler, collections=optical.collection) as butler:
            for tract in archives.tract_list():
                bands = ", ".join(f"'{band}'" for band in optical.bands)
                where = f"tract = {tract.id} AND band IN ({bands})"
                for ref in butler.query_datasets("deep_coadd", where=where, explain=False):
                    key = (int(ref.dataId["tract"]), int(ref.dataId["patch"]), str(ref.dataId["band"]))
                    if key in wanted:
                        wanted[key] = str(butler.getURI(ref))
    except (FileNotFoundError, LookupError, MissingDatasetTypeError) as error:
        raise ArchiveError(f"The Butler {optical.butler}, collection {optical.collection}: {error}") from error
    return wanted
