"""Real guests on a board that is reached over ssh and has a QEMU of its own: what it lacks is said before anything is recorded."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.campaign import Campaign
from study.kernels import guests
from tests.collect import sshd
from tests.collect.sshd import Lab
from tests.collect.test_guests import FLAT, assembled
from tests.collect.test_ssh import NO_FOLDER
from tests.conftest import refused, run, some

pytestmark = pytest.mark.board

UNPACKED, INSTALLED = f"/opt/{guests.VMM}", f"/usr/bin/{guests.VMM}"
# Python as a user who may use KVM and count, and is not root.
USER = """#!/bin/sh
exec python3 -c "import os, sys; os.setuid(1000); os.execvp('python3', ['python3', *sys.argv[1:]])" "$@"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A board that has QEMU, and not in its PATH, and a user."""
    vmm = guests.vmm() / "root"
    with sshd.lab(tmp_path_factory.mktemp("lab"), more={"usr/lib": vmm / "lib", "opt": vmm / "bin"}) as running:
        running.sh(
            "cat >/bin/user; chmod +x /bin/user; chmod 666 /dev/kvm; echo -1 >/proc/sys/kernel/perf_event_paranoid", USER.encode()
        )
        yield running


def live(lab: Lab, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Let a guest of a few instructions live on the board."""
    assembled(folder / "small.flat", FLAT.format(status=1))
    (folder / "guests.toml").write_text('[small]\nkernel = "small.flat"\n')
    words = [
        "--table",
        folder / "guests.toml",
        "--guests",
        "small",
        "--strategies",
        "stock",
        "--boots",
        1,
        "--control-on",
        "none",
    ]
    return run("guests", "--board", "ssh:lab", "--campaign", folder / "c", *words, env={**lab.env, **env})


def test_what_a_board_lacks_for_guests_is_one_line_and_nothing_is_recorded(lab: Lab, tmp_path: Path) -> None:
    assert f"{guests.VMM} is not installed on the board; install it with: sudo apt-get install" in refused(live(lab, tmp_path))
    lab.sh(f"ln -s {UNPACKED} {INSTALLED}")
    said = refused(live(lab, tmp_path, STUDY_SSH_PYTHON="user"))
    assert "/sys/kernel/debug/kvm cannot be read" in said and "run the study as root" in said
    lab.sh(f"rm {INSTALLED}")
    assert list(Campaign(tmp_path / "c").lives()) == []
    assert Campaign(tmp_path / "c").verify() == []


def test_guests_live_under_the_board_s_own_qemu_and_leave_it_as_it_was(lab: Lab, tmp_path: Path) -> None:
    look = "cat /sys/module/kvm/parameters/halt_poll_ns; ls /tmp /sys/kernel/tracing/instances"
    lab.wait(NO_FOLDER)
    before = lab.sh(look)
    lab.sh(f"ln -s {UNPACKED} {INSTALLED}")
    done = live(lab, tmp_path)
    lab.sh(f"rm {INSTALLED}")
    assert done.returncode == 0, done.stderr
    counted, plain = sorted((record.line for record in some(Campaign(tmp_path / "c").lives(), 2)), key=lambda line: line["arm"])
    for line in (counted, plain):
        (whole,) = line["phases"]
        assert whole["kvm"]["hvc_exit_stat"] == 1 and "QEMU emulator version" in line["vmm"]
    assert counted["phases"][0]["tracepoints"]["entries"] == counted["phases"][0]["kvm"]["exits"]
    assert Campaign(tmp_path / "c").verify() == []
    lab.wait(NO_FOLDER)
    assert lab.sh(look) == before
