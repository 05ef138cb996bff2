"""The same catalogue with real servers: the whole sample through Slurm, and with PostgreSQL and an object store."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dmu4.butler.repository import repository_folder
from tests.scenes.object_store import object_store
from tests.scenes.postgresql import postgresql_server
from tests.scenes.sample_again import run_all, sample_elsewhere
from tests.scenes.slurm import slurm_cluster, small_site

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(5400)]


def test_postgresql_and_s3_hold_the_same_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the registry in PostgreSQL and every product in S3, every object has the same numbers to 1e-6."""
    with postgresql_server() as server, object_store(tmp_path, monkeypatch) as store:
        survey, here = sample_elsewhere(tmp_path, monkeypatch, registry=server.url, storage=store.url)
        assert run_all(survey, here) == []
        coadds = [name for name in store.names() if "/deep_coadd/" in name]
        assert len(coadds) == 4 * len(survey.bands)
        assert int(server.sql("SELECT count(*) FROM sample.dataset")) > len(store.names())
        folder = repository_folder(survey)
        assert not [*folder.glob("*.sqlite3"), *folder.rglob("*deep_coadd*")]


def test_slurm_makes_the_same_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by Slurm, every quantum is done and every object has the same numbers to 1e-6; nothing stays queued."""
    with slurm_cluster(monkeypatch) as cluster:
        survey, here = sample_elsewhere(tmp_path, monkeypatch, kind="bps", site=str(small_site(tmp_path)))
        assert run_all(survey, here) == []
        assert "sched: Allocate" in (cluster / "slurmctld.log").read_text()
        left = subprocess.run(["squeue", "-h", "-t", "PD,R"], capture_output=True, text=True, check=True)
        assert left.stdout == ""
