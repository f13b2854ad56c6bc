"""Deduplication of events as a pure function of the log: `hash_keys` makes keys, a `DedupTable` judges them.

An event at position p is a duplicate exactly when the same key stands at some p' < p of its partition, at most so many
events back and within the window of append time, whether or not that one was itself a duplicate. Nothing is claimed or
released, so a retry, a restart or another process comes to the same verdicts by reading the same stretch of the log.
"""

from penstock.core.dedup.hashing import hash_keys
from penstock.core.dedup.table import DedupTable, rebuild_blocks

__all__ = ["DedupTable", "hash_keys", "rebuild_blocks"]
