"""Quanta run through BPS."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from lsst.ctrl.bps import BpsConfig

from dmu0.surveys import Survey
from dmu4.execution import bps, steps
from dmu4.execution.condor_site import Condor
from tests.scenes.slurm import slurm_cluster, small_site
from tests.scenes.toy_results import PRODUCTS, STATES, products_of, states_of


def test_bps_accounts_for_quanta_as_the_local_engine_does(shared_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted to BPS, every quantum ends in the same state for the same reason; products are registered."""
    monkeypatch.setenv("FUSION_ENGINE", "bps")
    report = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(report) == STATES
    assert products_of(shared_step) == PRODUCTS
    again = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(again) == STATES


def test_a_killed_job_loses_no_quantum(shared_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job killed at a quantum is run again; a quantum that ends its job twice is failed, and says where to look."""
    monkeypatch.setenv("FUSION_ENGINE", "bps")
    steps.PIPELINE.write_text(steps.PIPELINE.read_text() + "    config:\n      deadly: 4\n")
    found = states_of(steps.run_step(shared_step, "toy_step", progress=False))
    state, reason = found.pop("exposure=100 detector=4 band=vj")
    assert state == "failed"
    assert re.fullmatch(r"its job ended without a log, and so did a second one: see /.*/bps\.log", reason)
    assert found == {key: value for key, value in STATES.items() if "detector=4" not in key}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slurm_accounts_for_quanta_too(shared_step: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run for real by Slurm, every quantum ends in the same state; a killed job is run again; nothing stays queued."""
    with slurm_cluster(monkeypatch) as folder:
        engine = shared_step.engine.model_copy(update={"kind": "bps", "site": str(small_site(tmp_path))})
        survey = shared_step.model_copy(update={"engine": engine})
        monkeypatch.setenv("TOY_STARTED", str(tmp_path / "started"))
        steps.PIPELINE.write_text(steps.PIPELINE.read_text() + "    config:\n      deadlyOnce: 4\n")
        assert states_of(steps.run_step(survey, "toy_step", progress=False)) == STATES
        assert products_of(survey) == PRODUCTS
        assert (tmp_path / "started").exists()
        assert "sched: Allocate" in (folder / "slurmctld.log").read_text()
        left = subprocess.run(["squeue", "-h", "-t", "PD,R"], capture_output=True, text=True, check=True)
        assert left.stdout == ""


def test_htcondor_gets_what_the_site_asks_for(tmp_path: Path) -> None:
    """The site of a pool makes an executor with the slots, memory and time of its file."""
    config = BpsConfig(str(bps.find_site("htcondor")))
    [executor] = Condor(config).get_executors()
    provider = executor.provider
    assert (provider.max_blocks, provider.cores_per_slot, provider.mem_per_slot) == (16, 1, 9)
    assert provider.walltime == "12:00:00"
    assert executor.label == "htcondor"


@pytest.mark.parametrize("site", ["local", "slurm", "htcondor"])
def test_sites_have_what_is_common(site: str) -> None:
    """Every shipped site has its class and retries, and none has what all of them share."""
    content = yaml.safe_load(bps.find_site(site).read_text())
    assert content["site"][content["computeSite"]]["retries"] == 1
    assert not content.keys() & yaml.safe_load(bps.COMMANDS.read_text()).keys()


def test_a_submission_that_fails_says_where_to_look(shared_step: Survey, tmp_path: Path) -> None:
    """The error has what stopped bps, and names its log."""
    site = tmp_path / "site.yaml"
    site.write_text(bps.find_site("local").read_text().replace("sites.local.Local", "sites.local.Nowhere"))
    engine = shared_step.engine.model_copy(update={"kind": "bps", "site": str(site)})
    with pytest.raises(bps.BpsFailed, match=r"bps submit of toy ended with 1: .*Nowhere.*bps\.log\)"):
        steps.run_step(shared_step.model_copy(update={"engine": engine}), "toy_step", progress=False)


def test_a_job_that_stops_a_submission_is_named(tmp_path: Path) -> None:
    """Where a program that bps started failed, its own error is given, and its own log."""
    log = tmp_path / "bps.log"
    log.write_text("subprocess.CalledProcessError: Command final_job.bash returned 1\nparsl.dflow WARNING: running\n")
    output = tmp_path / "submit" / "logs" / "finalJob.stderr"
    output.parent.mkdir(parents=True)
    output.write_text("+ butler aggregate-graph\nzlib.error: incorrect header check\n")
    assert bps._why(log) == f"zlib.error: incorrect header check (all of it: {output})"
