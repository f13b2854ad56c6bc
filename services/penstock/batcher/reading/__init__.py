"""From the log to rows in the open batch."""
