"""What make newcomer reads: the Containerfile, and what a command has said. The machine itself takes root and an archive."""

from __future__ import annotations

import re

import pytest

from study import paths
from study.errors import StudyError
from tests.newcomer.__main__ import CONTAINERFILE, steps, verdict


def test_the_containerfile_is_understood_and_sets_up_with_what_the_workflow_installs() -> None:
    read = steps(CONTAINERFILE.read_text())
    assert [name for name, _ in read] == ["FROM", "RUN", "WORKDIR", "COPY", "RUN", "RUN"]
    assert read[-1] == ("RUN", "make setup")
    workflow = (paths.ROOT / ".github/workflows/test.yml").read_text()
    assert re.findall(r"- run: (apt-get .*)", workflow) == [read[1][1]]


@pytest.mark.parametrize("line", ["ENTRYPOINT make", "run make setup", "RUN", "RUN make \\", "COPY --chown=x a b", "ADD a b"])
def test_a_line_that_would_not_be_done_is_refused(line: str) -> None:
    with pytest.raises(StudyError, match=r"Containerfile: .* is not understood; use one line"):
        steps(f"FROM docker.io/library/debian:12\n{line}\n")


@pytest.mark.parametrize(
    ("command", "status", "said", "became"),
    [
        ("make study", 0, [], "passed"),
        ("make study", 2, [], "FAILED with exit status 2"),
        ("make test", 0, [], "FAILED: it ran no test"),
        ("make test", 0, ["no tests ran in 0.02s"], "FAILED: it ran no test"),
        ("make test", 0, ["3 deselected in 0.02s"], "FAILED: it ran no test"),
        ("make test", 0, ["12 passed in 1.02s"], "passed, 12 tests"),
        ("make test", 0, ["1204 passed, 3 warnings in 1500.21s (0:25:00)"], "passed, 1204 tests"),
        ("make test", 1, ["1 failed, 1203 passed in 1500.21s (0:25:00)"], "FAILED with exit status 1"),
        ("PYTEST_ADDOPTS=tests/collect make -s test", 0, ["collected 0 items"], "FAILED: it ran no test"),
    ],
)
def test_what_became_of_a_command(command: str, status: int, said: list[str], became: str) -> None:
    assert verdict(command, status, said) == became
