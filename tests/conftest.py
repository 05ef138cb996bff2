"""What all tests share: where real data and products are, and random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parent.parent
REALDATA = PROJECT.parent / "shared" / "realdata"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images, headers and catalogues."""
    if not REALDATA.is_dir():
        pytest.skip("the real data are not here (../shared/realdata)")
    return REALDATA


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(500)
