"""Every metric in one place; logging."""
