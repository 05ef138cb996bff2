"""Settings of the synthetic sky: its sources, and how they are observed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time

from dmu0.sample.observing import airmass, time_of_hour_angle
from dmu0.sample.psf import FieldPsf, random_psf
from dmu0.surveys import SurveyError

VISTA_PIXEL = 9.48e-5 * 3600
"""Pixel scale of CASU stacks, arcsec."""


@dataclass(frozen=True)
class Scene:
    """The contents and observing conditions of the sky; the key ``inputs.scene`` of the survey file changes any number.

    The density of stars is higher than in most real fields and 2MASS is deeper, because a detector here covers a
    thirtieth of the area of a real one and still needs enough stars for its own calibration.

    Attributes
    ----------
    star_density
        Number of stars per mag and square arcmin.
    star_bright, star_faint
        Magnitudes in i of the brightest ordinary star and of the faintest one.
    galaxy_density
        Number of galaxies per square arcmin down to the faint limit.
    galaxy_bright, galaxy_faint
        Magnitudes in i of the brightest and faintest galaxies.
    galaxy_slope
        Slope of the number counts of galaxies, d log10(counts) / d mag.
    paired
        Fraction of the galaxies at 0.8 to 3 arcsec from another one.
    locus_scatter
        Intrinsic scatter of the colours of stars in mag.
    motion
        Typical proper motion of a star along one axis in mas/yr.
    bright_star
        Magnitude in i of the one saturated star.
    detector_pixels
        Native size of a VISTA detector; a stack is larger by twice its largest jitter.
    detector_pitch
        Distance between the centres of neighbouring detectors in pixels.
    dither
        Size of the offsets between pawprints in arcsec.
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
    optical_correlation
        Noise correlation of neighbouring pixels of optical coadds: a of a 3-px kernel (a, 1, a) along both axes.
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
    galaxy_density: float = 110.0
    galaxy_bright: float = 17.5
    galaxy_faint: float = 26.0
    galaxy_slope: float = 0.32
    paired: float = 0.12
    locus_scatter: float = 0.02
    motion: float = 6.0
    bright_star: float = 11.8
    # VISTA
    detector_pixels: float = 370.0
    detector_pitch: float = 405.0
    dither: float = 14.0
    noise_excess: float = 1.45
    wcs_shift: float = 0.08
    wcs_linear: float = 3e-5
    zero_point_error: float = 0.008
    detector_zero_point: float = 0.008
    sky_residual: float = 0.6
    # optical coadds
    optical_correlation: float = 0.04
    halo: float = 0.01
    # catalogues
    ps1_limit: float = 22.3
    twomass_limit: float = 17.3

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


@dataclass(frozen=True)
class Visit:
    """The observation of one VISTA pawprint stack.

    Attributes
    ----------
    number
        Running number of the file in the night.
    band
        Label of the band.
    exposure
        ESO DET EXP NO of the first exposure.
    mjd
        Start of the first exposure, MJD in UTC.
    east, north
        Pointing relative to the centre of the field in arcsec.
    angle
        Position angle of the rotator in deg.
    psf
        PSF over the field.
    zero_point
        Vega magnitude of 1 ADU/s at airmass 1.
    sky
        Sky level of one DIT in ADU.
    dit, ndit, nicomb
        Exposure time of one DIT in seconds, DITs per exposure, and exposures per stack.
    jitter
        Offset of each exposure in pixels.
    airmass
        Airmass of the observation.
    obstatus, esograde
        Status and grade of the observation, as in the headers.
    trail
        Whether a satellite crosses the field.
    noise_excess
        Noise over the ideal noise.
    """

    number: int
    band: str
    exposure: int
    mjd: float
    east: float
    north: float
    angle: float
    psf: FieldPsf
    zero_point: float
    sky: float
    dit: float
    ndit: int
    nicomb: int
    jitter: tuple[tuple[float, float], ...]
    airmass: float
    obstatus: str = "Completed"
    esograde: str = "A"
    trail: bool = False
    noise_excess: float = 1.0

    @property
    def night(self) -> str:
        """Date of the observation as in the file's name, YYYYMMDD."""
        return Time(self.mjd, format="mjd").strftime("%Y%m%d")

    @property
    def name(self) -> str:
        """Name of the stack without extension."""
        return f"v{self.night}_{self.number:05d}_st"

    @property
    def margin(self) -> int:
        """Margin of a stack around its detector on every side, in pixels."""
        return int(np.ceil(np.abs(np.array(self.jitter)).max())) + 1


def plan_visits(scene: Scene, bands: tuple[str, ...], centre: SkyCoord, *, seed: int) -> list[Visit]:
    """The stacks of the sample: three good pawprints per band, and an aborted one.

    Parameters
    ----------
    scene
        The settings.
    bands
        VISTA bands to observe.
    centre
        Centre of the field.
    seed
        Seed of the random numbers.
    """
    visits = []
    pattern = ((-0.5, -0.45), (0.55, -0.1), (-0.1, 0.6))
    for index, band in enumerate(bands):
        setting = VISTA_SETTINGS[band]
        start = Time(setting.night).mjd
        for pawprint in range(4 if index == 0 else 3):
            rng = np.random.default_rng([seed, 1, index, pawprint])
            aborted = pawprint == 3
            seeing = 1.55 if aborted else setting.seeing[pawprint]
            reach = rng.uniform(3.2, 9.8)
            nicomb = max(setting.nicomb // 2, 3) if aborted else setting.nicomb
            jitter = rng.uniform(-reach, reach, (nicomb, 2))
            step_east, step_north = pattern[pawprint % 3]
            ra, dec = float(centre.ra.deg), float(centre.dec.deg)
            mjd = time_of_hour_angle(start + 7 * pawprint, ra=ra, hour_angle=rng.uniform(-30, 30))
            visits.append(
                Visit(
                    number=300 + 60 * pawprint + 7 * index,
                    band=band,
                    exposure=620_000 + 2_000 * index + 200 * pawprint + int(rng.integers(100)),
                    mjd=mjd,
                    east=scene.dither * (step_east + rng.normal(0, 0.05)),
                    north=scene.dither * (step_north + rng.normal(0, 0.05)),
                    angle=-89.99 if pawprint == 1 else 90.01,
                    psf=random_psf(rng, fwhm=seeing / VISTA_PIXEL, variation=0.04),
                    zero_point=setting.zero_point + rng.normal(0, 0.02) - (0.9 if aborted else 0),
                    sky=setting.sky * rng.uniform(0.9, 1.15) * (1.6 if aborted else 1),
                    dit=setting.dit,
                    ndit=setting.ndit,
                    nicomb=nicomb,
                    jitter=tuple((float(x), float(y)) for x, y in jitter),
                    airmass=airmass(mjd, ra=ra, dec=dec),
                    obstatus="Aborted" if aborted else "Completed",
                    esograde="R" if aborted else ("A", "A", "B")[pawprint],
                    trail=band == "vj" and pawprint == 2,
                    noise_excess=scene.noise_excess * (1.4 if aborted else rng.uniform(0.97, 1.06)),
                )
            )
    return visits
