"""Who holds the service's port is taken down only where it is the service's by more than its own word."""

from __future__ import annotations

from typing import Any

import pytest

from ops.collect.process.process_status import ProcessStatus
from ops.facts.host import Listener, Process, Processes
from ops.interpret.process_ref import ProcessRef
from ops.settings import GunicornSettings, Settings
from ops.supervision import observe
from ops.supervision.state import Subject

BACKEND = "127.0.0.1:8000"
COMMAND = ("python3", "/srv/venv/bin/gunicorn", "-c", "/srv/gunicorn.conf.py", "app:app")
SERVICE, STRANGER = 1001, 1002
KNOWN = Subject(backend=BACKEND, command=COMMAND, cwd="/srv", uid=SERVICE)


def process(**changes: Any) -> Process:
    facts: dict[str, Any] = {
        "pid": 500, "ppid": 1, "name": "gunicorn", "command": COMMAND, "user": "x", "state": "sleeping", "started": 1.0,
        "cwd": "/srv", "start_ticks": 5000, "uid": SERVICE, "is_setuid": False, "has_other_root": False,
    }  # fmt: skip
    return Process(**(facts | changes))


def is_ours(
    holder: Process, known: Subject = KNOWN, config: str | None = None, users: tuple[int, ...] = ()
) -> bool:
    table = Processes((holder,), (Listener(BACKEND, (holder.pid,)),))
    settings = Settings(gunicorn=GunicornSettings(config_file=config))
    (judged_holder,) = observe._holders(settings, table, BACKEND, known, users)  # type: ignore[misc]
    return judged_holder.ours


@pytest.mark.parametrize("config", [None, "/srv/gunicorn.conf.py"])
def test_a_command_line_is_believed_of_the_services_user_and_of_root(config: str | None) -> None:
    assert is_ours(process(), config=config)
    assert is_ours(process(uid=0), config=config)
    for forged in ({"uid": STRANGER}, {"is_nested": True}, {"has_other_root": True}, {"is_setuid": True}):
        assert not is_ours(process(**forged), config=config), forged


def test_nothing_remembered_means_that_only_the_files_owners_may_say_so() -> None:
    fresh, config = Subject(backend=BACKEND), "/srv/gunicorn.conf.py"
    assert not is_ours(process(), fresh, config)
    assert is_ours(process(), fresh, config, users=(SERVICE,))
    assert not is_ours(process(uid=STRANGER), fresh, config, users=(SERVICE,))
    assert not is_ours(process(), fresh, users=(SERVICE,)), "no file of it is known"


def test_the_same_command_in_another_directory_is_another_service() -> None:
    assert not is_ours(process(cwd="/srv/other"))


def test_a_remembered_worker_is_ours_and_a_later_process_of_its_pid_is_not() -> None:
    def recorded(ticks: int) -> Subject:
        return Subject(backend=BACKEND, workers=(ProcessRef(500, ticks),))

    assert is_ours(process(command=("x",)), recorded(5000))
    assert not is_ours(process(command=("x",)), recorded(4999))


@pytest.mark.parametrize(
    ("master", "child", "may_be"),
    [
        (SERVICE, SERVICE, True),
        (0, SERVICE, True),
        (SERVICE, 0, False),
        (SERVICE, STRANGER, False),
    ],
)
def test_a_worker_is_of_its_masters_user_or_root_gave_it_another(
    master: int, child: int, may_be: bool
) -> None:
    of_master, of_child = ProcessStatus(master, is_nested=False), ProcessStatus(child, is_nested=False)
    assert observe._may_be_worker(of_master, of_child) == may_be
    assert not observe._may_be_worker(of_master, None)
