"""What all tests share: where real data and products are, and random numbers."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from hypothesis import HealthCheck, settings

import dmu0
from obs_vista.camera import DETECTORS

# A fixed set of cases in `make test`; as many at random as `make fuzz` asks for.
settings.register_profile(
    "fixed", derandomize=True, max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "fuzz", settings.get_profile("fixed"), derandomize=False, max_examples=int(os.environ.get("FUZZ_CASES", "1"))
)
settings.load_profile("fuzz" if "FUZZ_CASES" in os.environ else "fixed")

PROJECT = Path(__file__).resolve().parent.parent
REALDATA = PROJECT.parent / "shared" / "realdata"
IMAGES = PROJECT / "tests" / "real" / "data"


def pytest_configure() -> None:
    """Test the code of this checkout, here and in processes that tests start, whatever the environment is made for."""
    if PROJECT not in Path(dmu0.__file__).resolve().parents:
        raise pytest.UsageError(f"dmu0 is that of {dmu0.__file__}, not of {PROJECT}: run pytest in {PROJECT}.")
    if REALDATA.is_dir():
        if IMAGES.is_symlink() and not IMAGES.exists():
            IMAGES.unlink(missing_ok=True)  # what it named has gone
        with contextlib.suppress(FileExistsError):
            IMAGES.symlink_to(REALDATA)
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in {"", str(PROJECT)}]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *others])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """End with how many tests were skipped, and why: one line per reason."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    # pytest gives (file, line, "Skipped: reason") for what a test or a mark skipped.
    reasons = Counter(str(item.longrepr[2]).removeprefix("Skipped: ") for item in skipped)
    terminalreporter.section(f"{len(skipped)} tests skipped" if skipped else "no test skipped", sep="-")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d}  {reason}")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images, headers and catalogues."""
    if not REALDATA.is_dir():
        pytest.skip("the real data are not here (../shared/realdata)")
    return REALDATA


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of the images of the surveys in tests/real, which one command fetches."""
    if not (IMAGES / "gama_9band").is_dir() or not (IMAGES / "vista_video_h").is_dir():
        pytest.skip("the images of tests/real are not here: make realdata")
    return IMAGES


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(500)


def casu_headers(detector: int, **changes: object) -> tuple[fits.Header, fits.Header]:
    """Primary and extension header of a small pawprint stack, as CASU writes them; changes overrule both."""
    info = DETECTORS[detector]
    primary = fits.Header()
    extension = fits.Header()
    with warnings.catch_warnings():
        # Cards are set by their keywords; astropy says that it makes HIERARCH cards of the long ones.
        warnings.filterwarnings("ignore", "Keyword name .* HIERARCH card will be created", VerifyWarning)
        primary.update(
            {"TELESCOP": "VISTA", "INSTRUME": "VIRCAM", "OBJECT": "No name", "RA": 34.54, "DEC": -4.993}
            | {"EQUINOX": 2000.0, "RADECSYS": "FK5", "EXPTIME": 10.0, "MJD-OBS": 55139.19443201}
            | {"DATE-OBS": "2009-11-04T04:39:58.9047", "ESO DET DIT": 10.0, "ESO DET NDIT": 6}
            | {"ESO DPR TYPE": "OBJECT", "ESO INS FILT1 NAME": "H", "ESO TEL AMBI PRES START": 741.3}
            | {"ESOGRADE": "A", "OBSTATUS": "Completed"}
        )
        extension.update(
            {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "CRVAL1": 34.54, "CRVAL2": -4.993}
            | {"CRPIX1": info.axis_pixel[0], "CRPIX2": info.axis_pixel[1], "RADECSYS": "ICRS"}
            | {"CD1_1": 9.484e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 9.484e-5, "PV2_1": 1.0, "PV2_3": 44.0}
            | {"PV2_5": -10300.0, "PROJP1": 1.0, "PROJP3": 44.0, "PROJP5": -10300.0}
            | {"ESO DET CHIP NO": detector, "ESO DET CHIP PXSPACE": 2e-05, "ESO DET EXP NO": 12016}
            | {"ESO DET DIT": 10.0, "ESO DET NDIT": 6, "FLATCOR": f"H_flat_20091016.fit[{detector}]", "NDITCOR": True}
            | {"SKYLEVEL": 8382.56, "SKYNOISE": 8.79, "SKYSUB": "Done with sky_20091103_354_H.fit", "NICOMB": 7}
            | {"SEEING": 2.228, "ELLIPTIC": 0.05, "MAGZPT": 23.867, "MAGZRR": 0.01}
        )
        for header in (primary, extension):
            header.update({key.replace("__", " "): value for key, value in changes.items() if value is not None})
            for key, value in changes.items():
                if value is None:
                    header.remove(key.replace("__", " "), ignore_missing=True)
    return primary, extension


@pytest.fixture(scope="session")
def write_casu() -> Callable[..., Path]:
    """A function that writes a small RICE-compressed CASU file: path, detector -> image [y, x], and header changes."""

    def write(path: Path, images: dict[int, np.ndarray], **changes: object) -> Path:
        hdus = [fits.PrimaryHDU(header=casu_headers(next(iter(images)), **changes)[0])]
        for detector, image in images.items():
            header = casu_headers(detector, **changes)[1]
            hdus.append(fits.CompImageHDU(image, header, name=f"DET1.CHIP{detector}", compression_type="RICE_1"))
        fits.HDUList(hdus).writeto(path, checksum=True)
        return path

    return write


@pytest.fixture(scope="session")
def real_header(realdata: Path) -> Callable[[str], fits.Header]:
    """A function that reads one of the real headers by name."""

    def read(name: str) -> fits.Header:
        return fits.Header.fromtextfile(realdata / "headers" / f"{name}.txt")

    return read
