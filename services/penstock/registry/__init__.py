"""Schema registries: what numbers stand for, asked by sinks that write and by sources that read."""
