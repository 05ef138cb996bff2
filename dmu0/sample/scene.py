"""Settings of the synthetic sky: its sources, and how they are observed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from dmu0.surveys import SurveyError

VISTA_PIXEL = 9.48e-5 * 3600
"""Pixel scale of CASU stacks, arcsec."""


@dataclass(frozen=True)
class Scene:
    """The contents and observing conditions of the sky; the key ``inputs.scene`` of the survey file changes any number.

    By default the density of stars is higher than in most real fields and 2MASS is deeper, because a detector then
    covers a thirtieth of the area of a real one and still needs enough stars for its own calibration.

    Attributes
    ----------
    star_density
        Number of stars per mag and square arcmin.
    star_bright, star_faint
        Magnitudes in i of the brightest ordinary star and of the faintest one.
    star_grid
        1: stars are on a jittered grid, so that no small detector is short of them; 0: at random.
    star_paired
        Fraction of the stars with a fainter companion at 0.4 to 3 arcsec, which moves with them.
    galaxy_density
        Number of galaxies per square arcmin down to the faint limit.
    galaxy_bright, galaxy_faint
        Magnitudes in i of the brightest and faintest galaxies.
    galaxy_slope
        Slope of the number counts of galaxies, d log10(counts) / d mag.
    paired
        Fraction of the galaxies at 0.8 to 3 arcsec from another one.
    outskirts_faint
        Magnitude in i of the faintest galaxies farther than 30 arcsec from the patches.
    clusters
        Number of clusters of galaxies on the patches.
    cluster_members
        Number of galaxies in a cluster.
    cluster_radius
        Core radius of a cluster in arcsec.
    locus_scatter
        Intrinsic scatter of the colours of stars in mag.
    motion
        Typical proper motion of a star along one axis in mas/yr.
    bright_star
        Magnitude in i of the one saturated star.
    detector_pixels
        Native size of a VISTA detector; a stack is larger by twice its largest jitter.
    detector_pitch, detector_pitch_y
        Distance between the centres of neighbouring detectors along x and along y in pixels; 0 along y: as along x.
    dither
        Size of the offsets between pawprints in arcsec; in a tile, twenty times the error of its steps.
    tile
        1: each band has the six pawprints of a VISTA tile; 0: three pawprints, offset by fractions of ``dither``.
    tile_east, tile_north
        Centre of the tile relative to that of the patches in arcsec.
    reach
        Distance from the patches in arcsec beyond which detectors have an empty sky, so that they are made quickly.
    noise_excess
        Noise of stacks over the ideal noise, as in real stacks, from sky frames and destriping.
    wcs_shift
        Error of the header position along one axis in arcsec.
    wcs_linear
        Error of the scales and rotation in the header.
    zero_point_error
        Error of MAGZPT in the header in mag.
    detector_zero_point
        Scatter of the zero points of the detectors about that of their stack in mag.
    sky_residual
        Amplitude of the residuals of sky subtraction over the noise of a pixel.
    sky_waves
        Number of random values along a side of a detector that make the residuals of its sky.
    optical_correlation
        Noise correlation of neighbouring pixels of optical coadds: a of a 3-px kernel (a, 1, a) along both axes.
    optical_saturation
        Counts of a pixel of optical coadds above which it saturates; 3000 is a star of about i = 15, three magnitudes
        brighter than in reality, which leaves unsaturated stars on a small patch.
    halo
        Fraction of the flux of the saturated star in its halo.
    ps1_limit
        Magnitude in i at which the error of PS1 is 0.2.
    twomass_limit
        Vega magnitude in J at which the error of 2MASS is 0.11; 1.5 mag deeper than the real survey.
    """

    # the sky
    star_density: float = 2.8
    star_bright: float = 16.0
    star_faint: float = 25.0
    star_grid: float = 1.0
    star_paired: float = 0.0
    galaxy_density: float = 110.0
    galaxy_bright: float = 17.5
    galaxy_faint: float = 26.0
    galaxy_slope: float = 0.32
    paired: float = 0.12
    outskirts_faint: float = 99.0
    clusters: float = 0.0
    cluster_members: float = 60.0
    cluster_radius: float = 15.0
    locus_scatter: float = 0.02
    motion: float = 6.0
    bright_star: float = 11.8
    # VISTA
    detector_pixels: float = 370.0
    detector_pitch: float = 405.0
    detector_pitch_y: float = 0.0
    dither: float = 14.0
    tile: float = 0.0
    tile_east: float = 0.0
    tile_north: float = 0.0
    reach: float = 1e6
    noise_excess: float = 1.45
    wcs_shift: float = 0.08
    wcs_linear: float = 3e-5
    zero_point_error: float = 0.008
    detector_zero_point: float = 0.008
    sky_residual: float = 0.6
    sky_waves: float = 6.0
    # optical coadds
    optical_correlation: float = 0.04
    optical_saturation: float = 3000.0
    halo: float = 0.01
    # catalogues
    ps1_limit: float = 22.3
    twomass_limit: float = 17.3

    @property
    def pitch(self) -> tuple[float, float]:
        """Distance between the centres of neighbouring detectors along x and y in pixels."""
        return self.detector_pitch, self.detector_pitch_y or self.detector_pitch

    @classmethod
    def from_changes(cls, changes: dict[str, float]) -> Scene:
        """The default scene with some numbers changed.

        Raises
        ------
        SurveyError
            If a key is not a setting of the scene.
        """
        known = [item.name for item in fields(cls)]
        unknown = [key for key in changes if key not in known]
        if unknown:
            raise SurveyError(f"inputs.scene has no setting {unknown[0]!r}; choose from {', '.join(known)}.")
        return replace(cls(), **changes)


@dataclass(frozen=True)
class VistaSetting:
    """Observation of a VISTA band: sky and exposure time of one DIT, and the number of DITs in a stack.

    There are more exposures than in real surveys, so that three pawprints reach the depth of a complete survey.

    Attributes
    ----------
    dit
        Exposure time of one DIT in seconds.
    ndit
        Number of DITs in an exposure.
    nicomb
        Number of exposures in a stack.
    sky
        Sky level of one DIT in ADU.
    zero_point
        Vega magnitude of 1 ADU/s.
    seeing
        FWHM of the three good pawprints in arcsec.
    night
        Date of the first pawprint.
    flat
        Date of the flat field.
    wavelength
        Wavelength of the filter in nm, as in the header.
    """

    dit: float
    ndit: int
    nicomb: int
    sky: float
    zero_point: float
    seeing: tuple[float, float, float]
    night: str
    flat: str
    wavelength: float


VISTA_SETTINGS = MappingProxyType(
    {
        "vz": VistaSetting(50.0, 4, 10, 620.0, 23.76, (0.78, 0.92, 1.06), "2012-09-25", "20120829", 900.0),
        "vy": VistaSetting(30.0, 8, 10, 1110.0, 23.35, (0.84, 0.72, 0.98), "2012-10-03", "20120918", 1020.0),
        "vj": VistaSetting(30.0, 6, 9, 4300.0, 23.72, (0.80, 0.74, 0.95), "2012-10-19", "20121010", 1250.0),
        "vh": VistaSetting(10.0, 16, 10, 8200.0, 23.85, (0.71, 0.86, 0.79), "2012-11-03", "20121024", 1650.0),
        "vk": VistaSetting(10.0, 24, 12, 10800.0, 23.02, (0.76, 0.70, 0.90), "2012-11-14", "20121105", 2150.0),
    }
)

OPTICAL_DEPTH = MappingProxyType({"g": 26.5, "r": 26.2, "i": 26.0, "z": 25.3, "y": 24.7})
"""AB magnitude of 5 sigma in a 2-arcsec aperture for independent pixel noise."""

OPTICAL_SEEING = MappingProxyType({"g": 0.78, "r": 0.72, "i": 0.58, "z": 0.66, "y": 0.70})
"""FWHM of the PSF of the optical coadds in arcsec."""

OPTICAL_MJD = 57357.0
"""Epoch of the optical coadds and of the positions in the truth table, MJD TAI (2015-12-01)."""
