"""How CPU time and memory of a coadd grow with the number of inputs: linear in time, flat in memory."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from lsst.images import Box

from dmu4.coadds.planes import CoaddInput, CoaddSettings
from dmu4.coadds.resample import coordinate_grid, projection_map
from dmu4.coadds.stack import make_coadd
from tests.benchmarks.bench_coadd import CELL, DETECTOR, PATCH, detector_wcs, patch_wcs
from tests.benchmarks.verdicts import Verdicts


def generated(n: int, box: Box) -> CoaddInput:
    """An input whose pixels are made when they are read, as a Butler would."""
    rng = np.random.default_rng(n)
    grid = coordinate_grid(
        box, projection_map(patch_wcs(), detector_wcs(dx=rng.uniform(-12, 12), dy=rng.uniform(-12, 12)))
    )

    def read(area: Box) -> tuple[np.ndarray, ...]:
        image = np.random.default_rng(n).standard_normal(area.shape, np.float32)
        return image, np.ones(area.shape, np.float32), np.zeros(area.shape, np.int32)

    return CoaddInput(f"{n:03d}", Box.factory[0:DETECTOR, 0:DETECTOR], grid, read, 1.0, 0.8, seed=n)


def measure(n: int, memory: float) -> dict[str, float]:
    """CPU seconds and peak memory (GiB) of one coadd of n inputs, with rejection and a noise plane, in this process."""
    small, whole = Box.factory[0:CELL, 0:CELL], Box.factory[0:PATCH, 0:PATCH]
    settings = CoaddSettings(threads=1, memory=int(memory * 1e9))
    make_coadd([generated(k, small) for k in range(3)], small, cell=CELL, settings=settings)  # compiles
    begin = time.process_time()
    make_coadd([generated(k, whole) for k in range(n)], whole, cell=CELL, settings=settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"inputs": n, "cpu": time.process_time() - begin, "memory": peak}


def main() -> None:
    """Print the table, each row from a process of its own, and fail if growth is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, help="measure this many inputs and print JSON")
    parser.add_argument("--memory", type=float, default=1.0, help="limit for input pixels in GB")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4, 9, 25])
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.memory)))
        return
    rows = []
    print("inputs  CPU s  CPU s an input  peak GiB")
    for n in arguments.counts:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.bench_growth",
            "--one",
            str(n),
            "--memory",
            str(arguments.memory),
        ]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(row)
        print(f"{n:6d} {row['cpu']:6.1f} {row['cpu'] / n:15.2f} {row['memory']:9.2f}")
    last, before = rows[-1], rows[-2]
    verdicts = Verdicts()
    steps = last["cpu"] / before["cpu"] / (last["inputs"] / before["inputs"])
    verdicts.at_most(f"CPU from {before['inputs']} to {last['inputs']} inputs over linear", steps, 1.25)
    verdicts.at_most(f"memory of {last['inputs']} inputs", last["memory"], 3, " GiB")
    raise SystemExit(verdicts.end())


if __name__ == "__main__":
    main()
