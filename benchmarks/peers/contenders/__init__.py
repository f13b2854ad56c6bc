"""Who is measured."""

from __future__ import annotations

from benchmarks.peers import contender
from benchmarks.peers.contenders import benthos, flink, penstock, python

ALL: tuple[contender.Contender, ...] = (*penstock.ALL, benthos.Benthos(), flink.Flink(), python.Bytewax(), python.Loop())
