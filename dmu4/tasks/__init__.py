"""PipelineTasks, one per file, which read and write the Butler and call the science."""
