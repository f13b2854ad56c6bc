"""One machine: what `penstock run` wires over the embedded log, its data directory and its control socket."""
