"""Run the notebooks of a release: what depends on what, what is stale, execution, status and pages."""
