"""Dead letters as records, in the headers that the tools around Kafka know."""

from penstock.core.dialects.codec import Dialect, decode, encode, last_of
from penstock.core.dialects.strays import Home, Stray, adopt

__all__ = ["Dialect", "Home", "Stray", "adopt", "decode", "encode", "last_of"]
