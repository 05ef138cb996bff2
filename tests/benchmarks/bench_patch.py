"""Sky, detection and measurement of a full patch in ten bands: CPU time, memory and accuracy of one process.

Run it as ``python -m tests.benchmarks.bench_patch [side in pixels]``. The patch is drawn by another process, so that
this memory does not count; the bands are read from files one after another, as from a Butler.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from dmu0.robust_statistics import robust_scatter
from dmu4.detection.detect import DetectionSettings, detect
from dmu4.measurement.forced import add_stamps
from dmu4.measurement.measure import BandMeasurement, Measurements, MeasurementSettings, measure
from dmu4.measurement.profiles import Profiles, make_profiles
from dmu4.measurement.stamps import Kernels, render
from dmu4.patches.band_psf import band_psf
from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import one_band
from dmu4.patches.sky import SkySubtracted
from tests.benchmarks.verdicts import Verdicts
from tests.scenes.patches import Scene, correlated_noise, make_scene, psf_stamp

PATCH, CELL, PIXEL_SCALE = 4200, 100, 0.168
DENSITY = 60_000 / PATCH**2
"""True sources per pixel^2, of which somewhat less than a half are detected: some 29,000 on a full patch."""
BANDS = ("g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk")
PSF_VARIANCE = (4.2, 3.6, 2.9, 3.4, 3.8, 5.0, 4.8, 4.6, 4.2, 4.0)  # px^2, of the cores
SIGMA = (4.0, 5.0, 5.0, 8.0, 12.0, 14.0, 16.0, 18.0, 24.0, 30.0)  # nJy per pixel
CPU_LIMIT, MEMORY_LIMIT = 150.0, 4.0
"""CPU seconds and GB (10^9 bytes) for a full patch; for smaller ones the time is scaled with the area."""
BIAS_LIMIT, SCATTER_LIMIT = 0.005, 0.01
"""Largest median deviation of point-source fluxes of isolated stars above 50 sigma, and scatter of those above 200."""
ISOLATED = 12.0
"""Smallest distance in pixels of an isolated star from the next true source."""


class StoredPlanes:
    """The bands of a patch in a folder, read one after another; see `dmu4.patches.cube.PatchData`."""

    bands, x0, y0, pixel_scale = BANDS, 0, 0, PIXEL_SCALE

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shape = np.load(folder / "image_g.npy", mmap_mode="r").shape

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band, as it is."""
        return one

    def read(self, number: int) -> PatchCube:
        """One band, as a cube."""
        band = BANDS[number]
        image, noise, variance, psf = (
            np.load(self._folder / f"{name}_{band}.npy") for name in ("image", "noise", "variance", "psf")
        )
        planes = BandPlanes(
            image=image,
            variance=variance,
            mask=np.zeros(self.shape, np.int32),
            psf=psf,
            noise=noise,
            input_count=np.full(self.shape, 3, np.int16),
        )
        return one_band(band, planes, x0=0, y0=0, pixel_scale=PIXEL_SCALE)


def draw_patch(folder: Path, side: int) -> None:
    """Write the planes of all bands and the true sources; in VISTA bands half of the patch has fewer inputs."""
    rng = np.random.default_rng(5)
    shape = (side, side)
    scene = make_scene(rng, shape=shape, density=DENSITY, bands=len(BANDS), faintest=100.0, slope=0.75)
    np.savez(folder / "truth.npz", x=scene.x, y=scene.y, covariance=scene.covariance, flux=scene.flux)
    # Half-light ellipses of discs from the second moments of the scene.
    profiles = make_profiles(x=scene.x, y=scene.y, covariance=scene.covariance / 1.18, psf_size=41)
    cells = side // CELL
    column, row = (np.minimum(v // CELL, cells - 1).astype(int) for v in (scene.x, scene.y))
    for number, band in enumerate(BANDS):
        vista = number > 4
        i, j = np.indices((cells, cells))
        widths = PSF_VARIANCE[number] * (1 + 0.1 * vista * ((7 * i + 3 * j) % 11 - 5) / 5)
        psf = np.array([[psf_stamp(width) for width in one] for one in widths], np.float32)
        sigma = np.full(shape, SIGMA[number], np.float32)
        sigma[:, side // 2 :] *= 1.3 if vista else 1.0
        image = _stars_and_discs(profiles, psf.reshape(-1, 41, 41), row * cells + column, scene.flux[:, number], shape)
        planes = {
            "image": image + sigma * correlated_noise(rng, shape, sigma=1, width=0.6),
            "noise": sigma * correlated_noise(rng, shape, sigma=1, width=0.6),
            "variance": np.square(sigma),
            "psf": psf,
        }
        for name, plane in planes.items():
            np.save(folder / f"{name}_{band}.npy", plane.astype(np.float32))


def _stars_and_discs(
    profiles: Profiles, psf: np.ndarray, cell: np.ndarray, flux: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """The noiseless image [y, x] of a band."""
    image = np.zeros(shape, np.float32)
    for start in range(0, len(profiles), 4096):
        some = np.arange(start, min(start + 4096, len(profiles)))
        stamps = render(profiles.subset(some), Kernels(psf), cell[some])
        add_stamps(stamps.pixels, stamps.offset, stamps.size, stamps.x0, stamps.y0, flux[some], image)
    return image


def compare(measured: Measurements, scene: Scene, number: int) -> tuple[float, float, int]:
    """Median deviation of the point-source fluxes of isolated stars of 50 sigma, the scatter of those of 200 sigma, and
    the number of these."""
    places = np.column_stack([scene.x, scene.y])
    alone = cKDTree(places).query(places, k=2)[0][:, 1] > ISOLATED
    shapes = measured.shapes
    distance, row = cKDTree(np.column_stack([shapes.x, shapes.y])).query(places)
    band: BandMeasurement = measured.bands[BANDS[number]]
    flux, error = band.psf.value[row], band.psf.error[row]
    stars = alone & ~scene.covariance.any(axis=1) & (distance < 1) & (flux > 50 * error)
    ratio, brightest = flux[stars] / scene.flux[stars, number], flux[stars] > 200 * error[stars]
    return float(np.median(ratio) - 1), float(robust_scatter(ratio[brightest])), int(brightest.sum())


def run(folder: Path, threads: int) -> int:
    """Measure the patch of a folder, and print all figures beside their limits; 1 if one is missed."""
    verdicts, patch = Verdicts(), StoredPlanes(folder)
    warm_up(patch)
    start, wall = time.process_time(), time.perf_counter()
    flat = SkySubtracted(patch, box=128)
    found = detect(flat, DetectionSettings(threads=threads))
    detected = time.process_time()
    measured = measure(
        SkySubtracted(patch, sky=flat.sky),
        x=found.x,
        y=found.y,
        reference=found.reference,
        settings=MeasurementSettings(threads=threads),
    )
    end = time.process_time()
    area = patch.shape[0] * patch.shape[1] / PATCH**2
    print(
        f"{len(found.x)} objects on {patch.shape[1]} x {patch.shape[0]} pixels in {len(BANDS)} bands: sky and detection"
        f" {detected - start:.1f}, measurement {end - detected:.1f} CPU s; {time.perf_counter() - wall:.0f} s elapsed"
    )
    verdicts.at_most("sky, detection and measurement of a patch", end - start, CPU_LIMIT * area, " CPU s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    verdicts.at_most("largest memory of the process", memory, MEMORY_LIMIT, " GB")
    truth = np.load(folder / "truth.npz")
    scene = Scene(**{name: truth[name] for name in ("x", "y", "covariance", "flux")})
    of_bands = [compare(measured, scene, number) for number in range(len(BANDS))]
    for band, (bias, scatter, count) in zip(BANDS, of_bands, strict=True):
        print(f"  {band:<3} {100 * bias:+.2f} +- {100 * scatter:.2f} % ({count} stars)")
    verdicts.at_most("largest bias of bright stars", max(abs(bias) for bias, _, _ in of_bands), BIAS_LIMIT)
    verdicts.at_most("largest scatter of bright stars", max(scatter for _, scatter, _ in of_bands), SCATTER_LIMIT)
    return verdicts.end()


def warm_up(patch: StoredPlanes) -> None:
    """Compile all functions on a corner of the patch."""
    side = min(400, *patch.shape)

    class Corner(StoredPlanes):
        def __init__(self) -> None:
            self.shape = (side, side)

        def read(self, number: int) -> PatchCube:
            one = patch.read(number)
            names = ("image", "variance", "noise", "good", "flags", "input_count")
            planes = {name: getattr(one, name)[:side, :side] for name in names}
            cells = side // CELL
            whole = one.psfs[0]
            psf = whole.of_cells.reshape(*whole.cells, *whole.stamps.shape[1:])[:cells, :cells]
            return replace(one, **planes, psfs=(band_psf(psf, None, (side, side)),))

    found = detect(Corner(), DetectionSettings())
    measure(Corner(), x=found.x, y=found.y, reference=found.reference, settings=MeasurementSettings())


def main() -> int:
    """Draw and measure a patch in processes of their own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", nargs="?", type=int, default=PATCH)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--measure", type=Path)
    given = parser.parse_args()
    if given.draw:
        draw_patch(given.draw, given.side)
        return 0
    if given.measure:
        return run(given.measure, given.threads)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.bench_patch", str(given.side)]
        subprocess.run([*command, "--draw", folder], check=True)
        # As notebooks are run, see workflow.execute: threads of the linear algebra would only wait, and count as work.
        one = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        measuring = [*command, "--threads", str(given.threads), "--measure", folder]
        return subprocess.run(measuring, check=False, env=one).returncode


if __name__ == "__main__":
    sys.exit(main())
