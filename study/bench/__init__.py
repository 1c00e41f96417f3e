"""What the study costs beside what it measures: `make bench`. Each row is a ratio of two things that were run in turns."""

from study import analyze  # before NumPy is imported: it says how NumPy gets its memory

__all__ = ["analyze"]
