"""Running a task of the pipeline through BPS, on a cluster or on this machine, with the same code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from lsst.pipe.base.quantum_graph import PredictedQuantumGraphComponents

from dmu0.processes import guarded_environment
from dmu0.surveys import Survey
from dmu4.execution import middleware

SITES = Path(__file__).parents[1] / "bps"
"""Folder of the sites that come with the project, one YAML file each."""

COMMANDS = SITES / "commands.yaml"
"""The commands of the jobs, for every site."""


class BpsFailed(RuntimeError):
    """A submission could not be made or failed."""


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
        known = ", ".join(sorted(item.stem for item in SITES.glob("*.yaml") if item != COMMANDS))
        raise BpsFailed(f"engine.site is {site!r}, which is no file; choose from {known}, or give a path.")
    return path.resolve()


def submission(survey: Survey, graph: Path, *, run: str) -> dict:
    """The content of a BPS submit file for one task; the commands of the jobs are in the folder of the graph.

    Parameters
    ----------
    survey
        The survey; its key ``engine.site`` names the site.
    graph
        Quantum graph to execute.
    run
        Output collection of the graph.
    """
    return {
        "includeConfigs": [str(graph.with_name("commands.yaml")), str(find_site(survey.engine.site))],
        "qgraphFile": str(graph),
        "submitPath": str(graph.parent / "submit" / "{timestamp}"),
        "outputRun": run,
        "payload": {
            "butlerConfig": str(survey.folders[4] / "repo"),
            "output": run.rsplit("/", 1)[0],
            "outputRun": run,
        },
    }


def run_task(survey: Survey, components: PredictedQuantumGraphComponents, task: str, *, run: str) -> Path:
    """Submit one task and wait until it has finished.

    Parameters
    ----------
    survey
        The survey.
    components
        Quantum graph of the task, with datastore records.
    task
        Label of the task.
    run
        Output collection.

    Returns
    -------
    Path
        Log of the submission.

    Raises
    ------
    BpsFailed
        If ``bps submit`` fails; the failures of single quanta are in the logs of the repository.
    """
    folder = survey.folders[4] / "bps" / run.replace("/", "_") / task
    folder.mkdir(parents=True, exist_ok=True)
    graph = folder / f"{task}.qg"
    components.write(graph)
    # BPS interprets the first word of a command as a program before it substitutes names.
    commands = COMMANDS.read_text().replace("{middleware}", f"{sys.executable} {middleware.__file__}")
    (folder / "commands.yaml").write_text(commands)
    submit_file = folder / "submit.yaml"
    submit_file.write_text(yaml.safe_dump(submission(survey, graph, run=run), sort_keys=False))
    log = folder / "bps.log"
    changed = {
        "BPS_WMS_SERVICE_CLASS": "lsst.ctrl.bps.parsl.ParslService",
        # Parsl starts its own programs by their names.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    with log.open("w") as handle, guarded_environment() as environment:
        done = subprocess.run(
            [sys.executable, middleware.__file__, "bps", "submit", str(submit_file)],
            cwd=folder,
            env=environment | changed,
            stdout=handle,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise BpsFailed(f"bps submit of {task} ended with {done.returncode}: {_why(log)}")
    return log


def _why(log: Path) -> str:
    """The error that ended a submission; if it came from a program started by it, the last error of the program."""
    path, error = log, _last_error(log)
    if "CalledProcessError" in error:
        outputs = sorted((log.parent / "submit").rglob("*.stderr"), key=lambda item: item.stat().st_mtime)
        path = outputs[-1] if outputs else log
        error = _last_error(path)
    return f"{error} (all of it: {path})"


def _last_error(path: Path) -> str:
    """The last line of a log that contains an error, otherwise its last line."""
    lines = [line for line in path.read_text().split("\n") if line.strip()]
    return "".join(([line for line in lines if re.match(r"[\w.]+: ", line)] or lines)[-1:])
