"""How the processes of one pipeline know each other: a token and certificates of its own, renewed in place."""
