"""Run a program of the LSST middleware: ``python dmu4/execution/middleware.py pipetask|butler|bps ...``.

Wherever a job is started, it runs the code of the checkout that this file is in, with whatever Python starts it, and
reads quantum graphs rightly; it needs nothing on PATH or PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROJECT = str(Path(__file__).resolve().parents[2])


def _prepare() -> None:
    """Make this process and those that it starts import from this checkout, and read parts of zip files."""
    sys.path[:] = [_PROJECT, *(entry for entry in sys.path if entry not in {_PROJECT, str(Path(__file__).parent)})]
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in {"", _PROJECT}]
    os.environ["PYTHONPATH"] = os.pathsep.join([_PROJECT, *others])
    from dmu4.execution.zip_parts import mend_zip_reading  # found only now

    mend_zip_reading()


def main(program: str) -> int | None:
    """Run a program with the rest of the command line.

    Raises
    ------
    SystemExit
        With the program's exit code, or because there is no such program.
    """
    if program == "pipetask":
        from lsst.ctrl.mpexec.cli.pipetask import main as run
    elif program == "butler":
        from lsst.daf.butler.cli.butler import main as run
    elif program == "bps":
        from lsst.ctrl.bps.cli.bps import main as run
    else:
        raise SystemExit(f"There is no program {program!r}; choose pipetask, butler or bps.")
    return run()


if __name__ in {"__main__", "__mp_main__"}:  # the second: a process of a pool
    _prepare()
if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    sys.argv[0] = name
    sys.exit(main(name))
