"""Plan of the VISTA observations: the pawprint stacks of each band, with their pointings and conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time

from dmu0.sample.observing import airmass, time_of_hour_angle
from dmu0.sample.psf import FieldPsf, random_psf
from dmu0.sample.scene import VISTA_PIXEL, VISTA_SETTINGS, Scene

TILE_STEPS = (0.475, 0.95)
"""Steps of the pawprints of a tile along x and y over the width of a detector: a third and a half of the distance of
neighbouring detectors, between which are gaps of 42.5 and 90 per cent of their width (Sutherland et al. 2015, A&A 575,
A25)."""


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
    """The stacks of the sample: the good pawprints of each band, and an aborted one in the first band.

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
    pattern = pointings(scene)
    for index, band in enumerate(bands):
        for pawprint in range(len(pattern) + (index == 0)):
            rng = np.random.default_rng([seed, 1, index, pawprint])
            aborted = pawprint == len(pattern)
            step = pattern[pawprint % len(pattern)]
            visits.append(_visit(scene, band, centre, rng, index=index, pawprint=pawprint, step=step, aborted=aborted))
    return visits


def pointings(scene: Scene) -> tuple[tuple[float, float], ...]:
    """Pointings of the pawprints of a band, east and north of the patches' centre, in units of ``scene.dither``.

    A tile has three positions along x times two along y, from which each part of its interior is seen at least twice;
    its first and last 0.475 detectors along x are seen once.
    """
    if not scene.tile:
        return ((-0.5, -0.45), (0.55, -0.1), (-0.1, 0.6))
    side = scene.detector_pixels * VISTA_PIXEL
    return tuple(
        (
            (scene.tile_east + column * TILE_STEPS[0] * side) / scene.dither,
            (scene.tile_north + row * TILE_STEPS[1] * side) / scene.dither,
        )
        for column in (-1, 0, 1)
        for row in (-0.5, 0.5)
    )


def _visit(
    scene: Scene,
    band: str,
    centre: SkyCoord,
    rng: np.random.Generator,
    *,
    index: int,
    pawprint: int,
    step: tuple[float, float],
    aborted: bool,
) -> Visit:
    """One stack: its pointing, ``step`` in units of the dither, and random conditions."""
    setting = VISTA_SETTINGS[band]
    seeing = 1.55 if aborted else setting.seeing[pawprint % 3]
    reach = rng.uniform(3.2, 9.8)
    nicomb = max(setting.nicomb // 2, 3) if aborted else setting.nicomb
    jitter = rng.uniform(-reach, reach, (nicomb, 2))
    ra, dec = float(centre.ra.deg), float(centre.dec.deg)
    night = Time(setting.night).mjd + 7 * pawprint
    mjd = time_of_hour_angle(night, ra=ra, hour_angle=rng.uniform(-30, 30))
    return Visit(
        number=300 + 60 * pawprint + 7 * index,
        band=band,
        exposure=620_000 + 2_000 * index + 200 * pawprint + int(rng.integers(100)),
        mjd=mjd,
        east=scene.dither * (step[0] + rng.normal(0, 0.05)),
        north=scene.dither * (step[1] + rng.normal(0, 0.05)),
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
        esograde="R" if aborted else ("A", "A", "B")[pawprint % 3],
        trail=band == "vj" and pawprint == 2,
        noise_excess=scene.noise_excess * (1.4 if aborted else rng.uniform(0.97, 1.06)),
    )
