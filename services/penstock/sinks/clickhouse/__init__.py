"""ClickHouse tables, over HTTP."""
