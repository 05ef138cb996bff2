"""Production of the sample tile: the sky is simulated and written in the formats of the archives."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from lsst.images import Box

from dmu0.files.atomic import list_part, unfinished, written_whole
from dmu0.files.tables import write_table
from dmu0.processes import process_pool
from dmu0.progress import tqdm
from dmu0.sample.catalogues import ps1_catalogue, twomass_catalogue, write_catalogue
from dmu0.sample.hsc_files import file_name, make_field, write_patch, write_psf
from dmu0.sample.lsst_coadds import make_lsst_field
from dmu0.sample.lsst_files import write_lsst
from dmu0.sample.scene import VISTA_PIXEL, Scene
from dmu0.sample.sky import make_sky
from dmu0.sample.visits import plan_visits, pointings
from dmu0.sample.vista_files import write_visit
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import Survey, load_survey

_RECORD = "sample.json"
"""File that records the settings and products; written last."""

_STAGING = unfinished(Path("sample")).name
"""Folder in which a sample is made."""


def sample_digest(survey: Survey) -> str:
    """A digest of everything that determines the sample: its settings and the modules that make it."""
    settings = survey.model_dump(mode="json", include={"inputs", "sky_map", "tracts"})
    settings["bands"] = survey.bands
    settings["scene"] = asdict(Scene.from_changes(survey.inputs.scene))
    if survey.inputs.like is not None:
        settings["like"] = sample_digest(load_survey(survey.inputs.like))
    for optical in survey.optical:
        settings["optical"] = optical.model_dump(mode="json", include={"coadds", "psf_stamps"})
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in (".py", ".yaml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(survey: Survey) -> bool:
    """Whether the sample exists, is complete, and was made with the current settings."""
    record = survey.folders[0] / _RECORD
    if not record.exists():
        return False
    made = json.loads(record.read_text())
    complete = all((survey.folders[0] / name).is_file() for name in made["files"])
    return complete and made["digest"] == sample_digest(survey)


def _write_optical(folder: Path, survey: Survey, tract_id: int, band: str, sky: Table, scene: Scene) -> None:
    """Simulate one band of the patches of a tract, and write them."""
    tract = make_sky_map(survey.sky_map).tract(tract_id)  # made here: a WCS loses digits on its way to a process
    patches = [tract.patch(patch) for patch in survey.tracts[tract_id]]
    coadds, stamps = survey.optical_bands[band].coadds, survey.optical_bands[band].psf_stamps
    if survey.optical_bands[band].kind == "lsst":
        cells = make_lsst_field(band, _hull(patches), tract.cell, tract.wcs, sky, scene, seed=survey.inputs.seed)
        for patch in patches:
            write_lsst(folder / file_name(coadds, band, patch), cells, patch, skymap=survey.sky_map.name)
        return
    field = make_field(band, _hull(patches), tract.wcs, sky, scene, seed=survey.inputs.seed)
    for patch in patches:
        write_patch(folder / file_name(coadds, band, patch), field, patch)
        write_psf(folder / file_name(stamps, band, patch), field, patch)


def _hull(patches: list) -> Box:
    """The smallest box that contains the outer boxes of some patches."""
    boxes = [patch.image_bbox for patch in patches]
    return Box.factory[
        min(box.y.start for box in boxes) : max(box.y.stop for box in boxes),
        min(box.x.start for box in boxes) : max(box.x.stop for box in boxes),
    ]


def field_centre(survey: Survey) -> SkyCoord:
    """Centre of the patches of the survey's first tract."""
    tract_id, patches = next(iter(survey.tracts.items()))
    tract = make_sky_map(survey.sky_map).tract(tract_id)
    box = _hull([tract.patch(patch) for patch in patches])
    ra, dec = tract.wcs.all_pix2world(0.5 * (box.x.start + box.x.stop - 1), 0.5 * (box.y.start + box.y.stop - 1), 0)
    return SkyCoord(float(ra) * u.deg, float(dec) * u.deg)


def patches_half(survey: Survey) -> float:
    """Half the width in arcsec of the square around the patches of the survey's first tract."""
    tract_id, patches = next(iter(survey.tracts.items()))
    tract = make_sky_map(survey.sky_map).tract(tract_id)
    return 0.5 * max(_hull([tract.patch(patch) for patch in patches]).shape) * survey.sky_map.pixel_scale


def half_width(survey: Survey, scene: Scene) -> float:
    """Half the width in arcsec of the square with sources, which covers the patches, and all detectors that have
    sources, with a margin."""
    offsets = np.abs(pointings(scene)).max() if scene.tile else 1.0
    focal_plane = 2 * max(scene.pitch) * VISTA_PIXEL + scene.dither * offsets
    patch_field = patches_half(survey)
    reaching = patch_field + scene.reach + scene.detector_pixels * VISTA_PIXEL
    return max(min(focal_plane, reaching) if survey.vista else 0, patch_field) + 30


def make_sample(survey: Survey, *, force: bool = False, progress: bool = True) -> list[str]:
    """Write the sample tile into the data folder of dmu0, unless it exists already.

    Everything is first written to a temporary folder, so that readers see either the old or the new sample.

    Parameters
    ----------
    survey
        A survey whose inputs are simulated.
    force
        Whether to make it again even if it is current.
    progress
        Whether to show a progress bar.

    Returns
    -------
    list of str
        The files of the sample, relative to the data folder.
    """
    folder = survey.folders[0]
    staging = folder / _STAGING
    with _alone(folder):
        if force or not is_current(survey):
            _remove(folder.glob(f"{_STAGING}*"))  # what a killed run left
            list_part(staging)
            try:
                _write_sample(staging, survey, progress=progress)
                files = sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file())
                _publish(staging, folder, {"digest": sample_digest(survey), "files": files})
            finally:
                _remove(folder.glob(f"{_STAGING}*"))
    return json.loads((folder / _RECORD).read_text())["files"]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is making this sample; a killed process holds no lock."""
    with (folder / ".sample.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder)


def _publish(staging: Path, folder: Path, record: dict) -> None:
    """Replace the old folders by the finished ones, and the record last."""
    (folder / _RECORD).unlink(missing_ok=True)
    for part in sorted(staging.iterdir()):
        if (folder / part.name).exists():
            (folder / part.name).rename(folder / f"{_STAGING}.{part.name}")
        part.rename(folder / part.name)
    with written_whole(folder / _RECORD) as part:
        part.write_text(json.dumps(record, indent=1))


def _write_sample(folder: Path, survey: Survey, *, progress: bool) -> None:
    """Simulate all files of the sample in a folder."""
    like = survey if survey.inputs.like is None else load_survey(survey.inputs.like)
    scene, seed, centre = Scene.from_changes(like.inputs.scene), like.inputs.seed, field_centre(like)
    patch_field = patches_half(like)
    sky = make_sky(scene, centre, half=half_width(like, scene), patches=patch_field, seed=seed)
    scene = Scene.from_changes(like.inputs.scene | survey.inputs.scene)
    visits = plan_visits(scene, survey.vista.stack_bands if survey.vista else (), centre, seed=seed)
    detectors = []
    with process_pool(survey.engine.processes) as pool:  # most of the time goes into headers and compression, in Python
        near = patch_field + scene.reach
        stacks = [
            pool.submit(write_visit, folder / "vista", visit, sky, centre, scene, seed=seed, half=near)
            for visit in visits
        ]
        coadds = [
            pool.submit(_write_optical, folder, survey, tract, band, sky, scene)
            for band in survey.optical_bands
            for tract in survey.tracts
        ]
        jobs = stacks + coadds
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="sample", unit="file", disable=not progress):
            job.result()
        detectors = [row for stack in stacks for row in stack.result()]
    write_catalogue(folder / "catalogues" / "ps1_000.fits", ps1_catalogue(sky, scene, seed=seed), "PS1")
    write_catalogue(folder / "catalogues" / "twomass_000.fits", twomass_catalogue(sky, scene, seed=seed), "II/246/out")
    write_table(sky, folder / "truth" / "truth.parquet")
    if detectors:
        write_table(Table(rows=detectors), folder / "truth" / "detectors.parquet")
