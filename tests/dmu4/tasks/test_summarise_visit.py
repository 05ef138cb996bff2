"""Summaries of visits, and which detectors the limits reject."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu4.detectors.acceptance import Limits, rejection, summarise
from dmu4.tasks.summarise_visit import SummariseVisitConfig, SummariseVisitTask

GOOD = {
    "zero_point": 28.0,
    "zero_point_err": 0.005,
    "seeing": 0.8,
    "astrometric_scatter": 0.02,
    "psf_size_residual": 0.001,
    "psf_size_residual_err": 0.002,
    "noise_ratio": 0.95,
    "psf_growth": 0.99,
    "psf_growth_err": 0.005,
}


def _detector(number: int, **changes: float) -> Table:
    return Table({"detector": [number]} | {name: [value] for name, value in (GOOD | changes).items()})


def test_order_and_acceptance() -> None:
    """Detectors come in order whatever the order they are given in, and good ones are accepted."""
    table = summarise([_detector(k) for k in (16, 3, 7, 1)], Limits())
    assert list(table["detector"]) == [1, 3, 7, 16]
    assert table["accepted"].all()
    assert set(table["rejected_because"]) == {""}


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("astrometric_scatter", 0.3, "astrometric scatter 0.3 arcsec (limit 0.1)"),
        ("zero_point_err", 0.2, "zero point error 0.2 mag (limit 0.05)"),
        ("zero_point", 27.0, "zero point offset"),
        ("psf_size_residual", 0.4, "PSF size residual"),
        ("noise_ratio", 2.5, "noise ratio 2.5 (limit 1.6)"),
        ("noise_ratio", 0.4, "inverse noise ratio 2.5 (limit 1.6)"),
        ("psf_growth", 0.8, "crowding 0.19 of the light of stars in annuli (limit 0.1)"),
        ("seeing", 2.0, "seeing offset 1.5 of the median (limit 0.5)"),
    ],
)
def test_one_bad_detector(column: str, value: float, words: str) -> None:
    """One bad figure rejects its detector, with the figure and its limit, and no other."""
    tables = [_detector(k) for k in range(1, 16)] + [_detector(16, **{column: value})]
    table = summarise(tables, Limits())
    assert not table["accepted"][15]
    assert words in table["rejected_because"][15]
    assert table["accepted"][:15].all()


def test_unmeasured_figures_reject_nothing() -> None:
    """Not-a-number (no references, no reserved stars) is not outside a limit."""
    names = ("astrometric_scatter", "psf_size_residual", "psf_size_residual_err", "psf_growth", "psf_growth_err")
    assert rejection(_detector(1, **dict.fromkeys(names, np.nan)), Limits()) == [""]


def test_crowding_needs_evidence() -> None:
    """A fall of the light in wide apertures that its own error allows is not crowding."""
    assert rejection(_detector(1, psf_growth=0.85, psf_growth_err=0.03), Limits()) == [""]


def test_two_reasons() -> None:
    """Every limit that is exceeded is named."""
    reason = summarise([_detector(1), _detector(2, noise_ratio=3, astrometric_scatter=1)], Limits())["rejected_because"]
    assert reason[1].count("limit") == 2


def test_nothing_to_summarise() -> None:
    """A visit without detectors is refused."""
    with pytest.raises(ValueError, match="at least one detector"):
        summarise([], Limits())


def test_task_takes_limits_from_its_config() -> None:
    """The task's limits are those of its configuration, and it counts what it accepted."""
    config = SummariseVisitConfig()
    config.maxNoiseRatio = 1.04
    task = SummariseVisitTask(config=config)
    table = task.run([_detector(1), _detector(2, noise_ratio=1.0)]).visit_summary
    assert list(table["accepted"]) == [False, True]
    assert task.metadata["accepted"] == 1
