"""Builds the site from committed pages, the readmes of the stages, and pages generated from the code."""
