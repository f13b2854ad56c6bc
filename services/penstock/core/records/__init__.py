"""Records that others write: one document each, read many at a time."""
