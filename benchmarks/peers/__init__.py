"""Penstock beside what else people would take for the job, on one broker, same events, one run: `make bench-peers`."""
