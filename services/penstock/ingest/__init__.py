"""Two doors (gRPC, HTTP) and one admission in front of the log."""
