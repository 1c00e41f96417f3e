"""All that runs on a board: VMM, guest, pyperf program, counters, and the agent that the host talks to.

Imports nothing but the standard library and pyperf, and runs on Python 3.9 or later, so that a board needs neither
the study nor its environment. The same files run on a local board and inside an emulated one.
"""


class BoardError(Exception):
    """Something on the board is not as the study needs it: one line that says what, where, and what to do."""
