"""Optical coadds: HSC files and PSF stamps from their addresses, LSST coadds from a TAP service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dmu0.archives.session import ArchiveError
from dmu0.archives.tap import cutout_address, datalink
from dmu0.archives.wanted import Archives, Request
from dmu0.files.coadd_files import fill_pattern
from dmu0.sky.tract import Patch
from dmu0.surveys import Optical, Survey, SurveyError
from obs_vista.bands import get_band, plain_band


def hsc_files(archives: Archives, patches: Iterable[Patch]) -> Iterator[Request]:
    """Coadds, and PSF stamps at the centres of the patches, of the public data releases of HSC-SSP."""
    bands = _bands_of(archives.survey, "hsc")
    for patch in patches:
        for band, optical in bands.items():
            for archive, kind, patterns in (
                ("hsc", "optical_coadd", optical.coadds),
                ("hsc_psf", "optical_psf", optical.psf_stamps),
            ):
                pattern = patterns.get(band, patterns.get("default"))
                if archive in archives.queries and pattern is not None:
                    path = fill_pattern(pattern, band=band, patch=patch)
                    yield Request(archive, kind, path, _patch_query(archives, archive, band, patch))


def _bands_of(survey: Survey, kind: str) -> dict[str, Optical]:
    """The bands that an archive has: those of the sections of its kind, or all where there is no such section."""
    bands = survey.optical_bands
    return {band: optical for band, optical in bands.items() if optical.kind == kind} or bands


def _patch_query(archives: Archives, archive: str, band: str, patch: Patch) -> str:
    """The query or address in the survey file for one band of one patch."""
    plain = plain_band(band)
    names = {"band": plain, "filter": get_band(plain).physical_filter, "tract": patch.tract.id, "patch": patch.id}
    names |= {"patch_x": patch.index[0], "patch_y": patch.index[1], "radius": "0.02"}
    names |= {"ra": f"{patch.center.ra.deg:.7f}", "dec": f"{patch.center.dec.deg:.7f}"}
    return archives.fill(archive, **names)


def lsst_files(archives: Archives, patches: Iterable[Patch]) -> Iterator[Request]:
    """LSST coadds of the bands of some patches, from a TAP service (ObsCore with DataLink).

    With a query ``lsst_cutout``, which is a region such as ``CIRCLE {ra} {dec} 0.1``, cutouts are requested (SODA).

    Raises
    ------
    ArchiveError
        If the service has several coadds of a band and patch; the query must then be restricted.
    """
    bands = _bands_of(archives.survey, "lsst")
    for patch in patches:
        for band, optical in bands.items():
            pattern = optical.coadds.get(band, optical.coadds.get("default"))
            if pattern is None:
                raise SurveyError(f"{archives.survey.path}: optical.coadds has no pattern for the band {band}.")
            rows = archives.ask("lsst", _patch_query(archives, "lsst", band, patch))
            if len(rows) > 1:
                raise ArchiveError(f"inputs.query.lsst gives {len(rows)} coadds for {patch} {band}: narrow it to one.")
            for row in rows:
                address = str(row["access_url"])
                if product := _product(archives, address, band, patch):
                    path = fill_pattern(pattern, band=band, patch=patch)
                    yield Request("lsst", "optical_coadd", path, product)


def _product(archives: Archives, address: str, band: str, patch: Patch) -> str:
    """Address of a coadd, whole or cut out as the survey file says, from its DataLink address; empty if it has none."""
    session, patience, wait = archives.session("lsst", address), archives.patience, archives.wait
    if "lsst_cutout" in archives.queries:
        region = _patch_query(archives, "lsst_cutout", band, patch)
        return cutout_address(address, region, session=session, patience=patience, wait=wait)
    links = datalink(address, session=session, patience=patience, wait=wait)
    return next((str(link["access_url"]) for link in links if str(link["semantics"]) == "#this"), "")
