"""What the study costs beside what it measures: `make bench`. Each row is a ratio of two things that were run in turns."""
