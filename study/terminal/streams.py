"""Streams of people: no text from elsewhere steers a terminal."""

from __future__ import annotations

import io
import os


class Legible(io.TextIOWrapper):
    """A stream on which what a board, a file or a name says can only be read: escape sequences and the like become ``?``."""

    def write(self, text: str) -> int:
        """Write text with its lines and nothing else that a terminal would obey; to nobody, once the reader has gone."""
        try:
            return super().write(legible_lines(text))
        except BrokenPipeError:  # it has seen enough, as head has: that changes nothing of what is done and how it ends
            nobody = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nobody, self.fileno())
            os.close(nobody)
            return len(text)


def legible_lines(text: str) -> str:
    """Return text in which every character is printable, or ends a line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)
