"""How long the inventory of a survey takes: stacks of 16 extensions with full CASU headers, no pixels.

Run it as ``python -m tests.benchmarks.bench_inventory [files]``.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from dmu0.sample.scene import Scene
from dmu0.sample.visits import Visit, plan_visits
from dmu0.sample.vista_headers import extension_header, primary_header
from dmu0.sample.vista_pixels import Stack
from dmu1.inventory import StackFile, read_stacks
from tests.benchmarks.verdicts import Verdicts, print_versions

LIMIT = 60.0
"""Seconds for 1,000 files on two cores."""
SCENE = Scene()


def a_stack() -> tuple[Visit, SkyCoord, Stack]:
    """How a stack of the sample is observed, and what is measured on a detector of it, without pixels."""
    centre = SkyCoord(34.5, -5.0, unit="deg")
    visit = plan_visits(SCENE, ("vh",), centre, seed=1)[0]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---ZPN", "DEC--ZPN"], [34.5, -5.0], [5417.1, 6859.3]
    wcs.wcs.cd = [[9.484e-5, -2.3e-7], [2.2e-7, 9.481e-5]]
    wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 44.0), (2, 5, -10300.0)])
    nothing = np.zeros((1, 1))
    return visit, centre, Stack(nothing, nothing, wcs, wcs, 8000.0, 8.5, 23.8, 2.2, 0.04, 90)


def write_stack(path: Path, *, number: int) -> None:
    """A stack of 16 compressed extensions with all cards that CASU writes, and next to no pixels."""
    visit, centre, stack = a_stack()
    primary = fits.PrimaryHDU(header=primary_header(visit, centre)).header
    blocks = [primary.tostring().encode("ascii")]
    for chip in range(1, 17):
        header = extension_header(visit, stack, chip, SCENE, magzpt=23.8)
        header["HIERARCH ESO DET EXP NO"] = number
        table = {"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 360, "PCOUNT": 0, "GCOUNT": 1}
        table |= {"TFIELDS": 0, "ZIMAGE": True, "ZBITPIX": 32, "ZNAXIS": 2, "ZNAXIS1": 2091 + chip, "ZNAXIS2": 2155}
        whole = fits.Header([*table.items()])
        whole.extend(header, strip=True, update=False, unique=True)
        blocks += [whole.tostring().encode("ascii"), bytes(2880)]
    path.write_bytes(b"".join(blocks))


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has ended, which do not count what else the machine does."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main(count: int) -> int:
    """Time one process and two, and print the figures beside their limits; 1 if one is missed."""
    verdicts = Verdicts()
    print_versions("astropy")
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(20):
            write_stack(Path(folder) / f"v20120924_{number:05d}_st.fit", number=number)
        for number in range(count):  # the same bytes under many names: what is timed is reading headers, not the disk
            name = Path(folder) / f"v20130101_{number:05d}_st.fit"
            name.hardlink_to(Path(folder) / f"v20120924_{number % 20:05d}_st.fit")
            files.append(StackFile(recorded=name.name, path=name))
        for workers in (1, 2):
            some = files if workers == 2 else files[: max(count // 10, 1)]
            start, begin = time.perf_counter(), cpu_seconds()
            table = read_stacks(some, workers=workers)
            wall, seconds = time.perf_counter() - start, cpu_seconds() - begin
            wrong = int(np.sum(table["state"] != "ok")) + abs(16 * len(some) - len(table))
            wrong += int(np.sum(np.asarray(table["nx"]) != 2091 + np.asarray(table["detector"])))
            verdicts.at_most(f"{workers} process(es), {len(some)} files: detector images read wrongly", wrong, 0)
            print(f"{workers} process(es): {1000 * seconds / len(some):.1f} s of CPU for 1,000 files")
            if workers == 2:
                verdicts.at_most("two processes: wall time for 1,000 files", 1000 * wall / len(some), LIMIT, " s")
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
