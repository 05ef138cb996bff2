"""How long the inventory of a survey takes: stacks of 16 extensions with full CASU headers, pixels left out.

Run it as ``python tests/benchmarks/bench_inventory.py [files]``.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from astropy.io import fits

from dmu1.inventory import StackFile, read_stacks

HEADERS = Path(__file__).resolve().parents[3] / "shared" / "realdata" / "headers"
LIMIT = 60.0
"""Seconds for 1,000 files on two cores."""


def write_stack(path: Path, *, number: int) -> None:
    """A stack of 16 compressed extensions with all 520 cards of a real one, and next to no pixels."""
    blocks = [_header("primary", {}).tostring().encode("ascii")]
    for chip in range(1, 17):
        changes = {"ESO DET CHIP NO": chip, "ESO DET EXP NO": number, "EXTNAME": f"DET1.CHIP{chip}"}
        changes |= {"XTENSION": "BINTABLE", "NAXIS1": 8, "NAXIS2": 360}
        header = _header("ext1", changes)
        for keyword, value in {"ZIMAGE": True, "ZNAXIS": 2, "ZNAXIS1": 2091 + chip, "ZNAXIS2": 2155}.items():
            header.set(keyword, value, after="GCOUNT")
        header["BITPIX"] = 8
        blocks += [header.tostring().encode("ascii"), bytes(2880)]
    path.write_bytes(b"".join(blocks))


def _header(which: str, changes: dict[str, int | str]) -> fits.Header:
    """A real header with some values changed."""
    cards = (HEADERS / f"v20120924_00582_st_{which}.txt").read_text().splitlines()
    header = fits.Header.fromstring("".join(card.ljust(80) for card in cards))
    for keyword, value in changes.items():
        header[f"HIERARCH {keyword}" if " " in keyword else keyword] = value
    return header


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has ended, which do not count what else the machine does."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
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
            start, cpu = time.perf_counter(), cpu_seconds()
            table = read_stacks(some, workers=workers)
            wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            assert len(table) == 16 * len(some)
            assert set(table["state"]) == {"ok"}, set(table["reason"])
            print(
                f"{workers} process(es), {len(some)} files of 16 extensions: {1000 * wall / len(some):.1f} s for 1,000 "
                f"(limit {LIMIT:.0f} on two cores), {1000 * cpu / len(some):.1f} s of CPU"
            )
