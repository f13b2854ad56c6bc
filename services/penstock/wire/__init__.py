"""Core values ↔ penstock.v1 messages, for both ends of a call."""
