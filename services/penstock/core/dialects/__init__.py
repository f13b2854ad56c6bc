"""Dead letters as records, in the headers that the tools around Kafka know."""

from penstock.core.dialects.codec import Dialect, decode, encode, last_of

__all__ = ["Dialect", "decode", "encode", "last_of"]
