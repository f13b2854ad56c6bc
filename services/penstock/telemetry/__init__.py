"""Every metric and span name in one place each; logging."""
