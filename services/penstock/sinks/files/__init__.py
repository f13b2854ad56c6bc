"""Local Parquet and NDJSON files: final names, journal and landed ranges change together. `writer` is the way in."""
