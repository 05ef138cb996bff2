"""Run a program of the LSST middleware: ``python dmu4/execution/middleware.py pipetask|butler|bps ...``.

A job runs the code of the checkout that contains this file, wherever it is started and with any Python, and reads
quantum graphs correctly; it depends neither on PATH nor on PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROJECT = str(Path(__file__).resolve().parents[2])


def _prepare() -> None:
    """Make this process and its children import from this checkout, and read members of zip files correctly."""
    sys.path[:] = [_PROJECT, *(entry for entry in sys.path if entry not in {_PROJECT, str(Path(__file__).parent)})]
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in {"", _PROJECT}]
    os.environ["PYTHONPATH"] = os.pathsep.join([_PROJECT, *others])
    from dmu4.execution.zip_parts import mend_zip_reading  # found only now

    mend_zip_reading()


def main(program: str) -> int | None:
    """Run a program with the remaining command-line arguments.

    Raises
    ------
    SystemExit
        With the exit code of the program, or because there is no such program.
    """
    if program == "pipetask":
        from lsst.ctrl.mpexec.cli.pipetask import main as run
    elif program == "butler":
        from lsst.daf.butler.cli.butler import main as run
    elif program == "bps":
        from lsst.ctrl.bps.cli.bps import main as run

        from dmu4.execution.environment_record import record_no_secrets

        record_no_secrets()
    else:
        raise SystemExit(f"There is no program {program!r}; choose pipetask, butler or bps.")
    return run()


if __name__ in {"__main__", "__mp_main__"}:  # the second: a process of a pool
    _prepare()
if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    sys.argv[0] = name
    sys.exit(main(name))
