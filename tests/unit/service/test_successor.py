"""What a master does that takes over from a running one: its program, its control socket."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from service import gunicorn_conf, gunicorn_patches


def executed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, list[str]]:
    """The program and its arguments, of a master that was started with ``arguments``."""
    monkeypatch.setattr(sys, "argv", list(arguments))
    context = {0: "/old/bin/python3", "args": ["/old/bin/python3", *arguments]}
    gunicorn_conf.pre_exec(SimpleNamespace(START_CTX=context))
    return str(context[0]), list(context["args"])


def test_a_successor_is_the_program_that_a_start_would_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "gunicorn"
    program.touch(0o755)
    assert executed(monkeypatch, str(program), "-c", "x") == (str(program), [str(program), "-c", "x"])


def test_without_such_a_program_it_is_the_same_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = tmp_path / "__main__.py"
    module.touch(0o644)
    assert executed(monkeypatch, str(module)) == ("/old/bin/python3", ["/old/bin/python3", str(module)])


class MadeMaster:
    """A master of gunicorn whose predecessor ends at its third look."""

    def __init__(self, master_pid: int) -> None:
        self.master_pid, self.looks, self.opened_at = master_pid, 0, list[int]()
        self.cfg = self
        self.control_socket_disable = True

    def set(self, name: str, value: bool) -> None:
        setattr(self, name, value)

    def maybe_promote_master(self) -> None:
        self.looks += 1
        if self.looks == 3:
            self.master_pid = 0

    def _start_control_server(self) -> None:
        assert not self.control_socket_disable
        self.opened_at.append(self.looks)


@pytest.mark.parametrize(("predecessor", "opened_at"), [(17, [3]), (0, [])])
def test_a_successor_opens_the_control_socket_once_and_only_when_its_predecessor_has_ended(
    predecessor: int, opened_at: list[int]
) -> None:
    master = MadeMaster(predecessor)
    gunicorn_patches.open_control_socket_after_handover(master)
    for _ in range(6):
        master.maybe_promote_master()
    assert master.opened_at == opened_at
