"""Faults under load: the harness behind `make chaos` and the short form in tests/integration/test_chaos.py."""
