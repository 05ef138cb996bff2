"""The optical half of a survey: coadds as published, of one survey or of several, each band with a label of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dmu0.surveys.section import AbOffset, Section, VariancePatterns, WeightPatterns, ZeroPoint
from dmu0.surveys.values import check_bands, check_keys, check_patterns
from obs_vista.bands import OPTICAL_BANDS, SURVEY_NAME, own_label


class Optical(Section):
    """The optical data: published coadds.

    Where the key ``optical`` is a list, each label is that of the first section with the band; a later section with the
    same band needs a ``name``, and there the label is that of the band with the name behind it: ``g`` of ``name: kids``
    is ``gkids``, in columns ``gkids_psfFlux``. Inside a section, ``bands``, ``coadds`` and so on have the plain labels.
    """

    kind: Literal["hsc", "lsst", "fits"] = Field(
        description="HSC calexp files, LSST coadds in a Butler repository or in files, or plain FITS images"
    )
    name: Annotated[str, Field(pattern=f"^{SURVEY_NAME}$")] | None = Field(
        None,
        description="in a list: name of this survey, which follows the labels of those of its bands that a section "
        "before it has; 2 to 7 small letters and digits",
    )
    bands: tuple[str, ...] = Field(description="optical bands to use, of u g r i z y")
    coadds: dict[str, str] = Field(
        default_factory=dict,
        description="band or default -> file pattern with {tract} {patch} {patch_x} {patch_y} {band} {filter}; a "
        "mosaic of many tiles has * and ? in place of what tells them apart",
    )
    weights: WeightPatterns = Field(default_factory=dict)
    variances: VariancePatterns = Field(default_factory=dict)
    psf_stamps: dict[str, str] = Field(
        default_factory=dict, description="band -> pattern of PSF stamps; stars of the coadd where there is none"
    )
    zero_points: dict[str, ZeroPoint] = Field(
        default_factory=dict, description="band -> AB zero point, before any header"
    )
    ab_offsets: dict[str, AbOffset] = Field(
        default_factory=dict,
        description="band -> offset of the data release, mag: subtracted from its magnitudes, and recorded",
    )
    butler: str | None = Field(
        None, description="for kind lsst: repository that holds the coadds; null: they are files, see coadds"
    )
    collection: str | None = Field(None, description="for kind lsst with a repository: collection of deep_coadd")
    objects: str | None = Field(
        None,
        description="for kind lsst: pattern of the Parquet files of its table of objects, or folder of its HATS "
        "catalogue; the objectId of LSST of each object is written to catalogue/lsst_objects.parquet",
    )

    @field_validator("bands")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return check_bands(bands, tuple(OPTICAL_BANDS))

    @model_validator(mode="after")
    def _by_band(self) -> Optical:
        for patterns in (self.coadds, self.weights, self.variances, self.psf_stamps):
            check_keys(patterns, (*OPTICAL_BANDS, "default"))
            check_patterns(patterns)
        for values in (self.zero_points, self.ab_offsets):
            check_keys(values, tuple(OPTICAL_BANDS))
        return self

    @model_validator(mode="after")
    def _lsst_has_a_source(self) -> Optical:
        if self.objects is not None and self.kind != "lsst":
            raise ValueError(
                f"kind {self.kind!r} has the key 'objects', which is for the objects of LSST; leave it out"
            )
        if self.kind == "lsst" and not (self.coadds and self.butler is None):
            if self.butler is None or self.collection is None:
                raise ValueError("kind 'lsst' needs the keys 'butler' and 'collection', or 'coadds' for files")
            if self.coadds:
                raise ValueError("kind 'lsst' has both 'butler' and 'coadds'; keep one of them")
        return self


def as_list(value: Any) -> Any:
    """The sections of the key ``optical``, which may be one section, a list of them, or null."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def with_own_labels(sections: tuple[Optical, ...]) -> tuple[Optical, ...]:
    """The sections with one label for each band of each: in bands, patterns and zero points alike.

    Raises
    ------
    ValueError
        If two sections have the same name, or a band of a section without a name has the label of an earlier one.
    """
    taken: dict[str, int] = {}
    found = []
    for number, optical in enumerate(sections):
        clashing = [band for band in optical.bands if band in taken]
        if clashing and optical.name is None:
            first = taken[clashing[0]]
            raise ValueError(
                f"sections {first} and {number} (counted from 0) both have the bands {', '.join(clashing)}: give "
                f"section {number} a name, as in 'name: kids', after which its bands are called "
                f"{', '.join(own_label(band, 'kids') for band in clashing)}, or leave them out of its bands"
            )
        labels = {band: own_label(band, str(optical.name)) for band in clashing}
        if twice := [label for label in labels.values() if label in taken]:
            raise ValueError(
                f"section {number} (counted from 0) has the name {optical.name!r} of an earlier one, so that two bands "
                f"would be called {twice[0]}: give it another"
            )
        optical = _relabelled(optical, labels)
        taken |= dict.fromkeys(optical.bands, number)
        found.append(optical)
    return tuple(found)


def _relabelled(optical: Optical, labels: dict[str, str]) -> Optical:
    """A section with other labels for some of its bands."""
    if not labels:
        return optical
    by_band = {
        name: {labels.get(band, band): value for band, value in getattr(optical, name).items()}
        for name in ("coadds", "weights", "variances", "psf_stamps", "zero_points", "ab_offsets")
    }
    return optical.model_copy(update=by_band | {"bands": tuple(labels.get(band, band) for band in optical.bands)})
