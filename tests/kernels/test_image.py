"""What an emulated board does before its agent answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from study.kernels.image import ANSWER


@pytest.mark.parametrize("late", [1, 3, 60])
@pytest.mark.parametrize("there", ["not there", "not known"])
def test_a_board_waits_until_its_line_to_the_host_opens(tmp_path: Path, late: int, there: str) -> None:
    """A socket's file can be seen and not opened, like that of a port that the driver does not know yet: both are ENXIO."""
    port, counted, programs = tmp_path / "port", tmp_path / "counted", tmp_path / "bin"
    if there == "not known":
        with socket.socket(socket.AF_UNIX) as unknown:
            unknown.bind(str(port))
    programs.mkdir()
    scripts = {
        "sleep": f"echo >>{counted}; [ $(wc -l <{counted}) != {late} ] || {{ rm -f {port}; echo asked >{port}; }}",
        "python3": f"read line; echo got $line >>{tmp_path}/got; echo answered; exit 3",
    }
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    shell = [str(shutil.which("busybox")), "sh"] if shutil.which("busybox") else ["sh"]
    env = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin"}
    done = subprocess.run([*shell, "-c", f"port={port}\n{ANSWER}\necho off"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "off\n", "the board goes off in any case"
    times = len(counted.read_text().splitlines())
    if late == 60:
        assert times == 50
        assert not (tmp_path / "got").exists()
    else:
        assert times == late
        assert (tmp_path / "got").read_text() == "got asked\n", "the agent is started once"
        assert port.read_text() == "asked\nanswered\n"
