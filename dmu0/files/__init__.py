"""Input files: which are expected, whether they are intact, and what is recorded about them."""
