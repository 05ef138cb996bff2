"""What all sections of a survey file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _written(value: object) -> object:
    """A value, unless it is empty, as in a draft that asks for it."""
    if value is None:
        raise ValueError("the value is missing: write the AB magnitude of one count behind the key")
    return value


ZeroPoint = Annotated[float, BeforeValidator(_written), Field(ge=-60, le=60)]
"""AB magnitude of one count."""

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
