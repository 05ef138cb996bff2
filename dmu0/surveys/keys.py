"""Survey definitions: one YAML file defines everything that the stages need to know about a survey."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from dmu0.files.paths import PROJECT, DataFolders
from dmu0.surveys.messages import describe, nearest
from dmu0.surveys.optical import Optical, as_list, with_own_labels
from dmu0.surveys.section import Section, VariancePatterns, WeightPatterns, ZeroPoint
from dmu0.surveys.sky_map import SkyMapConfig
from dmu0.surveys.values import check_bands, check_keys, check_patterns, parse_patches
from dmu0.surveys.yaml_file import YamlError, read_yaml
from obs_vista.bands import VISTA_BANDS, in_band_order

SHIPPED = Path(__file__).resolve().parent
"""The surveys that come with the project."""


_MOST_COLUMNS = 300
"""Largest number of columns of patches in a tract; HSC has 9, and listing a hundred thousand patches is too slow."""


class SurveyError(ValueError):
    """A survey file is missing, unreadable or invalid."""


Patches = Annotated[tuple[int | str, ...] | Literal["all"], BeforeValidator(parse_patches)]


class Inputs(Section):
    """The source of the input files."""

    source: Literal["simulate", "archive", "local"] = Field(
        description="a synthetic sky, the public archives, or existing local files"
    )
    folder: Path | None = Field(None, description="for local: folder of the files, relative to the survey file")
    seed: int = Field(20091103, description="for simulate: seed of the random numbers")
    like: str | None = Field(
        None,
        description="for simulate: name of another simulated survey, whose sky, VISTA stacks and catalogues are made; "
        "null: those of this one",
    )
    scene: dict[str, float] = Field(
        default_factory=dict, description="for simulate: changes to the default scene, see dmu0.sample.scene.Scene"
    )
    query: dict[str, str] = Field(
        default_factory=dict,
        description="for archive: name of the archive -> ADQL query or address of a file, with placeholders",
    )

    @model_validator(mode="after")
    def _local_has_folder(self) -> Inputs:
        if self.source == "local" and self.folder is None:
            raise ValueError("source 'local' needs the key 'folder'")
        return self


class Cuts(Section):
    """Limits that a VISTA detector image must meet to be used; null disables a cut."""

    seeing_max: float | None = Field(1.7, gt=0, description="largest FWHM of the stars, arcsec")
    zero_point_sigma: float | None = Field(
        5.0, gt=0, description="largest deviation of MAGZPT from the median of its band, in units of the scatter"
    )
    ellipticity_max: float | None = Field(0.2, gt=0, description="largest mean ellipticity of the stars")
    noise_ratio_range: tuple[float, float] | None = Field(
        (0.7, 1.45), description="allowed range of the ratio of SKYNOISE to the noise predicted from detector and sky"
    )
    obstatus_reject: tuple[str, ...] = Field(
        ("Aborted", "Must Repea", "Must Repeat"), description="values of OBSTATUS that reject an image"
    )
    esograde_reject: tuple[str, ...] = Field(("R",), description="values of ESOGRADE that reject an image")

    @field_validator("noise_ratio_range")
    @classmethod
    def _in_order(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and not 0 <= limits[0] < limits[1]:
            raise ValueError("the lower limit must come first, and be below the upper one: no image is within")
        return limits


class CalibrationLimits(Section):
    """Limits on the statistics of the calibration; detectors outside them are excluded from coadds."""

    min_stars: int = Field(12, ge=3, description="smallest number of matched stars for a fit, else header solution")
    astrometric_scatter_max: float = Field(
        0.1, gt=0, description="largest scatter about references on one axis, arcsec"
    )
    zero_point_error_max: float = Field(0.05, gt=0, description="largest standard error of the zero point, mag")
    psf_size_residual_max: float = Field(0.1, gt=0, description="largest |dT/T| of stars reserved from the PSF fit")
    noise_ratio_max: float = Field(
        1.6, gt=0, description="largest scatter of empty pixels over predicted noise, or inverse"
    )


class Vista(Section):
    """The near-infrared data."""

    kind: Literal["stacks", "coadds"] = Field(
        "stacks",
        description="CASU pawprint stacks, calibrated and coadded here, or finished coadds; of kind stacks, the bands "
        "that `coadds` lists come as coadds",
    )
    programme: str = Field("", description="ESO programme, recorded with each visit; empty: the name of the survey")
    bands: tuple[str, ...] = Field(description="VISTA bands to use, of vz vy vj vh vk")
    stacks: tuple[str, ...] = Field((), description="glob patterns of CASU pawprint stacks")
    confidence: str | None = Field("_conf", description="suffix of the names of confidence maps; null: there are none")
    noise: Literal["confidence", "skynoise"] = Field(
        "confidence", description="source of the variance: confidence maps, or SKYNOISE alone"
    )
    coadds: dict[str, str] = Field(
        default_factory=dict, description="band -> file pattern, as for optical, of bands that come as coadds"
    )
    weights: WeightPatterns = Field(default_factory=dict)
    variances: VariancePatterns = Field(default_factory=dict)
    zero_points: dict[str, ZeroPoint] = Field(
        default_factory=dict, description="band -> AB zero point, of bands that come as coadds"
    )
    magnitudes: Literal["Vega", "AB"] = Field("Vega", description="system of MAGZPT")
    cuts: Cuts = Field(Cuts(), description="limits on values in the headers")
    limits: CalibrationLimits = Field(CalibrationLimits(), description="limits on the statistics of the calibration")

    @field_validator("bands")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return check_bands(bands, tuple(VISTA_BANDS))

    @model_validator(mode="after")
    def _by_band(self) -> Vista:
        for patterns in (self.coadds, self.weights, self.variances):
            check_keys(patterns, (*VISTA_BANDS, "default"))
            check_patterns(patterns)
        check_keys(self.zero_points, tuple(VISTA_BANDS))
        if self.kind == "stacks" and "default" in self.coadds:
            raise ValueError("coadds.default with kind 'stacks': name each band that comes as coadds instead")
        return self

    @property
    def coadd_bands(self) -> tuple[str, ...]:
        """Bands that come as finished coadds."""
        return tuple(band for band in self.bands if self.kind == "coadds" or band in self.coadds)

    @property
    def stack_bands(self) -> tuple[str, ...]:
        """Bands that come as stacks, to be calibrated and coadded."""
        return tuple(band for band in self.bands if band not in self.coadd_bands)


class References(Section):
    """Photometric and astrometric reference catalogues: file patterns, or null for none."""

    ps1: str | None = Field(None, description="PanSTARRS1, in the format of VizieR II/349")
    twomass: str | None = Field(None, description="2MASS point sources, in the format of VizieR II/246")
    gaia: str | None = Field(None, description="Gaia sources")
    vista: str | None = Field(None, description="sources of the VISTA Science Archive")
    match_radius: float = Field(1.0, gt=0, description="largest separation of a match, arcsec")
    min_stars_per_shard: int = Field(
        20, ge=1, description="smallest number of stars in a shard (HTM level 7) without a warning"
    )


class Engine(Section):
    """How the pipeline is run, and the database of its registry."""

    kind: Literal["local", "bps"] = Field("local", description="processes on this machine, or a batch system")
    processes: int = Field(2, ge=1, description="for local: number of processes that share the quanta of a task")
    threads: int = Field(2, ge=1, description="number of threads inside quanta, for all processes together")
    site: str = Field("local", description="for bps: a file in dmu4/bps, or a path")
    registry: str | None = Field(
        None,
        description="database of the Butler registry, as postgresql+psycopg://user@host/database, whose password is in "
        "~/.pgpass; null: SQLite",
    )
    storage: str | None = Field(
        None,
        description="place of the products of the pipeline, any URI of lsst.resources, as s3://bucket/folder; null: in "
        "dmu4/data",
    )

    @field_validator("registry", "storage")
    @classmethod
    def _without_password(cls, address: str | None) -> str | None:
        """Refuse a password: survey files are copied into releases, and shown."""
        if address is not None and urlsplit(address).password is not None:
            raise ValueError("it contains a password: put it into ~/.pgpass or the environment, and leave it out here")
        return address


class Survey(Section):
    """A survey as defined by its YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)] = Field(
        description="name of the survey's data folders: lower-case letters, digits and _"
    )
    title: str = Field(description="title of the pages, one line")
    inputs: Inputs = Field(description="source of the input files")
    vista: Vista | None = Field(None, description="near-infrared data; at least one of vista and optical is required")
    optical: Annotated[tuple[Optical, ...], BeforeValidator(as_list)] = Field(
        (), description="optical data: one section, or a list of sections for data of several surveys"
    )
    sky_map: SkyMapConfig = Field(description="the pixel grid of the coadds")
    tracts: dict[Annotated[int, Field(ge=0)], Patches] = Field(
        min_length=1, description='tract -> its patches, as numbers or "x,y", or all'
    )
    detection_bands: tuple[str, ...] = Field(
        (),
        description="bands in which objects are searched for, and from which positions, shapes, models and kinds "
        "follow; the others are only measured there, and may be missing without an effect on these; empty: all bands",
    )
    references: References = Field(References(), description="reference catalogues")
    engine: Engine = Field(Engine(), description="how the pipeline is run")
    path: Path = Field(exclude=True, description="the survey file itself; not a key of the file")

    @field_validator("optical")
    @classmethod
    def _labels_differ(cls, optical: tuple[Optical, ...]) -> tuple[Optical, ...]:
        return with_own_labels(optical)

    @model_validator(mode="after")
    def _has_images(self) -> Survey:
        if self.vista is None and not self.optical:
            raise ValueError("at least one of 'vista' and 'optical' is needed")
        if self.inputs.source == "simulate" and len(self.optical) > 1:
            raise ValueError("inputs.source 'simulate' makes one optical survey; 'optical' must be one section")
        return self

    @model_validator(mode="after")
    def _patches_are_clear(self) -> Survey:
        """Refuse [3, 4] where it may be meant as the patch "3,4": in YAML it is a list of two patches."""
        if self._columns() > _MOST_COLUMNS:
            raise ValueError(
                f"sky_map: patches of {self.sky_map.patch_inner} px make about {self._columns()} columns in a tract, "
                f"more than {_MOST_COLUMNS}; is patch_inner or pixel_scale too small?"
            )
        for tract, patches in self.tracts.items():
            if len(patches) == 2 and all(isinstance(patch, int) and patch < self._columns() for patch in patches):
                first, second = patches
                raise ValueError(
                    f"tracts.{tract}: [{first}, {second}] may be the patch in column {first} and row {second}, or two "
                    f"patches; write ['{first},{second}'] for the one, or ['{first}', '{second}'] for the two"
                )
        return self

    @model_validator(mode="after")
    def _detection_bands_are_bands(self) -> Survey:
        unknown = [band for band in self.detection_bands if band not in self.bands]
        if unknown:
            raise ValueError(
                f"detection_bands: {', '.join(unknown)} is not among the bands of the survey, {', '.join(self.bands)}"
            )
        return self

    def _columns(self) -> int:
        """The approximate number of columns of patches in a tract."""
        if self.sky_map.kind == "single":
            return 1
        side = 180 / (self.sky_map.num_rings + 1) + 2 * self.sky_map.tract_overlap
        return int(side * 3600 / self.sky_map.pixel_scale / self.sky_map.patch_inner) + 1

    @property
    def bands(self) -> tuple[str, ...]:
        """Labels of all bands, from blue to red."""
        return in_band_order((*self.optical_bands, *(self.vista.bands if self.vista else ())))

    @property
    def optical_bands(self) -> dict[str, Optical]:
        """Label of each optical band, from blue to red, and the section that it is of."""
        found = {band: optical for optical in self.optical for band in optical.bands}
        return {band: found[band] for band in in_band_order(found)}

    @property
    def folders(self) -> DataFolders:
        """The data folders of this survey."""
        return DataFolders(self.name)

    @property
    def input_folder(self) -> Path:
        """The folder that contains the input files."""
        if self.inputs.folder is None:
            return self.folders[0]
        # Path.resolve raises an error for a link that leads to itself.
        return Path(os.path.realpath(self.path.parent / self.inputs.folder.expanduser()))

    @property
    def has_truth(self) -> bool:
        """Whether the true sky is known, because it was simulated."""
        return self.inputs.source == "simulate"


def shipped_surveys() -> tuple[str, ...]:
    """Names of the surveys that come with the project."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def find_survey(survey: str) -> Path:
    """The YAML file of a survey.

    Parameters
    ----------
    survey
        A name in ``dmu0/surveys``, or a path to a YAML file.

    Raises
    ------
    SurveyError
        If there is no such file.
    """
    if re.fullmatch(r"[A-Za-z0-9_]+", survey):
        path = SHIPPED / f"{survey}.yaml"
        if not path.exists():
            raise SurveyError(
                f"There is no survey {survey!r} in {SHIPPED}; choose from {', '.join(shipped_surveys())}, "
                f"or give the path of a YAML file.{nearest(survey, shipped_surveys())}"
            )
        return path
    path = Path(survey).expanduser()
    if not path.is_absolute() and not path.exists():
        path = PROJECT / path
    if not path.is_file():
        raise SurveyError(f"There is no survey file {survey!r}: write one (see dmu0/surveys) or correct the path.")
    return path.resolve()


def load_survey(survey: str) -> Survey:
    """Read a survey definition.

    Parameters
    ----------
    survey
        A name in ``dmu0/surveys``, or a path to a YAML file.

    Raises
    ------
    SurveyError
        If the file is missing or wrong; the message names the file, each wrong key and its value.
    """
    path = find_survey(survey)
    try:
        content, lines = read_yaml(path)
    except YamlError as error:
        raise SurveyError(f"{path} {error}") from error
    try:
        found = Survey.model_validate(content | {"path": path})
    except ValidationError as error:
        raise SurveyError(f"{path} is not a valid survey:\n" + "\n".join(describe(error, Survey, lines))) from error
    if found.name in shipped_surveys() and path.parent != SHIPPED:
        raise SurveyError(
            f"{path}: the name {found.name!r} is that of {SHIPPED / f'{found.name}.yaml'}, and its data folders; "
            "choose another name."
        )
    return found
