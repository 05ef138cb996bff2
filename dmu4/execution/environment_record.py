"""What BPS records of the environment: by itself it writes every variable with its value, also passwords and keys."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from lsst.ctrl.bps import drivers, initialize

RECORDED = (
    *("PATH", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_DEFAULT_ENV", "HOSTNAME", "LANG", "OMP_NUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "BPS_WMS_SERVICE_CLASS", "FUSION_RUN_ID", "FUSION_ENGINE", "SLURM_CONF"),
)
"""Variables whose values are recorded: those that say where programs come from and how they run."""

_WRITER = "_dump_env_info"


def write_environment(filename: str) -> None:
    """Write the values of the variables `RECORDED`, and only the names of all others."""
    others = sorted(name for name in os.environ if name not in RECORDED)
    content = {name: os.environ[name] for name in RECORDED if name in os.environ} | {"set too": others}
    Path(filename).write_text(yaml.safe_dump(content, sort_keys=False))


def record_no_secrets() -> None:
    """Let BPS write its record of the environment by `write_environment`.

    Raises
    ------
    RuntimeError
        If this version of BPS writes it in another way, which may show secrets.
    """
    for module in (initialize, drivers):
        if not hasattr(module, _WRITER):
            raise RuntimeError(
                f"{module.__name__} has no {_WRITER}: this version of lsst-ctrl-bps may write passwords from the "
                "environment into its submit folder. Use the version in requirements.lock."
            )
        setattr(module, _WRITER, write_environment)
