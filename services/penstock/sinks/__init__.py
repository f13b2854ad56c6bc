"""Destinations: one port, one module per destination, and the gRPC server in front of them."""
