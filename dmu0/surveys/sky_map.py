"""The section ``sky_map`` of a survey, and the keys of the sky maps of LSST."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dmu0.surveys.section import Section
from dmu0.surveys.values import parse_position

LSST_MAPS = MappingProxyType(
    {
        name: MappingProxyType(
            {"num_rings": 120, "pixel_scale": 0.2, "tract_overlap": 1 / 60, "cell": 150}
            | {"patch_inner": 3000, "patch_border": 150 + cell_border}
        )
        for name, cell_border in (("lsst_cells_v1", 50), ("lsst_cells_v2", 0))
    }
)
"""Keys of the sky maps of LSST: of DP1, whose cells overlap by a border of 50 px, and of DP2, whose cells have none."""

Position = Annotated[tuple[float, float], BeforeValidator(parse_position)]
Side = Annotated[int, Field(ge=1, le=200_000)]


def with_cells(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of a section of kind ``cells``, with those of the LSST map of its name, or else of ``lsst_cells_v2``.

    Raises
    ------
    ValueError
        If a key differs from that of the LSST map of the name.
    """
    name = values.get("name")
    keys: Mapping[str, float] = LSST_MAPS.get(name if isinstance(name, str) else "", {})
    for key, wanted in keys.items():
        value = values.get(key)
        if isinstance(value, int | float) and abs(value - wanted) > 1e-9 * wanted:
            raise ValueError(
                f"the LSST map {name!r} has {key} {wanted:g}, not {value:g}; leave the key out, or give your map "
                "another name"
            )
    missing = {key: value for key, value in LSST_MAPS["lsst_cells_v2"].items() if values.get(key) is None}
    return values | missing | dict(keys)


class SkyMapConfig(Section):
    """The pixel grid of the coadds."""

    kind: Literal["rings", "cells", "single"] = Field(
        "rings", description="HSC's rings of tracts, LSST's rings with cells, or one tract of one patch"
    )
    name: str = Field(
        description="name in the Butler repository; of kind cells, lsst_cells_v1 (DP1) and lsst_cells_v2 (DP2) need no "
        "other keys"
    )
    pixel_scale: float = Field(0.168, ge=0.01, le=60, description="side of a pixel, arcsec")
    num_rings: int = Field(120, ge=1, le=10_000, description="number of rings of tracts from pole to pole")
    tract_overlap: float = Field(1 / 60, ge=0, le=10, description="overlap of neighbouring tracts, deg")
    patch_inner: int = Field(4000, ge=1, le=100_000, description="side of the inner area of a patch, px")
    patch_border: int = Field(
        100, ge=0, le=50_000, description="border around the inner area that overlaps with neighbouring patches, px"
    )
    cell: Annotated[int, Field(ge=10, le=10_000)] | None = Field(
        None,
        description="for cells: side of a cell, px, 150 if there is no such key; patch_inner is a whole number of "
        "cells, and so is patch_border, except for the border of a cell if cells overlap",
    )
    centre: Position | None = Field(
        None, description="for single: ICRS deg of the tract's centre, or hours and degrees as in [02:18:00, -05:00:00]"
    )
    shape: tuple[Side, Side] | None = Field(None, description="for single: (ny, nx) px of the one patch")
    centre_pixel: tuple[float, float] | None = Field(
        None,
        description="for single: pixel (x, y), counted from 0, that is at `centre`, where the plane touches the sky; "
        "null: the middle of the patch",
    )

    @model_validator(mode="before")
    @classmethod
    def _cells_have_the_keys_of_lsst(cls, values: Any) -> Any:
        return with_cells(values) if isinstance(values, dict) and values.get("kind") == "cells" else values

    @model_validator(mode="after")
    def _cells_are_whole(self) -> SkyMapConfig:
        if self.kind != "cells" or self.cell is None:
            return self
        if self.patch_inner % self.cell or 2 * (self.patch_border % self.cell) >= self.cell:
            raise ValueError(
                f"{self.name!r}: cells of {self.cell} px need a patch_inner of whole cells, and a patch_border "
                "of whole cells and, if cells overlap, their border, less than half a cell; got "
                f"{self.patch_inner} and {self.patch_border}"
            )
        return self

    @model_validator(mode="after")
    def _single_is_complete(self) -> SkyMapConfig:
        if self.kind == "single" and (self.centre is None or self.shape is None):
            raise ValueError("kind 'single' needs the keys 'centre' and 'shape'")
        return self
