"""Penstock: events in, batches of the size the destination likes out, every one of them accounted for."""

__version__ = "0.1.0"
