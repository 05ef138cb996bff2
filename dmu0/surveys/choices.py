"""What a person chooses besides the survey file: TRACTS, ENGINE and JOBS, checked before anything runs."""

from __future__ import annotations

from dmu0.surveys.keys import Survey, SurveyError
from dmu0.surveys.messages import nearest

ENGINES = ("local", "bps")
"""Ways to run the pipeline."""

_MOST_JOBS = 1024


def chosen_tracts(survey: Survey, tracts: str | int | list[int] | tuple[int, ...] = "") -> list[int]:
    """The tracts that are to be processed, in the order of their numbers.

    Parameters
    ----------
    survey
        The survey, whose key ``tracts`` lists all there are.
    tracts
        Numbers separated by blanks or commas, one number, or a list of numbers, as papermill makes of them; empty: all.

    Raises
    ------
    SurveyError
        If a word is no number, or the survey has no such tract.
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
    """A choice of tracts written in one way: numbers in order, each once, and nothing where all are chosen.

    What is chosen decides what is stale, not how it is written.

    Parameters
    ----------
    survey, tracts
        As for `chosen_tracts`, with the same errors.
    """
    wanted = chosen_tracts(survey, tracts)
    return "" if set(wanted) == set(survey.tracts) else " ".join(str(tract) for tract in wanted)


def check_engine(engine: str) -> str:
    """The engine that ENGINE names; empty is the survey's own.

    Raises
    ------
    SurveyError
        If there is no such engine.
    """
    if engine and engine not in ENGINES:
        raise SurveyError(f"ENGINE={engine!r}: choose from {' and '.join(ENGINES)}.{nearest(engine, ENGINES)}")
    return engine


def check_jobs(jobs: str | int) -> str:
    """How many notebooks run at once, as JOBS says; empty is what the outer make allows.

    Raises
    ------
    SurveyError
        If it is no number from 1 to 1024.
    """
    text = str(jobs).strip()
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_JOBS):
        raise SurveyError(f"JOBS={jobs!r}: a number from 1 to {_MOST_JOBS} is needed.")
    return text
