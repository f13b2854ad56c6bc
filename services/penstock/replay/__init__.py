"""Dead letters put back: which ones, in what order, and marked so that none is put back twice."""
