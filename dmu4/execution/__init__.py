"""Execution of quanta, on this machine or through BPS, and reports on the outcome of each."""
