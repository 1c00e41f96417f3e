"""Kernels in turn on a board that runs on: what its agent does, what we do when it does not come back, and a campaign by kexec."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.campaign import Campaign
from study.collect import kexec, session
from study.collect.boards import Link
from study.collect.boards.link import Launch
from study.collect.boards.linux import RunningBoard
from study.collect.boards.local import LocalBoard
from study.collect.onboard import BoardError
from study.collect.onboard import kexec as onboard
from study.design import Factors, Kernel
from study.errors import BadData, BoardFailed, StudyError, WrongBoot
from study.kernels import archive, source
from study.process import run
from tests.collect import sshd
from tests.conftest import some

HOME, FOREIGN = "6.1.0-9-arm64", "7.3.4-v2"
LINE = "root=/dev/sda1 ro quiet"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's files, and a kexec that writes down what it is told."""
    files = {
        "proc/cmdline": f"{LINE}\n",
        "sys/kernel/kexec_loaded": "0\n",
        "proc/sys/kernel/kexec_load_disabled": "0\n",
        "proc/sys/kernel/random/boot_id": "b1\n",
        f"boot/vmlinuz-{HOME}": "",
        f"boot/initrd.img-{HOME}": "",
        "sys/firmware/devicetree/base/intc@8000000/compatible": "arm,gic-v3\0",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    script = f'#!/bin/sh\nfor word; do echo "$word"; done >>{tmp_path}/told\n'
    for name in ("kexec", "reboot", "systemctl"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(script.replace(">>", f"| sed 's/^/{name} /' >>"))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STUDY_IMAGE", "/sent/Image")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("platform.release", lambda: HOME)
    return tmp_path


def told(root: Path) -> list[str]:
    return (root / "told").read_text().splitlines()


def in_a_foreign_kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "proc/cmdline").write_text(f"{LINE} study.own={HOME} panic=10\n")
    monkeypatch.setattr("platform.release", lambda: FOREIGN)


def test_a_kernel_is_told_what_the_board_s_own_was_told_and_which_that_is(root: Path) -> None:
    assert onboard.loaded(root, FOREIGN) == (onboard.KEXEC, "")
    assert {f"kexec --command-line={LINE} study.own={HOME} panic=10", "kexec /sent/Image"} <= set(told(root))
    assert f"kexec --initrd={root}/boot/initrd.img-{HOME}" in told(root)
    onboard.loaded(root, FOREIGN, "kvm.debug_switch=eager")
    assert f"kexec --command-line={LINE} study.own={HOME} panic=10 kvm.debug_switch=eager" in told(root)


def test_a_kernel_whose_initrd_is_on_the_board_has_that(root: Path) -> None:
    (root / f"boot/initramfs-{FOREIGN}.img").touch()
    onboard.loaded(root, FOREIGN)
    assert f"kexec --initrd={root}/boot/initramfs-{FOREIGN}.img" in told(root)


def test_the_way_home_is_known_in_a_foreign_kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert onboard.runs(root) == {"kernel": HOME, "own": HOME, "foreign": False, "boot_id": "b1"}
    in_a_foreign_kernel(root, monkeypatch)
    assert onboard.runs(root) == {"kernel": FOREIGN, "own": HOME, "foreign": True, "boot_id": "b1"}
    assert onboard.loaded(root, "") == (onboard.KEXEC, "")
    assert {f"kexec --command-line={LINE}", f"kexec {root}/boot/vmlinuz-{HOME}"} <= set(told(root))
    onboard.loaded(root, "7.3.4-v3")
    assert f"kexec --command-line={LINE} study.own={HOME} panic=10" in told(root)


def test_a_board_without_its_kernel_in_boot_goes_home_by_its_boot_loader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_foreign_kernel(root, monkeypatch)
    (root / f"boot/vmlinuz-{HOME}").unlink()
    (root / "sent").mkdir()
    ways, why = onboard.loaded(root, "")
    onboard.go(root, ways, str(root / "sent"))
    assert why == f"/boot has no kernel {HOME}"
    assert told(root) == ["reboot -f"]
    assert not (root / "sent").exists()


def test_where_systemd_runs_it_ends_all_else_before(root: Path) -> None:
    (root / "run/systemd/system").mkdir(parents=True)
    onboard.go(root, onboard.KEXEC, "")
    onboard.go(root, onboard.REBOOT, "")
    assert told(root) == ["systemctl kexec", "systemctl reboot"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("bin/kexec", None, "install kexec-tools on the board"),
        (
            "bin/kexec",
            "#!/bin/sh\necho bad >&2\necho Cannot determine the file type of Image >&2\nexit 1\n",
            "file type of Image",
        ),
        ("sys/kernel/kexec_loaded", None, "CONFIG_KEXEC or CONFIG_KEXEC_FILE"),
        ("proc/sys/kernel/kexec_load_disabled", "1\n", "kernel.kexec_load_disabled"),
        ("sys/firmware/devicetree/base/its/compatible", "arm,gic-v3-its\0", "boot the board by UEFI"),
    ],
)
def test_what_keeps_a_board_from_kexec_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, words: str
) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if text:
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{root}/bin:/bin")
    with pytest.raises(BoardError, match=words) as error:
        onboard.loaded(root, FOREIGN)
    assert onboard.loaded(root, "") == (onboard.REBOOT, str(error.value))


def test_kexec_takes_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(BoardError, match="takes root"):
        onboard.loaded(root, FOREIGN)


# A board that answers some questions still after it was told to restart, is down for some, and then runs what it was told to.
AGENT = """
import json, pathlib, sys
state = pathlib.Path(sys.argv[1])
known = json.loads(state.read_text())

def note(**more):
    known.update(more)
    state.write_text(json.dumps(known))

if known["next"]:
    if known["stays"]:
        note(stays=known["stays"] - 1)
    elif known["down"]:
        note(down=known["down"] - 1)
        sys.exit("it is down")
    else:
        note(runs=known["next"], next="", restarts=known["restarts"] + 1)
for line in filter(str.strip, sys.stdin):
    request = json.loads(line)
    if request["do"] == "restart":
        note(next=request["with"]["release"] or known["own"], stays=1, down=known["takes"], words=request["with"]["words"])
    answer = {"kernel": known["runs"], "foreign": known["runs"] != known["own"], "boot_id": known["restarts"]}
    print(json.dumps({"id": request["id"], "result": {**answer, "own": known["own"], "why": known["why"]}}), flush=True)
"""
V2 = Kernel(FOREIGN, "v2")


class Machine(RunningBoard):
    """A board that is a file, and the lines that people were told."""

    def __init__(self, folder: Path, name: str = "ssh:lab", runs: str = HOME, takes: int = 2, why: str = "") -> None:
        self.name, self._folder, self.state = name, folder, folder / "state"
        self.said: list[str] = []
        start = {"own": HOME, "runs": runs, "next": "", "takes": takes, "restarts": 0, "why": why}
        self.state.write_text(json.dumps(start))
        (folder / "versions.json").write_text(json.dumps({"release": FOREIGN}))

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "", image: Path | None = None) -> Launch:
        return Launch([sys.executable, "-c", AGENT, str(self.state)], cwd=self._folder, console=console)

    def turns(self, patience: float = 60.0) -> kexec.Turns:
        return kexec.Turns(self, {"v2": self._folder}, patience=patience, pause=0, say=self.said.append)

    def look(self) -> None:
        with Link(self.name, self.launch(self._folder / "console.log", ())) as link:
            if (runs := link.ask("runs")["kernel"]) != FOREIGN:
                raise WrongBoot(f"it runs {runs}")

    @property
    def now(self) -> tuple[str, int]:
        """What it runs, and how often it was restarted."""
        known = json.loads(self.state.read_text())
        return known["runs"], known["restarts"]


def test_a_board_goes_into_another_kernel_and_home_again(tmp_path: Path) -> None:
    board = Machine(tmp_path)
    with board.turns() as turns:
        turns.until_right(V2, board.look)
        assert board.now == (FOREIGN, 1)
        turns.until_right(V2, board.look)
        assert board.now == (FOREIGN, 1), "the right boot is left alone"
    assert board.now == (HOME, 2)
    assert board.said == [
        f"it runs {HOME}; restarting it by kexec",
        f"ssh:lab runs {FOREIGN}, its own kernel is {HOME}; restarting it by kexec",
        f"ssh:lab runs its own kernel, {HOME}",
    ]


def test_a_kernel_is_told_the_strategy_that_it_is_to_have(tmp_path: Path) -> None:
    board, words = Machine(tmp_path), []
    with board.turns() as turns:
        turns.until_right(Kernel("git:1", "v2", ("eager",)), board.look)
        words.append(json.loads(board.state.read_text())["words"])
    words.append(json.loads(board.state.read_text())["words"])
    assert words == ["kvm.debug_switch=eager", ""]


@pytest.mark.parametrize("error", [KeyboardInterrupt, BadData])
@pytest.mark.parametrize("looks", [1, 2, 3, 5], ids=["before it is told", "before it goes", "while it is down", "when it is up"])
def test_it_goes_home_whatever_ends_the_command(tmp_path: Path, error: type[BaseException], looks: int) -> None:
    board, left = Machine(tmp_path), iter(range(1, looks))

    def look() -> None:
        if next(left, None) is None:
            raise error
        board.look()

    with pytest.raises(error), board.turns() as turns:
        turns.until_right(V2, look)
        raise error
    assert board.now == (HOME, 0 if looks == 1 else 2)


def test_a_board_that_a_killed_command_left_in_another_kernel_goes_home(tmp_path: Path) -> None:
    board = Machine(tmp_path, runs=FOREIGN, why="/boot has no kernel")
    with board.turns():
        pass
    assert board.now == (HOME, 1)
    assert "ssh:lab: /boot has no kernel; its boot loader brings its own kernel back" in board.said


def test_a_board_that_does_not_come_back_is_said_and_left_to_its_owner(tmp_path: Path) -> None:
    board = Machine(tmp_path, takes=10**6)
    with pytest.raises(BoardFailed, match="it was restarted 0 min ago by kexec"), board.turns(patience=0) as turns:
        turns.until_right(V2, board.look)
    assert len(board.said) == 2
    assert board.said[1].endswith("a restart of ssh:lab brings its own kernel back")


def test_of_a_board_that_never_answered_no_more_is_said(tmp_path: Path) -> None:
    board = Machine(tmp_path)
    board.state.unlink()
    with board.turns(patience=0):
        pass
    assert board.said == []


def test_a_kernel_that_is_neither_here_nor_there_is_refused(tmp_path: Path) -> None:
    board = Machine(tmp_path)
    with (
        pytest.raises(BoardFailed, match=f"base is not its own kernel, which is {HOME}.*base=image:FOLDER"),
        board.turns() as turns,
    ):
        turns.until_right(Kernel("6.2", "base"), board.look)
    assert board.now == (HOME, 0)


def test_this_machine_goes_down_with_the_command_and_is_told_to_once(tmp_path: Path) -> None:
    board = Machine(tmp_path, "local")
    with pytest.raises(StudyError, match=f"local restarts into {FOREIGN}: run the same command again"), board.turns() as turns:
        turns.until_right(V2, board.look)
    assert board.now == (HOME, 0), "it has yet to go, and nothing else was asked of it"
    assert board.said == [f"it runs {HOME}; restarting it by kexec"]


def test_this_machine_goes_home_when_all_is_done(tmp_path: Path) -> None:
    board = Machine(tmp_path, "local", runs=FOREIGN)
    with board.turns():
        pass
    assert board.said[-1] == "local restarts into its own kernel"


def test_this_machine_s_agent_finds_a_kernel_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("study.collect.boards.local.payload", lambda: tmp_path)
    launch = LocalBoard().launch(tmp_path / "console.log", ("stock",), image=tmp_path / "vmlinuz")
    assert launch.env["STUDY_IMAGE"] == str(tmp_path / "vmlinuz")


class Sent(dict[str, Path]):
    """Folders of kernels: what is asked for is sent in turn."""

    def __init__(self, name: str, folders: Iterator[Path]) -> None:
        super().__init__({name: Path()})
        self._folders = folders

    def get(self, name: str, default: Any = None) -> Any:
        return next(self._folders) if name in self else default


def taken(kernel: Path, folder: Path) -> Path:
    """Return a folder with a kernel of Debian's, as a build leaves it."""
    out = folder / "out"
    out.mkdir()
    for name, there in (("Image", "vmlinuz"), ("config", "config")):
        shutil.copy(kernel / there, out / name)
    return out


def release_of_board(lab: sshd.Lab) -> str:
    """Return the release of the kernel that runs now; the connection that others share ended with an earlier one."""
    return run(["ssh", "-F", lab.names, "lab", "uname -r"])


@pytest.mark.board
def test_a_campaign_alternates_kernels_by_kexec_and_goes_on_after_one_that_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = archive.kernel("7.3")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "versions.json").write_text((whole / "versions.json").read_text())
    (broken / "vmlinuz").write_bytes(b"\0" * 4096)
    factors = Factors(
        strategies=("stock",),
        guests=("untouched",),
        processes=1,
        loops=200,
        values=2,
        boots=2,
        kernels=("own=6.12", source.resolved(f"mine=image:{taken(whole, tmp_path)}", None)),
    )
    with sshd.lab(tmp_path, kernel="6.12", others=["7.3"]) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as patched, pytest.raises(BoardFailed, match="kexec does not take the kernel"):
            patched.setattr(session, "Turns", lambda board, _: kexec.Turns(board, Sent("mine", iter([whole, broken]))))
            session.collect("ssh:lab", tmp_path / "c", factors)
        assert [boot.name for boot in Campaign(tmp_path / "c").boots()] == ["ssh-lab.1", "ssh-lab.2"]
        assert release_of_board(lab).startswith("6.12")
        campaign = session.collect("ssh:lab", tmp_path / "c", factors)
        assert release_of_board(lab).startswith("6.12")
    known = [campaign.facts(boot) for boot in some(campaign.boots(), 4)]
    assert [facts["kernel"] for facts in known] == ["own", "mine", "mine", "own"]
    lines = [facts["command_line"].partition(" study.own=") for facts in known]
    assert len({line for line, _, _ in lines}) == 1
    assert [own.split()[0:1] for _, _, own in lines] == [[], [known[0]["release"]], [known[0]["release"]], []]
    assert {facts["mode"] for facts in known} == {"vhe"}
    assert len({facts["boot_id"] for facts in known}) == 4
    assert len({facts["build_id"] for facts in known}) == 2
    assert [facts["build_id"] in facts["source"]["build_ids"] for facts in known if "source" in facts] == [True, True]
    assert (campaign.verify(), campaign.missing("ssh:lab")) == ([], [])
    assert capsys.readouterr().out.count("restarting it by kexec") == 5
