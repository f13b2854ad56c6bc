"""A PostgreSQL table: rows by binary COPY, each once."""
