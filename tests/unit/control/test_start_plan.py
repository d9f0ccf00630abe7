"""A start command is run as the user the service ran as, with nothing of that user's word in a program of root's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.control import restart
from ops.control.account import UserAccount
from ops.control.launch import Launch
from ops.control.restart import StartPlan, Supervisor, plan_start, refusal
from ops.control.start_command import changes_user, gunicorn_at, gunicorn_words, mentions_changer

GUNICORN = ("/srv/venv/bin/gunicorn", "-c", "conf.py", "app:app")
SETPRIV = ("setpriv", "--reuid=1001", "--clear-groups", "--")
USER = UserAccount(1001, 1001, (7,))


def launch(account: UserAccount = USER) -> Launch:
    return Launch(account, "/srv", 0o022, (b"A=1",))


def plan(
    monkeypatch: pytest.MonkeyPatch, *argv: str, caller: int = 0, remembered: Launch | None = None
) -> StartPlan:
    monkeypatch.setattr("ops.control.restart.os.geteuid", lambda: caller)
    return plan_start(Supervisor(None, argv, "/", Path("/nowhere"), remembered))


def test_without_a_memory_it_is_run_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan(monkeypatch, *SETPRIV, *GUNICORN) == StartPlan((*SETPRIV, *GUNICORN), "/")


def test_what_ran_as_root_is_run_by_root_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    root = launch(UserAccount(0, 0))
    assert plan(monkeypatch, *GUNICORN, remembered=root) == StartPlan(GUNICORN, "/srv", None, root)


@pytest.mark.parametrize("prefix", [(), SETPRIV, ("sudo", "-E", "-u", "gte"), ("nice", "sudo", "-u", "gte")])
def test_what_ran_as_a_user_is_run_as_that_user(
    monkeypatch: pytest.MonkeyPatch, prefix: tuple[str, ...]
) -> None:
    user = launch()
    assert plan(monkeypatch, *prefix, *GUNICORN, remembered=user) == StartPlan(GUNICORN, "/srv", USER, user)


def test_other_words_before_gunicorn_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("nice", "-n", "5", *GUNICORN)
    assert plan(monkeypatch, *words, remembered=launch()).argv == words


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("#!/bin/sh\nexec /srv/venv/bin/gunicorn app:app\n", USER),
        ("#!/bin/sh\n# not by sudo\ncd /srv/sudoku && exec venv/bin/gunicorn app:app\n", USER),
        ("#!/bin/sh\nexec setpriv --reuid=gte gunicorn app:app\n", None),
        ("#!/bin/sh\nexec /usr/bin/sudo -u gte gunicorn app:app\n", None),
        ("#!/bin/sh\nsu gte -c 'gunicorn app:app'\n", None),
    ],
)
def test_a_script_that_changes_the_user_itself_gets_the_callers_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, account: UserAccount | None
) -> None:
    script = tmp_path / "start.sh"
    script.write_text(text)
    monkeypatch.setattr(restart, "reason_not_to_trust", lambda *_, **__: None)
    for words in ((str(script),), ("/bin/sh", str(script))):
        planned = plan(monkeypatch, *words, remembered=launch())
        assert planned.account == account
        assert (planned.launch is None) == (account is None)


def test_a_script_that_somebody_else_may_write_is_no_word_of_roots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "start.sh"
    script.write_text("#!/bin/sh\nexec sudo -u gte gunicorn app:app\n")
    monkeypatch.setattr(restart, "reason_not_to_trust", lambda *_, **__: "it belongs to user 1001")
    assert plan(monkeypatch, str(script), remembered=launch()).account == USER


def test_another_users_watchdog_gives_only_what_was_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan(monkeypatch, *GUNICORN, caller=1001, remembered=launch()).launch == launch()
    assert plan(monkeypatch, *GUNICORN, caller=1002, remembered=launch()) == StartPlan(GUNICORN, "/")


def test_root_runs_no_program_that_another_user_may_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "gunicorn"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    (tmp_path / "writable").mkdir(mode=0o777)
    (tmp_path / "writable").chmod(0o777)
    script = tmp_path / "start.sh"
    script.write_text(f"#!{tmp_path}/writable/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr("ops.control.restart.os.geteuid", lambda: 0)
    for place in (program, script):
        why_not = refusal(Supervisor(None, (str(place),), "/", tmp_path / "output"))
        assert why_not is not None
        assert f"root does not run {place}: " in why_not.en
        assert str(place) in why_not.zh
    # As the user that the service ran as, it may be anybody's.
    assert refusal(Supervisor(None, (str(program),), "/", tmp_path / "output", launch())) is None
    assert refusal(Supervisor(None, ("/bin/sh",), "/", tmp_path / "output")) is None


@pytest.mark.parametrize(
    ("command", "at"),
    [
        (GUNICORN, 0),
        (("python3", "-m", "gunicorn", "app:app"), 0),
        ((*SETPRIV, "python3.11", "-m", "gunicorn"), 4),
        (("/srv/start-gunicorn.sh",), None),
        (("sh", "-c", "exec gunicorn app:app"), None),
        (("python3", "run.py"), None),
    ],
)
def test_where_gunicorns_words_begin(command: tuple[str, ...], at: int | None) -> None:
    assert gunicorn_at(command) == at
    assert gunicorn_words(command) == (command[at:] if at is not None else ())


def test_what_changes_the_user() -> None:
    assert changes_user(("/usr/bin/setpriv", "--reuid=1"))
    assert not changes_user(("env", "A=sudo.py"))
    assert mentions_changer("exec runuser -u gte -- gunicorn")
    assert not mentions_changer("supervise result of pseudo su.py /srv/su/app")
