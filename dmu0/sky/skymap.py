"""Sky maps: the division of the sky into tracts, each with its own pixel grid, and of tracts into patches.

There are three types: the rings of HSC and LSST, the rings with LSST's cells, and a single grid for images without
a sky map. All have the same methods, so that later stages do not depend on the type.
"""

from __future__ import annotations

from lsst.sphgeom import LonLat, UnitVector3d

from dmu0.sky.cells import CellsSkyMap, make_cells_map
from dmu0.sky.rings import RingsSkyMap, SkyMap
from dmu0.sky.tract import Patch, Region, Tract, sky_polygon, tangent_wcs
from dmu0.surveys import SkyMapConfig, Survey, chosen_tracts

__all__ = [
    "CellsSkyMap",
    "Patch",
    "Region",
    "RingsSkyMap",
    "SingleSkyMap",
    "Tract",
    "make_sky_map",
    "sky_polygon",
    "survey_patches",
]


class SingleSkyMap(SkyMap):
    """One tract with one patch, both number 0, for images on their own grid.

    Parameters
    ----------
    name
        Name of the map in data ids.
    centre
        Tangent point, ICRS deg: the centre of the grid, or ``centre_pixel``.
    shape
        Size of the grid (ny, nx) in pixels.
    pixel_scale
        Pixel size at the centre, arcsec.
    centre_pixel
        Pixel (x, y) at ``centre``, counted from 0 and possibly outside the grid; None: the centre of the grid.
    """

    def __init__(
        self,
        *,
        name: str,
        centre: tuple[float, float],
        shape: tuple[int, int],
        pixel_scale: float,
        centre_pixel: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(name)
        if min(shape) < 1:
            raise ValueError(f"shape must be positive; got {shape}.")
        self.centre = (float(centre[0]), float(centre[1]))
        self.shape, self.pixel_scale = (int(shape[0]), int(shape[1])), pixel_scale
        if centre_pixel is not None:  # other maps keep their hash
            self.centre_pixel = centre_pixel

    def __len__(self) -> int:
        return 1

    def find_tract(self, ra: float, dec: float) -> Tract:
        """The one tract.

        Raises
        ------
        ValueError
            If the position is not inside it.
        """
        if not self.owns(0, ra=ra, dec=dec):
            raise ValueError(f"({ra}, {dec}) is outside the one tract of sky map {self.name!r}.")
        return self.tract(0)

    def owns(self, tract: int, *, ra: float, dec: float) -> bool:
        """Whether a position is in a tract; a source at its very edge may have its centre beyond it, and is in none."""
        return self.tract(tract).outer_polygon.contains(UnitVector3d(LonLat.fromDegrees(ra, dec)))

    def _make_tract(self, tract: int) -> Tract:
        (ra, dec), (ny, nx), scale = self.centre, self.shape, self.pixel_scale
        x, y = getattr(self, "centre_pixel", ((nx - 1) / 2, (ny - 1) / 2))
        return Tract(tract, ra, dec, tangent_wcs(ra=ra, dec=dec, pixel_scale=scale, x=x, y=y), (1, 1), (nx, ny), 0)

    def _near(self, polygon: Region) -> list[int]:
        return [0]


def make_sky_map(config: SkyMapConfig) -> RingsSkyMap | CellsSkyMap | SingleSkyMap:
    """The sky map of a survey.

    Parameters
    ----------
    config
        Section ``sky_map`` of the survey.

    Raises
    ------
    ValueError
        If patches of kind ``cells`` are not whole cells, or differ from those of the LSST map of the same name.
    """
    if config.kind == "single":
        scale, pixel = config.pixel_scale, config.centre_pixel
        return SingleSkyMap(
            name=config.name, centre=config.centre, shape=config.shape, pixel_scale=scale, centre_pixel=pixel
        )
    if config.kind == "rings":
        return RingsSkyMap(
            name=config.name,
            num_rings=config.num_rings,
            pixel_scale=config.pixel_scale,
            tract_overlap=config.tract_overlap,
            patch_inner=config.patch_inner,
            patch_border=config.patch_border,
        )
    return make_cells_map(config)


def survey_patches(survey: Survey, tracts: str = "") -> list[Patch]:
    """The patches of a survey, in order of tract and patch number.

    Parameters
    ----------
    survey
        The survey, whose key ``tracts`` lists the patches of each tract, or is ``all``.
    tracts
        Tracts to keep, as for `dmu0.surveys.chosen_tracts`; empty keeps all.

    Raises
    ------
    ValueError
        If a tract is not one of the survey's, or has no such patch.
    """
    wanted = chosen_tracts(survey, tracts)
    sky_map = make_sky_map(survey.sky_map)
    chosen: dict[tuple[int, int], Patch] = {}
    for number in wanted:
        tract, names = sky_map.tract(number), survey.tracts[number]
        for patch in tract.patches if names == "all" else map(tract.patch, names):
            chosen[number, patch.id] = patch
    return [chosen[key] for key in sorted(chosen)]


def chosen_patches(survey: Survey, tracts: str = "") -> dict[int, list[int]]:
    """Tract -> numbers of its patches in a survey; parameters and errors as for `survey_patches`."""
    chosen: dict[int, list[int]] = {}
    for patch in survey_patches(survey, tracts):
        chosen.setdefault(patch.tract.id, []).append(patch.id)
    return chosen
