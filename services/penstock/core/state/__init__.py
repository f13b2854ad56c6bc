"""State per key: what came before an event with the same key, as columns of the event.

Like deduplication it is a pure function of the log: see docs/design/0012-keyed-state.md.
"""
