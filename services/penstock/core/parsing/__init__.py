"""How `core.parse` reads: in bulk where a whole block is faultless, event by event where it is not."""
