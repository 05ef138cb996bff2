"""The surveys that come with the project, one YAML file each, and the keys of such a file."""

from dmu0.surveys.choices import check_engine, check_jobs, chosen_tracts, normal_tracts
from dmu0.surveys.keys import (
    SHIPPED,
    CalibrationLimits,
    Cuts,
    Engine,
    Inputs,
    Optical,
    References,
    SkyMapConfig,
    Survey,
    SurveyError,
    Vista,
    find_survey,
    load_survey,
    shipped_surveys,
)

__all__ = [
    "SHIPPED",
    "CalibrationLimits",
    "Cuts",
    "Engine",
    "Inputs",
    "Optical",
    "References",
    "SkyMapConfig",
    "Survey",
    "SurveyError",
    "Vista",
    "check_engine",
    "check_jobs",
    "chosen_tracts",
    "find_survey",
    "load_survey",
    "normal_tracts",
    "shipped_surveys",
]
