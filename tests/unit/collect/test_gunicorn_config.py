"""gunicorn's configuration file, read but never executed; the workers' progress records."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.collect.process.start_time import start_ticks
from ops.collect.services import gunicorn
from ops.collect.services.gunicorn import parse_config, read_config, read_progress
from ops.diagnosis.checks.gunicorn_settings import KNOWN_SETTINGS
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig, InFlight
from ops.facts.snapshot import from_json, to_json
from ops.interpret.judged_settings import JUDGED_SETTINGS
from tests.unit.made_snapshot import but


def parsed(text: str | bytes) -> GunicornConfig:
    return parse_config("gunicorn.conf.py", text if isinstance(text, bytes) else text.encode())


def value(text: str, name: str = "bind") -> Any:
    assignment = parsed(text).assigned[name]
    assert assignment.known, assignment.source
    return assignment.value


CORES = multiprocessing.cpu_count()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bind = 5", 5),
        ("bind = -5", -5),
        ("bind = 1.5", 1.5),
        ("bind = None", None),
        ("bind = True", True),
        ('bind = "127.0.0.1:8000"', "127.0.0.1:8000"),
        ("bind = ['a', 'b']", ["a", "b"]),
        ("bind = ('a', 1)", ["a", 1]),
        ("import multiprocessing\nbind = multiprocessing.cpu_count() * 2 + 1", CORES * 2 + 1),
        ("import os\nbind = os.cpu_count()", CORES),
        ("port = 8000\nbind = f'127.0.0.1:{port}'", "127.0.0.1:8000"),
        ("base = '/root'\nbind = base + '/build'", "/root/build"),
        ("n = 2\nbind = 2 * n + 1", 5),
        ("bind = 7 // 2", 3),
        ("bind = int('8') - 1", 7),
        ("bind = str(8000)", "8000"),
        ("bind: int = 4", 4),
        ("bind = 1\nbind = 2", 2),
        ("bind = y = 3", 3),
        ("try:\n    import a\n    bind = 1\nexcept ImportError:\n    bind = 2\n", 2),
    ],
)
def test_plain_values_are_known(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "import os\nbind = os.environ['PORT']",
        "bind = open('/etc/passwd').read()",
        "bind = undefined",
        "bind = 1 / 0",
        "bind = 1 // 0",
        "bind = 'a' * 10**9",
        "bind = 10 ** 10 ** 10",
        "bind = [1] * 1000000000",
        "bind = 10**9 * 10**9",
        "bind = -'a'",
        "bind = int('a')",
        "bind = lambda s: s",
        "bind = {'a': 1}",
        "bind = 1e400",
        "bind = '\\ud800'",
    ],
)
def test_what_needs_to_be_run_is_not_known_and_not_run(text: str) -> None:
    assignment = parsed(text).assigned["bind"]
    assert (assignment.known, assignment.value) == (False, None)
    assert assignment.source


def test_nothing_of_the_file_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    parsed(f"import pathlib\npathlib.Path({str(trap)!r}).touch()\nbind = pathlib.Path({str(trap)!r}).touch()")
    assert not trap.exists()


def test_names_are_told_apart() -> None:
    config = parsed(
        """import os
import multiprocessing as mp
from a.b import c, d as e
from settings import *
cores = 4
workers = cores * 2

def when_ready(server):
    print(message)

class Helper: ...
for name in range(3):
    pass
total = 0
total += 1
"""
    )
    assert list(config.assigned) == ["cores", "workers", "total"]
    assert config.assigned["workers"].line == 6
    assert {"os", "mp", "c", "e", "when_ready", "Helper", "name"} <= set(config.other_names)
    assert {"cores", "message"} <= set(config.read_names)
    assert config.star_imports == ("settings",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workers = = 2", "(line 1)"),
        ("a = 1\n  b = 2", "(line 2)"),
        (b"\xff\xfe", ""),
        (b"a\x00b", ""),
        ("(" * 3000, ""),
    ],
)
def test_a_file_that_is_no_python_says_where(text: str | bytes, words: str) -> None:
    config = parsed(text)
    assert config.error
    assert words in config.error
    assert config.assigned == {}


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80).map(lambda b: b.decode("latin-1"))))
@example("x = " + "-" * 5000 + "1")
@example("x = " + "+".join(["1"] * 3000))
@example("x = '\ud800'")
@example("x = 1e400 // 1")
@example("x = " + "9" * 4000)
@example("x = int('9' + '9')")
@example("x = f'{1:{1}}'")
def test_no_text_crashes_it(text: str) -> None:
    config = parsed(text.encode(errors="surrogatepass"))
    assert config.error is None or config.assigned == {}
    snapshot = but(gunicorn__config=config)
    assert from_json(to_json(snapshot)) == snapshot


def test_a_file_that_is_not_there_is_missing_and_one_that_is_none_is_not_seen(tmp_path: Path) -> None:
    assert read_config(str(tmp_path / "x.py")) == GunicornConfig(path=str(tmp_path / "x.py"), missing=True)
    assert isinstance(read_config(str(tmp_path)), NotSeen)
    (tmp_path / "x.py").write_text("timeout = 3")
    read = read_config(str(tmp_path / "x.py"))
    assert isinstance(read, GunicornConfig)
    assert read.assigned["timeout"].value == 3


# --- Progress records ---


def record(**changes: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "pid": os.getpid(),
        "start_ticks": start_ticks(os.getpid()),
        "phase": "ready",
        "completed": 7,
        "last_completed": 100.5,
        "in_flight": [{"path": "/predict", "since": 101.0}],
    }
    return {**own, **changes}


def written(directory: Path, name: str, content: object) -> Path:
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_record_is_read(tmp_path: Path) -> None:
    written(tmp_path, f"{os.getpid()}.json", record())
    records = read_progress(str(tmp_path))
    assert not isinstance(records, NotSeen)
    (only,) = records
    assert (only.pid, only.phase, only.completed, only.last_completed) == (os.getpid(), "ready", 7, 100.5)
    assert only.in_flight == (InFlight(path="/predict", since=101.0),)


@pytest.mark.parametrize(("beat", "expected"), [(101.5, 101.5), (None, None), (1e300, None)])
def test_the_beat_of_an_event_loop_is_read(
    tmp_path: Path, beat: float | None, expected: float | None
) -> None:
    written(tmp_path, f"{os.getpid()}.json", record(beat=beat))
    records = read_progress(str(tmp_path))
    assert not isinstance(records, NotSeen)
    assert [one.beat for one in records] == [expected]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"pid": 1}',
        record(completed="many"),
        record(beat="now"),
        record(start_ticks=1),
        record(pid=2**22 + 1),
    ],
)
def test_torn_foreign_and_gone_records_are_left_out(tmp_path: Path, content: object) -> None:
    written(tmp_path, "1.json", content)
    assert read_progress(str(tmp_path)) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
def test_a_record_about_another_user_s_process_is_forged(tmp_path: Path) -> None:
    own = subprocess.Popen(["sleep", "60"], user=65534, group=65534, extra_groups=[])
    try:
        ticks = start_ticks(own.pid)
        for pid, started in ((os.getpid(), start_ticks(os.getpid())), (own.pid, ticks)):
            path = written(tmp_path, f"{pid}.json", record(pid=pid, start_ticks=started))
            os.chown(path, 65534, 65534)
        records = read_progress(str(tmp_path))
        assert not isinstance(records, NotSeen)
        assert [one.pid for one in records] == [own.pid]
    finally:
        own.kill()
        own.wait()


def test_what_a_record_does_not_need_to_say_is_left_open(tmp_path: Path) -> None:
    less = {k: v for k, v in record().items() if k not in ("last_completed", "in_flight")}
    written(tmp_path, "1.json", {**less, "phase": "\x1b[31mbooting", "news": 1})
    odd = record(in_flight=[{}, {"since": "x"}, {"since": 5}, {"since": 6, "path": "/a\nb"}])
    written(tmp_path, "2.json", odd)
    written(tmp_path, "notes.json", record())
    records = read_progress(str(tmp_path))
    assert not isinstance(records, NotSeen)
    assert [(r.phase, r.last_completed, r.in_flight) for r in records] == [
        ("booting", None, ()),
        ("ready", 100.5, (InFlight(path="", since=5.0), InFlight(path="/a b", since=6.0))),
    ]


def test_no_directory_is_not_seen_rather_than_empty(tmp_path: Path) -> None:
    assert isinstance(read_progress(None), NotSeen)
    assert isinstance(read_progress(str(tmp_path / "none")), NotSeen)
    assert isinstance(read_progress(str(written(tmp_path, "file", ""))), NotSeen)
    assert read_progress(str(tmp_path)) == ()


# --- What goes into the snapshot ---


def test_of_other_names_only_that_they_are_assigned_is_kept() -> None:
    config = parsed(
        "bind = '127.0.0.1:8000'\nDB_URL = 'hunter2-a'\npreload = True\nproc_name = 'hunter2-b'\n"
        "raw_env = ['TOKEN=hunter2-c', 'LANG=hunter2-d']\nx = call('hunter2-e')\nzebra = 5\n"
    )
    assert list(config.assigned) == ["bind", "DB_URL", "preload", "proc_name", "raw_env", "x", "zebra"]
    assert "hunter2" not in str(config)
    assert config.assigned["bind"].value == "127.0.0.1:8000"
    assert config.assigned["preload"].value is True
    assert config.assigned["raw_env"].value == ["TOKEN=***", "LANG=***"]
    assert (config.assigned["zebra"].known, config.assigned["zebra"].line) == (False, 7)


def test_every_setting_that_something_reads_is_kept() -> None:
    """Calls of `setting` and `determined`, and look-ups in ``assigned``, by the source of ops."""
    read = set()
    for file in Path(gunicorn.__file__).parents[2].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "setting",
                "determined",
                "log",
            ):
                read |= {a.value for a in node.args if isinstance(a, ast.Constant)}
            if isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "assigned":
                read |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
    assert {"bind", "preload_app", "accesslog", "daemon"} <= read
    assert read & KNOWN_SETTINGS <= JUDGED_SETTINGS
