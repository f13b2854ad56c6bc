"""HTTP endpoints: one request per batch."""
