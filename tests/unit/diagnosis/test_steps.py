"""The steps of a fix as they are printed: what is typed, what is advice, which file gte-ops reads, what proves it."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from ops.diagnosis import steps as steps_module
from ops.diagnosis.catalogue import GUIDE_VALUES, catalogue
from ops.diagnosis.steps import (
    has_a_hole,
    is_command,
    printed_steps,
    put_after_line,
    put_before_line,
    replaced_argument,
    replaced_in_line,
    replaced_statement,
    set_in_main_context,
    step_marks,
    with_settings,
    without_line,
    written_argument,
)
from ops.text.language import Text, verbatim
from tests.unit.made_snapshot import directives, nginx_config

ADVICE = Text(en="Look at it first", zh="先看一看")


def words(*steps: Text, confirm: str = "true", settings_file: str | None = None) -> list[str]:
    return [step.en for step in printed_steps(steps, confirm, settings_file)]


def test_a_restart_is_one_command_a_line_and_says_why_starting_is_not_enough() -> None:
    steps = printed_steps(
        [verbatim("kill 7\ntimeout 35 tail --pid=7 -f /dev/null\n/srv/start")], "true", None
    )
    assert [step.en for step in steps[1:]] == [
        "kill 7",
        "timeout 35 tail --pid=7 -f /dev/null",
        "/srv/start",
        "true",
    ]
    assert "process 7 runs" in steps[0].en
    assert "进程 7" in steps[0].zh
    assert [mark for mark, _ in step_marks(steps)] == ["- ", "1. ", "2. ", "3. ", "4. "]


def test_only_what_can_be_typed_has_a_number() -> None:
    steps = (ADVICE, verbatim("nginx -t"), ADVICE, verbatim("nginx"))
    assert [mark for mark, _ in step_marks(steps)] == ["- ", "1. ", "- ", "2. "]


def test_the_last_line_shows_whether_it_worked_and_no_line_stands_twice_in_a_row() -> None:
    assert words(verbatim("nginx -t"), verbatim("nginx -t"), confirm="nginx -t") == ["nginx -t"]
    assert words(ADVICE, verbatim("nginx -t"), confirm="gte-ops doctor")[-1] == "gte-ops doctor"


@pytest.mark.parametrize("code", catalogue().codes)
def test_every_fix_ends_with_the_command_that_shows_whether_it_worked(code: str) -> None:
    entry = catalogue().entry(code)
    values = (
        GUIDE_VALUES | {name: name.upper() for name in entry.facts} | {"settings_file": "/srv/my ops.toml"}
    )
    *_, last = entry.fix_with(values)
    assert last.en == last.zh
    assert last.en.startswith("gte-ops doctor --config '/srv/my ops.toml' ") or entry.confirm is not None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gte-ops backup create", "gte-ops backup create --config /etc/x.toml"),
        ("gte-ops doctor --only OPS003", "gte-ops doctor --config /etc/x.toml --only OPS003"),
        ("gte-ops render cron --install", "gte-ops render cron --config /etc/x.toml --install"),
        ("gte-ops watchdog status; ps", "gte-ops watchdog status --config /etc/x.toml; ps"),
        ("gte-ops doctor --config /a", "gte-ops doctor --config /a"),
        ("gte-ops explain GUN001", "gte-ops explain GUN001"),
        ("cat /srv/gte-ops doctor", "cat /srv/gte-ops doctor"),
        ("systemctl restart gte-ops", "systemctl restart gte-ops"),
    ],
)
def test_a_command_that_reads_the_configuration_names_the_one_that_was_read(line: str, expected: str) -> None:
    assert with_settings(verbatim(line), "/etc/x.toml").en == expected
    assert with_settings(verbatim(line), None).en == line


def test_a_command_within_a_sentence_names_it_too_in_both_languages() -> None:
    text = Text(
        en="Then schedule it: gte-ops render cron --install", zh="然后用gte-ops render cron --install设置"
    )
    step = with_settings(text, "/a b")
    assert step.en == "Then schedule it: gte-ops render cron --config '/a b' --install"
    assert step.zh == "然后用gte-ops render cron --config '/a b' --install设置"


@pytest.mark.parametrize(
    ("old", "new"),
    [("127.0.0.1:8001", "127.0.0.1:8000"), ("a.b*[c]^$#d\\e", "x&y#z\\"), ("it's", "its")],
)
def test_the_command_that_edits_a_line_edits_that_line_alone_and_letter_by_letter(
    tmp_path: Path, old: str, new: str
) -> None:
    file = tmp_path / "my site.conf"
    file.write_text(f"{old}\nx {old} y\n127x0x0x1:8001\n")
    link = tmp_path / "link"
    link.symlink_to(file)
    command = replaced_in_line(f"{link}:2", old, new)
    subprocess.run(["sh", "-c", command], check=True, timeout=10)
    assert file.read_text() == f"{old}\nx {new} y\n127x0x0x1:8001\n"
    assert link.is_symlink()


def test_the_command_that_adds_a_line_adds_it_before_the_place(tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("one\ntwo\n")
    subprocess.run(
        ["sh", "-c", put_before_line(f"{file}:2", "limit_req_status 429;")], check=True, timeout=10
    )
    assert file.read_text() == "one\nlimit_req_status 429;\ntwo\n"


def test_words_that_the_file_sets_apart_by_more_than_a_space_are_found(tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("    client_max_body_size \t 4k;\n")
    command = replaced_in_line(f"{file}:1", "client_max_body_size 4k;", "client_max_body_size 50m;")
    subprocess.run(["sh", "-c", command], check=True, timeout=10)
    assert file.read_text() == "    client_max_body_size 50m;\n"


def test_the_commands_that_add_behind_a_line_and_take_one_out(tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("server {\n    return 301 x;\n}\n")
    subprocess.run(
        ["sh", "-c", put_after_line(f"{file}:1", "location = /a { return 200; }")], check=True, timeout=10
    )
    assert file.read_text() == "server {\nlocation = /a { return 200; }\n    return 301 x;\n}\n"
    subprocess.run(["sh", "-c", without_line(f"{file}:3")], check=True, timeout=10)
    assert file.read_text() == "server {\nlocation = /a { return 200; }\n}\n"


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("gunicorn -c a.py app:app", "cd '/srv/my app' && nohup gunicorn -c a.py app:app </dev/null &"),
        (
            "/srv/venv/bin/gunicorn -c a.py 'app:make()'",
            "cd '/srv/my app' && nohup /srv/venv/bin/gunicorn -c a.py 'app:make()' </dev/null &",
        ),
        ("cd /srv && gunicorn app:app", "cd /srv && nohup gunicorn app:app </dev/null &"),
        (
            "/usr/bin/python3 -m gunicorn app:app",
            "cd '/srv/my app' && nohup /usr/bin/python3 -m gunicorn app:app </dev/null &",
        ),
    ],
)
def test_gunicorn_is_started_so_that_the_line_ends_and_it_outlives_the_shell(line: str, printed: str) -> None:
    steps = printed_steps([verbatim(line)], "true", None, "/srv/my app")
    assert [step.en for step in steps] == [printed, "true"]


@pytest.mark.parametrize(
    "line",
    [
        "gunicorn -D app:app",
        "gunicorn --daemon app:app",
        "gunicorn app:app &",
        "systemctl start gte-api",
        "bash /srv/start-prod.sh",
        "/srv/gunicorn/start",
        "pkill -HUP gunicorn",
    ],
)
def test_any_other_line_stays_as_it_is(line: str) -> None:
    assert words(verbatim(line))[0] == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user x;\nevents { }\n", "user x;\nworker_rlimit_nofile 8192;\nevents { }\n"),
        ("worker_rlimit_nofile 64;\nevents { }\n", "worker_rlimit_nofile 8192;\nevents { }\n"),
    ],
)
def test_a_directive_outside_every_block_is_set_or_changed(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    config = nginx_config(directives=directives(text, str(file)))
    command = set_in_main_context(config, "worker_rlimit_nofile", "8192")
    assert command is not None
    subprocess.run(["sh", "-c", command], check=True)
    assert file.read_text() == expected


def test_what_starts_in_an_ended_process_s_place_waits_until_that_is_gone() -> None:
    wait = "timeout 35 tail --pid={} -f /dev/null"
    assert words(verbatim("kill -QUIT 7 8"), verbatim("nginx -t"), verbatim("nginx"))[:4] == [
        "kill -QUIT 7 8",
        wait.format(7),
        wait.format(8),
        "nginx -t",
    ]
    assert words(verbatim("kill 7"), ADVICE, verbatim("/srv/start"))[1] == wait.format(7)


def test_nothing_waits_for_a_process_in_whose_place_nothing_is_started() -> None:
    assert words(verbatim("kill -9 7"), confirm="gte-ops doctor") == ["kill -9 7", "gte-ops doctor"]
    assert words(verbatim("kill -HUP 7"), verbatim("nginx -t"))[1] == "nginx -t"
    waiting = "timeout 35 tail --pid=7 -f /dev/null || kill -9 7"
    assert words(verbatim(f"kill 7\n{waiting}\n/srv/start"))[1:4] == ["kill 7", waiting, "/srv/start"]


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (
            "location /m { proxy_set_header Host a; proxy_pass http://b; }",
            "location /m {  proxy_pass http://b; }",
        ),
        ("    proxy_set_header   Host   $host;", "    "),
        ("proxy_set_header Hostile a;", "proxy_set_header Hostile a;"),
    ],
)
def test_a_statement_is_taken_out_of_its_line(tmp_path: Path, written: str, left: str) -> None:
    file = tmp_path / "site"
    file.write_text(f"{written}\n")
    command = replaced_statement(f"{file}:1", "proxy_set_header Host", "")
    subprocess.run(shlex.split(command), check=True)
    assert file.read_text() == f"{left}\n"


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("location /static {", "location /static/ {"),
        ('location "/static" {', "location /static/ {"),
        ("location ^~ '/static'{", "location ^~ /static/{"),
        ("location /static_old {", "location /static_old {"),
        ("\tlocation\t/static\t{", "\tlocation\t/static/\t{"),
    ],
)
def test_an_argument_is_replaced_whole_or_not_at_all(tmp_path: Path, line: str, after: str) -> None:
    file = tmp_path / "site"
    file.write_text(line + "\n")
    subprocess.run(shlex.split(replaced_argument(f"{file}:1", "/static", "/static/")), check=True)
    assert file.read_text() == after + "\n"


def test_a_statement_is_replaced_after_a_tab_too(tmp_path: Path) -> None:
    file = tmp_path / "site"
    file.write_text("expires\t30d;\n")
    subprocess.run(shlex.split(replaced_statement(f"{file}:1", "expires", "")), check=True)
    assert file.read_text() == "\n"


@pytest.mark.parametrize("value", ["$host", "", "a b", "a;b", "a{b}", "it's", "#x"])
def test_a_written_argument_is_read_back_as_it_was(value: str) -> None:
    assert directives(f"add_header X {written_argument(value)};")[0].args == ("X", value)


def test_quotation_marks_in_an_argument_are_kept_as_such() -> None:
    assert written_argument('say "so"') == r'"say \"so\""'


HOLES = [
    "kill ?",
    "kill -9 '?'",
    "ps -o args= -p '?'",
    "sed -n '?'p /etc/nginx/nginx.conf",
    "ls -l ?/app.py",
    "curl -H 'Authorization: ***' https://a.example/",
    "export KEY='***'",
    replaced_in_line("/a:7", "return 200 ***", "return 200 x"),
    replaced_argument("/a:7", "***.internal", "$host"),
    replaced_argument("/a:7", "zone=?", "zone=x"),
]


@pytest.mark.parametrize("command", HOLES)
def test_a_command_without_its_value_is_never_printed(command: str) -> None:
    assert has_a_hole(command)
    steps = printed_steps((verbatim(command), verbatim("nginx -t")), "gte-ops doctor", None)
    assert [step.en for step in steps if is_command(step)] == ["nginx -t", "gte-ops doctor"]
    assert [step.en for step in steps if not is_command(step)] == [
        "One step is left out: a value in it was not seen, or is hidden; root on the host is shown a hidden one"
    ]


@pytest.mark.parametrize(
    "command",
    [
        r"sed -i '7s#\([[:space:]]\)[\"\x27]\?x[\"\x27]\?#y#' /etc/nginx/nginx.conf",
        "curl 'https://a.example/predict?text=a'",
        "grep -E 'https?://' /etc/nginx/nginx.conf",
        "nginx -T 2>/dev/null | grep -nE 'sub_filter|a?b'",
        "rm /var/cache/nginx/*",
        replaced_in_line("/a:7", "location ~ ^/predict/? {", "location ~ ^/predict {"),
        replaced_in_line("/a:7", "rewrite ^ /? permanent", "rewrite ^ / permanent"),
        "find /srv -name '?'",
        "(crontab -l; echo '* * * * * gte-ops watchdog --once') | crontab -",
    ],
)
def test_other_question_marks_and_stars_are_no_holes(command: str) -> None:
    assert not has_a_hole(command)


def test_a_judge_s_sentence_has_no_place_that_is_filled_by_nobody() -> None:
    """Of a sentence's own places, `with_places` alone fills some: those of gunicorn's settings."""
    unfilled = [
        f"{path.name}:{part.lineno}: {part.value}"
        for path in sorted(Path(steps_module.__file__).parent.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Text"
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
        if re.search(r"\{(?!\w+_place\})[a-z_]+\}", part.value)
    ]
    assert not unfilled
