"""The Butler repository of a survey."""
