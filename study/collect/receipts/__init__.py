"""Receipts: what one round trip is made of, function by function.

On an emulated board every executed instruction is seen: monitor.py lets the emulator write them down, trace.py reads that, kinds.py
says what kind each is, symbols.py in which function it lies, trips.py makes a receipt of it. On a core nothing can see them all;
sampled.py makes the same table of perf's samples. walk.py asks a board for the receipts that a campaign lacks.
"""

from __future__ import annotations

from study.collect.receipts.walk import boards_of, collect

__all__ = ["boards_of", "collect"]
