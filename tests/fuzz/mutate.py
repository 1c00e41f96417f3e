"""Mutators: from a file as it should be to one that it should not be. Pure: the random source that is given decides everything."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

# What parsers, terminals, paths and tables stumble over.
WORDS: tuple[bytes, ...] = (
    b"", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"-1", b"0", b"1e-320", b"1" + b"0" * 5000, b"9223372036854775808", b"null",
    b"true", b"false", b"{}", b"[]", b'"', b"'", b"\\", b"\x00", b"\\u0000", b"\\ud800", b"\n", b"\r\n", b"\t", b"\x85", b"\xe2\x80\xa8",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\x1b[2J", b"\x1b]0;x\x07", b"\xe2\x80\xae", b"\xe2\x81\xa6", b"../../etc/passwd",
    b"/etc/passwd", b"<script>", b"$(id)", b"%s%n", b"#", b",", b":", b"=", b"x" * 300,
)  # fmt: skip
# So large that they are taken now and then only.
HUGE: tuple[Callable[[], bytes], ...] = (
    lambda: b"x" * (1 << 20), lambda: b"[" * 100_000, lambda: b'{"a":' * 100_000, lambda: b"[" * 100_000 + b"]" * 100_000,
    lambda: b"9" * 100_000, lambda: b"\n" * 100_000,
)  # fmt: skip
RARELY = 0.01
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 7, 0.5, -0.0, 1e308, -1e308, 1e-320, float("nan"), float("inf"), -float("inf"), 2**31, 2**63,
    10**400, "", " ", "x" * 3000, "\x00", "\x1b[2J\r\n", "\u202eevil\u2066", "\ud800", "../../etc/passwd", "NaN", "1", "<not counted>", "lazy", "stock", "main",
    "control", [], {}, [[]], [{}], {"": None}, [None], ["a", ["b"]], {"a": {"b": [1]}}, [1, 2, 3],
)  # fmt: skip
MANY = 500  # places of a tree that is not made a hundred times as large
SCALES = (-1, 1000, 10**9, 1e-3, 1e-9)


def of_bytes(source: Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Return one of some files with one to four edits of its bytes.

    Parameters
    ----------
    source : Random
        Decides.
    seeds : sequence of bytes
        Files as they should be, one or more.
    words : sequence of bytes
        What means something in this format, inserted as WORDS are.
    """
    data = source.choice(seeds)
    for _ in range(source.choice((1, 1, 1, 2, 3, 4))):
        data = source.choice(EDITS)(source, data, seeds, (*WORDS, *words))
    return data


def _span(source: Random, data: bytes) -> tuple[int, int]:
    start = source.randint(0, len(data))
    return start, min(len(data), start + source.choice((1, 1, 2, 4, 8, 32, 200)))


def _flip(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = source.randrange(len(data) or 1)
    return data[:at] + bytes(byte ^ 1 << source.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _set(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = source.randrange(len(data) or 1)
    return (
        data[:at] + bytes([source.choice((0, 0x20, 0x22, 0x2C, 0x30, 0x39, 0x7F, 0xFF, source.randrange(256)))]) + data[at + 1 :]
    )


def _delete(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _span(source, data)
    return data[:start] + data[end:]


def _duplicate(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _span(source, data)
    return data[:end] + data[start:end] * source.choice((1, 1, 2, 50)) + data[end:]


def _insert(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _span(source, data)
    word = source.choice(HUGE)() if source.random() < RARELY else source.choice(words)
    return data[:start] + word + data[source.choice((start, end)) :]


def _digit(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Put a word in the place of a number, where it means most."""
    places = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if not places:
        return data
    start = end = source.choice(places)
    while end < len(data) and data[end] in b"0123456789.e":
        end += 1
    return data[:start] + source.choice(words) + data[end:]


def _truncate(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return data[: source.randint(0, len(data))]


def _splice(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    other = source.choice(seeds)
    return data[: source.randint(0, len(data))] + other[source.randint(0, len(other)) :]


def _line(source: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Delete, repeat or swap whole lines, which leaves each of them right."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    first, second = source.randrange(len(lines)), source.randrange(len(lines))
    change = source.randrange(3)
    if change == 0:
        del lines[first]
    elif change == 1:
        lines.insert(first, lines[second])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


EDITS: tuple[Callable[[Random, bytes, Sequence[bytes], Sequence[bytes]], bytes], ...] = (
    _flip, _set, _delete, _duplicate, _insert, _insert, _digit, _truncate, _splice, _line,
)  # fmt: skip


# A place in a tree of JSON: what holds it, and its key or index there.
Place = tuple[Any, Any]


def of_tree(source: Random, tree: Any) -> Any:
    """Return a copy of a tree of JSON with one to three changes to its nodes."""
    box = [copy.deepcopy(tree)]
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        places = list(_places(box))
        source.choice(CHANGES)(source, source.choice(places), places)
    return box[0]


def of_json(source: Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Return one of some files of JSON, changed as a tree or as bytes."""
    if source.random() < 0.4:
        return of_bytes(source, seeds, words)
    return as_bytes(of_tree(source, json.loads(source.choice(seeds))))


def as_bytes(tree: Any) -> bytes:
    """Write a tree as JSON, as Python does: with NaN, and half of a surrogate pair escaped."""
    return json.dumps(tree).encode()


def _places(holder: Any) -> Iterator[Place]:
    """Yield every place in a tree, each subtree's as often as the others': a long list of numbers must not hide a name."""
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def _replace(source: Random, place: Place, places: Sequence[Place]) -> None:
    holder, key = place
    holder[key] = _deep(source) if source.random() < RARELY else copy.deepcopy(source.choice(VALUES))


def _deep(source: Random) -> Any:
    """Return what is nested as deeply as can still be signed."""
    tree: Any = 1
    for _ in range(source.choice((50, 200, 400))):
        tree = [tree] if source.random() < 0.5 else {"a": tree}
    return tree


def _drop(source: Random, place: Place, places: Sequence[Place]) -> None:
    holder, key = place
    if holder is not places[0][0]:  # the tree itself stays
        del holder[key]


def _rename(source: Random, place: Place, places: Sequence[Place]) -> None:
    holder, key = place
    if isinstance(holder, dict):
        others = [other for _, other in places if isinstance(other, str)]
        holder[source.choice([*others, "", "x", "__class__", f"{key} "])] = holder.pop(key)


def _again(source: Random, place: Place, places: Sequence[Place]) -> None:
    holder, key = place
    if isinstance(holder, list) and holder is not places[0][0]:
        times = source.choice((1, 1, 2, 100))
        holder[key:key] = [copy.deepcopy(holder[key]) for _ in range(times if len(places) < MANY else 1)]
    elif isinstance(holder[key], list) and holder[key]:
        holder[key] = holder[key] * 2


def _swap(source: Random, place: Place, places: Sequence[Place]) -> None:
    (ours, mine), (theirs, other) = place, source.choice(places)
    kept = copy.deepcopy(theirs[other])
    theirs[other] = copy.deepcopy(ours[mine])
    if isinstance(ours, dict) or mine < len(ours):
        ours[mine] = kept


def _scale(source: Random, place: Place, places: Sequence[Place]) -> None:
    """Change a number's sign or unit."""
    numbers = [(holder, key) for holder, key in places if type(holder[key]) in (int, float)]
    if numbers:
        holder, key = source.choice(numbers)
        scale = source.choice(SCALES)
        exact = isinstance(holder[key], int) and isinstance(scale, int)
        holder[key] = holder[key] * scale if exact else _product(holder[key], scale)


def _product(number: float, scale: float) -> float:
    try:
        return number * scale
    except OverflowError:
        return float("inf")


def _retype(source: Random, place: Place, places: Sequence[Place]) -> None:
    """Write a number as text, text as a number, one as a list of one, and a list as its first."""
    holder, key = place
    value = holder[key]
    if type(value) in (int, float):
        holder[key] = source.choice(
            (str, bool, lambda number: [number], lambda number: float(number) if abs(number) < 1e300 else 0.5)
        )(value)
    elif isinstance(value, str):
        holder[key] = source.choice((len(value), [value], {value: value}, value.encode("utf-8", "replace").hex()))
    elif isinstance(value, list):
        holder[key] = source.choice((value[0] if value else None, dict.fromkeys(map(str, range(len(value)))), str(len(value))))
    elif isinstance(value, Mapping):
        holder[key] = source.choice((list(value), list(value.values())))


CHANGES: tuple[Callable[[Random, Place, Sequence[Place]], None], ...] = (
    _replace, _replace, _replace, _drop, _rename, _again, _swap, _scale, _scale, _retype,
)  # fmt: skip
