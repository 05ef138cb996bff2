"""Command line of the workflow, for the Makefile: ``python -m workflow release|check|plan|survey|run|...``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dmu0.files.code_version import code_version
from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey, SurveyError, check_engine, check_jobs, load_survey, normal_tracts
from dmu0.surveys.ownership import claim_data_folders
from workflow.graph import GraphError, load_steps
from workflow.libraries import changed_libraries
from workflow.progress import read_progress, say, shown_progress
from workflow.records import StepState, release_states
from workflow.stopping import STOPPED, die_with_parent, end_stopped, run_make, stop_step_on_signals

if TYPE_CHECKING:
    from workflow.outlook import Outlook


def plan(survey: Survey, tracts: str) -> dict[str, StepState]:
    """Write the make fragment that lists the steps to run; returns them, and prints a message if there are none."""
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
    return todo


def run(survey: Survey, tracts: str, notebook: str) -> int:
    """Execute one notebook; prints one line at the start and one at the end."""
    die_with_parent()
    steps = load_steps()
    name = Path(notebook).with_suffix("").as_posix()
    if name not in steps:
        print(f"There is no notebook {notebook!r}; known are {', '.join(steps)}.", file=sys.stderr)
        return 2
    stop_step_on_signals(steps[name].record(survey.folders))
    from workflow.execute import NotebookFailed, run_step  # papermill is slow to import
    from workflow.full_disk import remedy

    say(f"[{survey.name}] {name} ...")
    try:
        record = run_step(steps[name], survey, tracts=tracts)
    except NotebookFailed as error:
        say(f"[{survey.name}] FAILED {error}", sys.stderr)
        if "is full: " in str(error):
            say(f"[{survey.name}] {remedy(survey, tracts)}", sys.stderr)
        return 1
    except OSError as error:
        # The record itself could not be written: there is no notebook to read.
        say_unwritten(survey, tracts, error, what=f"FAILED {name}.ipynb", place=steps[name].record(survey.folders))
        return 1
    say(f"[{survey.name}] {name} done in {record.seconds:.0f} s ({record.cost})")
    return 0


def say_unwritten(survey: Survey, tracts: str, error: OSError, *, what: str, place: Path) -> None:
    """Say in a line or two why a file could not be written, rather than where in the code."""
    from workflow.full_disk import full_disk, is_full, remedy

    where = Path(error.filename) if error.filename else place
    why = full_disk(where) if is_full(str(error)) else f"{error.strerror or error}: {where}"
    say(f"[{survey.name}] {what}: {why}", sys.stderr)
    if is_full(str(error)):
        say(f"[{survey.name}] {remedy(survey, tracts)}", sys.stderr)


def check(survey: Survey, tracts: str) -> int:
    """Describe a survey, its missing inputs and the expected cost of its release; only headers are read."""
    from dmu0.surveys.overview import overview  # sky maps and FITS are slow to import

    costs = say_warnings(survey, tracts)
    for line in (*overview(survey), costs.line()):
        print(line)
    print(f"{survey.path} can be released: make release SURVEY={survey.path}")
    return 0


def say_plan(survey: Survey, tracts: str, *, cores: int, stacks: int) -> int:
    """Print what a release will cost, step by step; nothing is run or written."""
    from workflow.budget import plan_release  # sky maps and FITS are slow to import

    if cores < 1 or stacks < 0:
        print(f"CORES is {cores} and STACKS is {stacks}: give at least one core.", file=sys.stderr)
        return 2
    print("\n".join(plan_release(survey, tracts, cores=cores, stacks=stacks)))
    return 0


def survey_from(folder: str, target: str) -> int:
    """Write a survey file for a folder of FITS files; an existing file is not changed."""
    from dmu0.draft.sorting import sort_folder
    from dmu0.draft.text import DraftError, draft, name_of
    from dmu0.files.atomic import written_whole

    if not folder:
        print("Which folder? Give it: make survey FROM=folder [TO=file.yaml]", file=sys.stderr)
        return 2
    source = Path(folder).expanduser()
    path = Path(target).expanduser() if target else PROJECT / f"{name_of(source)}.yaml"
    if path.exists():
        print(f"{path} is there already; remove it, or give another name: TO=file.yaml", file=sys.stderr)
        return 2
    try:
        text, needed = draft(sort_folder(source), target=path)
    except (DraftError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    with written_whole(path) as part:
        part.write_text(text)
    for line in needed:
        print(f"Needed: {line}", file=sys.stderr)
    print(f"{path} is written; read its comments, then: make check SURVEY={path}")
    return 0


def say_warnings(survey: Survey, tracts: str) -> Outlook:
    """Check a survey before its release, and print warnings about missing parts; returns the expected cost."""
    from dmu0.surveys.check import check_survey
    from workflow.outlook import outlook

    warnings, costs = check_survey(survey), outlook(survey, tracts)
    for warning in (*warnings, *filter(None, [costs.warning()])):
        print(f"Warning: {warning}", file=sys.stderr, flush=True)
    return costs


def release(survey: Survey, tracts: str, jobs: str) -> int:
    """Plan, let make run the remaining steps, and write the index; returns the exit code of make.

    Make runs as a child of this process, so that killing the outer make stops the whole release.
    """
    die_with_parent()
    todo = plan(survey, tracts)
    if not todo:
        return 0
    print(say_warnings(survey, tracts).line().strip(), flush=True)
    command = ["make", "--no-print-directory", *([f"-j{jobs}"] if jobs else []), "records"]
    command += [f"SURVEY={survey.path}", f"TRACTS={tracts}", f"NAME={survey.name}"]
    records = {name: item.step.record(survey.folders) for name, item in todo.items()}
    with shown_progress(records, name=survey.name) as end_progress:
        code, stopped = run_make(command, folder=PROJECT, at_stop=end_progress)
    if stopped:
        say(f"[{survey.name}] {STOPPED}", sys.stderr)
        end_stopped(stopped)
    index(survey, tracts, quiet=code != 0)
    if code:
        say_failures(survey, tracts)
    return code


def say_failures(survey: Survey, tracts: str) -> None:
    """Print the failures and what to do at the end, because other steps may have printed much since."""
    states = release_states(survey, tracts=tracts)
    done = sum(item.state == "done" for item in states)
    for item in states:
        if item.state == "failed":
            say(f"[{survey.name}] failed: {item.why or item.step.name}", sys.stderr)
    say(
        f"[{survey.name}] {done} of {len(states)} steps are done, and stay so. Mend what failed, and give the same "
        "command again.",
        sys.stderr,
    )


def _row(item: StepState, survey: Survey) -> str:
    """One line of the status."""
    seconds = f"{item.record.seconds:7.0f} s" if item.record else "        -"
    why = read_progress(item.step.record(survey.folders)) if item.state == "running" else item.why
    cost = item.record.cost if item.record else ""
    return f"{item.step.name:32s} {item.state:7s} {seconds}  {cost:20s}  {why}".rstrip()


def status(survey: Survey, tracts: str) -> int:
    """Print the state, duration, CPU time and memory of each step; returns 1 if a step failed."""
    states = release_states(survey, tracts=tracts)
    print(f"{survey.name}: {survey.title}")
    for item in states:
        print(_row(item, survey))
    counts = Counter(dict.fromkeys(("done", "stale", "running", "failed", "to do"), 0))
    counts.update(item.state for item in states)
    records = [item.record for item in states if item.record]
    total, cpu = sum(record.seconds for record in records), sum(record.cpu_seconds or 0 for record in records)
    print(
        ", ".join(f"{number} {state}" for state, number in counts.items())
        + f"; {total:.0f} s of notebooks, {cpu:.0f} CPU s"
    )
    _print_census(survey, states)
    for change in changed_libraries({item.step.name: item.record.libraries for item in states if item.record}):
        print(f"Library changed: {change}; nothing is stale for that. make clean-dmuN runs it again.")
    _print_provenance(survey, states)
    return 1 if counts["failed"] else 0


_AS_PARTS = {"done": "done", "failed": "failed"}
"""State of a step as that of a part of the release; steps in other states have to be run."""


def _print_census(survey: Survey, states: list[StepState]) -> None:
    """Print how many inputs, detectors, coadds, patches and steps are in which state, and why they are not done."""
    from dmu5.census import Part, census_table, explain, take_census  # astropy is slow to import

    parts = take_census(survey)
    for item in states:
        state = _AS_PARTS.get(item.state, "to do")
        parts.append(Part("step", item.step.name, state, "" if state == "done" else item.why or item.state))
    print("\n".join(census_table(parts).pformat(max_lines=-1, max_width=-1)))
    for state, text in explain(parts):
        print(f"{state}: {text}")


def _print_provenance(survey: Survey, states: list[StepState]) -> None:
    """Print the provenance of the existing products, and that of products made by this checkout now."""
    from dmu0.files.provenance import gather_provenance  # astropy is slow to import

    makers = Counter(item.record.made_by or "code that did not say its version" for item in states if item.record)
    for maker, number in makers.items():
        print(f"{number} made by {maker}")
    print(f"This checkout: {code_version()}")
    words = gather_provenance(survey).words()
    print(f"  schema {words['schema_version']}, sky map {words['sky_map']} (sha1 {words['sky_map_sha1']})")
    print(f"  {words['survey']} (sha256 {words['survey_sha256']})")
    print(f"  inputs (sha256 {words['inputs_sha256']}), the newest exposure {words['newest_input']}")


def index(survey: Survey, tracts: str, *, quiet: bool = False) -> int:
    """Write the index page of the release and, unless quiet, print its path."""
    from workflow.pages import write_index  # nbconvert is slow to import

    states = release_states(survey, tracts=tracts)
    path = write_index(states, survey_name=survey.name, title=survey.title, folder=survey.folders.runs(5))
    if quiet:
        return 0
    print(f"Notebooks: {path.relative_to(PROJECT)}")
    release = survey.folders[5] / "release" / "index.html"
    if release.exists():
        print(f"Release:   {release.relative_to(PROJECT)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="workflow", description=__doc__)
    parser.add_argument("action", choices=["release", "check", "plan", "survey", "run", "status", "index"])
    parser.add_argument("target", nargs="?", default="", help="for run: the notebook")
    parser.add_argument("--survey", default="sample", help="a name in dmu0/surveys, or a path to a YAML file")
    parser.add_argument("--tracts", default="", help="tracts to process, separated by spaces; empty: the survey's")
    parser.add_argument("--jobs", default="", help="how many notebooks at once; empty: what the outer make allows")
    parser.add_argument("--cores", type=int, default=2, help="for plan: number of cores")
    parser.add_argument("--stacks", type=int, default=0, help="for plan: number of stacks that are not here yet")
    parser.add_argument("--folder", default="", help="for survey: the folder of FITS files")
    parser.add_argument("--to", default="", help="for survey: the file to write")
    options = parser.parse_args(arguments)
    if options.action == "survey":
        return survey_from(options.folder, options.to)
    try:
        # All that a person chose is checked before anything is stale or run.
        survey = load_survey(options.survey)
        tracts, jobs = normal_tracts(survey, options.tracts), check_jobs(options.jobs)
    except (SurveyError, GraphError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        check_engine(os.environ.get("FUSION_ENGINE", ""))
        if options.action in ("release", "run"):
            claim_data_folders(survey)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        match options.action:
            case "release":
                return release(survey, tracts, jobs)
            case "check":
                return check(survey, tracts)
            case "plan":
                return say_plan(survey, tracts, cores=options.cores, stacks=options.stacks)
            case "run":
                return run(survey, tracts, options.target)
            case "status":
                return status(survey, tracts)
            case _:
                return index(survey, tracts)
    except (SurveyError, GraphError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        say_unwritten(survey, tracts, error, what=f"{options.action} failed", place=PROJECT)
        return 1
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        end_stopped(signal.SIGINT)
