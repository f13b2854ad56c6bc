"""Each stage as one would write it at first: plain Python, one event after the other."""
