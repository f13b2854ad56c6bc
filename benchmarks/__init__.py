"""CPU time per event of each stage, beside a plain Python reference that gives the same output: `make bench`."""
