"""Secrets of the database and of the object store are in nothing that a step of the pipeline leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lsst.ctrl.bps import drivers
from sqlalchemy.exc import OperationalError

from dmu0.surveys import Survey
from dmu4.butler.ingest import make_repository
from dmu4.butler.repository import create_repository, repository_folder
from dmu4.execution import steps
from dmu4.execution.environment_record import record_no_secrets
from tests.scenes.object_store import object_store
from tests.scenes.postgresql import postgresql_server
from tests.scenes.secrets import PLANTED, leaks, plant
from tests.scenes.toy_results import PRODUCTS, STATES, products_of, states_of


@pytest.mark.parametrize("engine", ["local", "bps"])
def test_no_secret_is_left_by_a_step(
    shared_step: Survey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a password and keys that are really needed, none is in the repository, a log, the database or the store."""
    plant(monkeypatch)
    monkeypatch.setenv("FUSION_ENGINE", engine)
    shutil.rmtree(repository_folder(shared_step))
    secret = PLANTED["AWS_SECRET_ACCESS_KEY"]
    with postgresql_server(PLANTED["PGPASSWORD"]) as server, object_store(tmp_path, monkeypatch, secret) as store:
        settings = shared_step.engine.model_copy(update={"registry": server.url, "storage": store.url})
        survey = shared_step.model_copy(update={"engine": settings})
        monkeypatch.setenv("PGPASSWORD", "another")
        with pytest.raises(OperationalError, match="password authentication failed") as refused:
            create_repository(survey)
        plant(monkeypatch)
        make_repository(survey, run="one")
        assert states_of(steps.run_step(survey, "toy_step", progress=False)) == STATES  # one of them fails
        assert products_of(survey) == PRODUCTS
        texts = [store.read(name) for name in store.names()] + store.names()
        assert any("toy_product" in name for name in store.names())
        texts += [server.dump(), *capfd.readouterr(), caplog.text, str(refused.value)]
    assert leaks(tmp_path, texts=texts) == []


def test_another_bps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that writes the environment elsewhere stops, rather than writing passwords."""
    monkeypatch.delattr(drivers, "_dump_env_info")
    with pytest.raises(RuntimeError, match="may write passwords"):
        record_no_secrets()


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """A secret in a file, in the name of one, in a text and in an HTTP login is each found and named."""
    (tmp_path / "a.log").write_text("nothing")
    assert leaks(tmp_path) == []
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.bin").write_bytes(b"\0\xff" + PLANTED["RSP_TOKEN"].encode() + b"\0")
    (tmp_path / f"{PLANTED['PGPASSWORD']}.txt").touch()
    found = leaks(tmp_path, texts=["Basic cGxhbnRlZC1oc2MtdXNlcjpwbGFudGVkLWhzYy1ZZDZuQjFjSg=="])
    assert len(found) == 3
    assert any(line.startswith("RSP_TOKEN in ") for line in found)
    assert any(line.startswith("name of ") for line in found)
    assert any(line.startswith("HSC_SSP_PASSWORD in ") for line in found)
    with pytest.raises(AssertionError, match="nothing to search"):
        leaks(tmp_path / "b" / "c")
