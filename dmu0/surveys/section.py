"""What all sections of a survey file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ZeroPoint = Annotated[float, Field(ge=-60, le=60)]
"""AB magnitude of one count."""


class Section(BaseModel):
    """A section of a survey file, in which unknown keys are errors."""

    # allow_inf_nan: a limit that is no number would switch itself off, for nothing compares with NaN.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
