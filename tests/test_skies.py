"""Other skies of the sample: their survey files, and the means of what is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmu0.surveys import load_survey
from dmu5.checks import Check
from tests.skies import Judged, judged, means, sky_of


def test_another_sky_is_the_sample_with_another_seed(tmp_path: Path) -> None:
    """Name and seed differ, nothing else; a file that is there already is not written again."""
    path = sky_of(777, tmp_path)
    other, sample = load_survey(str(path)), load_survey("sample")
    assert (other.name, other.inputs.seed) == ("sample_777", 777)
    assert other.bands == sample.bands
    same = {"name", "path", "inputs"}
    assert other.model_dump(exclude=same) == sample.model_dump(exclude=same)
    before = path.stat().st_mtime_ns
    assert sky_of(777, tmp_path).stat().st_mtime_ns == before


def check(value: str, limit: str) -> Check:
    """A check of a band."""
    return Check("g: width", value, limit, "pass", "g", False)


@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [
        ("1.16 +- 0.08 (1.8 without) of 239", "1 +- 0.1, fails beyond 0.5", (0.16, 0.05, 0.08)),
        ("1.0246 of 307", "1 +- 2%, fails beyond 5%", (0.0246, 0.01)),
        ("-0.31% of 239", "1 +- 1%, fails beyond 2%", (-0.31, 0.5)),
        ("0.28% of 239", "<= 1%, fails > 2%", (0.28, 1.0)),
        ("26.53, measured 26.57, circle 26.2", "<= 0.1 mag, fails > 0.2", (-0.04, 0.1)),
        ("26.20 +- 0.06, depth 26.53", "<= 0.3 mag from the depth, fails > 0.6", (-0.33, 0.3, 0.06)),
        ("1 of 250", "<= 0.1%, fails > 1%", (0.4, 0.1)),
        ("82.8 +- 1.0% of 1398", ">= 80%, fails < 65%", (17.2, 20.0, 1.0)),
        ("97.3% of 1126 brighter than 25.5", ">= 85%", (2.7, 15.0)),
        ("812 of 900", ">= 80%", None),
        ("only 6 stars, not judged", "1 +- 0.1, fails beyond 0.5", None),
        ("2366", "all 2366", None),
    ],
)
def test_numbers_behind_checks(value: str, limit: str, expected: tuple[float, float] | None) -> None:
    """Deviations with signs have half of the limit in the mean, others all of it."""
    found = judged(check(value, limit))
    assert found is None if expected is None else found == pytest.approx(Judged(*expected))


def test_means_over_skies() -> None:
    """Deviations of opposite sign cancel; a check that one sky does not have is averaged over the others."""
    skies = [{"a": Judged(0.2, 0.05, 0.03), "b": Judged(3.0, 4.0)}, {"a": Judged(-0.1, 0.05, 0.04)}]
    found = {name: (tuple(mean), count) for name, mean, count in means(skies)}
    assert found["a"] == (pytest.approx((0.05, 0.05, 0.025)), 2)
    assert found["b"] == ((3.0, 4.0, 0.0), 1)


def test_the_worst_of_several_has_no_mean() -> None:
    """The largest deviation of many bins is no deviation of one of them."""
    worst = check("-8.4% at 22.25, rms 4.8%", "<= 3% beyond 2 errors, fails > 6%")._replace(check="r: worst of 9 bins")
    assert judged(worst) is None
