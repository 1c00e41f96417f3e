"""What stands between ssh and the agent: login shells of any kind, which may print, and what is said when they do not let us in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.collect.boards.ssh import starting
from tests.conftest import refused, run

# In the place of ssh: what sshd does with the last word, the command, in which $LOGIN is the user's shell.
SSH = '#!/bin/sh\n{first}\nfor command; do :; done\nexec {login} -c "$command"\n'
THERE = "that machine is Linux on x86_64, not an arm64 Linux with KVM"


def doctor(folder: Path, login: str = "sh", first: str = "") -> str:
    """What the doctor says of a board behind such a login."""
    folder.mkdir(exist_ok=True)
    (folder / "ssh").write_text(SSH.format(login=login, first=first))
    (folder / "ssh").chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "STUDY_CACHE": str(folder / "cache")}
    return refused(run("doctor", "ssh:board", env=env))


@pytest.mark.parametrize("login", ["dash", "bash", "csh", "fish", "bash --norc --noprofile", "env -i /bin/sh"])
def test_a_login_shell_of_any_kind_starts_the_agent(tmp_path: Path, login: str) -> None:
    assert doctor(tmp_path / "bin", login) == f"study: ssh:board: {THERE}"


def test_no_shell_finds_anything_of_its_own_in_the_command() -> None:
    assert not set(starting()) & set("\n\\!'$`")


@pytest.mark.parametrize(
    "first",
    [
        "echo Welcome to the lab; echo",
        "printf 'Last login: Mon\\n$ '",  # a prompt, whose line goes on
        "echo '{\"id\": 7}'; echo 4; echo '[]'; echo null",
        "yes hello | head -n 3000",
    ],
)
def test_what_a_login_shell_prints_is_skipped(tmp_path: Path, first: str) -> None:
    assert THERE in doctor(tmp_path / "bin", first=first)


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ("echo This account is currently not available.; exit 1", "let that user log in with a shell: ssh board true"),
        ("echo 'sudo: a terminal is required to read the password' >&2; exit 1", "let sudo run that without a password"),
        ("echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1", "Defaults !requiretty"),
        ("echo bye; exit 0", "it ended; its last words: bye"),
    ],
)
def test_a_login_that_ends_there_says_why(tmp_path: Path, first: str, says: str) -> None:
    assert says in doctor(tmp_path / "bin", first=first)


def test_the_words_of_an_earlier_day_are_no_cause_of_today(tmp_path: Path) -> None:
    denied = doctor(tmp_path / "bin", first="echo 'root@board: Permission denied (publickey).' >&2; exit 255")
    assert "ssh-copy-id board" in denied
    now = doctor(tmp_path / "bin", first="echo 'ssh: connect to host board port 22: Connection refused' >&2; exit 255")
    assert "Connection refused; is it up, and its sshd? Try: ssh board" in now
