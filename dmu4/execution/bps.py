"""Run a task of the pipeline through BPS: on a cluster, or on this machine as if it were one, with the same code."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml
from lsst.daf.butler import Butler
from lsst.pipe.base import Pipeline

from dmu0.surveys import Survey

SITES = Path(__file__).parents[1] / "bps"
"""Where the shipped sites are: one YAML file each."""


_OLD_PYTHON = (
    f". Python {sys.version.split()[0]} cannot read parts of large quantum graphs (CPython issue 127847), as bps does: "
    "make the environment with Python 3.12.9, 3.13.2 or later."
)


class BpsFailed(RuntimeError):
    """A submission could not be made or did not end well."""


def reads_parts_of_zips() -> bool:
    """Whether this Python reads the right bytes from two members of a zip file in turn (CPython issue 127847)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "123")
        archive.writestr("b", "456")
    with zipfile.ZipFile(file) as archive, archive.open("a") as a, archive.open("b") as b:
        a.read(1)
        b.seek(1)
        return b.read(1) == b"5"


def find_site(site: str) -> Path:
    """The YAML file of a site.

    Parameters
    ----------
    site
        Name of a file in ``dmu4/bps``, or a path.

    Raises
    ------
    BpsFailed
        If there is no such file.
    """
    path = SITES / f"{site}.yaml"
    if not path.exists():
        path = Path(site).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in SITES.glob("*.yaml")))
        raise BpsFailed(f"engine.site is {site!r}, which is no file; choose from {known}, or give a path.")
    return path.resolve()


def submission(survey: Survey, *, pipeline: Path, repository: Path, inputs: list[str], run: str, where: str) -> dict:
    """The content of a BPS submit file for one task.

    Quanta that an earlier attempt at the same run finished are left out of the workflow.
    """
    folder = pipeline.parent
    return {
        "includeConfigs": [str(find_site(survey.engine.site))],
        "pipelineYaml": str(pipeline),
        "submitPath": str(folder / "submit" / "{timestamp}"),
        "outputRun": run,
        "extraQgraphOptions": f"--skip-existing-in {run} --extend-run --clobber-outputs",
        "extraRunQuantumOptions": "--no-raise-on-partial-outputs",
        "payload": {
            "butlerConfig": str(repository),
            "inCollection": ",".join(name for name in inputs if name != run),
            "output": run.rsplit("/", 1)[0],
            "outputRun": run,
            "dataQuery": where,
        },
    }


def run_task(butler: Butler, survey: Survey, pipeline: Pipeline, task: str, *, run: str, where: str) -> None:
    """Submit one task and wait for its end.

    Parameters
    ----------
    butler
        The repository, with the collections to read from as its defaults.
    survey
        The survey; its key ``engine.site`` names the site.
    pipeline
        The task with its configuration.
    task
        Label of the task.
    run
        Output collection.
    where
        Data query.

    Raises
    ------
    BpsFailed
        If ``bps submit`` fails; single quanta that fail are found in the repository's logs.
    """
    repository = survey.folders[4] / "repo"
    folder = survey.folders[4] / "bps" / run.replace("/", "_") / task
    folder.mkdir(parents=True, exist_ok=True)
    definition = folder / "pipeline.yaml"
    pipeline.write_to_uri(definition.as_uri())
    content = submission(
        survey,
        pipeline=definition,
        repository=repository,
        inputs=list(butler.collections.defaults),
        run=run,
        where=where,
    )
    submit_file = folder / "submit.yaml"
    submit_file.write_text(yaml.safe_dump(content, sort_keys=False))
    log = folder / "bps.log"
    environment = os.environ | {
        "BPS_WMS_SERVICE_CLASS": "lsst.ctrl.bps.parsl.ParslService",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    with log.open("w") as handle:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "bps"), "submit", str(submit_file)],
            cwd=folder,
            env=environment,
            stdout=handle,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        last = [line for line in log.read_text().split("\n") if line.strip()][-1:]
        hint = "" if reads_parts_of_zips() else _OLD_PYTHON
        raise BpsFailed(f"bps submit of {task} ended with {done.returncode}: {''.join(last)} (all of it: {log}){hint}")
