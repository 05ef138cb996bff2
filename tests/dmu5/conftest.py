"""A small true sky, and the object table that a good pipeline would make of it."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu4.objects.columns import make_object_table

BANDS = ("g", "i", "vj", "vk")
ERROR = 40.0
"""Flux error of every object, nJy: 5 sigma is 200 nJy, AB 25.65."""


@pytest.fixture
def provenance() -> Provenance:
    """Provenance with a different text in each word, digests as long as they are."""
    return Provenance(
        software="lsst-ir-fusion 9.8.7",
        commit="0123456789abcdef0123456789abcdef01234567",
        modified="yes",
        schema_version="31",
        survey="trial.yaml",
        survey_sha256="a1" * 32,
        sky_map="trial_rings",
        sky_map_sha1="b2" * 20,
        inputs_sha256="c3" * 32,
        newest_input="2012-11-14T05:13:01",
    )


@pytest.fixture
def truth(rng: np.random.Generator) -> Table:
    """500 stars and 500 galaxies in 6 arcmin, AB 18 to 26, dwarfs' colours."""
    count = 1000
    magnitude = rng.uniform(18, 26, count)
    g_i = rng.uniform(0.4, 2.5, count)
    j_k = np.interp(g_i, [0.4, 0.6, 1.0, 1.5, 2.6], [-0.568, -0.500, -0.325, -0.169, -0.071])
    magnitudes = {"i": magnitude, "g": magnitude + g_i, "vk": magnitude - 0.5, "vj": magnitude - 0.5 + j_k}
    table = Table({"id": np.arange(count), "type": np.where(np.arange(count) < 500, "star", "galaxy")})
    table["ra"] = 150 + rng.uniform(-0.05, 0.05, count)
    table["dec"] = rng.uniform(-0.05, 0.05, count)
    for band in BANDS:
        table[f"flux_{band}"] = 10 ** (0.4 * (31.4 - magnitudes[band]))
    return table


@pytest.fixture
def objects(truth: Table, rng: np.random.Generator) -> Table:
    """Sources with 5 sigma in any band, with noise and 8 mas of error in each coordinate: the pipeline's columns."""
    best = np.max([truth[f"flux_{band}"] for band in BANDS], axis=0)
    seen = truth[best > 5 * ERROR]
    count = len(seen)
    values = {
        "objectId": np.arange(count),
        "coord_ra": seen["ra"] + rng.normal(0, 8, count) / 3.6e6,
        "coord_dec": seen["dec"] + rng.normal(0, 8, count) / 3.6e6,
        "tract": np.full(count, 8524),
        "patch": np.zeros(count),
        "refBand": np.full(count, "i"),
        "detect_isPrimary": np.ones(count),
        "deblend_blendNChild": np.ones(count),
        "refExtendedness": np.where(seen["type"] == "star", 0.0, 1.0),
    }
    for band in BANDS:
        for kind in ("psfFlux", "kronFlux", "gaap1p0Flux", "ap06Flux"):
            values[f"{band}_{kind}"] = seen[f"flux_{band}"] + rng.normal(0, ERROR, count)
            values[f"{band}_{kind}Err"] = np.full(count, ERROR)
        values[f"{band}_depth5"] = np.full(count, 31.4 - 2.5 * np.log10(5 * ERROR))
        values[f"{band}_usable"] = np.ones(count)
        values[f"{band}_detected"] = np.asarray(seen[f"flux_{band}"]) > 5 * ERROR
        values[f"{band}_coverage"] = np.ones(count)
        values[f"{band}_neighbourFraction"] = np.zeros(count)
    return make_object_table(values, BANDS, length=count)
