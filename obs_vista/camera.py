"""The camera: its sixteen detectors, and their layout in the form required by the LSST image types."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml
from lsst.images import Box

# The frame set of a camera can only be made from AST objects, and lsst.images has no public way to make those without
# afw. lsst-images is pinned because of this private import, which is used in this module only.
from lsst.images._transforms import _ast as ast
from lsst.images.cameras import CameraFrameSet, Detector, DetectorAttributes, DetectorType, Orientation

_VIRCAM = yaml.safe_load(Path(__file__).with_name("vircam.yaml").read_text())

NAME: str = _VIRCAM["name"]
"""The instrument's name in data ids."""

PIXELS: int = _VIRCAM["pixels"]
"""Pixels along each side of a detector; stacks are larger by the dither."""

PIXEL_SIZE: float = _VIRCAM["pixel_size"]
"""Size of a pixel in mm."""

PIXEL_SCALE: float = _VIRCAM["pixel_scale"]
"""Size of a pixel on the sky in arcsec, on the optical axis."""


@dataclass(frozen=True)
class DetectorInfo:
    """One detector of VIRCAM.

    Attributes
    ----------
    id
        Detector number, 1 to 16 (``ESO DET CHIP NO``).
    gain
        Gain in electrons per ADU.
    read_noise
        Read noise of one DIT in ADU.
    saturation
        Counts (ADU, including the sky) above which a pixel is saturated.
    non_linearity
        Non-linearity at 10,000 ADU before correction, in per cent.
    refpos
        Position (x, y) of pixel (2048, 2048), in FITS convention, relative to the optical axis, in pixels.
    """

    id: int
    gain: float
    read_noise: float
    saturation: float
    non_linearity: float
    refpos: tuple[float, float]

    @property
    def name(self) -> str:
        """Name of the detector, e.g. ``CHIP07``."""
        return f"CHIP{self.id:02d}"

    @property
    def axis_pixel(self) -> tuple[float, float]:
        """Pixel (x, y) of the optical axis on this detector in FITS convention: CRPIX of an undithered frame."""
        return PIXELS - self.refpos[0], PIXELS - self.refpos[1]

    @property
    def centre(self) -> tuple[float, float]:
        """Position (x, y) of the detector's centre in the focal plane, in mm from the optical axis."""
        middle = 0.5 * (PIXELS + 1)
        x, y = self.axis_pixel
        return (middle - x) * PIXEL_SIZE, (middle - y) * PIXEL_SIZE


DETECTORS = MappingProxyType(
    {
        number: DetectorInfo(id=number, **(values | {"refpos": tuple(values["refpos"])}))
        for number, values in _VIRCAM["detectors"].items()
    }
)
"""The sixteen detectors by number."""


def get_detector(detector: int) -> DetectorInfo:
    """The properties of a detector.

    Raises
    ------
    KeyError
        If the number is not 1 to 16.
    """
    if detector not in DETECTORS:
        raise KeyError(f"There is no VIRCAM detector {detector!r}; detectors are 1 to {max(DETECTORS)}.")
    return DETECTORS[detector]


@cache
def _frame_set(detector: int, nx: int, ny: int) -> CameraFrameSet:
    """Pixels of a detector, focal plane in mm and field angle in rad, in one frame set."""
    centre_x, centre_y = get_detector(detector).centre
    frames = ast.FrameSet(ast.Frame(2, "Ident=FOCAL_PLANE, Unit(1)=mm, Unit(2)=mm"))
    radians_per_mm = np.radians(PIXEL_SCALE / 3600) / PIXEL_SIZE
    frames.addFrame(1, ast.ZoomMap(2, radians_per_mm), ast.Frame(2, "Ident=FIELD_ANGLE, Unit(1)=rad, Unit(2)=rad"))
    to_pixels = (
        ast.ShiftMap([-centre_x, -centre_y])
        .then(ast.ZoomMap(2, 1 / PIXEL_SIZE))
        .then(ast.ShiftMap([0.5 * (nx - 1), 0.5 * (ny - 1)]))
    )
    bounds = f"Bottom(1)=0, Bottom(2)=0, Top(1)={nx}, Top(2)={ny}"
    pixels = ast.Frame(2, f"Ident=DETECTOR_{detector:03d}, Unit(1)=pixel, Unit(2)=pixel, {bounds}")
    frames.addFrame(1, to_pixels, pixels)
    return CameraFrameSet(NAME, frames)


def make_detector(detector: int, nx: int, ny: int, visit: int | None = None) -> Detector:
    """A detector in the form required by `lsst.images.VisitImage`.

    Parameters
    ----------
    detector
        Detector number, 1 to 16.
    nx, ny
        Size of the image in pixels. Stacks differ in size; all are assumed to be centred on the detector.
    visit
        Visit of the image; the geometry is nominal in any case.

    Raises
    ------
    KeyError
        If there is no such detector.
    ValueError
        If the size is not positive.
    """
    info = get_detector(detector)
    if nx < 1 or ny < 1:
        raise ValueError(f"nx and ny must be positive; got {nx} and {ny}.")
    centre_x, centre_y = info.centre
    attributes = DetectorAttributes(
        name=info.name,
        id=detector,
        type=DetectorType.SCIENCE,
        serial=f"{detector:02d}",
        bbox=Box.factory[0:ny, 0:nx],
        orientation=Orientation(
            focal_plane_x=centre_x,
            focal_plane_y=centre_y,
            focal_plane_z=0.0,
            pixel_reference_x=0.5 * (nx - 1),
            pixel_reference_y=0.5 * (ny - 1),
        ),
        pixel_size=PIXEL_SIZE,
        physical_type="VIRGO HgCdTe",
    )
    return Detector(attributes, [], _frame_set(detector, nx, ny), visit=visit)
