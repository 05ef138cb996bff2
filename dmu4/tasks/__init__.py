"""One PipelineTask per file: reads and writes the Butler, and calls the science."""
