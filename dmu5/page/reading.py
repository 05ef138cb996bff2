"""How to read a release: examples that use flags, the flux floor and a cut, and what to cite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dmu0.surveys import Survey


def reading_examples(survey: Survey) -> dict[str, str]:
    """Name of a program -> lines that read the catalogue with it, from the folder of the project.

    Each selects primary objects whose point-source flux in the reddest band is unflagged and above 10 sigma, with an
    error that includes the flux floor.
    """
    folder = f"dmu5/data/{survey.name}/catalogue"
    band = survey.bands[-1]
    flux, floor = f"{band}_psfFlux", f"{band}_fluxFloor"
    catalogue = survey.folders[5] / "catalogue"
    tract = next(iter(survey.tracts))
    fits, vot = (
        f"{folder}/{kind}/{tract}/object.{kind}" if (catalogue / kind).is_dir() else f"{folder}/object.{kind}"
        for kind in ("fits", "vot")
    )
    columns = ["objectId", "coord_ra", "coord_dec", "detect_isPrimary", flux, f"{flux}Err", f"{flux}_flag", floor]
    examples = {
        "pandas": (
            "import numpy as np\nimport pandas as pd\n\n"
            f'table = pd.read_parquet("{folder}/parquet", columns={_wrapped(columns)})\n'
            f'good = table[table["detect_isPrimary"] & ~table["{flux}_flag"]].copy()\n'
            f'good["error"] = np.hypot(good["{flux}Err"], good["{floor}"] * good["{flux}"])\n'
            f'good = good[good["{flux}"] > 10 * good["error"]]\n'
            f'good["magnitude"] = 31.4 - 2.5 * np.log10(good["{flux}"])'
        ),
        "astropy": (
            "import numpy as np\nfrom astropy.table import Table\n\n"
            f'table = Table.read("{fits}")\n'
            f'good = table[table["detect_isPrimary"] & ~table["{flux}_flag"]]\n'
            f'error = np.hypot(good["{flux}Err"], good["{floor}"] * good["{flux}"])\n'
            f'good = good[good["{flux}"] > 10 * error]\n'
            f'magnitude = good["{flux}"].quantity.to("mag(AB)")'
        ),
        "DuckDB": (
            f"SELECT objectId, coord_ra, coord_dec, 31.4 - 2.5 * log10({flux}) AS magnitude\n"
            f"FROM read_parquet('{folder}/parquet/*/*.parquet')\n"
            f"WHERE detect_isPrimary AND NOT {flux}_flag\n"
            f"  AND {flux} > 10 * sqrt(pow({flux}Err, 2) + pow({floor} * {flux}, 2))"
        ),
    }
    if (catalogue / "hats").is_dir():
        examples["LSDB"] = _lsdb(f"{folder}/hats", flux, floor)
    if (survey.folders[5] / "hips").is_dir():
        examples["Aladin"] = (
            f"python -m http.server --directory dmu5/data/{survey.name}/hips 8000\n"
            "# Aladin Desktop or Aladin Lite, open: http://localhost:8000/colour, or one band: "
            f"http://localhost:8000/{band}"
        )
    examples["TOPCAT"] = (
        f"topcat {vot}\n# new subset: detect_isPrimary && !{flux}_flag && {flux} > 10*hypot({flux}Err, {floor}*{flux})"
    )
    return examples


def _wrapped(columns: Sequence[str]) -> str:
    """A list of names, as code, on lines of four."""
    parts = [", ".join(f'"{name}"' for name in columns[i : i + 4]) for i in range(0, len(columns), 4)]
    return "[\n    " + ",\n    ".join(parts) + ",\n]"


def _lsdb(path: str, flux: str, floor: str) -> str:
    return (
        "import lsdb\n\n"
        f'catalogue = lsdb.open_catalog("{path}", columns="all")\n'
        f'good = catalogue.query("detect_isPrimary and not {flux}_flag and '
        f'{flux} > 10 * sqrt({flux}Err**2 + ({floor} * {flux})**2)")\n'
        "table = good.compute()"
    )


def acknowledgements(survey: Survey) -> list[str]:
    """What to acknowledge if the release is used, as HTML; nothing is asked for a synthetic sky."""
    if survey.has_truth:
        return ["The sky of this release is synthetic: there is nothing to acknowledge but the software."]
    texts = []
    if survey.vista is not None:
        programme = survey.vista.programme or "the programme of the images"
        texts.append(
            f"VISTA: name ESO and the programme ({programme}), CASU, which calibrated the images, and the VISTA "
            "Science Archive at WFAU. ESO asks for "
            '<a href="https://archive.eso.org/cms/data-policy.html">the sentences of its data policy</a>.'
        )
    kinds = {optical.kind for optical in survey.optical}
    if "hsc" in kinds:
        texts.append(
            "HSC: use the text of "
            '<a href="https://hsc-release.mtk.nao.ac.jp/doc/index.php/acknowledging-hsc-ssp/">the HSC-SSP team</a>.'
        )
    if "lsst" in kinds:
        texts.append(
            'LSST: use the text of <a href="https://www.lsst.org/about/acknowledgments">Rubin Observatory</a>; data '
            "previews are for people with data rights."
        )
    if "fits" in kinds:
        texts.append("Other optical images: as the survey that published them asks.")
    return texts


def licence_texts(citation: Path) -> list[str]:
    """Licence of the software, and how to cite it, as HTML, from its citation file."""
    words = dict(
        line.split(": ", 1) for line in citation.read_text().splitlines() if ": " in line and not line.startswith(" ")
    )
    return [
        f"Software: {words['title']} {words['version']}, licence {words['license']}; cite it with its name, version "
        "and commit (below), as CITATION.cff in its repository says.",
        "Catalogue and images keep the licence of the data from which they were made.",
    ]
