"""Provenance of a product: code, schema, survey, sky map and inputs, which `dmu0.files.metadata` writes into files.

Nothing here depends on when, where or by whom a product is written: the same code and inputs give the same file, byte
for byte. A product keeps the provenance of the run that made it; a later commit that changes no code does not make it
stale.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

from dmu0.files.checksums import sha256
from dmu0.files.code_version import UNKNOWN, code_version
from dmu0.files.manifest import read_usable
from dmu0.schema.columns import schema_version
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import Survey


@dataclass(frozen=True)
class Provenance:
    """The provenance of a product of a survey.

    Attributes
    ----------
    software
        Name and version of the package.
    commit
        Git commit of the code, 40 hexadecimal digits; ``unknown`` outside a git checkout.
    modified
        ``yes`` or ``no``: whether files of the checkout differ from the commit; ``unknown`` without one.
    schema_version
        Version of the schema of the catalogue.
    survey
        File name of the survey's definition.
    survey_sha256
        SHA-256 of that file.
    sky_map
        Name of the sky map.
    sky_map_sha1
        Digest of the definition of the sky map (``digest`` of the maps of `dmu0.sky.skymap`).
    inputs_sha256
        SHA-256 over the sorted SHA-256 digests of all usable inputs in the manifest, one per line; ``unknown`` without
        a manifest. Coadds read from an external Butler repository are not included.
    newest_input
        Start of the latest exposure among the usable inputs, ISO 8601 in UTC, from DATE-OBS in the headers, because
        the times of files change when they are copied. ``unknown`` if no header has it, as for coadds.
    """

    software: str
    commit: str
    modified: str
    schema_version: str
    survey: str
    survey_sha256: str
    sky_map: str
    sky_map_sha1: str
    inputs_sha256: str
    newest_input: str

    def words(self) -> dict[str, str]:
        """Name -> value of all items, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def gather_provenance(survey: Survey) -> Provenance:
    """The provenance of a product made now by this code from the inputs of a survey."""
    usable = read_usable(survey.folders)
    digests = sorted(str(row["sha256"]) for row in usable)
    return Provenance(
        **code_version().words(),
        schema_version=schema_version(),
        survey=survey.path.name,
        survey_sha256=sha256(survey.path),
        sky_map=survey.sky_map.name,
        sky_map_sha1=make_sky_map(survey.sky_map).digest().hex(),
        inputs_sha256=hashlib.sha256("\n".join(digests).encode()).hexdigest() if usable else UNKNOWN,
        newest_input=max((str(row["observed"]) for row in usable), default="") or UNKNOWN,
    )
