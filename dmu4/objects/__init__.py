"""The columns of the object table, and the assignment of one primary row per object."""
