"""Tables, figures and comparisons with the truth for the notebooks."""
