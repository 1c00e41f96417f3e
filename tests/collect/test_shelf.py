"""The file of boards: what is in it, and one line for whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.collect.boards import BOARDS
from study.collect.fleet import shelf
from study.collect.fleet.shelf import BoardEntry
from study.errors import BadRequest
from tests.conftest import refused, run

WHOLE = """
[boards."qemu-neoverse-n1"]
kernel = "6.1"

[boards."ssh:root@lab"]
kernel = "6.1"
cpu = 3
python = "sudo -n python3.11"
module = "build/dbgswitch.ko"
tune = true
reboot = "ssh lab reboot"

[boards.local]
kernel = "6.1"
cpu = 2

[boards."serial:/dev/ttyUSB0,921600"]
[boards.rig-cortex-a15]
"""


def table(**keys: object) -> dict[str, Any]:
    return {"boards": {"ssh:lab": keys}}


def test_a_file_becomes_boards_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text(WHOLE)
    emulated, lab, local, port, rig = shelf.read(tmp_path / "boards.toml")
    module = tmp_path / "build/dbgswitch.ko"
    assert lab == BoardEntry("ssh:root@lab", "6.1", 3, "sudo -n python3.11", module, True, "ssh lab reboot")
    assert lab.options == ["--board", "ssh:root@lab", "--tune", "--reboot", "ssh lab reboot"]
    assert lab.environment == {"STUDY_SSH_PYTHON": "taskset -c 3 sudo -n python3.11", "STUDY_MODULE": str(module)}
    assert lab.before == []
    assert (local.before, local.environment) == (["taskset", "-c", "2"], {})
    assert (emulated.kernel, port.name, rig) == ("6.1", "serial:/dev/ttyUSB0,921600", BoardEntry("rig-cortex-a15"))
    assert rig.environment == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it describes no board: begin with [boards."),
        ("boards = {}", "it describes no board"),
        ("boards = 3", "it describes no board"),
        ("[board.local]", "'board' is unknown: describe each board in a table"),
        ("[boards.local", "it is not TOML: Expected ']'"),
        ("[boards.local]\n[boards.local]", "it is not TOML: Cannot declare ('boards', 'local') twice"),
        ("[boards.local]\ncpu = 1\ncpu = 2", "it is not TOML: Cannot overwrite a value"),
        ("[boards.ssh:lab]", "it is not TOML"),
        ("a = " + "[" * 5000, "it is not TOML"),
        ("a = " + "9" * 5000, "it is not TOML"),
        ("[boards.toaster]", "board 'toaster' is unknown; choose from local, qemu-neoverse-n1"),
        ('[boards."serial:"]', "board 'serial:' is unknown"),
        ('[boards."serial:/dev/a,9600\\t"]', r"board 'serial:/dev/a,9600\t': a name has printable characters only"),
        ("[boards]\nlocal = 3", "board 'local': it is no table"),
        ("[boards.local]\nspeed = 3", "board 'local': key 'speed' is unknown; choose from kernel, cpu"),
        ('[boards.local]\n"a\\nb\\u202e" = 3', r"board 'local': key 'a\nb\u202e' is unknown"),
        (
            "[boards.qemu-cortex-a57]\ncpu = 1",
            "key cpu is of no use to this kind of board; remove it (what it has a use for: kernel",
        ),
        (
            '[boards.rig-cortex-a15]\nkernel = "6.1"',
            "key kernel is of no use to this kind of board; remove it (it has a use for none)",
        ),
        ('[boards.local]\nreboot = "reboot"', "key reboot is of no use"),
        ('[boards.local]\ncpu = "3"', "board 'local': cpu is '3': it must be the number of a CPU, such as 3"),
        ("[boards.local]\ncpu = true", "cpu is True"),
        ("[boards.local]\ncpu = -1", "cpu is -1"),
        ("[boards.local]\nkernel = 6.1", 'kernel is 6.1: it must be how a release begins, in quotes, such as "6.12"'),
        ('[boards.local]\nkernel = "six"', "kernel is 'six'"),
        ('[boards.local]\ntune = "yes"', "tune is 'yes': it must be true or false"),
        ('[boards."ssh:a"]\nreboot = "sh -c \'oh"', "it must be a command in quotes"),
        ('[boards."ssh:a"]\nreboot = ""', "it must be a command in quotes"),
        ('[boards."ssh:a"]\nmodule = ""', "module is ''"),
        ('[boards."ssh:a"]\npython = ["python3"]', "python is ['python3']"),
        ('[boards."serial:/dev/a"]\n[boards."serial:/dev/a,9600"]', "are one board, or cannot be told apart"),
        ('[boards."serial:/dev/a"]\n[boards."serial:-dev-a"]', "are one board, or cannot be told apart"),
        ('[boards.local]\nkernel = "6.1"\n[boards."ssh:a"]', "board 'ssh:a': kernel is '', and '6.1' on 'local'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "boards.toml"
    file.write_text(text)
    with pytest.raises(BadRequest) as raised:
        shelf.read(file)
    words = str(raised.value)
    assert words.startswith(f"{file}: ")
    assert says in words
    assert words.isprintable()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match="it is not TOML"):
        shelf.read(tmp_path / "boards.toml")


def test_the_command_refuses_before_it_measures(tmp_path: Path) -> None:
    def collect(*words: object) -> str:
        return refused(run("collect", "--campaign", tmp_path / "none", *words))

    assert f"{tmp_path}/boards.toml: No such file" in collect("--fleet", tmp_path / "boards.toml")
    (tmp_path / "boards.toml").write_text("[boards.toaster]")
    assert f"study: {tmp_path}/boards.toml: board 'toaster' is unknown" in collect("--fleet", tmp_path / "boards.toml")
    assert not (tmp_path / "none").exists()


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
some_name = st.sampled_from([*BOARDS, "ssh:lab", "ssh:-lab", "serial:/dev/a", "serial:/dev/a,9600"]) | st.text()
some_key = st.sampled_from([*shelf.KEYS]) | st.text()
some_table = st.dictionaries(some_key, any_value | st.sampled_from(["6.1", 3, True, "python3"]), max_size=3)


@given(st.fixed_dictionaries({"boards": st.dictionaries(some_name, some_table, max_size=4) | any_value}))
def test_whatever_is_in_the_file_it_is_boards_or_one_line(data: dict[str, Any]) -> None:
    try:
        entries = shelf.parse(data)
    except BadRequest as error:
        assert str(error).isprintable()
        return
    assert [entry.name for entry in entries] == list(data["boards"])
    assert all(getattr(entry, key) == value for entry in entries for key, value in data["boards"][entry.name].items()
               if key != "module")  # fmt: skip


@given(st.integers(0, 4095), st.sampled_from(["python3", "sudo -n python3"]), st.booleans())
def test_what_a_key_says_arrives(cpu: int, python: str, tune: bool) -> None:
    (entry,) = shelf.parse(table(cpu=cpu, python=python, tune=tune))
    assert entry.environment["STUDY_SSH_PYTHON"].split() == ["taskset", "-c", str(cpu), *python.split()]
    assert ("--tune" in entry.options) == tune
