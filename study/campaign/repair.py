"""Take out of a campaign what is damaged, so that the rest can be used and what is missing can be measured again.

Nothing is deleted: what is taken out goes to ``<campaign>/aside/<n>/``, under the name that it had, with why.txt beside it.
What decides is what a file can prove of itself. A visit's line has its own digest, so whole lines stay where others around
them are bad. What a boot was has none but that in SHA256SUMS: if it does not match, nobody knows what its visits are of, and
the boot goes as a whole. Where nothing but CRLF for line ends is wrong, they are LF again. Boots that are not closed, because
their command was killed, are left to ``study collect``.
"""

from __future__ import annotations

from pathlib import Path

from study.campaign.files import cut_torn_line, in_use, sync_folder, write_whole
from study.campaign.store import ASIDE, BOOT, BOOTS, DESIGN, LINES, MORE_DESIGNS, WHY, Campaign, Judge, Problem, Seen, is_plan
from study.campaign.sums import SUMS, before_crlf, digest_of, read_sums, write_sums
from study.errors import BadData, BadRequest

MISMATCH, LINK = f"its bytes do not match {SUMS}", "it is a link, and a campaign has none"


def repair(folder: Path) -> list[Problem]:
    """Set aside all that is damaged or foreign, and sign what is left.

    Parameters
    ----------
    folder : path
        A campaign.

    Returns
    -------
    list of Problem
        What was wrong; nothing, if all is whole.

    Raises
    ------
    BadRequest
        If it is no campaign, or a design was damaged: that is set aside, and only a copy or a collection can bring it back.
    Busy
        If another command is at work in it.
    """
    if not (folder / DESIGN).exists():
        Campaign(folder)  # says that it is none
    with in_use(folder, alone=True):
        work = _Repair(folder)
        work.line_ends()
        work.designs()
        campaign = Campaign(folder)
        seen: Seen = {}
        for boot in sorted((folder / BOOTS).glob("*")):
            work.boot(campaign, boot, seen)
        for path in campaign.links():
            work.take(path, LINK)
        for path in campaign.raw_files():
            if why := work.doubt(path):
                work.take(path, why)
        work.sign(campaign)
    return work.problems


class _Repair:
    """One repair: the sums that were there, where what is taken goes, and what was wrong."""

    def __init__(self, folder: Path) -> None:
        numbers = [int(path.name) for path in (folder / ASIDE).glob("*") if path.name.isdecimal()]
        self._folder, self._aside = folder, folder / ASIDE / str(max(numbers, default=0) + 1)
        self._sums, self.problems = read_sums(folder), list[Problem]()
        self._closed = {name.rpartition("/")[0] for name in self._sums}

    def line_ends(self) -> None:
        """Put LF back where something made CRLF of it: the sums say that it was that, and nothing else."""
        found = [path for path in sorted(self._folder.rglob("*")) if path.is_file() and not path.is_symlink()]
        wrong = {path: before_crlf(path, self._sums[self._name(path)]) for path in found if not self._matches(path)}
        mended = {path: data for path, data in wrong.items() if data}
        for path, data in mended.items():
            write_whole(path, data)
        if mended:
            write_sums(self._folder, self._sums)  # whose own lines had it, too
            self.problems.append(
                Problem(self._folder, f"{len(mended)} files had CRLF for line ends, and are as they were written again")
            )

    def designs(self) -> None:
        """Take a design that is no longer what was asked for; without it nothing else can be judged."""
        for path in (self._folder / DESIGN, *sorted(self._folder.glob(MORE_DESIGNS))):
            if self._matches(path):
                continue
            self.take(path, MISMATCH)
            self._explain()
            raise BadRequest(
                f"{path}: {MISMATCH}; it is in {self._aside} now: put a copy in its place, or collect once more with the options "
                "that this campaign was made with, which draw the same design"
            )

    def boot(self, campaign: Campaign, boot: Path, seen: Seen) -> None:
        """Take a whole boot of which nobody knows what it was, or else those of its lines that are bad."""
        is_closed = self._name(boot) in self._closed
        if boot.is_symlink() or not (is_closed or (boot / BOOT).exists()):
            return
        try:
            if not (boot / BOOT).exists():
                raise BadData(f"{BOOT} is missing: nobody knows what these visits are of")
            if not self._matches(boot / BOOT) or (is_closed and self._name(boot / BOOT) not in self._sums):
                raise BadData(f"{BOOT} does not match {SUMS}: nobody knows what these visits are of")
            judges = {boot / file: campaign.judge(boot, seen, file) for file in LINES}
        except (BadData, BadRequest) as error:
            self.take(boot, str(error).removeprefix(f"{boot / BOOT}: "))
            return
        for lines, judge in judges.items():
            if lines.exists() and not lines.is_symlink():
                self._lines(lines, judge, is_closed=is_closed)

    def _lines(self, lines: Path, judge: Judge, *, is_closed: bool) -> None:
        """Take those lines of a file that are bad."""
        if cut_torn_line(lines):
            self.problems.append(Problem(lines, "its last line was not written to its end, and is cut off"))
        texts = lines.read_bytes().splitlines(keepends=True)
        reasons = [judge(text)[1] for text in texts]
        self.problems += [Problem(lines, f"line {number} {why}") for number, why in enumerate(reasons, 1) if why]
        if any(reasons):
            _keep(self._aside / self._name(lines), b"".join(text for text, why in zip(texts, reasons, strict=True) if why))
            write_whole(lines, b"".join(text for text, why in zip(texts, reasons, strict=True) if not why))
        elif not self._matches(lines):
            self.problems.append(Problem(lines, f"{MISMATCH}, but its lines are whole"))
        if is_closed:
            self._sums[self._name(lines)] = digest_of(lines)

    def doubt(self, path: Path) -> str:
        """Return why a file cannot stay; empty if it can."""
        if self._name(path) in self._sums:
            return "" if self._matches(path) else MISMATCH
        plan = path.parent == self._folder and is_plan(path)
        in_an_open_boot = path.parent.parent == self._folder / BOOTS and self._name(path.parent) not in self._closed
        return "" if plan or in_an_open_boot or self._aside in path.parents else "it is foreign"

    def take(self, path: Path, why: str) -> None:
        """Move a file or a folder aside; of a link, where it led."""
        into = self._aside / self._name(path)
        into.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            _keep(into, bytes(path.readlink()))
            path.unlink()
        else:
            path.rename(into)
        for folder in (path.parent, into.parent):
            sync_folder(folder)
        self.problems.append(Problem(path, why))

    def sign(self, campaign: Campaign) -> None:
        """Write the sums of what is left, and of what is aside."""
        self._explain()
        present = {self._name(path): path for path in campaign.raw_files()}
        taken = {problem.file for problem in self.problems}
        self.problems += [
            Problem(self._folder / name, "it is missing")
            for name in sorted(self._sums.keys() - present.keys())
            if not taken & {self._folder / name, (self._folder / name).parent}
        ]
        kept = {name: value for name, value in self._sums.items() if name in present}
        added = {name: digest_of(path) for name, path in present.items() if self._aside in path.parents}
        if kept | added != read_sums(self._folder):
            write_sums(self._folder, kept | added)

    def _explain(self) -> None:
        if self._aside.exists():
            _keep(self._aside / WHY, "".join(f"{self._name(each.file)}: {each.says}\n" for each in self.problems).encode())

    def _matches(self, path: Path) -> bool:
        """Say whether a file is there, and has the sum that it should have, if any."""
        return path.exists() and self._sums.get(self._name(path)) in (None, digest_of(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
