"""Warp and coadd nine full-size detectors on a full patch: this pipeline beside SWarp, in CPU time and accuracy."""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.coadds.artefacts import RejectionLimits
from dmu4.coadds.correlated_noise import aperture_weights
from dmu4.coadds.planes import CoaddInput, CoaddSettings
from dmu4.coadds.resample import coordinate_grid, projection_map
from dmu4.coadds.stack import make_coadd
from tests.benchmarks.verdicts import Verdicts, find_swarp

PATCH, DETECTOR, CELL = 4200, 2048, 100
FWHM, SIGMA = 2.2, 1.0


@dataclass(frozen=True)
class Exposure:
    """A simulated detector image with its projection, and the positions and fluxes of its stars."""

    image: np.ndarray
    variance: np.ndarray
    wcs: WCS


def patch_wcs() -> WCS:
    """The projection of the patch: TAN at HSC's pixel scale."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [35.0, -5.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [PATCH / 2 + 0.5, PATCH / 2 + 0.5], [-0.168 / 3600, 0.168 / 3600]
    wcs.wcs.set()
    return wcs


def detector_wcs(*, dx: float, dy: float) -> WCS:
    """VISTA's projection, dithered by (dx, dy) pixels from the middle of the patch."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---ZPN", "DEC--ZPN"], [35.1, -5.2]
    wcs.wcs.cd = np.array([[-9.4735e-5, 2e-7], [1.9e-7, 9.4784e-5]])
    wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 44.0), (2, 5, -10300.0)])
    wcs.wcs.crpix = [0.0, 0.0]
    wcs.wcs.set()
    u, v = wcs.world_to_pixel_values(35.0, -5.0)
    wcs.wcs.crpix = [DETECTOR / 2 + dx - u, DETECTOR / 2 + dy - v]
    wcs.wcs.set()
    return wcs


def simulate(n: int, stars: int, rng: np.random.Generator) -> tuple[list[Exposure], np.ndarray, np.ndarray, np.ndarray]:
    """Dithered exposures of one field of stars; returns them with x, y (patch pixels) and flux of the stars."""
    patch = patch_wcs()
    # On a jittered lattice, so that no two stars share an aperture.
    side = int(np.ceil(np.sqrt(stars)))
    lattice = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:stars] + 0.5) / side
    x, y = (120 + (PATCH - 240) * lattice + rng.uniform(-15, 15, lattice.shape)).T
    flux = 10 ** rng.uniform(3.5, 5.5, stars)
    exposures = []
    for _ in range(n):
        wcs = detector_wcs(dx=rng.uniform(-12, 12), dy=rng.uniform(-12, 12))
        image = rng.standard_normal((DETECTOR, DETECTOR), np.float32) * np.float32(SIGMA)
        for u, v, total in zip(*projection_map(patch, wcs)(x, y), flux, strict=True):
            i, j = round(float(u)), round(float(v))
            if 10 <= i < DETECTOR - 10 and 10 <= j < DETECTOR - 10:
                image[j - 10 : j + 11, i - 10 : i + 11] += total * _star(u - i, v - j)
        exposures.append(Exposure(image, np.full_like(image, SIGMA**2), wcs))
    return exposures, x, y, flux


def _star(dx: float, dy: float) -> np.ndarray:
    """A Gaussian star, sampled at the centres of 21 x 21 pixels."""
    s = FWHM / SIGMA_TO_FWHM
    axis = np.arange(-10, 11)
    return np.outer(np.exp(-0.5 * ((axis - dy) / s) ** 2), np.exp(-0.5 * ((axis - dx) / s) ** 2)) / (2 * np.pi * s**2)


def inputs(exposures: list[Exposure], box: Box) -> list[CoaddInput]:
    """The exposures as the engine takes them."""
    whole, zeros = Box.factory[0:DETECTOR, 0:DETECTOR], np.zeros((DETECTOR, DETECTOR), np.int32)

    def source(n: int, exposure: Exposure) -> CoaddInput:
        planes = (exposure.image, exposure.variance, zeros)
        grid = coordinate_grid(box, projection_map(patch_wcs(), exposure.wcs))

        def read(area: Box) -> tuple[np.ndarray, ...]:
            return tuple(plane[area.y.start : area.y.stop, area.x.start : area.x.stop] for plane in planes)

        return CoaddInput(f"{n:03d}", whole, grid, read, weight=1 / SIGMA**2, seeing=FWHM, seed=n)

    return [source(n, exposure) for n, exposure in enumerate(exposures)]


def cd_header(wcs: WCS) -> fits.Header:
    """The projection with a CD matrix, which SWarp expects."""
    header = wcs.to_header()
    for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2"):
        header.remove(key, ignore_missing=True)
    for i, row in enumerate(wcs.pixel_scale_matrix, 1):
        for j, value in enumerate(row, 1):
            header[f"CD{i}_{j}"] = value
    return header


def run_engine(exposures: list[Exposure], *, threads: int, full: bool = False) -> tuple[np.ndarray, float, float]:
    """Coadd with this pipeline: image, CPU seconds, wall seconds. ``full`` adds rejection and a noise plane."""
    box = Box.factory[0:PATCH, 0:PATCH]
    settings = CoaddSettings(threads=threads, rejection=RejectionLimits() if full else None, n_noise=1 if full else 0)
    cpu, wall = time.process_time(), time.perf_counter()
    planes = make_coadd(inputs(exposures, box), box, cell=CELL, settings=settings)
    return planes.image, time.process_time() - cpu, time.perf_counter() - wall


def run_swarp(swarp: str, exposures: list[Exposure], folder: Path) -> tuple[np.ndarray, float]:
    """Coadd with SWarp on one thread: image and CPU seconds (reading and writing included, as users run it)."""
    names = []
    for n, exposure in enumerate(exposures):
        header = cd_header(exposure.wcs)
        name = folder / f"{n}.fits"
        fits.writeto(name, exposure.image, header)
        fits.writeto(folder / f"{n}.weight.fits", 1 / exposure.variance, header)
        names.append(str(name))
    header = cd_header(patch_wcs())
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, PATCH, PATCH
    (folder / "coadd.head").write_text("\n".join(str(card) for card in header.cards) + "\nEND     \n")
    options = {
        "RESAMPLING_TYPE": "LANCZOS3", "COMBINE_TYPE": "WEIGHTED", "WEIGHT_TYPE": "MAP_WEIGHT", "NTHREADS": 1,
        "SUBTRACT_BACK": "N", "FSCALASTRO_TYPE": "FIXED", "WRITE_XML": "N", "VERBOSE_TYPE": "QUIET",
        "DELETE_TMPFILES": "Y", "RESAMPLE_DIR": folder, "IMAGEOUT_NAME": folder / "coadd.fits",
        "WEIGHTOUT_NAME": folder / "coadd.weight.fits",
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    flags = [text for key, value in options.items() for text in (f"-{key}", str(value))]
    subprocess.run([swarp, *names, "-c", "/dev/null", *flags], check=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return fits.getdata(folder / "coadd.fits").astype(np.float32), cpu


def accuracy(image: np.ndarray, x: np.ndarray, y: np.ndarray, flux: np.ndarray) -> tuple[float, float]:
    """Slope of aperture flux on true flux (the aperture's loss is nil), and the median shift in input pixels."""
    weights = aperture_weights(22.0)
    half = weights.shape[0] // 2
    axis = np.arange(-half, half + 1)
    measured, shifts = [], []
    for a, b in zip(x, y, strict=True):
        i, j = round(float(a)), round(float(b))
        stamp = image[j - half : j + half + 1, i - half : i + half + 1] * weights
        measured.append(stamp.sum())
        near = np.exp(-0.5 * ((axis[:, None] - (b - j)) ** 2 + (axis - (a - i)) ** 2) / 4.4**2) * stamp
        # With a Gaussian window of the star's size the centroid moves by half of the shift.
        shifts.append([2 * near.sum(k) @ (axis - offset) / near.sum() for k, offset in ((0, a - i), (1, b - j))])
    bright = flux > np.median(flux)
    slope = float((np.array(measured) * flux).sum() / (flux**2).sum())
    return slope, float(np.hypot(*np.median(np.array(shifts)[bright], axis=0)) * 0.168 / 0.3412)


SWARP_LIMITS = {"lean": 6.0, "production": 4.0}
"""SWarp takes at least this many times as long, without and with rejection and a noise plane."""


def compare(exposures: list[Exposure], sky: tuple[np.ndarray, ...], repeat: int, verdicts: Verdicts) -> None:
    """SWarp and both modes in turn, several times; medians of the ratios, and the accuracy of each."""
    swarp = find_swarp()
    if swarp is not None:
        print(f"versions: {swarp[1]}")
    rows: list[tuple[float, float, float, float]] = []
    figures: dict[str, tuple[float, float]] = {}
    for _ in range(repeat):
        swarp_cpu = np.nan
        if swarp is not None:
            with tempfile.TemporaryDirectory() as folder:
                image, swarp_cpu = run_swarp(swarp[0], exposures, Path(folder))
            figures["SWarp"] = accuracy(image, *sky)
        image, lean, wall = run_engine(exposures, threads=1)
        figures["lean"] = accuracy(image, *sky)
        _, _, wall_two = run_engine(exposures, threads=2)
        image, production, _ = run_engine(exposures, threads=1, full=True)
        figures["production"] = accuracy(image, *sky)
        rows.append((swarp_cpu, lean, production, wall / wall_two))
        print("CPU s: SWarp {:.1f}, lean {:.1f}, production {:.1f}; two threads {:.2f} times one".format(*rows[-1]))
    swarp_cpu, lean, production, threads = np.transpose(rows)
    for mode, cpu in (("lean", lean), ("production", production)):
        slope, shift = figures[mode]
        verdicts.at_most(f"{mode}: slope of the fluxes less one", abs(slope - 1), SLOPE_LIMIT)
        verdicts.at_most(f"{mode}: shift", shift, 1e-3, " px")
        if swarp is not None:
            verdicts.at_least(f"{mode}: CPU of SWarp over ours", float(np.median(swarp_cpu / cpu)), SWARP_LIMITS[mode])
    if swarp is not None:
        print("SWarp: slope less one {:+.2e}, shift {:.1e} px".format(figures["SWarp"][0] - 1, figures["SWarp"][1]))
    verdicts.at_least("two threads over one, wall time", float(np.median(threads)), 1.8)


SLOPE_LIMIT = 1e-4
"""Largest relative error of the fluxes of stars in an aperture that holds all of their light."""


def main() -> None:
    """Print the table; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detectors", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    exposures, *sky = simulate(arguments.detectors, 400, np.random.default_rng(500))
    run_engine(exposures[:1], threads=1)  # compiles
    run_engine(exposures[:3], threads=1, full=True)
    verdicts = Verdicts()
    compare(exposures, tuple(sky), arguments.repeat, verdicts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verdicts.at_most("peak memory, with the simulated inputs", peak, 3, " GiB")
    raise SystemExit(verdicts.end())


if __name__ == "__main__":
    main()
