"""The settings of the synthetic sky: what is on it, and how it is observed."""

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
    """What is on the sky and how well it is seen; any number can be changed in the survey file, key ``inputs.scene``.

    Stars are denser than in most real fields and 2MASS is deeper, because a detector here covers a thirtieth of the
    sky of a real one and yet has to have stars enough for its own calibration.
    """

    # the sky
    star_density: float = 2.8  # stars per mag and square arcmin
    star_bright: float = 16.0  # i mag of the brightest ordinary star
    star_faint: float = 25.0  # i mag
    galaxy_density: float = 110.0  # galaxies to the faint limit per square arcmin
    galaxy_bright: float = 17.5  # i mag
    galaxy_faint: float = 26.0  # i mag
    galaxy_slope: float = 0.32  # d log10(counts) / d mag
    paired: float = 0.12  # fraction of the galaxies that lie 0.8 to 3 arcsec from another one
    locus_scatter: float = 0.02  # mag, intrinsic scatter of a star's colour
    motion: float = 6.0  # mas/yr, typical proper motion of a star on one axis
    bright_star: float = 11.8  # i mag of the one saturated star
    # VISTA
    detector_pixels: float = 370.0  # native size; a stack is larger by twice its largest jitter
    detector_pitch: float = 405.0  # px between the centres of neighbouring detectors
    dither: float = 14.0  # arcsec between pawprints
    noise_excess: float = 1.45  # over the ideal noise: sky frames, destriping, so that stacks come out as real ones do
    wcs_shift: float = 0.08  # arcsec, error of the header position on one axis
    wcs_linear: float = 3e-5  # error of the header's scales and rotation
    zero_point_error: float = 0.008  # mag, error of the header's MAGZPT
    detector_zero_point: float = 0.008  # mag, scatter of the detectors about their stack's zero point
    sky_residual: float = 0.6  # amplitude of what sky subtraction leaves, over the noise of a pixel
    # optical coadds
    optical_correlation: float = 0.04  # of neighbouring pixels' noise, as a 3-px kernel (a, 1, a) on both axes
    halo: float = 0.01  # of the saturated star's flux
    # catalogues
    ps1_limit: float = 22.3  # i mag where the error is 0.2
    twomass_limit: float = 17.3  # J Vega where the error is 0.11: 1.5 mag deeper than the real survey

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
    """How a VISTA band is observed: sky and exposure of one DIT, and how many of them make a stack.

    Exposures repeat more often than in real surveys, so that three pawprints give the depth of a whole one.
    """

    dit: float  # s
    ndit: int
    nicomb: int
    sky: float  # ADU in one DIT
    zero_point: float  # Vega, of 1 ADU/s
    seeing: tuple[float, float, float]  # arcsec, FWHM of the three good pawprints
    night: str  # date of the first pawprint
    flat: str  # date of the flat field
    wavelength: float  # nm, of the filter, as its header says


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
"""AB magnitude of 5 sigma in a 2-arcsec aperture, were the noise of the pixels independent."""

OPTICAL_SEEING = MappingProxyType({"g": 0.78, "r": 0.72, "i": 0.58, "z": 0.66, "y": 0.70})
"""FWHM in arcsec."""

OPTICAL_MJD = 57357.0
"""Epoch of the optical coadds and of the positions in the truth table, MJD TAI (2015-12-01)."""


@dataclass(frozen=True)
class Visit:
    """One VISTA pawprint stack as it is observed."""

    number: int  # in the night's files
    band: str
    exposure: int  # ESO DET EXP NO of the first exposure
    mjd: float  # UTC, of the first exposure
    east: float  # arcsec, pointing from the field's centre
    north: float
    angle: float  # deg, position angle of the rotator
    psf: FieldPsf
    zero_point: float  # Vega, of 1 ADU/s at unit airmass
    sky: float  # ADU in one DIT
    dit: float
    ndit: int
    nicomb: int
    jitter: tuple[tuple[float, float], ...]  # px, of each exposure
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
        """Pixels by which a stack reaches beyond its detector on every side."""
        return int(np.ceil(np.abs(np.array(self.jitter)).max())) + 1


def plan_visits(scene: Scene, bands: tuple[str, ...], centre: SkyCoord, *, seed: int) -> list[Visit]:
    """The stacks of the sample: three good pawprints a band, and one that was aborted.

    Parameters
    ----------
    scene
        The settings.
    bands
        VISTA bands to observe.
    centre
        Of the field.
    seed
        Of the random numbers.
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
