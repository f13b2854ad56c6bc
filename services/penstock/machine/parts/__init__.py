"""What a pipeline's processes are put together from: `penstock run` has all of it, the other commands one part each."""
