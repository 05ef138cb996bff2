"""Zero points of many detectors from common stars, on skies of known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.detectors.common_stars import CommonStars, CommonZeroPoints, fit_common_zero_points


class Sky:
    """Three visits of 3 x 4 detectors each, shifted by parts of a detector; the second visit lacks two of them.

    The unit of length is a detector. Stars are denser in the east, faint ones more numerous, and their references as
    poor as those of 2MASS; a tenth have none. The quoted errors of magnitudes are 1.4 times
    too small. `spread` is the scatter of the true zero points of a visit.
    """

    def __init__(self, seed: int, *, spread: float = 0.008, density: float = 25.0) -> None:
        rng = np.random.default_rng(seed)
        shifts = np.array([(0.0, 0.0), (0.4, 0.55), (-0.45, 0.3)])
        corners = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0)), axis=-1).reshape(-1, 2)
        detectors = np.concatenate([corners + shift for shift in shifts])
        visit = np.repeat([101, 205, 333], 12)
        kept = ~np.isin(np.arange(36), [12, 23])
        detectors, self.visit = detectors[kept], visit[kept]
        count = int(density * 20)
        x, y = 5.2 * rng.uniform(size=count) ** 0.7 - 0.6, rng.uniform(-0.2, 3.8, count)
        magnitude = 19 - 4 * rng.uniform(size=count) ** 2
        level = {101: 0.05, 205: -0.03, 333: 0.0}
        self.true = rng.normal(0, spread, len(detectors)) + [level[one] for one in self.visit.tolist()]
        inside = (np.abs(x - detectors[:, :1] - 0.5) < 0.49) & (np.abs(y - detectors[:, 1:] - 0.5) < 0.49)
        detector, star = np.nonzero(inside)
        error = 0.001 * 10 ** (0.4 * (magnitude - 17))
        reference_error = np.hypot(0.02, 0.05 * 10 ** (0.4 * (magnitude - 17)))
        reference = magnitude + rng.normal(size=count) * np.hypot(reference_error, 0.012)
        missing = rng.uniform(size=count) < 0.1
        noise = rng.normal(size=len(star)) * np.hypot(1.4 * error[star], 0.003)
        own = rng.normal(0, 0.01, len(detectors))
        self.own_error = own
        self.stars = CommonStars(
            detector=detector,
            star=star,
            magnitude=magnitude[star] + noise + own[detector],
            error=error[star],
            reference=np.where(missing, np.nan, reference),
            reference_error=np.where(missing, np.nan, reference_error),
            visit=self.visit,
            zero_point=28 + self.true + own,
            header_error=np.full(len(detectors), np.inf),
        )

    def errors(self, fit: CommonZeroPoints) -> np.ndarray:
        """Fitted minus true zero points."""
        return self.own_error + fit.correction


@pytest.mark.parametrize("spread", [0.002, 0.008, 0.06])
def test_errors_are_small_and_right(spread: float) -> None:
    """Zero points are right to a fourth of the references' error; pulls are 1 within 0.1, alone and about the mean."""
    pulls, about, errors = [], [], []
    for seed in range(30):
        sky = Sky(seed, spread=spread)
        fit = fit_common_zero_points(sky.stars)
        error = sky.errors(fit)
        errors.append(error - error.mean())
        about.append((error - error.mean()) / fit.relative_error)
        pulls.append(error.mean() / fit.common_error)
    assert np.std(errors) < 0.0025
    assert np.sqrt(np.mean(np.square(about))) == pytest.approx(1, abs=0.1)
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1, abs=0.3)  # 30 values: 0.13


def test_scatters_are_found() -> None:
    """The scatters of a visit, of measurements and of references are found, on average over skies."""
    fits = [fit_common_zero_points(Sky(seed).stars) for seed in range(20)]
    assert np.mean([fit.spread for fit in fits]) == pytest.approx(0.008, abs=0.001)
    assert np.mean([fit.noise.repeatability for fit in fits]) == pytest.approx(0.003, abs=0.0003)
    assert np.mean([fit.noise.factor for fit in fits]) == pytest.approx(1.4, abs=0.1)
    assert np.mean([fit.scatter for fit in fits]) == pytest.approx(0.012, abs=0.005)


def alone(sky: Sky) -> CommonStars:
    """The stars of a sky as if every detector had seen different ones."""
    size = len(sky.stars.detector)
    names = ("reference", "reference_error")
    ours = {name: getattr(sky.stars, name)[sky.stars.star] for name in names}
    return replace(sky.stars, star=np.arange(size), **ours)


@pytest.mark.parametrize(("spread", "lowest"), [(0.003, 0.75), (0.01, 0.9)])
def test_without_common_stars_detectors_of_a_visit_help(spread: float, lowest: float) -> None:
    """Without common stars, the scatter of a visit makes errors smaller than those of references.

    They are never stated too small; too large by up to a fourth where the scatter is too small to be measured.
    """
    pulls, errors, single = [], [], []
    for seed in range(60):
        sky = Sky(seed, spread=spread, density=12.0)
        stars = alone(sky)
        fit = fit_common_zero_points(stars)
        one = fit_common_zero_points(replace(stars, visit=np.arange(len(stars.visit))))
        assert np.isnan(one.spread)
        error = sky.errors(fit)
        errors.append(error)
        single.append(sky.errors(one))
        pulls.append(error / fit.error)
    assert np.std(errors) < 0.9 * np.std(single)
    assert lowest < np.std(pulls) < 1.1


def test_real_differences_are_kept() -> None:
    """A detector 0.15 mag off in a visit whose others agree stays where its stars put it, and moves no other."""
    sky = Sky(5)
    stars = alone(sky)
    before = fit_common_zero_points(stars)
    own = stars.zero_point.copy()
    own[17] += 0.15
    after = fit_common_zero_points(replace(stars, zero_point=own))
    single = fit_common_zero_points(replace(stars, visit=np.arange(len(stars.visit))))
    assert after.correction[17] == pytest.approx(single.correction[17], abs=1e-6)
    assert after.error[17] == pytest.approx(single.error[17], rel=1e-6)
    others = np.arange(len(own)) != 17
    assert np.abs(after.correction - before.correction)[others].max() < 0.3 * before.error[others].min()


def test_one_detector_is_the_mean_of_its_references() -> None:
    """The correction of a single detector is the weighted mean of reference minus magnitude, with its error."""
    rng = np.random.default_rng(8)
    error = np.linspace(0.02, 0.11, 31)
    difference = 0.07 + rng.normal(size=31) * error
    nothing, level = np.zeros(31, int), np.linspace(15, 18, 31)
    stars = CommonStars(
        nothing, np.arange(31), level, np.full(31, 1e-4), level + difference, error, np.array([4]), np.array([28.0]),
        np.array([np.inf]),
    )  # fmt: skip
    fit = fit_common_zero_points(stars)
    variance = error**2 + fit.noise.variance(1e-4) + fit.scatter**2
    assert fit.correction[0] == pytest.approx(np.average(difference, weights=1 / variance), abs=1e-4)
    assert fit.error[0] == pytest.approx(np.sum(1 / variance) ** -0.5, rel=1e-3)
    assert np.isnan(fit.spread)
    assert (fit.stars[0], fit.shared[0]) == (31, 0)


def test_no_star_at_all() -> None:
    """Without a single star zero points of the header stay, and their errors; a visit of one has no scatter."""
    none, empty = np.zeros(0, int), np.zeros(0)
    zero_point, error = np.array([28.0, 28.02, 27.99, 28.4]), np.array([0.03, 0.03, 0.03, 0.02])
    visit = np.array([1, 1, 1, 2])
    one = np.arange(4)
    fit = fit_common_zero_points(CommonStars(none, none, empty, empty, empty, empty, one, zero_point, error))
    np.testing.assert_allclose(fit.correction, 0, atol=1e-12)
    np.testing.assert_allclose(fit.error, error, rtol=1e-2)
    assert fit.stars.tolist() == fit.shared.tolist() == [0, 0, 0, 0]
    fit = fit_common_zero_points(CommonStars(none, none, empty, empty, empty, empty, visit, zero_point, error))
    assert fit.correction[3] == pytest.approx(0, abs=1e-12)
    assert np.abs(fit.correction).max() < 0.02
    assert (fit.error[:3] < 0.03).all()


def test_outliers() -> None:
    """Blends on a twentieth of the measurements and wrong references of a tenth of the stars change nothing."""
    sky = Sky(11)
    clean = fit_common_zero_points(sky.stars)
    rng = np.random.default_rng(0)
    blended = rng.uniform(size=len(sky.stars.star)) < 0.05
    wrong = rng.uniform(size=len(sky.stars.reference)) < 0.1
    spoilt = replace(
        sky.stars,
        magnitude=sky.stars.magnitude - 0.5 * blended,
        reference=sky.stars.reference + 0.9 * wrong,
    )
    found = fit_common_zero_points(spoilt)
    assert np.abs(found.correction - clean.correction).max() < 3 * clean.error.max()
    assert np.std(sky.errors(found)) < 1.5 * np.std(sky.errors(clean))


def test_detectors_with_the_zero_point_of_the_header() -> None:
    """Without references and common stars a header's zero point keeps its error; with common stars it is tied."""
    sky = Sky(3)
    header = np.full(len(sky.visit), np.inf)
    header[7] = 0.03
    seen = sky.stars.detector != 7
    lost = fit_common_zero_points(replace(sky.stars.of(seen), header_error=header, visit=np.arange(len(sky.visit))))
    assert lost.correction[7] == pytest.approx(0, abs=1e-9)
    assert lost.error[7] == pytest.approx(0.03, rel=0.01)
    no_reference = replace(
        sky.stars,
        magnitude=sky.stars.magnitude + 0.04 * (sky.stars.detector == 7),
        zero_point=sky.stars.zero_point + 0.04 * (np.arange(len(sky.visit)) == 7),
        header_error=header,
    )
    tied = fit_common_zero_points(no_reference)
    assert tied.correction[7] + 0.04 + sky.own_error[7] == pytest.approx(
        0, abs=4 * tied.error[7] + 4 * tied.common_error
    )
    assert tied.error[7] < 0.006
