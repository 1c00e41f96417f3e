"""The kernel module is safe: whatever it is given, and whatever runs while it comes and goes. More of it is in tests/faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collect import sshd
from tests.collect.sshd import Lab
from tests.faults import module

pytestmark = pytest.mark.board


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with sshd.lab(tmp_path_factory.mktemp("lab"), words=module.CHECKS, cpus=module.CPUS) as running:
        yield running


def test_the_module_takes_what_it_documents_and_refuses_the_rest(lab: Lab) -> None:
    done = module.inputs(lab, 100, 1)
    assert module.harm("inputs", done) == []
    assert done["loads refused"] >= 10
    assert min(done["refused"], done["accepted"]) > 10


def test_the_module_comes_and_goes_under_guests(lab: Lab) -> None:
    done = module.stress(lab, 12, 1)
    assert module.harm("stress", done) == []
    assert done["loads"] == 12
    assert (done["kept"], done["right"]) == (5, 3)
