"""Making the sample tile: simulate the sky and write it as the archives deliver it."""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from lsst.images import Box
from tqdm import tqdm

from dmu0.paths import PROJECT
from dmu0.sample.catalogues import ps1_catalogue, twomass_catalogue, write_catalogue
from dmu0.sample.hsc_files import make_field, patch_name, write_patch, write_psf
from dmu0.sample.scene import Scene, plan_visits
from dmu0.sample.sky import make_sky
from dmu0.sample.vista_files import write_visit
from dmu0.skymap import make_sky_map
from dmu0.surveys import Survey

_HALF_WIDTH = 330.0
"""Half the width of the square that has sources, arcsec: the dithered focal planes and a margin."""

_RECORD = "sample.json"
"""Says what was made from which settings; written last."""


def sample_digest(survey: Survey) -> str:
    """A digest of everything that the sample depends on: its settings, and the modules that make it."""
    digest = hashlib.sha256()
    settings = [survey.inputs.seed, sorted(survey.inputs.scene.items()), survey.sky_map.model_dump(mode="json")]
    settings += [survey.bands, sorted((str(tract), patches) for tract, patches in survey.tracts.items())]
    settings += [asdict(Scene.from_changes(survey.inputs.scene))]
    settings += [survey.optical.model_dump(mode="json") if survey.optical else None]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    sources = [
        *(PROJECT / "dmu0" / "sample").iterdir(),
        *(PROJECT / "dmu0" / name for name in ("tract.py", "skymap.py")),
    ]
    sources += [PROJECT / "obs_vista" / name for name in ("bands.py", "camera.py", "vircam.yaml")]
    for path in sorted(path for path in sources if path.suffix in (".py", ".yaml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(survey: Survey) -> bool:
    """Whether the sample is there, complete, and made from the present settings."""
    record = survey.folders[0] / _RECORD
    if not record.exists():
        return False
    made = json.loads(record.read_text())
    complete = all((survey.folders[0] / name).is_file() for name in made["files"])
    return complete and made["digest"] == sample_digest(survey)


def _optical_jobs(folder: Path, survey: Survey, sky: Table, scene: Scene) -> list:
    """One job a band and tract: simulate its patches and write them."""
    tract_ids = survey.tracts
    sky_map = make_sky_map(survey.sky_map)

    def write(band: str, tract_id: int) -> None:
        tract = sky_map.tract(tract_id)
        patches = [tract.patch(patch) for patch in tract_ids[tract_id]]
        field = make_field(band, _hull(patches), tract.wcs, sky, scene, seed=survey.inputs.seed)
        coadds, stamps = survey.optical.coadds, survey.optical.psf_stamps
        for patch in patches:
            write_patch(folder / patch_name(coadds.get(band, coadds.get("default")), band, patch, tract), field, patch)
            write_psf(folder / patch_name(stamps.get(band, stamps.get("default")), band, patch, tract), field, patch)

    return [(write, band, tract_id) for band in survey.optical.bands for tract_id in tract_ids]


def _hull(patches: list) -> Box:
    """The smallest box that holds the outer boxes of some patches."""
    boxes = [patch.outer_bbox for patch in patches]
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


def make_sample(survey: Survey, *, force: bool = False, progress: bool = True) -> list[str]:
    """Write the sample tile into the data folder of dmu0, unless it is there already.

    Parameters
    ----------
    survey
        A survey whose inputs are simulated.
    force
        Make it again even if it is current.
    progress
        Show a progress bar.

    Returns
    -------
    list of str
        The files of the sample, relative to the data folder.
    """
    folder = survey.folders[0]
    if not force and is_current(survey):
        return json.loads((folder / _RECORD).read_text())["files"]
    (folder / _RECORD).unlink(missing_ok=True)
    parts = [folder / name for name in ("vista", "hsc", "catalogues", "truth")]
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
    scene, seed, centre = Scene.from_changes(survey.inputs.scene), survey.inputs.seed, field_centre(survey)
    sky = make_sky(scene, centre, half=_HALF_WIDTH, seed=seed)
    visits = plan_visits(scene, survey.vista.bands if survey.vista else (), centre, seed=seed)
    jobs = [(write_visit, folder / "vista", visit, sky, centre, scene) for visit in visits]
    detectors = []
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(*job, seed=seed) for job in jobs]
        others = [pool.submit(*job) for job in (_optical_jobs(folder, survey, sky, scene) if survey.optical else [])]
        for number, future in enumerate(tqdm(futures + others, desc="sample", unit="file", disable=not progress)):
            result = future.result()
            if number < len(futures):
                detectors += result
    write_catalogue(folder / "catalogues" / "ps1_000.fits", ps1_catalogue(sky, scene, seed=seed), "PS1")
    write_catalogue(folder / "catalogues" / "twomass_000.fits", twomass_catalogue(sky, scene, seed=seed), "II/246/out")
    _write_table(folder / "truth" / "truth.parquet", sky)
    _write_table(folder / "truth" / "detectors.parquet", Table(rows=detectors))
    files = sorted(str(path.relative_to(folder)) for part in parts for path in part.rglob("*") if path.is_file())
    part = folder / f"{_RECORD}.part"
    part.write_text(json.dumps({"digest": sample_digest(survey), "files": files}, indent=1))
    part.replace(folder / _RECORD)
    return files


def _write_table(path: Path, table: Table) -> None:
    """Write a table as Parquet under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    table.write(part, format="parquet", overwrite=True)
    part.replace(path)
