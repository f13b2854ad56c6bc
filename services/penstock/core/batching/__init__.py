"""Batches on the close line: when one goes, how large it may be, and what its writes teach."""
