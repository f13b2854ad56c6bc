"""Events to rows: explode, variables, filter, select and table template as one compiled query."""
