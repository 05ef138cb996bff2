"""The columns of the object table, and one primary row for each object on the sky."""
