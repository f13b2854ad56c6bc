"""Deliberate breakages of the invariants, and the tests that must notice each of them."""
