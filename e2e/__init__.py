"""Tests that see Penstock from outside."""
