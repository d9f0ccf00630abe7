"""Why a start failed, by words as gunicorn, shells and supervisors wrote them: and when nothing is to be claimed.

The kinds themselves are tried on real starts (tests/system/test_failing_starts.py)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.logs.journal import JournalRecord
from ops.collect.services.last_start import clean_lines, journal_words
from ops.collect.services.supervisors import read_show
from ops.facts.start import EnvironmentFile, LastStart, ServiceManager, StartWords, SupervisorAccount
from ops.interpret.start_failure.advice import fix_for
from ops.interpret.start_failure.kind import NOT_KNOWN, Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace
from ops.interpret.start_failure.reason import start_failure
from ops.interpret.start_failure.summary import summary_of
from ops.interpret.start_failure.words import last_start
from ops.text.language import Text

PLACE = StartPlace(
    start="systemctl start shop", begin="systemctl start shop", app_dir="/srv/shop", python="python3",
    wsgi="app:app", config="/srv/shop/gunicorn.conf.py",
)  # fmt: skip

STARTED = """\
[2026-11-30 06:18:03 +0000] [100] [INFO] Starting gunicorn 27.0.1
[2026-11-30 06:18:03 +0000] [100] [INFO] Listening at: http://127.0.0.1:8000 (100)
[2026-11-30 06:18:03 +0000] [100] [INFO] Using worker: sync
[2026-11-30 06:18:03 +0000] [101] [INFO] Booting worker with pid: 101
"""
REQUEST_FAILED = """\
[2026-11-30 06:20:03 +0000] [101] [ERROR] Error handling request /predict
Traceback (most recent call last):
  File "/srv/shop/venv/lib/python3.11/site-packages/gunicorn/workers/sync.py", line 134, in handle
    self.handle_request(listener, req, client, addr)
  File "/srv/shop/app.py", line 12, in predict
    os.environ["SHOP_URL"]
  File "<frozen os>", line 679, in __getitem__
KeyError: 'SHOP_URL'
"""
BOOT_FAILED = """\
[2026-11-30 06:18:03 +0000] [101] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/srv/shop/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 609, in spawn_worker
    worker.init_process()
  File "/srv/shop/app.py", line 2, in <module>
    os.environ["SHOP_URL"]
  File "<frozen os>", line 679, in __getitem__
KeyError: 'SHOP_URL'
[2026-11-30 06:18:03 +0000] [101] [INFO] Worker exiting (pid: 101)
[2026-11-30 06:18:03 +0000] [100] [ERROR] Worker (pid:101) exited with code 3.
[2026-11-30 06:18:03 +0000] [100] [ERROR] Shutting down: Master
[2026-11-30 06:18:03 +0000] [100] [ERROR] Reason: Worker failed to boot.
"""
STOPPED = """\
[2026-11-30 06:30:00 +0000] [100] [INFO] Handling signal: term
[2026-11-30 06:30:00 +0000] [101] [INFO] Worker exiting (pid: 101)
[2026-11-30 06:30:00 +0000] [100] [INFO] Shutting down: Master
"""


def words(text: str, *, source: str = "/var/log/g.log", time: float = 1000.0) -> StartWords:
    return StartWords(source=source, time=time, lines=clean_lines(last_start(text.splitlines())))


def failure_of(*texts: str, since: float = 0.0) -> StartFailure | None:
    return start_failure(LastStart(words=tuple(words(text) for text in texts)), since)


@pytest.mark.parametrize(
    "text",
    [
        STARTED,
        STARTED + REQUEST_FAILED,
        STARTED + REQUEST_FAILED.partition("\n")[2],
        STARTED + STOPPED,
        STARTED + BOOT_FAILED + STARTED,
        STARTED + BOOT_FAILED + STARTED + REQUEST_FAILED + STOPPED,
        "",
    ],
    ids=[
        "runs",
        "a request failed",
        "printed by a request",
        "stopped",
        "failed, then started",
        "an old one",
        "empty",
    ],
)
def test_nothing_is_claimed_of_a_start_that_went_well(text: str) -> None:
    assert failure_of(text) is None


def test_words_older_than_the_last_answer_are_another_start_s() -> None:
    assert failure_of(STARTED + BOOT_FAILED, since=999.0) is not None
    assert failure_of(STARTED + BOOT_FAILED, since=1001.0) is None


def test_what_fails_before_there_is_a_logger_stands_behind_the_orderly_end_of_the_run_before() -> None:
    failure = failure_of(STARTED + STOPPED + "\nError: No such user: 'shop'\n")
    assert failure is not None
    assert (failure.kind, failure.values["name"], failure.is_loading) == (Kind.USER, "shop", False)


def test_a_master_that_was_killed_leaves_no_end_and_the_next_start_s_error_still_counts() -> None:
    failure = failure_of(
        STARTED + REQUEST_FAILED + "\nError: Already running on PID 77 (or pid file '/run/g.pid' is stale)\n"
    )
    assert failure is not None
    assert (failure.kind, failure.values) == (Kind.PIDFILE_HELD, {"pid": "77", "path": "/run/g.pid"})


def test_words_that_fit_no_kind_are_quoted_and_looked_at() -> None:
    strange = "Error: the moon is in the wrong house"
    failure = failure_of(strange)
    assert failure is not None
    last = LastStart(words=(words(strange),))
    assert failure.kind is Kind.UNKNOWN
    assert summary_of(failure, last).en == "The last start ended with: the moon is in the wrong house"
    steps = [step.en for step in fix_for(failure, last, PLACE)]
    assert steps[0] == "tail -n 60 /var/log/g.log"
    assert steps[-1] == "systemctl start shop"
    assert "the moon" in steps[1]


def test_a_worker_that_dies_now_and_then_is_no_start_that_fails() -> None:
    killed = "[2026-11-30 09:18:03 +0000] [100] [ERROR] Worker (pid:101) was sent SIGKILL! Perhaps out of memory?\n"
    again = "[2026-11-30 09:18:03 +0000] [100] [INFO] Booting worker with pid: 102\n"
    more = killed.replace("101", "102").replace("09:", "11:") + again.replace("102", "103").replace(
        "09:", "11:"
    )
    assert failure_of(STARTED + killed + again + more) is None


BOOTING = "[2026-11-30 06:18:{0:02} +0000] [100] [INFO] Booting worker with pid: 1{0:02}\n"
ENDED = {
    Kind.TOO_SLOW: "[2026-11-30 06:18:{0:02} +0000] [100] [CRITICAL] WORKER TIMEOUT (pid:1{0:02})\n",
    Kind.KILLED: "[2026-11-30 06:18:{0:02} +0000] [100] [WARNING] Worker with pid 1{0:02} was terminated due to "
    "signal 9\n",
    Kind.EXITS: "[2026-11-30 06:18:{0:02} +0000] [100] [ERROR] Worker (pid:1{0:02}) exited with code 1\n",
}


AT_WORK = "[2026-11-30 06:18:{0:02} +0000] [1{0:02}] [ERROR] Error handling request POST /predict\n"


@pytest.mark.parametrize("kind", ENDED)
def test_workers_that_handled_a_request_had_loaded_the_application(kind: Kind) -> None:
    ended = [BOOTING.format(number) + ENDED[kind].format(number) for number in (1, 2)]
    assert failure_of("".join(ended) + BOOTING.format(3)) is not None
    served = [
        BOOTING.format(number) + AT_WORK.format(number) + ENDED[kind].format(number) for number in (1, 2)
    ]
    assert failure_of("".join(served) + BOOTING.format(3)) is None


LEAVING = "[2026-11-30 06:18:{0:02} +0000] [1{0:02}] [INFO] Worker exiting (pid: 1{0:02})\n"


def test_an_old_master_that_does_not_say_how_workers_ended_is_believed_when_they_all_do() -> None:
    text = "".join(BOOTING.format(number) + LEAVING.format(number) for number in range(1, 5))
    failure = failure_of(text + BOOTING.format(5))
    assert failure is not None
    assert (failure.kind, failure.count) == (Kind.EXITS, 4)
    recycled = "[2026-11-30 06:18:01 +0000] [101] [WARNING] Autorestarting worker after current request.\n"
    assert failure_of(recycled + text + BOOTING.format(5)) is None


@pytest.mark.parametrize("kind", ENDED, ids=str)
def test_workers_that_end_as_soon_as_they_begin_are_a_start_that_fails(kind: Kind) -> None:
    # The first: gunicorn up to 20.0, which ended workers that had not reported yet; the second: 20.1's words.
    text = "".join(BOOTING.format(number) + ENDED[kind].format(number) for number in range(1, 4))
    failure = failure_of(text + BOOTING.format(4))
    assert failure is not None
    assert (failure.kind, failure.is_loading, failure.count) == (kind, True, 3)


@pytest.mark.parametrize(
    ("message", "kind", "values"),
    [
        ("django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable", Kind.VARIABLE,
         {"name": "SECRET_KEY"}),
        ("django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.", Kind.VARIABLE,
         {"name": "SECRET_KEY"}),
        ("decouple.UndefinedValueError: DB_HOST not found. Declare it as envvar or define a default value.",
         Kind.VARIABLE, {"name": "DB_HOST"}),
        ("ImportError: cannot import name 'url_quote' from 'werkzeug.urls' (/srv/shop/venv/lib/python3.11/"
         "site-packages/werkzeug/urls.py)", Kind.VERSION_CLASH, {"package": "werkzeug"}),
        ("redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused.",
         Kind.CONNECTION, {"peer": "localhost:6379"}),
        ("psycopg2.OperationalError: connection to server at \"127.0.0.1\", port 5432 failed: Connection refused",
         Kind.CONNECTION, {"peer": "127.0.0.1:5432"}),
        ("pymysql.err.OperationalError: (2003, \"Can't connect to MySQL server on 'db' ([Errno 111] Connection "
         "refused)\")", Kind.CONNECTION, {"peer": "db"}),
        ("OSError: [Errno 30] Read-only file system: '/srv/shop/cache'", Kind.READ_ONLY, {"path": "/srv/shop/cache"}),
        ("OSError: [Errno 28] No space left on device: '/srv/shop/cache'", Kind.DISK_FULL, {}),
        ("sqlalchemy.exc.ArgumentError: Could not parse rfc1738 URL from string ''", Kind.EXCEPTION, {}),
        ("KeyError: 'shop'", Kind.EXCEPTION, {}),
        ('psycopg2.OperationalError: FATAL:  password authentication failed for user "shop"', Kind.DATABASE_REFUSES,
         {}),
        ("pymysql.err.OperationalError: (1045, \"Access denied for user 'shop'@'localhost' (using password: YES)\")",
         Kind.DATABASE_REFUSES, {}),
        ("redis.exceptions.AuthenticationError: NOAUTH Authentication required.", Kind.DATABASE_REFUSES, {}),
        ('psycopg.OperationalError: connection failed: FATAL:  database "shop" does not exist', Kind.DATABASE_REFUSES,
         {}),
        ('psycopg.errors.UndefinedTable: relation "orders" does not exist', Kind.TABLE, {"table": "orders"}),
        ("pymysql.err.ProgrammingError: (1146, \"Table 'shop.orders' doesn't exist\")", Kind.TABLE,
         {"table": "shop.orders"}),
        ("ImportError: attempted relative import beyond top-level package", Kind.RELATIVE_IMPORT, {}),
    ],
)  # fmt: skip
def test_the_words_of_an_exception_at_import(message: str, kind: Kind, values: dict[str, str]) -> None:
    text = BOOT_FAILED.replace("KeyError: 'SHOP_URL'", message).replace(
        '  File "<frozen os>", line 679, in __getitem__\n', ""
    )
    failure = failure_of(STARTED + text)
    assert failure is not None
    assert failure.kind is kind
    assert failure.values | values == failure.values
    assert failure.where == "/srv/shop/app.py:2"
    assert failure.is_loading


def test_pydantic_settings_name_their_variables_and_never_a_value() -> None:
    message = (
        "pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings\n"
        "db_host\n  Field required [type=missing, input_value={'token': 'hunter2hunter2'}, input_type=dict]\n"
        "db_name\n  Field required [type=missing, input_value={'token': 'hunter2hunter2'}, input_type=dict]"
    )
    frames = '  File "/srv/v/lib/python3.11/site-packages/pydantic_settings/main.py", line 84, in __init__\n'
    text = BOOT_FAILED.replace('  File "<frozen os>", line 679, in __getitem__\n', frames)
    lines = words(STARTED + text.replace("KeyError: 'SHOP_URL'", message))
    assert "hunter2" not in "\n".join(lines.lines)
    failure = start_failure(LastStart(words=(lines,)))
    assert failure is not None
    assert (failure.kind, failure.values["name"]) == (Kind.VARIABLE, "DB_HOST, DB_NAME")


CHAINED = """\
[2026-11-30 06:18:03 +0000] [101] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/usr/lib/python3.11/logging/__init__.py", line 1213, in _open
    return open_func(self.baseFilename, self.mode,
PermissionError: [Errno 13] Permission denied: '/var/log/shop.log'

{bridge}

Traceback (most recent call last):
  File "/srv/shop/venv/lib/python3.11/site-packages/gunicorn/workers/base.py", line 138, in init_process
    self.load_wsgi()
  File "/srv/shop/wsgi.py", line 4, in <module>
    application = get_wsgi_application()
ValueError: Unable to configure handler 'file'
[2026-11-30 06:18:03 +0000] [100] [ERROR] Worker (pid:101) exited with code 3.
[2026-11-30 06:18:03 +0000] [100] [ERROR] Reason: Worker failed to boot.
"""


def test_the_direct_cause_of_an_exception_says_what_it_is_about() -> None:
    failure = failure_of(
        STARTED
        + CHAINED.format(bridge="The above exception was the direct cause of the following exception:")
    )
    assert failure is not None
    assert (failure.kind, failure.values["path"]) == (Kind.FILE_FORBIDDEN, "/var/log/shop.log")
    assert failure.where == "/srv/shop/wsgi.py:4", "the line of the application's, not one of Python's own"


def test_an_exception_that_was_handled_is_no_cause() -> None:
    failure = failure_of(
        STARTED + CHAINED.format(bridge="During handling of the above exception, another exception occurred:")
    )
    assert failure is not None
    assert failure.kind is Kind.EXCEPTION


def test_a_file_of_variables_that_the_start_does_not_read_is_given_to_it() -> None:
    failure = failure_of(STARTED + BOOT_FAILED)
    assert failure is not None
    file = EnvironmentFile(path="/srv/shop/.env", names=("DEBUG", "SHOP_URL"))
    steps = [step.en for step in fix_for(failure, LastStart(environment_files=(file,)), PLACE)]
    assert "sed -n 2p /srv/shop/app.py" in steps
    assert any("EnvironmentFile=/srv/shop/.env" in step for step in steps)
    other = EnvironmentFile(path="/srv/shop/.env", names=("DEBUG",))
    steps = [step.en for step in fix_for(failure, LastStart(environment_files=(other,)), PLACE)]
    assert not any("/srv/shop/.env" in step for step in steps)


def test_a_configuration_file_that_reads_a_variable_is_not_helped_by_its_own_raw_env() -> None:
    config = """
Failed to read config file: /c.py
Traceback (most recent call last):
  File "/srv/v/lib/python3.11/site-packages/gunicorn/app/base.py", line 112, in get_config_from_filename
    spec.loader.exec_module(mod)
  File "/c.py", line 3, in <module>
    bind = os.environ["SHOP_BIND"]
  File "<frozen os>", line 679, in __getitem__
KeyError: 'SHOP_BIND'
"""
    failure = failure_of(config)
    assert failure is not None
    place = StartPlace(
        start="gunicorn -c /c.py app:app", begin="gunicorn -c /c.py app:app", app_dir="/srv/shop", python="python3",
        wsgi="app:app", config="/c.py",
    )  # fmt: skip
    steps = "\n".join(step.en for step in fix_for(failure, LastStart(), place))
    assert "env SHOP_BIND=VALUE gunicorn -c /c.py app:app" in steps
    assert "raw_env = [" not in steps


def test_a_variable_is_set_where_this_host_starts_the_service() -> None:
    failure = failure_of(STARTED + BOOT_FAILED)
    assert failure is not None
    last = LastStart()

    def steps(start: str, last: LastStart = last) -> str:
        place = StartPlace(
            start=start, begin=start, app_dir="/srv/shop", python="python3", wsgi="app:app", config="/c.py"
        )
        return "\n".join(step.en for step in fix_for(failure, last, place))

    assert "systemctl edit shop\n" in steps("systemctl start shop")
    assert "export SHOP_URL=VALUE" in steps("bash /srv/shop/start-prod.sh")
    assert 'raw_env = ["SHOP_URL=VALUE"] in /c.py' in steps("gunicorn -c /c.py app:app")
    assert "Environment=SHOP_URL=VALUE" in steps("gunicorn -c /c.py app:app")
    supervisor = SupervisorAccount(
        manager=ServiceManager.SUPERVISORD, unit="shop", source="-", result="FATAL"
    )
    assert 'environment=SHOP_URL="VALUE"' in steps(
        "supervisorctl start shop", LastStart(supervisors=(supervisor,))
    )


def test_hostile_words_reach_no_terminal_and_no_shell() -> None:
    evil = "/tmp/$(reboot)\x1b[2J; rm -rf x"
    text = f"\nError: Already running on PID 7 (or pid file '{evil}' is stale)\n"
    last = LastStart(words=(words(text),))
    failure = start_failure(last)
    assert failure is not None
    output = "\n".join(step.en for step in (summary_of(failure, last), *fix_for(failure, last, PLACE)))
    assert "\x1b" not in output
    assert "rm -- '/tmp/$(reboot); rm -rf x'" in output


def test_only_the_end_of_endless_words_is_kept() -> None:
    lines = clean_lines(["x" * 10_000] * 10_000)
    assert sum(map(len, lines)) < 100_000


# What `systemctl show` prints for units that failed so (systemd 252; systemd cannot run where these tests do).
SHOWN = """\
LoadState=loaded
ActiveState=failed
SubState=failed
ExecMainExitTimestamp=@1795309200
NRestarts=5
WorkingDirectory=/srv/shop
User=shopkeeper
StandardOutput=append:/var/log/shop/out.log
ExecStart={ path=/srv/shop/venv/bin/gunicorn ; argv[]=/srv/shop/venv/bin/gunicorn app:app ; }
"""


@pytest.mark.parametrize(
    ("more", "kind", "word"),
    [
        ("Result=exit-code\nExecMainCode=1\nExecMainStatus=203", Kind.PROGRAM, "/srv/shop/venv/bin/gunicorn"),
        ("Result=exit-code\nExecMainCode=1\nExecMainStatus=217", Kind.USER, "shopkeeper"),
        ("Result=exit-code\nExecMainCode=1\nExecMainStatus=200", Kind.DIRECTORY, "namei -l /srv/shop"),
        (
            "Result=exit-code\nExecMainCode=1\nExecMainStatus=209",
            Kind.LOG_DIRECTORY,
            "mkdir -p /var/log/shop",
        ),
        ("Result=start-limit-hit\nExecMainCode=1\nExecMainStatus=3", Kind.START_LIMIT, "reset-failed shop"),
        ("Result=oom-kill\nExecMainCode=2\nExecMainStatus=9", Kind.MEMORY, "MemoryMax="),
        ("Result=exit-code\nExecMainCode=1\nExecMainStatus=3", Kind.UNKNOWN, "journalctl -u shop.service"),
    ],
)
def test_systemd_s_account_alone(more: str, kind: Kind, word: str) -> None:
    account, _ = read_show("shop.service", SHOWN + more)
    assert account is not None
    assert (account.restarts, account.time) == (5, 1795309200.0)
    last = LastStart(supervisors=(account,))
    failure = start_failure(last)
    assert failure is not None
    assert failure.kind is kind
    output = "\n".join((summary_of(failure, last).en, *(step.en for step in fix_for(failure, last, PLACE))))
    assert "shop.service" in output
    assert word in output


def test_the_words_of_gunicorn_itself_go_before_systemd_s_number() -> None:
    account, files = read_show(
        "shop",
        SHOWN
        + "Result=exit-code\nExecMainCode=1\nExecMainStatus=3\nStandardError=append:/var/log/shop.err\n",
    )
    assert account is not None
    assert files == ("/var/log/shop.err", "/var/log/shop/out.log")
    last = LastStart(words=(words(STARTED + BOOT_FAILED, time=1795309200.0),), supervisors=(account,))
    failure = start_failure(last)
    assert failure is not None
    assert failure.kind is Kind.VARIABLE


JOURNAL = (
    (1, "Started Shop."),
    (90, "[2026-11-30 05:00:00 +0000] [90] [INFO] Starting gunicorn 27.0.1"),
    (90, "Error: No such group: 'old'"),
    (1, "shop.service: Main process exited, code=exited, status=1/FAILURE"),
    (1, "Started Shop."),
)


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([(100, line) for line in (STARTED + BOOT_FAILED).splitlines()], Kind.VARIABLE),
        ([(100, "Error: No such user: 'shop'")], Kind.USER),
        ([(1, "shop.service: Failed to locate executable /srv/v/bin/gunicorn: No such file or directory"),
          (1, "shop.service: Failed at step EXEC spawning /srv/v/bin/gunicorn: No such file or directory")],
         Kind.PROGRAM),
        ([(1, "shop.service: Failed at step CHDIR spawning /srv/v/bin/gunicorn: No such file or directory")],
         Kind.DIRECTORY),
    ],
)  # fmt: skip
def test_the_journal_s_words_of_the_last_start(messages: list[tuple[int, str]], kind: Kind) -> None:
    after = [(1, "shop.service: Main process exited, code=exited, status=1/FAILURE"),
             (1, "shop.service: Failed with result 'exit-code'."),
             (1, "shop.service: Start request repeated too quickly.")]  # fmt: skip
    records = [
        JournalRecord(time=float(at), pid=pid, priority=6, message=text.encode())
        for at, (pid, text) in enumerate((*JOURNAL, *messages, *after))
    ]
    journal = journal_words("shop", records)
    assert journal is not None
    assert journal.source == "journalctl -u shop"
    failure = start_failure(LastStart(words=(journal,)))
    assert failure is not None
    assert failure.kind is kind


def test_a_unit_that_runs_or_is_not_there_says_nothing() -> None:
    assert read_show("shop", "LoadState=not-found\nActiveState=inactive\n")[0] is None
    assert read_show("shop", "LoadState=loaded\nActiveState=active\nResult=success\n")[0] is None


def shown(failure: StartFailure, place: StartPlace = PLACE) -> list[Text]:
    last = LastStart()
    return [summary_of(failure, last), *fix_for(failure, last, place)]


WORDS_OF_ENGLISH = re.compile(
    r"\b(?:None|the|its?|an?|at|in|of|is|which|and|command|service|class|classes|itself)\b"
)
BY_HAND = StartPlace(
    start="/srv/start", begin="/srv/start", app_dir="/srv/shop", python="python3", wsgi="app:app"
)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("where", [None, "/srv/shop/app.py:3"])
@pytest.mark.parametrize("place", [PLACE, BY_HAND], ids=["unit", "by hand"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": "x", "module": "y.z", "path": "/srv/x.bin", "package": "p", "importer": "i", "call": "run"},
        {"path": "x.json", "module": "__main__", "unit": "u", "variable": "V", "port": "9000"},
    ],
    ids=["nothing", "all", "some"],
)
def test_what_is_not_known_is_worded_in_each_language(
    kind: Kind, where: str | None, place: StartPlace, values: dict[str, str]
) -> None:
    for text in shown(StartFailure(kind, "QUOTE", "/log", 0.0, where, values), place):
        assert "None" not in text.en
        if text.en != text.zh:
            # Of the code in it nothing is translated.
            words = re.sub(
                r"systemctl [^；，。]*|import sys; import|from \. import|if __name__.*?:|`.*?`", "", text.zh
            )
            assert not WORDS_OF_ENGLISH.search(words), text.zh


def test_the_package_of_a_damaged_file_is_asked_of_the_host_and_not_guessed() -> None:
    import yaml

    last = LastStart(interpreter=sys.executable)
    failure = StartFailure(Kind.DAMAGED, "null bytes", "/log", 0.0, None, {"path": yaml.reader.__file__})
    (command,) = [step.en for step in fix_for(failure, last, PLACE) if "reinstall" in step.en]
    shell = ["sh", "-c", f"echo {command}"]
    printed = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=20).stdout
    assert f"--force-reinstall --no-deps PyYAML=={yaml.__version__}\n" in printed
    debian = StartFailure(
        Kind.DAMAGED,
        "null bytes",
        "/log",
        0.0,
        None,
        {"path": "/usr/lib/python3/dist-packages/yaml/reader.py"},
    )
    assert "apt-get install --reinstall $(dpkg -S /usr/lib/" in "".join(
        step.en for step in fix_for(debian, last, PLACE)
    )


def test_the_packages_of_versions_that_clash_are_asked_of_the_host() -> None:
    values = {"module": "yaml.reader", "name": "x", "package": "yaml", "importer": "flask"}
    failure = StartFailure(Kind.VERSION_CLASH, "", "/log", 0.0, None, values)
    (command,) = [
        s.en for s in fix_for(failure, LastStart(interpreter=sys.executable), PLACE) if "metadata" in s.en
    ]
    printed = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert sorted(word.partition("==")[0] for word in printed.split()) == ["Flask", "PyYAML"]


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Kind.PACKAGE, {"module": "yaml", "package": "PyYAML"}, "pip install PyYAML"),
        (Kind.PACKAGE, {"module": "google.cloud", "package": "google"}, "only if that is its name"),
        (
            Kind.PACKAGE,
            {"module": "shop_tools", "package": "shop-tools", "listed": "yes"},
            "install shop-tools",
        ),
        (
            Kind.WORKER_CLASS,
            {"name": "acme.Worker", "detail": "No module named 'acme'"},
            "only if that is its name",
        ),
        (Kind.WORKER_CLASS, {"name": "acme.Worker"}, "only if that is its name"),
        (Kind.WORKER_CLASS, {"name": "uvicorn_worker.UvicornWorker"}, "pip install uvicorn-worker"),
        (Kind.WORKER_CLASS, {"name": "x.Worker", "detail": "No module named 'gevent'"}, "pip install gevent"),
    ],
)
def test_a_package_s_name_is_given_where_it_is_known(kind: Kind, values: dict[str, str], said: str) -> None:
    steps = shown(StartFailure(kind, "", "/log", 0.0, None, values))
    assert said in "\n".join(step.en for step in steps)
    assert not any(step.en == step.zh and "install google" in step.en + " acme" for step in steps)


def test_every_kind_has_a_sentence_in_both_languages() -> None:
    import tomllib

    import ops.interpret.start_failure as package

    sentences = tomllib.loads((Path(package.__file__).parent / "sentences.toml").read_text())
    assert set(sentences) == set(Kind)
    assert all(words["en"] and words["zh"] and words["en"] != words["zh"] for words in sentences.values())


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (
            "  File \"/srv/shop/gunicorn.conf.py\", line 2\n    print 'starting'\n    ^^^^^\n"
            "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?",
            Kind.SYNTAX,
        ),
        (
            '  File "/srv/shop/gunicorn.conf.py", line 2, in <module>\n    bind = os.environ["BIND"]\n'
            '  File "<frozen os>", line 679, in __getitem__\n'
            "KeyError: 'BIND'",
            Kind.VARIABLE,
        ),
        (
            '  File "/srv/shop/gunicorn.conf.py", line 2, in <module>\n    import prometheus_client\n'
            "ModuleNotFoundError: No module named 'prometheus_client'",
            Kind.PACKAGE,
        ),
    ],
)
def test_a_configuration_file_that_fails_is_no_worker_s_failure(raised: str, kind: Kind) -> None:
    lines = (
        "Failed to read config file: /srv/shop/gunicorn.conf.py\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/shop/venv/lib/python3.11/site-packages/gunicorn/app/base.py", line 108, in get_config\n'
        "    spec.loader.exec_module(mod)\n"
    )
    words = StartWords(source="/srv/shop/out.log", time=1.0, lines=tuple((lines + raised).splitlines()))
    failure = start_failure(LastStart(words=(words,)))
    assert failure is not None
    assert (failure.kind, failure.is_loading) == (kind, False)


def test_the_words_of_the_next_worker_half_written_hide_nothing() -> None:
    ends = [
        f"usage: app.py [-h]\napp.py: error: unrecognized arguments: -c\n"
        f"[2026-11-30 06:18:04 +0000] [{pid}] [INFO] Worker exiting (pid: {pid})\n"
        f"[2026-11-30 06:18:04 +0000] [100] [ERROR] Worker (pid:{pid}) exited with code 2.\n"
        f"[2026-11-30 06:18:04 +0000] [{pid + 1}] [INFO] Booting worker with pid: {pid + 1}\n"
        for pid in (101, 102)
    ]
    failure = failure_of(STARTED + "".join(ends) + "usage: app.py [-h]\n")
    assert failure is not None
    assert failure.kind is Kind.PARSES_ARGUMENTS


def test_the_master_s_own_end_hides_no_worker_s_reason() -> None:
    halt = (
        "Traceback (most recent call last):\n"
        '  File "/srv/shop/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 683, in reap_workers\n'
        "    raise HaltServer(reason, self.WORKER_BOOT_ERROR)\n"
        "gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>\n"
    )
    failure = failure_of(STARTED + BOOT_FAILED + halt)
    assert failure is not None
    assert failure.kind is Kind.VARIABLE
    # A worker that had booted leaves once the master is gone.
    boots = "[2026-11-30 06:18:03 +0000] [100] [INFO] Booting worker with pid: 101\n"
    first = "[2026-11-30 06:18:03 +0000] [99] [INFO] Booting worker with pid: 99\n" + boots
    failed = BOOT_FAILED.partition("[2026-11-30 06:18:03 +0000] [100] [ERROR] Shutting")[0]
    leaves = "[2026-11-30 06:18:04 +0000] [99] [INFO] Worker exiting (pid: 99)\n"
    for text in (halt, halt + leaves):
        failure = failure_of(STARTED.partition(boots)[0] + first + failed + text)
        assert failure is not None
        assert failure.kind is Kind.VARIABLE


NO_LIBRARY = """\
Python path configuration:
  PYTHONHOME = '/opt/python3.9'
  PYTHONPATH = (not set)
  sys.path = [
    '/opt/python3.9/lib/python311.zip',
  ]
Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding
Python runtime state: core initialized
ModuleNotFoundError: No module named 'encodings'

Current thread 0x00007f5a8948bb80 (most recent call first):
  <no Python frame>
"""
NO_GUNICORN = """\
Traceback (most recent call last):
  File "/srv/shop/venv/bin/gunicorn", line 2, in <module>
    from gunicorn.app.wsgiapp import run
ModuleNotFoundError: No module named 'gunicorn'
"""
NO_EXTENSION = BOOT_FAILED.replace('os.environ["SHOP_URL"]', "import tariff").replace(
    "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'SHOP_URL'",
    '  File "/srv/shop/tariff/__init__.py", line 1, in <module>\n    from ._core import price\n'
    "ModuleNotFoundError: No module named 'tariff._core'",
)


@pytest.mark.parametrize(
    ("text", "kind", "facts", "words"),
    [
        (NO_LIBRARY, Kind.NO_LIBRARY, {}, ("PYTHONHOME", "/opt/python3.9", "encodings")),
        (
            NO_LIBRARY.replace("'/opt/python3.9'", "(not set)", 1),
            Kind.NO_LIBRARY,
            {},
            ("encodings", "--reinstall"),
        ),
        (
            NO_GUNICORN,
            Kind.OLD_ENVIRONMENT,
            {"other_python": "/srv/shop/venv/lib/python3.9"},
            ("python3.9", "python3 -m venv --clear /srv/shop/venv", "finds no gunicorn"),
        ),
        (
            STARTED + NO_EXTENSION,
            Kind.EXTENSION,
            {"extensions": {"tariff._core": "/srv/shop/tariff/_core.cpython-39-x86_64-linux-gnu.so"}},
            ("tariff._core", "cpython-39", "pip install --force-reinstall"),
        ),
    ],
)
def test_a_python_that_is_another_than_its_packages_is_told(
    text: str, kind: Kind, facts: dict[str, Any], words: tuple[str, ...]
) -> None:
    last = LastStart(words=(StartWords("start.log", 1.0, tuple(text.splitlines())),), **facts)
    failure = start_failure(last)
    assert failure is not None
    assert failure.kind is kind
    steps = " ".join(step.en for step in fix_for(failure, last, PLACE))
    told = f"{summary_of(failure, last).en} {steps} {failure.quote}"
    assert [word for word in words if word not in told] == []


def test_an_exception_at_import_is_explained_by_its_own_words() -> None:
    text = STARTED + BOOT_FAILED.replace(
        "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'SHOP_URL'",
        "_pickle.UnpicklingError: Weights only load failed. This file can still be loaded",
    )
    last = LastStart(words=(StartWords("start.log", 1.0, tuple(text.splitlines())),))
    failure = start_failure(last)
    assert failure is not None
    assert failure.kind is Kind.EXCEPTION
    assert "takes tensors alone" in summary_of(failure, last).en
    assert "weights_only=False" in fix_for(failure, last, PLACE)[0].en


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("start", ["systemctl start shop", "gunicorn app:app"])
def test_what_is_not_known_leaves_no_gap_in_a_sentence_or_a_command(kind: Kind, start: str) -> None:
    failure = StartFailure(kind, "words of the log", "/var/log/gunicorn.log", 0.0)
    place = msgspec.structs.replace(PLACE, start=start, begin=start)
    steps = fix_for(failure, LastStart(), place)
    assert len(steps) > 1, "never only 'start it'"
    for text in (summary_of(failure, LastStart()), *steps):
        assert not [mark for mark in ("?", NOT_KNOWN, "{") if mark in text.en or mark in text.zh], text
