"""What people look at: tables, figures and comparisons with the truth."""
