"""``python -m dmu0.sample``: make the sample tile if it does not exist."""

from __future__ import annotations

from dmu0.sample.make import make_sample
from dmu0.surveys import load_survey

if __name__ == "__main__":
    survey = load_survey("sample")
    files = make_sample(survey)
    print(f"{len(files)} files in {survey.folders[0]}")
