"""The command ``study``: guarded before anything large is loaded."""

from __future__ import annotations

import sys

from study.terminal import ending


def start() -> None:
    """Run the command."""
    ending.guard()
    # With it, jsonschema could tell whether a text is an IRI, for which it builds 38 grammars as nbformat loads it: 2.6 s.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        from study import cli
    except KeyboardInterrupt:
        raise ending.ended() from None
    cli.main()


if __name__ == "__main__":
    start()
