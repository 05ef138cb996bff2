"""Butler formatters for CASU files, which contain up to sixteen detectors, and for the images made by the pipeline."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
from astropy.io import fits
from lsst.daf.butler import FormatterV2
from lsst.images import Box, DetectorFrame, Image, SkyProjection
from lsst.images.fits import FitsCompressionOptions
from lsst.images.formatters import GenericFormatter
from lsst.resources import ResourcePath

from obs_vista.cards import card_values
from obs_vista.headers import detector_extensions, merged_header
from obs_vista.image_planes import plane_pixels, plane_shape
from obs_vista.world_coordinates import icrs_wcs

MetadataValue = str | int | float | bool


def header_metadata(header: fits.Header) -> dict[str, MetadataValue]:
    """The cards of a header as a flat dictionary, without comments, history and empty values."""
    return card_values(header)


class PixelsAsTheyAre(GenericFormatter):
    """Writes images of floating-point numbers uncompressed, and masks compressed.

    Lossless compression hardly reduces the size of noise. In the sample a compressed coadd has 9.7 instead of 11.8 MB,
    and takes 4.6 times longer to write and 2.8 times longer to read; a compressed detector image has 1.06 instead of
    1.36 MB, with factors of 2.4 and 3.9.
    """

    def _get_compression_options(self) -> dict[str, FitsCompressionOptions | None]:
        # The recipes of lsst-images, whose version is pinned, can choose a compression, but not to have none.
        options = dict.fromkeys(("image", "variance", "psf"))
        # Tiles are rows or cells otherwise, hundreds of them.
        return options | dict.fromkeys(("mask", "mask_fractions"), FitsCompressionOptions(tile_shape=(512, 512)))

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """A part of a remote file; where files of its kind can only be read whole, the butler fetches it first."""
        try:
            uri.to_fsspec()
        except ImportError:
            # Parts of S3 objects need s3fs, which wants another boto3 than lsst.resources.
            return NotImplemented
        return super().read_from_uri(uri, component, expected_size)


@lru_cache(maxsize=64)
def _extensions_of(path: str, modified: int, size: int) -> dict[int, int]:
    """Where each detector is in a file, as `detector_extensions`; kept, for all detectors of a file are wanted."""
    with fits.open(path, memmap=False, disable_image_compression=True) as hdus:
        return detector_extensions(hdus)


class _DetectorFormatter(FormatterV2):
    """Reads one detector of a multi-extension file, found by its number and not by its position in the file."""

    can_read_from_local_file: ClassVar[bool] = True
    supported_extensions: ClassVar[frozenset[str]] = frozenset({".fit", ".fits", ".fit.fz", ".fits.fz", ".fz"})
    dtype: ClassVar[type] = np.float32

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """The image, or one component of it.

        Raises
        ------
        LookupError
            If the file has no extension of this detector; the message names the file and the detectors that it has.
        ValueError
            If the component is unknown, or the box does not overlap the image.
        """
        detector = int(self.data_id["detector"])
        parameters = self.file_descriptor.parameters or {}
        state = Path(path).stat()
        extensions = _extensions_of(path, state.st_mtime_ns, state.st_size)
        if detector not in extensions:
            have = ", ".join(str(number) for number in sorted(extensions))
            raise LookupError(f"{Path(path).name} has no extension of detector {detector}; it has {have}.")
        # Of sixteen extensions one is wanted: the others are not made into images, which takes three times as long.
        with fits.open(path, memmap=False, disable_image_compression=True) as hdus:
            hdu = hdus[extensions[detector]]
            if "ZIMAGE" in hdu.header:
                hdu = fits.CompImageHDU(bintable=hdu)
            full = Box.from_shape(plane_shape(hdu))
            if component == "bbox":
                return full
            primary = hdus[0].header if hdu is not hdus[0] else None
            header = merged_header(primary, hdu.header)
            if component in ("sky_projection", "unit", "metadata"):
                return self._component(component, header, full)
            if component is not None:
                raise ValueError(f"{type(self).__name__} has no component {component!r}.")
            box = full if parameters.get("bbox") is None else full.intersection(parameters["bbox"])
            rows, columns = slice(box.y.start, box.y.stop), slice(box.x.start, box.x.stop)
            array = np.asarray(plane_pixels(hdu, rows, columns))
        return self._image(array.astype(self.dtype), box, full, header)

    def _component(self, component: str, header: fits.Header, full: Box) -> Any:
        raise ValueError(f"{type(self).__name__} has no component {component!r}.")

    def _image(self, array: np.ndarray, box: Box, full: Box, header: fits.Header) -> Image:
        return Image(array, bbox=box)


class PawprintFormatter(_DetectorFormatter):
    """One detector of a pawprint stack: counts per DIT, the transformation to ICRS, all header cards as metadata."""

    def _component(self, component: str, header: fits.Header, full: Box) -> Any:
        match component:
            case "sky_projection":
                return self._sky_projection(header, full)
            case "unit":
                return u.adu
            case _:
                return header_metadata(header)

    def _sky_projection(self, header: fits.Header, full: Box) -> SkyProjection:
        data_id = self.data_id
        frame = DetectorFrame(
            instrument=data_id["instrument"], detector=data_id["detector"], visit=data_id["exposure"], bbox=full
        )
        return SkyProjection.from_fits_wcs(icrs_wcs(header), frame, pixel_bounds=full)

    def _image(self, array: np.ndarray, box: Box, full: Box, header: fits.Header) -> Image:
        return Image(
            array,
            bbox=box,
            unit=u.adu,
            sky_projection=self._sky_projection(header, full),
            metadata=header_metadata(header),
        )


class ConfidenceFormatter(_DetectorFormatter):
    """One detector of a confidence map: 100 is the average confidence, 0 means no data."""

    dtype: ClassVar[type] = np.int32
