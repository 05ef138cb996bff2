"""Selection function by injection: synthetic sources in the coadds, recovered by the tasks of the pipeline."""
