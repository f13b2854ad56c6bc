"""The lane: read, deduplicate, transform, batch, write, commit."""
