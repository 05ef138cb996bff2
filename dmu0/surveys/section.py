"""What all sections of a survey file have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _written(value: object) -> object:
    """A value, unless it is empty, as in a draft that asks for it."""
    if value is None:
        raise ValueError("the value is missing: write the AB magnitude of one count behind the key")
    return value


ZeroPoint = Annotated[float, BeforeValidator(_written), Field(ge=-60, le=60)]
"""AB magnitude of one count."""

AbOffset = Annotated[float, Field(ge=-2, le=2)]
"""Correction of the magnitudes of a data release, which are AB already but for some hundredths."""

WeightPatterns = Annotated[
    dict[str, str],
    Field(
        description="band or default -> pattern of weight or confidence maps: inverse variance up to a factor, which "
        "is measured, and 0 without data; a wildcard matches the same text as in coadds"
    ),
]
"""Where the weight maps beside the coadds of a section are."""

VariancePatterns = Annotated[
    dict[str, str],
    Field(description="band or default -> pattern of variance maps, in squares of the image's unit"),
]
"""Where the variance maps beside the coadds of a section are."""


class Section(BaseModel):
    """A section of a survey file, in which unknown keys are errors."""

    # allow_inf_nan: a limit that is no number would switch itself off, for nothing compares with NaN.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, values: Any) -> Any:
        """Refuse true and false, which no key takes: as numbers they would be 1 and 0."""
        for key, value in values.items() if isinstance(values, dict) else ():
            members = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
            for place, member in (("", value), *((f".{name}", member) for name, member in members)):
                if isinstance(member, bool):
                    raise ValueError(f"{key}{place} is {str(member).lower()}, and no key takes true or false")
        return values
