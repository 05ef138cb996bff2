"""The columns of the catalogue: what each is called, holds and means, said once for every stage and format."""
