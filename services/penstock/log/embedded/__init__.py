"""The log of one machine: one SQLite file, written by one process, read by any number. `front` is the way in."""
