"""The pure part: columns, verdicts, batches, addresses and counts. No I/O, and no clock but an injected one."""
