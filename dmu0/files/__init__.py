"""Input files: which are expected, whether they are sound, and what is recorded of them."""
