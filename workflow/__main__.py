"""Command line of the workflow, for the Makefile: ``python -m workflow release|run|status|index``."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from dmu0.files.code_version import code_version
from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey, SurveyError, check_engine, check_jobs, load_survey, normal_tracts
from dmu0.surveys.ownership import claim_data_folders
from workflow.graph import GraphError, load_steps
from workflow.libraries import changed_libraries
from workflow.records import StepState, release_states


def _die_with_parent() -> None:
    """Ask Linux to stop this process when make is killed, so that no notebook runs on unseen."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() == 1:  # the parent died before the request
            raise SystemExit(1)


def plan(survey: Survey, tracts: str) -> int:
    """Write the make fragment that lists the steps to run; returns how many, and says so when there are none."""
    states = release_states(survey, tracts=tracts)
    todo = {item.step.name: item for item in states if item.state != "done"}
    lines = []
    for item in todo.values():
        record = item.step.record(survey.folders).relative_to(PROJECT)
        before = [
            todo[name].step.record(survey.folders).relative_to(PROJECT) for name in item.step.reads if name in todo
        ]
        lines += [f"RECORDS += {record}", f"{record}: | {' '.join(map(str, before))}"]
    (survey.folders[0] / "plan.mk").write_text("\n".join(lines) + "\n")
    if todo:
        print(
            f"{survey.name}: {len(states) - len(todo)} of {len(states)} steps are done, {len(todo)} to run.", flush=True
        )
    else:
        print(f"{survey.name}: all {len(states)} steps are done; nothing to do.")
    return len(todo)


def run(survey: Survey, tracts: str, notebook: str) -> int:
    """Execute one notebook; one line when it starts, one when it ends."""
    from workflow.execute import NotebookFailed, run_step  # papermill is slow to import

    _die_with_parent()
    steps = load_steps()
    name = Path(notebook).with_suffix("").as_posix()
    if name not in steps:
        print(f"There is no notebook {notebook!r}; known are {', '.join(steps)}.", file=sys.stderr)
        return 2
    print(f"[{survey.name}] {name} ...", flush=True)
    try:
        record = run_step(steps[name], survey, tracts=tracts)
    except NotebookFailed as error:
        print(f"[{survey.name}] FAILED {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print(f"[{survey.name}] {name} interrupted", file=sys.stderr, flush=True)
        return 130
    print(f"[{survey.name}] {name} done in {record.seconds:.0f} s", flush=True)
    return 0


def say_warnings(survey: Survey) -> None:
    """Check a survey before its release, and say what the release will have to do without."""
    from dmu0.surveys.check import check_survey  # sky maps and FITS are slow to import

    for warning in check_survey(survey):
        print(f"Warning: {warning}", file=sys.stderr, flush=True)


def release(survey: Survey, tracts: str, jobs: str) -> int:
    """Plan, let make run what is left to do, and write the index; the exit code is make's.

    Make runs as a child of this process, so that killing the outer make stops the whole release.
    """
    _die_with_parent()
    todo = plan(survey, tracts)
    if not todo:
        return 0
    say_warnings(survey)
    command = ["make", "--no-print-directory", *([f"-j{jobs}"] if jobs else []), "records"]
    command += [f"SURVEY={survey.path}", f"TRACTS={tracts}", f"NAME={survey.name}"]
    # The jobserver's pipe stays open. Make ends with this process, and what make runs ends with make.
    child = subprocess.Popen(command, cwd=PROJECT, close_fds=False, preexec_fn=_die_with_parent)

    def stop(number: int, frame: object) -> None:
        child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # make gets the terminal's Ctrl-C itself, and stops
    code = child.wait()
    index(survey, tracts)
    return code


def _row(item: StepState) -> str:
    seconds = f"{item.record.seconds:7.0f} s" if item.record else "        -"
    return f"{item.step.name:32s} {item.state:6s} {seconds}  {item.why}".rstrip()


def status(survey: Survey, tracts: str) -> int:
    """Print each step's state and duration; exit 1 when a step failed."""
    states = release_states(survey, tracts=tracts)
    print(f"{survey.name}: {survey.title}")
    for item in states:
        print(_row(item))
    counts = {state: sum(item.state == state for item in states) for state in ("done", "stale", "failed", "to do")}
    total = sum(item.record.seconds for item in states if item.record)
    print(", ".join(f"{number} {state}" for state, number in counts.items()) + f"; {total:.0f} s of notebooks")
    records = {item.step.name: item.record.libraries for item in states if item.record}
    for change in changed_libraries(records):
        print(f"Library changed: {change}; nothing is stale for that. make clean-dmuN runs it again.")
    _print_provenance(survey, states)
    return 1 if counts["failed"] else 0


def _print_provenance(survey: Survey, states: list[StepState]) -> None:
    """Who made what there is, and what this checkout would say of a product that it made now."""
    from dmu0.files.provenance import gather_provenance  # astropy is slow to import

    makers = Counter(item.record.made_by or "code that did not say its version" for item in states if item.record)
    for maker, number in makers.items():
        print(f"{number} made by {maker}")
    print(f"This checkout: {code_version()}")
    words = gather_provenance(survey).words()
    print(f"  schema {words['schema_version']}, sky map {words['sky_map']} (sha1 {words['sky_map_sha1']})")
    print(f"  {words['survey']} (sha256 {words['survey_sha256']})")
    print(f"  inputs (sha256 {words['inputs_sha256']}), the newest exposure {words['newest_input']}")


def index(survey: Survey, tracts: str) -> int:
    """Write the index page of the release and say where it is."""
    from workflow.pages import write_index  # nbconvert is slow to import

    states = release_states(survey, tracts=tracts)
    path = write_index(states, survey_name=survey.name, title=survey.title, folder=survey.folders.runs(5))
    print(f"Notebooks: {path.relative_to(PROJECT)}")
    release = survey.folders[5] / "release" / "index.html"
    if release.exists():
        print(f"Release:   {release.relative_to(PROJECT)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="workflow", description=__doc__)
    parser.add_argument("action", choices=["release", "run", "status", "index"])
    parser.add_argument("target", nargs="?", default="", help="for run: the notebook")
    parser.add_argument("--survey", default="sample", help="a name in dmu0/surveys, or a path to a YAML file")
    parser.add_argument("--tracts", default="", help="tracts to process, separated by spaces; empty: the survey's")
    parser.add_argument("--jobs", default="", help="how many notebooks at once; empty: what the outer make allows")
    options = parser.parse_args(arguments)
    try:
        # All that a person chose is checked before anything is stale or run.
        survey = load_survey(options.survey)
        tracts, jobs = normal_tracts(survey, options.tracts), check_jobs(options.jobs)
        check_engine(os.environ.get("FUSION_ENGINE", ""))
        if options.action in ("release", "run"):
            claim_data_folders(survey)
        match options.action:
            case "release":
                return release(survey, tracts, jobs)
            case "run":
                return run(survey, tracts, options.target)
            case "status":
                return status(survey, tracts)
            case _:
                return index(survey, tracts)
    except (SurveyError, GraphError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
