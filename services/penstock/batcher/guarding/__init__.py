"""The crash-loop guard."""
