"""Inputs: surveys, the sky, files, archives and the synthetic sample."""

from pathlib import Path

from dmu0.checkout import check_checkout

check_checkout(Path.cwd(), Path(__file__).parents[1])
