"""Manifests of the children, one module for each sort of object. Pure: plain data from a revision and the settings."""
