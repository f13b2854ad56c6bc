"""DeadLetterReplays: from what is there to the Jobs that do them, and back to their status. Pure."""
