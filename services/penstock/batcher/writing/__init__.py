"""From the open batch to the store."""
