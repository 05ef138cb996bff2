"""The cuts: each takes what it should, says why, and the counts add up."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.surveys import Cuts, Vista
from dmu1.inventory import COLUMNS, empty_inventory
from dmu1.selection import count_reasons, select, zero_point_limits

GOOD = {
    "band": "vh",
    "detector": 1,
    "nicomb": 7,
    "magzpt": 23.8,
    "seeing": 0.8,
    "ellipticity": 0.05,
    "noise_ratio": 1.1,
    "obstatus": "Completed",
    "esograde": "A",
    "confidence_path": "conf.fit",
    "state": "ok",
}
VISTA = Vista(bands=("vh", "vk"))


def inventory(*changes: dict[str, object]) -> Table:
    """An inventory of good images, one a stack and exposure, with some values changed."""
    blank = {name: {"str": "", "float64": np.nan}.get(dtype, -1) for name, dtype, *_ in COLUMNS}
    rows = [
        blank | GOOD | {"path": f"v{number}_st.fit", "exposure": number} | change
        for number, change in enumerate(changes)
    ]
    return Table(rows=rows, names=list(blank))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "failed", "reason": "truncated"}, "not read: truncated"),
        ({"band": "vj"}, "band vj is not one of the survey's"),
        ({"confidence_path": "", "confidence_problem": "no confidence map"}, "no confidence map"),
        ({"obstatus": "Aborted"}, "OBSTATUS is Aborted"),
        ({"obstatus": "Must Repea"}, "OBSTATUS is Must Repea"),
        ({"esograde": "R"}, "ESOGRADE is R"),
        ({"seeing": 1.71}, "seeing 1.71 arcsec (at most 1.7 arcsec)"),
        ({"seeing": np.nan}, "seeing unknown"),
        ({"ellipticity": 0.21}, "ellipticity 0.21 (at most 0.2)"),
        ({"noise_ratio": 0.45}, "noise ratio 0.45 (0.7 to 1.45)"),
        ({"noise_ratio": 1.5}, "noise ratio 1.5 (0.7 to 1.45)"),
        ({"magzpt": 23.5}, "zero point 23.500 (at least 23.550)"),
        ({"magzpt": 24.32}, "zero point 24.320 (at most 24.300)"),
        ({"magzpt": np.nan}, "zero point unknown"),
        ({"zero_point_problem": "EXPTIME is 0.0"}, "zero point unknown: EXPTIME is 0.0"),
    ],
)
def test_each_cut(change, reason):
    """One image that fails one cut is rejected for that reason alone; the good ones are accepted."""
    selected, cuts = select(inventory({}, {}, {}, change), VISTA)
    assert list(selected["accepted"]) == [True, True, True, False]
    assert selected["rejected_because"][3] == reason
    assert set(selected["rejected_because"][:3]) == {""}
    assert cuts["n_failed"].sum() == cuts["n_first"].sum() == 1
    assert cuts["n_left"][-1] == 3


def test_cuts_can_be_switched_off():
    """With every cut off, all that can be read is accepted, confidence map or not."""
    bad = {"seeing": 9.0, "ellipticity": 0.9, "noise_ratio": 9.0, "magzpt": 1.0, "obstatus": "Aborted", "esograde": "R"}
    off = Cuts(
        seeing_max=None,
        zero_point_sigma=None,
        ellipticity_max=None,
        noise_ratio_range=None,
        obstatus_reject=(),
        esograde_reject=(),
    )
    selected, _ = select(inventory({}, bad | {"confidence_path": ""}), Vista(bands=("vh",), cuts=off, noise="skynoise"))
    assert selected["accepted"].all()


def test_all_reasons_are_given_and_counted_once():
    """An image that fails three cuts has three reasons, is counted by each, and taken by the first."""
    selected, cuts = select(inventory({}, {"obstatus": "Aborted", "esograde": "R", "seeing": 2.0}), VISTA)
    assert selected["rejected_because"][1] == "OBSTATUS is Aborted; ESOGRADE is R; seeing 2 arcsec (at most 1.7 arcsec)"
    by_cut = {row["cut"]: row for row in cuts}
    assert [by_cut[name]["n_failed"] for name in ("OBSTATUS", "ESOGRADE", "seeing")] == [1, 1, 1]
    assert [by_cut[name]["n_first"] for name in ("OBSTATUS", "ESOGRADE", "seeing")] == [1, 0, 0]


def test_counts_add_up(rng):
    """Accepted and taken images add up to all, and every cut leaves what the ones before it left less what it took."""
    changes = [
        {"seeing": rng.uniform(0.5, 2.2), "esograde": rng.choice(["A", "R"]), "noise_ratio": rng.uniform(0.5, 1.6)}
        for _ in range(200)
    ]
    selected, cuts = select(inventory(*changes), VISTA)
    assert cuts["n_first"].sum() + selected["accepted"].sum() == len(selected)
    assert np.array_equal(np.diff(cuts["n_left"]), -np.asarray(cuts["n_first"][1:]))
    assert np.array_equal(selected["accepted"], selected["rejected_because"] == "")


def test_noise_is_compared_with_the_band():
    """Within the absolute range, an image is rejected that is unlike the others of its band, on either side."""
    rows = [{"noise_ratio": 0.8}] * 4 + [{"noise_ratio": 1.3}] + [{"band": "vk", "noise_ratio": 1.3}] * 3
    rows += [{"band": "vk", "noise_ratio": 0.8}, {"band": "vk", "noise_ratio": np.nan}]
    selected, cuts = select(inventory(*rows), VISTA)
    assert list(selected["accepted"]) == [True] * 4 + [False] + [True] * 3 + [False] * 2
    assert selected["rejected_because"][4].startswith("noise ratio 1.3, 1.62 times the median of its band")
    assert selected["rejected_because"][8].startswith("noise ratio 0.8, 0.62 times")
    assert selected["rejected_because"][9] == "noise ratio unknown"
    assert {row["cut"]: row["n_failed"] for row in cuts}["noise of the band"] == 2
    assert select(inventory({"noise_ratio": 0.8}, {"noise_ratio": 1.4}), VISTA)[0]["accepted"].all()


def test_duplicates_of_an_exposure():
    """Of stacks that claim one exposure number the fullest is kept whole, and the others name it (failure 6)."""
    rows = [{"path": "a_st.fit", "exposure": 27525, "detector": d} for d in (1, 2)]
    rows += [{"path": "b_st.fit", "exposure": 27525, "detector": d} for d in (1, 2, 3)]
    rows += [{"path": "c_st.fit", "exposure": 226515, "detector": 1}]
    selected, cuts = select(inventory(*rows), VISTA)
    assert list(selected["accepted"]) == [False, False, True, True, True, True]
    assert set(selected["rejected_because"][:2]) == {"duplicate of exposure 27525 in b_st.fit"}
    assert list(cuts[-1])[:1] + list(cuts[-1])[2:] == ["duplicates", 2, 2, 4]


def test_a_rejected_stack_hides_no_good_one():
    """A duplicate that fails a cut does not take the place of the good stack, however many exposures it has."""
    rows = [
        {"path": "a_st.fit", "exposure": 5, "nicomb": 99, "obstatus": "Aborted"},
        {"path": "b_st.fit", "exposure": 5},
    ]
    selected, _ = select(inventory(*rows), VISTA)
    assert list(selected["accepted"]) == [False, True]
    assert "duplicate" not in selected["rejected_because"][0]


def test_equal_duplicates_are_settled_by_exposures_then_name():
    """Among equally full stacks of an exposure the deeper one is kept, and then the first in name."""
    deeper = inventory({"path": "a_st.fit", "exposure": 5}, {"path": "b_st.fit", "exposure": 5, "nicomb": 8})
    assert list(select(deeper, VISTA)[0]["accepted"]) == [False, True]
    alike = inventory({"path": "b_st.fit", "exposure": 5}, {"path": "a_st.fit", "exposure": 5})
    assert list(select(alike, VISTA)[0]["accepted"]) == [False, True]


def test_zero_point_limits(rng):
    """Limits are per band, follow the scatter, and do not shrink below five times 0.05 mag for a few nights alike."""
    values = rng.normal(23.8, 0.1, 500)
    table = inventory(*({"magzpt": value} for value in values), *({"band": "vk", "magzpt": 23.0} for _ in range(3)))
    limits = zero_point_limits(table, 5.0)
    assert limits["vh"] == pytest.approx(23.3, abs=0.06)
    assert limits["vk"] == pytest.approx(22.75)


def test_nothing_to_select():
    """An empty inventory gives an empty selection with all columns, and a table of cuts."""
    selected, cuts = select(empty_inventory(), VISTA)
    assert len(selected) == 0
    assert {"accepted", "rejected_because"} <= set(selected.colnames)
    assert set(cuts["n_left"]) == {0}


def test_reasons_are_counted_without_their_values():
    """Reasons that differ in numbers alone are one kind."""
    rows = [{}, {"seeing": 2.0}, {"seeing": 2.5, "obstatus": "Aborted"}, {"state": "failed", "reason": "truncated: x"}]
    rows += [{"exposure": 0, "path": "w_st.fit"}]
    counts = {row["reason"]: row["images"] for row in count_reasons(select(inventory(*rows), VISTA)[0])}
    assert counts == {"seeing": 2, "OBSTATUS is Aborted": 1, "not read": 1, "duplicate": 1}
    assert len(count_reasons(select(empty_inventory(), VISTA)[0])) == 0
