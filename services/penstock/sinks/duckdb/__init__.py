"""DuckDB as a store: rows and landed ranges in one transaction. `writer` is the way in."""
