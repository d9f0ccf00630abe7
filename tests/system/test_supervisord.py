"""What the doctor makes of a start that failed under a real supervisord, by its configuration and its logs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.collect.services import supervisors
from ops.facts.start import LastStart
from ops.interpret.start_failure.advice import fix_for
from ops.interpret.start_failure.kind import Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace
from ops.interpret.start_failure.reason import start_failure
from ops.interpret.start_failure.summary import summary_of
from tests.lab.waiting import wait_for
from tests.system.failing_starts import HELLO, read_words

GUNICORN = f"{sys.executable} -m gunicorn -b 127.98.2.1:0 --chdir {{directory}} app:app"
CONFIG = """\
[supervisord]
nodaemon=true
logfile=%(here)s/supervisord.log
childlogdir={directory}/children
pidfile=%(here)s/supervisord.pid
user=root
[include]
files = conf.d/*.conf
"""
PROGRAM = """\
[program:shop]
command={command}
directory={directory}
startsecs=4
startretries=1
{options}
"""


@contextmanager
def supervised(directory: Path, command: str, options: str = "", source: str = HELLO) -> Iterator[Path]:
    """supervisord with the program ``shop``, until it has given it up or runs it; yields its log."""
    app = directory / "app"
    app.mkdir()
    (app / "app.py").write_text(source)
    (app / "gunicorn.conf.py").write_text("")
    (directory / "conf.d").mkdir()
    (directory / "children").mkdir()
    (directory / "supervisord.conf").write_text(CONFIG.format(directory=directory))
    (directory / "conf.d" / "shop.conf").write_text(
        PROGRAM.format(command=command.format(directory=app), directory=app, options=options)
    )
    with again(directory) as log:
        yield log


@contextmanager
def again(directory: Path) -> Iterator[Path]:
    """supervisord as it is configured there."""
    log = directory / "supervisord.log"
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(directory / "supervisord.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def is_settled() -> bool:
        said = log.read_text() if log.exists() else ""
        return "entered FATAL state" in said or "entered RUNNING state" in said

    try:
        wait_for(is_settled, "supervisord to give up, or to run it", within=60, every=0.05)
        yield log
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def _this_supervisord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisors, "SUPERVISORD_PLACES", (str(tmp_path / "supervisord.conf"),))


def look(directory: Path) -> tuple[LastStart, StartFailure | None, str]:
    """What is left of the last start, why it failed, and what the doctor says to do about it."""
    app = directory / "app"
    last = read_words(app, "app:app")
    failure = start_failure(last)
    if failure is None:
        return last, None, ""
    begin = "supervisorctl start shop"
    place = StartPlace(
        start=begin, begin=begin, app_dir=str(app), python=sys.executable, wsgi="app:app", config=None
    )
    shown = (summary_of(failure, last), *fix_for(failure, last, place))
    return last, failure, "\n".join(text.en for text in shown)


def test_a_missing_variable_is_set_in_the_program_s_own_section(tmp_path: Path) -> None:
    with supervised(
        tmp_path, GUNICORN, "redirect_stderr=true", "import os\nx = os.environ['SHOP_URL']\n"
    ) as log:
        last, failure, shown = look(tmp_path)
    assert failure is not None
    assert (failure.kind, failure.values["name"]) == (Kind.VARIABLE, "SHOP_URL"), last
    assert f'In [program:shop] of {tmp_path}/conf.d/shop.conf: environment=SHOP_URL="VALUE"' in shown
    assert "supervisorctl update" in shown
    (account,) = last.supervisors
    assert (account.manager, account.unit, account.source, account.status) == (
        "supervisord", "shop", str(log), 3,
    )  # fmt: skip


@pytest.mark.long
def test_output_goes_to_the_log_that_supervisord_names_by_itself(tmp_path: Path) -> None:
    with supervised(tmp_path, GUNICORN, "", "raise ValueError('no such shop')\n"):
        last, failure, _ = look(tmp_path)
    assert failure is not None
    assert failure.kind is Kind.EXCEPTION
    assert failure.source.startswith(f"{tmp_path}/children/shop-stderr---supervisor-"), last


@pytest.mark.long
def test_a_log_of_that_name_that_another_user_laid_down_is_not_believed(tmp_path: Path) -> None:
    with supervised(tmp_path, GUNICORN, "stderr_logfile=NONE", "raise ValueError('no such shop')\n"):
        forged = tmp_path / "children" / "shop-stderr---supervisor-forged.log"
        forged.write_text("\nError: No such user: 'nobodyhere'\n")
        os.chown(forged, 1234, 1234)
        _, failure, _ = look(tmp_path)
    assert failure is None or failure.kind is not Kind.USER


@pytest.mark.parametrize(
    ("command", "kind", "named"),
    [
        ("{directory}/venv/bin/gunicorn app:app", Kind.PROGRAM, "venv/bin/gunicorn"),
        pytest.param("{directory}/app.py app:app", Kind.NOT_EXECUTABLE, "chmod a+x ", marks=pytest.mark.long),
        pytest.param(
            "/bin/sh -c 'exec {directory}/venv/bin/gunicorn app:app'",
            Kind.PROGRAM,
            "venv/bin/gunicorn",
            marks=pytest.mark.long,
        ),
    ],
    ids=["not there", "not executable", "by a shell"],
)
def test_a_program_that_cannot_be_run(command: str, kind: Kind, named: str, tmp_path: Path) -> None:
    with supervised(tmp_path, command):
        last, failure, shown = look(tmp_path)
    assert failure is not None, last
    assert failure.kind is kind, last
    assert named in shown


@pytest.mark.long
def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with supervised(tmp_path, GUNICORN, "autorestart=false"):
        pass
    conf = tmp_path / "conf.d" / "shop.conf"
    conf.write_text(conf.read_text().replace(f"directory={tmp_path}/app\n", f"directory={tmp_path}/gone\n"))
    with again(tmp_path):
        last, failure, shown = look(tmp_path)
    assert failure is not None, last
    assert failure.kind is Kind.DIRECTORY, last
    assert f"Correct directory= in [program:shop] of {conf}" in shown


@pytest.mark.long
def test_one_that_runs_after_all_has_no_account_of_a_failure(tmp_path: Path) -> None:
    source = (
        "import os, pathlib\nmark = pathlib.Path(__file__).with_name('mark')\n"
        "if not mark.exists():\n    mark.touch()\n    raise ValueError('the first time')\n" + HELLO
    )
    with supervised(tmp_path, GUNICORN, "startretries=3", source):
        last = read_words(tmp_path / "app", "app:app")
    assert last.supervisors == ()
