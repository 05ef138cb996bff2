"""Builds the site: committed pages, the readmes of the stages, and pages that are made from the code."""
