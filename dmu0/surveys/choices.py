"""The choices made in addition to the survey file, TRACTS, ENGINE and JOBS, which are checked before anything runs."""

from __future__ import annotations

from dmu0.surveys.keys import Survey, SurveyError
from dmu0.surveys.messages import nearest

ENGINES = ("local", "bps")
"""Ways to run the pipeline."""

_MOST_JOBS = 1024


def chosen_tracts(survey: Survey, tracts: str | int | list[int] | tuple[int, ...] = "") -> list[int]:
    """The tracts to be processed, in order of their numbers.

    Parameters
    ----------
    survey
        The survey, whose key ``tracts`` lists all tracts.
    tracts
        Numbers separated by blanks or commas, one number, or a list of numbers (made by papermill); empty: all.

    Raises
    ------
    SurveyError
        If a word is not a number, or the survey has no such tract.
    """
    if isinstance(tracts, list | tuple):
        words = [str(tract) for tract in tracts]
    else:
        words = str(tracts).replace(",", " ").split()
    known = ", ".join(str(tract) for tract in sorted(survey.tracts))
    wanted = set()
    for word in words:
        if not (word.isascii() and word.isdigit() and int(word) in survey.tracts):
            hint = nearest(word, [str(tract) for tract in survey.tracts])
            raise SurveyError(
                f"TRACTS={tracts!r}: survey {survey.name!r} has no tract {word}; choose from {known}, or none for "
                f"all.{hint}"
            )
        wanted.add(int(word))
    return sorted(wanted or survey.tracts)


def normal_tracts(survey: Survey, tracts: str | int | list[int] | tuple[int, ...] = "") -> str:
    """A selection of tracts in normal form: unique numbers in order, or empty if all are selected.

    The selection determines which steps are stale, regardless of how it is written.

    Parameters
    ----------
    survey, tracts
        Survey and tracts, as for `chosen_tracts`, with the same errors.
    """
    wanted = chosen_tracts(survey, tracts)
    return "" if set(wanted) == set(survey.tracts) else " ".join(str(tract) for tract in wanted)


def check_engine(engine: str) -> str:
    """The engine given by ENGINE; empty for that of the survey.

    Raises
    ------
    SurveyError
        If there is no such engine.
    """
    if engine and engine not in ENGINES:
        raise SurveyError(f"ENGINE={engine!r}: choose from {' and '.join(ENGINES)}.{nearest(engine, ENGINES)}")
    return engine


def check_jobs(jobs: str | int) -> str:
    """The number of notebooks to run at once, given by JOBS; empty for that of the outer make.

    Raises
    ------
    SurveyError
        If it is not a number from 1 to 1024.
    """
    text = str(jobs).strip()
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_JOBS):
        raise SurveyError(f"JOBS={jobs!r}: a number from 1 to {_MOST_JOBS} is needed.")
    return text
