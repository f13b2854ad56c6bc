"""What clients trust and show over TLS, from the texts of mounted secrets."""
