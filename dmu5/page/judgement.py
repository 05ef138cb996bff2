"""The verdicts of a release in words: at the top of its page, and under each figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dmu5.checks import VERDICTS, Check
from dmu5.quality_checks import check_name, short_value
from obs_vista.bands import shown_band


def count_verdicts(checks: Iterable[Check]) -> dict[str, int]:
    """Number of checks with each verdict, from good to bad."""
    found = [check.verdict for check in checks]
    return {verdict: found.count(verdict) for verdict in VERDICTS}


def summary(checks: Sequence[Check]) -> str:
    """The verdict of a release in one line."""
    counts = count_verdicts(checks)
    if not checks:
        return "Nothing was checked."
    parts = [f"{counts['pass']} of {len(checks)} checks passed"]
    parts += [f"{counts['warn']} to beware of"] if counts["warn"] else []
    parts += [f"{counts['fail']} failed"] if counts["fail"] else []
    return ", ".join(parts) + "."


def caveats(checks: Sequence[Check]) -> list[tuple[str, str]]:
    """What to beware of, failures first: the verdict, and one line for each check with its bands and values."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        if check.verdict != "pass":
            groups.setdefault((check.verdict, check_name(check)), []).append(check)
    ordered = sorted(groups.items(), key=lambda item: -VERDICTS.index(item[0][0]))
    return [(verdict, f"{name}: {_bands_and_values(rows)}") for (verdict, name), rows in ordered]


def _bands_and_values(rows: Sequence[Check]) -> str:
    """Bands with their values, and the limit; bands that could not be judged together."""
    judged = [row for row in rows if "not judged" not in row.value]
    parts = [f"{shown_band(row.band)} {short_value(row.value)}" if row.band else row.value for row in judged]
    few = [shown_band(row.band) for row in rows if row not in judged]
    parts += [f"not judged for lack of stars in {', '.join(few)}"] if few else []
    return ", ".join(parts) + (f" (limit {judged[0].limit})" if judged else "")


def sentence(checks: Sequence[Check], names: Sequence[str], *, good: str) -> str:
    """A judgement on the checks whose names contain one of some words.

    Parameters
    ----------
    checks
        All checks.
    names
        Words in the names of the checks that count.
    good
        Sentence if all of them passed.
    """
    chosen = [check for check in checks if any(name in check.check for name in names)]
    if not chosen:
        return "Not judged: nothing was measured against a limit."
    bad = caveats(chosen)
    if not bad:
        return good
    words = {"fail": "Fails", "warn": "Beware"}
    return " ".join(f"{words[verdict]}: {text}." for verdict, text in bad)


def all_checks(checks: Mapping[str, Sequence[Check]]) -> list[Check]:
    """The checks of all notebooks in one list."""
    return [check for rows in checks.values() for check in rows]
