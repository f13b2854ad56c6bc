"""Avro's binary form into columns. `columns` is the way in."""
