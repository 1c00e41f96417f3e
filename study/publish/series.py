"""The patch series: put a letter in front of a branch's patches, with git or b4, and read back what the tool wrote."""

from __future__ import annotations

import contextlib
import email
import email.policy
import email.utils
import itertools
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path

from study.errors import BadRequest, MissingTool, StudyError
from study.process import git, need, run
from study.publish.prose import LARGEST

TO_EDIT = "EDITME"  # what is in the author's words until they are written, as b4 has it
BODY = 3  # line of a letter on which its body begins: below the subject and an empty line
COVER_COMMIT = "--- b4-submit-tracking ---"  # b4 keeps the letter in a commit with this line (b4/ez.py, MAGIC_MARKER)
UNTRACKED = "not a prep-managed branch"  # how b4 says that it does not know a branch yet
# Where b4 can be asked to keep the letter, and its own name for that (b4/ez.py, get_cover_strategy).
KEEP = {"description": "branch-description", "commit": "commit"}
# What b4 sets of a branch in git's configuration (b4/ez.py, start_new_series and store_cover).
STRATEGY = "b4-prep-cover-strategy"
SETTINGS = ("description", "b4-tracking", STRATEGY)
# What rev-list and format-patch leave out: that commit, which is no patch ...
WITHOUT_COVER = ("--fixed-strings", f"--grep={COVER_COMMIT}", "--invert-grep")
# ... but which git names as a prerequisite, being between the base and a patch.
OF_COVER = re.compile(rb"^prerequisite-patch-id: \w+\n", re.MULTILINE)
# What a tool puts after the letter: b4 a line of dashes, git the first author of the shortlog.
AFTER = re.compile(r"---|.+ \(\d+\):")
# How patches are written, whatever diff.* and GIT_DIFF_OPTS say: as git am takes them, with the lines around that reviewers know.
AS_MAILED = (
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "--inter-hunk-context=0",
    "--no-relative",
    "--submodule=short",
    "--no-ext-diff",
    "--no-textconv",
)
DIFF_OPTS = "GIT_DIFF_OPTS"
OF_DIFFS = r"^(diff|format|core\.attributesfile)"  # the settings on which it depends what a patch looks like
# Where of a repository git is told to look when it works on an index of ours.
PLACES = {"git": ("--git-dir",), "objects": ("--git-path", "objects")}
COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # with an even number of quotes after it
BASE, PREREQUISITE = "base-commit: ", "prerequisite-"  # how the lines begin that say what a series applies to
COUNTER = re.compile(r"(?:\bv(\d+) )?\b0+/(\d+)\] $")  # the end of a cover letter's prefix: [PATCH v2 0/3]
# The names of the mails in a folder. It is a folder of its own, because "git send-email FOLDER" sends every file there.
WRITTEN = Path(".series", "mails")
# Nobody listens there: b4 cannot ask a server, whatever its configuration says.
NOWHERE = "http://127.0.0.1:9"
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE) | {
    "no_proxy": "",
    "NO_PROXY": "",
}


class MissingB4(MissingTool):
    """b4 is not installed: it comes from Python's index, not from Debian."""

    def __init__(self) -> None:
        StudyError.__init__(self, "b4 is not installed; install it with: pip install b4")


@dataclass(frozen=True)
class Series:
    """Patches to put a letter in front of.

    Parameters
    ----------
    repo : Path
        A git repository.
    branch : str
        The patches are its commits.
    base : str
        Commit or branch that they start from; empty: the upstream of the branch.
    version : int
        Of the series, from 1 up.
    to, cc : tuple of str
        One address each, with or without a name.
    keep : str
        Where b4 keeps the letter of a branch that it does not know yet, one of `KEEP`; empty: as b4 is configured.
    """

    repo: Path
    branch: str
    base: str = ""
    version: int = 1
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    keep: str = ""

    @property
    def ref(self) -> str:
        """The branch's full name, which is no option and no other kind of name."""
        return f"refs/heads/{self.branch}"


def put(letter: str, series: Series, out: Path, tool: str) -> list[Path]:
    """Write the mails of a series with a letter in front, and make sure that what came out is what was meant.

    Parameters
    ----------
    letter : str
        The subject, an empty line, the body.
    series : Series
        To put it in front of.
    out : Path
        Folder for the mails. Those of an earlier run are replaced, once the new ones are known to be right; other files stay.
    tool : str
        One of `TOOLS`.

    Returns
    -------
    list of Path
        The mails, cover letter first.

    Raises
    ------
    BadRequest
        If the letter or the series cannot be put together.
    MissingTool
        If the tool is not installed.
    StudyError
        If the tool fails, if it changed the letter, if the mails do not say what the series starts from, or if one is
        larger than a list accepts. The repository is as it was before.
    """
    if tool not in TOOLS:
        raise BadRequest(f"tool is {tool!r}: it must be one of {', '.join(TOOLS)}")
    need("git")
    check_letter(letter)
    check_series(series)
    target = out.absolute()
    meant = replace(series, base=_start(series))  # now: b4 may rewrite the branch, and with it what BRANCH~2 is
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as fresh,
            TOOLS[tool](letter, series, Path(fresh)) as mails,
        ):
            check_mails(letter, meant, mails, tool)
            return _replace(target, mails)
    except OSError as error:
        raise StudyError(f"cannot write the mails to {out}: {error.strerror}; choose another folder") from error


@contextlib.contextmanager
def with_git(letter: str, series: Series, out: Path) -> Iterator[list[Path]]:
    """Write the mails with git format-patch.

    The letter goes in as the description of the branch, by the environment: every git has that, and neither the
    repository's configuration nor a description that the branch already has is touched.

    Parameters
    ----------
    letter : str
        The subject, an empty line, the body.
    series : Series
        To put it in front of.
    out : Path
        Folder for the mails.

    Yields
    ------
    list of Path
        The mails, cover letter first.

    Raises
    ------
    StudyError
        If git fails.
    """
    settings = {f"branch.{series.branch}.description": letter, "format.coverFromDescription": "subject"}
    version = [f"--reroll-count={series.version}"] if series.version > 1 else []  # else the subject says [PATCH v1 0/3]
    people = [f"--to={_encoded(person)}" for person in series.to] + [f"--cc={_encoded(person)}" for person in series.cc]
    start = _start(series)
    _git(
        series, "format-patch", "--quiet", "--cover-letter", "--numbered", "--suffix=.patch", *AS_MAILED, f"--base={start}", *version,
        *people, "-o", str(out.absolute()), *WITHOUT_COVER, f"{start}..{series.ref}",
        env=_configured(settings) | {DIFF_OPTS: ""},
    )  # fmt: skip
    mails = sorted(out.glob("*.patch"))
    mails[0].write_bytes(OF_COVER.sub(b"", mails[0].read_bytes()))
    yield mails


@contextlib.contextmanager
def with_b4(letter: str, series: Series, out: Path) -> Iterator[list[Path]]:
    """Write the mails with b4, offline, which keeps the letter in the branch's description or in a commit of its own.

    A branch that b4 does not know yet is enrolled. A commit for the letter goes below the patches, which rewrites them; a
    description rewrites nothing. If anything fails, here or in the caller's block, the branch and what git's configuration
    says of it are put back as they were.

    Parameters
    ----------
    letter : str
        The subject, an empty line, the body.
    series : Series
        To put it in front of; its branch must be the one checked out.
    out : Path
        Folder for the mails.

    Yields
    ------
    list of Path
        The mails, cover letter first.

    Raises
    ------
    BadRequest
        If b4 cannot work on this branch.
    MissingTool
        If b4 is not installed.
    StudyError
        If b4 fails.
    """
    b4 = _b4()
    _check_for_b4(series)
    with tempfile.TemporaryDirectory() as folder, _put_back_on_failure(series):
        text = Path(folder, "letter.txt")
        text.write_text(letter, encoding="ascii")
        # In a kernel tree without a mail server b4 wants to send through the web, which refuses unsigned mail.
        env = OFFLINE | _configured({"sendemail.smtpServer": "localhost"})
        env["GIT_EDITOR"] = shlex.join(["cp", "--", str(text)])  # b4 takes it apart by the shell's rules, and adds its file
        if not _tracked(b4, series, env):
            _enrol(b4, series, env)
        run([b4, "prep", f"--force-revision={series.version}", "--edit-cover"], cwd=series.repo, env=env)
        run([b4, "send", "--output-dir", out.absolute(), "--no-sign", *_people(series)], cwd=series.repo, env=env)
        yield sorted(out.glob("*.eml"))


TOOLS = {"git": with_git, "b4": with_b4}


def sending(series: Series, out: Path, tool: str) -> str:
    """Return the command that sends the mails, wherever it is run: by the settings of the series' repository, from whole paths."""
    return {
        "git": f"{_command(series, 'send-email', str(out.absolute()))}/*.patch",
        "b4": f"{shlex.join(['cd', str(series.repo.absolute())])} && {shlex.join(['b4', 'send', *_people(series)])}",
    }[tool]


def addresses(given: Iterable[str]) -> tuple[str, ...]:
    """Return recipients one by one, from texts that each hold several with commas between; a comma in quotes is part of a name."""
    parts = (part.strip() for text in given for part in COMMA.split(text))
    return tuple(part for part in parts if part)


def check_letter(letter: str) -> None:
    """Refuse a text that cannot be a letter.

    Raises
    ------
    BadRequest
        Naming the line.
    """
    lines = letter.rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.isascii() or not line.replace("\t", " ").isprintable():
            raise BadRequest(f"line {number} of the letter has characters that are not plain ASCII text: {line!r}")
        if TO_EDIT in line:
            raise BadRequest(
                f"line {number} of the letter still says {TO_EDIT}: say in series.txt beside it what the series does, and make the letter again"
            )
    if len(lines) < BODY or lines[0] != lines[0].strip() or not lines[0] or lines[1] or not lines[2]:
        raise BadRequest("the letter must be a line that is the subject, an empty line, and the body")
    if len(letter) > LARGEST:
        raise BadRequest(f"the letter has {len(letter)} bytes, and a list takes {LARGEST}; post a part")


def check_series(series: Series) -> None:
    """Refuse a series that has no patches or cannot be addressed as asked.

    Raises
    ------
    BadRequest
        Saying what to give instead.
    """
    if isinstance(series.version, bool) or not isinstance(series.version, int) or series.version < 1:
        raise BadRequest(f"version is {series.version!r}: it must be a whole number of at least 1")
    if series.keep and series.keep not in KEEP:
        raise BadRequest(f"keep is {series.keep!r}: it must be one of {', '.join(KEEP)}")
    for person in series.to + series.cc:
        _check_person(person)
    if not _asked(series, "rev-parse", "--git-dir"):
        raise BadRequest(f"{series.repo} is no git repository; give the folder of your kernel tree with REPO=")
    if not _plain(series.branch) or not _asked(series, "show-ref", "--verify", series.ref):
        raise BadRequest(f"{series.repo} has no branch {series.branch!r}; give the branch of your patches with BRANCH=")
    if not _patches(series):
        raise BadRequest(f"branch {series.branch} has no commits over {_base(series)}; give what it starts from with BASE=")
    if _patches(series, "--ancestry-path") != _patches(series):
        raise BadRequest(
            f"not all commits of {series.branch} build on {_start(series)}, which it shares with {_base(series)}; rebase it"
        )
    if merge := _git(series, "rev-list", "--merges", "--max-count=1", f"{_start(series)}..{series.ref}"):
        raise BadRequest(f"{series.branch} has a merge, {merge[:12]}: a series is one commit after the other; rebase it")


def check_mails(letter: str, series: Series, mails: list[Path], tool: str) -> None:
    """Compare what a tool wrote with what was meant.

    Parameters
    ----------
    letter : str
        What was meant.
    series : Series
        It is in front of.
    mails : list of Path
        What was written, cover letter first.
    tool : str
        That wrote them.

    Raises
    ------
    StudyError
        Naming the first line of the letter that differs, or the mail that is wrong.
    """
    patches = _patches(series)
    if len(mails) != patches + 1:
        raise StudyError(f"{tool} wrote {len(mails)} mails, not a cover letter and {patches} patches; look at {series.branch}")
    cover = _read(mails[0])
    title, _, *body = letter.rstrip("\n").split("\n")
    _check_subject(title, str(cover["subject"]), series.version, patches, tool)
    lines = _text(cover).split("\n")
    _check_body(body, lines, tool)
    _check_base(_start(series), lines[len(body) :], tool)
    for mail in mails:
        _check_recipients(series, mail)
        if mail.stat().st_size > LARGEST:
            raise StudyError(f"{mail.name} has {mail.stat().st_size} bytes, and a list takes {LARGEST}; split that patch")
    _check_patches(series, mails[1:], tool)


def _check_patches(series: Series, mails: list[Path], tool: str) -> None:
    """Apply patches to what they start from, in an index and with objects that are beside the repository, and compare the trees."""
    place = {name: _git(series, "rev-parse", "--path-format=absolute", *words) for name, words in PLACES.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects/info").mkdir(parents=True)
        (folder / "objects/info/alternates").write_text(f"{place['objects']}\n")
        env = {"GIT_DIR": place["git"], "GIT_INDEX_FILE": str(folder / "index"), "GIT_OBJECT_DIRECTORY": str(folder / "objects")}
        git(folder, "read-tree", _start(series), env=env)
        for mail in mails:
            try:
                run(["git", "-C", folder, "mailinfo", "message", "patch"], stdin=mail.read_bytes(), env=env)
                git(folder, "apply", "--cached", "--whitespace=nowarn", "patch", env=env)
            except StudyError as error:
                raise StudyError(f"{tool} wrote {mail.name}, which cannot be applied: {error}; {_bearing(series)}") from None
        if git(folder, "write-tree", env=env).strip() != _git(series, "rev-parse", f"{series.ref}^{{tree}}"):
            raise StudyError(f"{tool} wrote patches that do not make what {series.branch} holds; {_bearing(series)}")


def _bearing(series: Series) -> str:
    """Say which settings of the user bear on patches, or what else can be tried."""
    found = _asked(series, "config", "--get-regexp", OF_DIFFS).splitlines()
    found += [f"{name} {os.environ[name]}" for name in (DIFF_OPTS,) if name in os.environ]
    return f"look at your settings: {', '.join(found)}" if found else f"another tool may do it: TOOL={' or '.join(TOOLS)}"


def _check_subject(title: str, subject: str, version: int, patches: int, tool: str) -> None:
    if not subject.endswith(f"] {title}"):
        raise StudyError(_changed(tool, 1, title, re.sub(r"^(\[[^]]*\] *)+", "", subject)))
    prefix = subject.removesuffix(title)
    counter = COUNTER.search(prefix)
    if counter is None or (int(counter[1] or 1), int(counter[2])) != (version, patches):
        raise StudyError(
            f"{tool} made the prefix {prefix.strip()} for version {version}, 0/{patches}; look at your git configuration"
        )


def _check_body(meant: list[str], came: list[str], tool: str) -> None:
    pairs = itertools.zip_longest(meant, came[: len(meant)])
    for number, (wanted, found) in enumerate(pairs, BODY):
        if wanted != found:
            raise StudyError(_changed(tool, number, wanted, found))
    rest = next((line for line in came[len(meant) :] if line.strip()), "")
    if not AFTER.fullmatch(rest):
        raise StudyError(_changed(tool, BODY + len(meant), "the end of the letter", rest))


def _check_base(start: str, rest: list[str], tool: str) -> None:
    """Check that the cover says what the series starts from; one with prerequisites says what these start from."""
    found = [line.removeprefix(BASE) for line in rest if line.startswith(BASE)]
    after = any(line.startswith(PREREQUISITE) for line in rest)
    if len(found) != 1 or (found != [start] and not after):
        wrote = ", ".join(found) or "nothing"
        raise StudyError(
            f"{tool} wrote {BASE}{wrote}, and the series starts from {start}; look at BASE=, or how {tool} is set up"
        )


def _changed(tool: str, number: int, meant: str | None, came: str | None) -> str:
    return f"{tool} changed line {number} of the letter: meant was {meant!r}, out came {came!r}; word it differently"


def _check_recipients(series: Series, path: Path) -> None:
    mail = _read(path)
    headers = [str(header) for name in ("to", "cc") for header in mail.get_all(name, [])]
    found = {address for _, address in email.utils.getaddresses(headers)}
    for person in series.to + series.cc:
        address = email.utils.parseaddr(person)[1]
        if address not in found:
            raise StudyError(f"{path.name} does not go to {address}; look for it in .mailmap and b4.email-exclude")


def _check_person(person: str) -> None:
    pairs = email.utils.getaddresses([person])
    address = pairs[0][1] if len(pairs) == 1 else ""
    if not person.isprintable() or not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", address) or address.startswith("-"):
        raise BadRequest(f"{person!r} is no mail address; give one address, or a name and <address>")


def _check_for_b4(series: Series) -> None:
    if _asked(series, "symbolic-ref", "--quiet", "HEAD") != series.ref:
        raise BadRequest(f"b4 works on the branch that is checked out; run: {_command(series, 'switch', series.branch)}")
    if _git(series, "status", "--porcelain", "--untracked-files=no"):
        raise BadRequest(f"{series.repo} has changes that are not committed; commit or stash them, b4 wants none")
    kept = _setting(series, STRATEGY)
    if series.keep and kept and kept != KEEP[series.keep]:
        raise BadRequest(f"b4 keeps the letter of {series.branch} as {kept} already; leave out KEEP=")
    if _patches(series) == 1:
        raise BadRequest("b4 numbers no cover letter of a single patch; use git: TOOL=git")


def _read(path: Path) -> EmailMessage:
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def _text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    return "" if part is None else str(part.get_content())


def _encoded(person: str) -> str:
    """Return a person as a header holds it: names that are not ASCII encoded, which git does not do."""
    return email.utils.formataddr(email.utils.parseaddr(person))


def _people(series: Series) -> list[str]:
    """Return b4's options for recipients. It takes the last --to and the last --cc only: all addresses follow one."""
    return [
        word for option, given in (("--to", series.to), ("--cc", series.cc)) if given for word in (option, *map(_encoded, given))
    ]


def _plain(name: str) -> bool:
    """Tell whether git takes a name for a name, not for an option."""
    return bool(name) and name.isprintable() and not name.startswith("-")


def _base(series: Series) -> str:
    """Return the name of what the patches start from."""
    name = series.base or _asked(series, "for-each-ref", "--format=%(upstream:short)", series.ref)
    if not name:
        raise BadRequest(f"branch {series.branch} has no upstream; give what it starts from with BASE=")
    if not _plain(name) or not _commit(series, name):
        raise BadRequest(f"{series.repo} has no commit {name!r}; give what {series.branch} starts from with BASE=")
    return name


def _commit(series: Series, name: str) -> str:
    return _asked(series, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def _start(series: Series) -> str:
    """Return the commit that the patches start from: the last that the branch shares with its base, below b4's own commit."""
    base = _base(series)
    commit = _commit(series, base)
    shared = _asked(series, "merge-base", commit, series.ref)
    if shared != commit and _asked(series, "rev-parse", "--is-shallow-repository") == "true":
        fetch = _command(series, "fetch", "--unshallow")
        raise BadRequest(f"{base} is no ancestor of {series.branch} that this shallow clone can see; run: {fetch}")
    if not shared:
        raise BadRequest(f"{series.branch} and {base} have no commit in common; give what it starts from with BASE=")
    return _git(series, "rev-list", *WITHOUT_COVER, "--max-count=1", shared)


def _patches(series: Series, *words: str) -> int:
    start = _start(series)
    return int(_git(series, "rev-list", *WITHOUT_COVER, *words, "--count", f"{start}..{series.ref}"))


def _setting(series: Series, key: str) -> str:
    """Return what the repository's configuration says of the branch, to the last byte."""
    return _asked(series, "config", "--local", "--null", "--get", f"branch.{series.branch}.{key}").removesuffix("\0")


def _git(series: Series, *words: str, env: Mapping[str, str] | None = None) -> str:
    return git(series.repo, *words, env=env).removesuffix("\n")


def _command(series: Series, *words: str) -> str:
    """Return what a user types, wherever, to run git in the repository."""
    return shlex.join(["git", "-C", str(series.repo.absolute()), *words])


def _asked(series: Series, *words: str) -> str:
    """Return what git answers, nothing if it fails: there is no such thing."""
    try:
        return _git(series, *words)
    except StudyError:
        return ""


def _configured(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that gives git settings, after those that the environment already gives."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    env = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings.items(), first):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def _b4() -> str:
    beside = Path(sys.executable).with_name("b4")  # an environment need not be on the path to be used
    found = shutil.which("b4") or shutil.which(beside)
    if found is None:
        raise MissingB4
    return found


def _tracked(b4: str, series: Series, env: Mapping[str, str]) -> bool:
    try:
        run([b4, "prep", "--show-info"], cwd=series.repo, env=env)
    except StudyError as error:
        if UNTRACKED in str(error):
            return False
        raise
    return True


def _enrol(b4: str, series: Series, env: Mapping[str, str]) -> None:
    mine = _setting(series, "description")
    keep = ["-c", f"b4.prep-cover-strategy={KEEP[series.keep]}"] if series.keep else []
    run([b4, *keep, "prep", f"--enroll={_base(series)}"], cwd=series.repo, env=env)
    if mine and _setting(series, STRATEGY) == KEEP["description"]:
        unset = _command(series, "config", "--unset", f"branch.{series.branch}.description")
        raise BadRequest(f"{series.branch} has a description, where b4 would put the letter; give KEEP=commit, or run: {unset}")


@contextlib.contextmanager
def _put_back_on_failure(series: Series) -> Iterator[None]:
    tip = _git(series, "rev-parse", series.ref)
    backup = f"refs/original/{series.branch}"  # where b4 leaves what it rewrote (b4/_rewrite.py)
    earlier = _asked(series, "rev-parse", "--verify", "--quiet", backup)
    settings = {key: _setting(series, key) for key in SETTINGS}
    try:
        yield
    except BaseException:
        _asked(series, "cherry-pick", "--quit")
        _git(series, "reset", "--quiet", "--hard", tip)  # loses nothing: all was committed
        _asked(series, "update-ref", *([backup, earlier] if earlier else ["-d", backup]))
        for key, value in settings.items():
            name = f"branch.{series.branch}.{key}"
            words = ["--replace-all", "--", name, value] if value else ["--unset-all", name]
            _asked(series, "config", "--local", *words)
        raise


def _replace(out: Path, mails: list[Path]) -> list[Path]:
    """Move mails into a folder, in place of those of an earlier run; an interrupted move can be taken up by the next run."""
    note = out / WRITTEN
    note.parent.mkdir(parents=True, exist_ok=True)
    earlier = set(note.read_text(encoding="utf-8").splitlines()) if note.exists() else set()
    names = [mail.name for mail in mails]
    for name in names:
        if name not in earlier and (out / name).exists():
            raise StudyError(f"{out / name} is there, and not from an earlier run; move it away")
    note.write_text("\n".join(earlier.union(names)), encoding="utf-8")
    for name in earlier.difference(names):
        if Path(name).name == name and name.endswith((".patch", ".eml")):
            (out / name).unlink(missing_ok=True)
    for mail in mails:
        mail.replace(out / mail.name)
    note.write_text("\n".join(names), encoding="utf-8")
    return [out / name for name in names]
