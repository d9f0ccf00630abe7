"""`gte-ops config`: every key of gte-ops.toml has its text in both languages, its origin, its check and its schema."""

from __future__ import annotations

import io
import json
import re
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import ops.cli.main
from ops.errors import SettingsError
from ops.report import render
from ops.report.config import SettingsReport, keys_in, shown_value
from ops.report.config_reference import (
    SettingKey,
    json_schema,
    key_values,
    plain_value,
    sample,
    setting_tables,
    toml_value,
    type_words,
    written_duration,
)
from ops.settings import Section, Settings, SettingsFile, parse_settings, settings_errors
from ops.text.duration import parse_duration

KEYS = [(table, key) for table in setting_tables() for key in table.keys]
IDS = [f"{table.name}.{key.name}" for table, key in KEYS]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PASSWORD = "hunter2xyzzy"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `gte-ops config` in an empty directory: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GTE_OPS_CONFIG", raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr("ops.settings.file.SEARCH_PATH", ("./gte-ops.toml",))

    def command(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gte-ops", "config", *args])
        with pytest.raises(SystemExit) as ended:
            ops.cli.main.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def leaves(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
    """Names of the keys of a section as msgspec knows them, by its own inspection."""
    keys = set()
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        inner = field.type.type if isinstance(field.type, msgspec.inspect.Metadata) else field.type
        if isinstance(inner, msgspec.inspect.StructType):
            keys |= leaves(inner.cls, f"{prefix}{field.encode_name}.")
        else:
            keys.add(f"{prefix}{field.encode_name}")
    return keys


# --- every key is said ------------------------------------------------------------------------------------------------


def test_every_key_that_the_file_may_have_is_in_the_reference() -> None:
    assert {name for name, _, _ in key_values(Settings())} == leaves(Settings)
    entries = {table.name: {key.name for key in table.keys} for table in setting_tables() if table.is_list}
    assert entries == {
        "doctor.ignore": {"code", "reason", "until"},
        "nginx.upstream": {"address", "weight", "backup", "max_fails", "fail_timeout"},
        "tls.thresholds": {"names", "warn", "fail"},
    }


@pytest.mark.parametrize(("table", "key"), KEYS, ids=IDS)
def test_a_key_has_a_meaning_in_both_languages_and_the_version_that_brought_it(
    table: Any, key: SettingKey
) -> None:
    assert len(key.meaning.en) > 10
    assert not CHINESE.search(key.meaning.en)
    assert CHINESE.search(key.meaning.zh)
    assert key.meaning.en.endswith(".")
    assert key.meaning.zh.endswith("。")
    assert re.fullmatch(r"\d+\.\d+\.\d+", key.since)
    assert CHINESE.search(table.about.zh)
    assert table.about.en.endswith(".")


@pytest.mark.parametrize(("table", "key"), KEYS, ids=IDS)
def test_a_bare_number_has_a_unit_and_a_missing_default_is_explained(table: Any, key: SettingKey) -> None:
    assert (key.unit is not None) is (key.kind in (int, float))
    if key.is_empty:
        assert key.unset is not None
        assert CHINESE.search(key.unset.zh) or key.unset.zh.isascii()
    else:
        assert key.unset is None
    assert type_words(key, "en")
    assert CHINESE.search(type_words(key, "zh")) or key.kind == Literal["zst", "gz"]
    assert table


@pytest.mark.parametrize(("table", "key"), KEYS, ids=IDS)
def test_an_example_is_a_value_that_the_file_may_have_and_no_default(table: Any, key: SettingKey) -> None:
    if table.is_list:
        others = {other.name: other.example for other in table.keys if other.default is msgspec.NODEFAULT} | {
            key.name: key.example
        }
        section, _, name = table.name.partition(".")
        text = f"{section}.{name} = [{toml_value(others)}]"
    else:
        text = f"{table.name}.{key.name} = {toml_value(key.example)}"
    assert settings_errors(tomllib.loads(text)) == ()
    parse_settings(text.encode(), "example")
    assert key.example != plain_value(key.default)


def test_a_field_that_says_nothing_is_noticed() -> None:
    from ops.report.config_reference import _annotated

    class Bare(Section, frozen=True):
        silent: int = 3

    Bare.__annotations__["silent"] = int
    with pytest.raises(TypeError, match="silent says nothing"):
        _annotated(Bare)


# --- sample -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_sample_names_every_key_and_says_no_more_than_an_empty_file(language: Any) -> None:
    text = sample(language)
    assert parse_settings(text.encode(), "sample") == Settings()
    for _, key in KEYS:
        if type_words(key, "en") != "array of tables":
            assert re.search(rf"^(#: )?{re.escape(key.name)} = ", text, re.MULTILINE), key.name
    set_here = keys_in(tomllib.loads(text))
    assert set_here == {name for name, key, _ in key_values(Settings()) if not key.is_empty}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_of_the_sample_can_be_used_once_their_mark_is_taken_away(language: Any) -> None:
    text = sample(language).replace("#: ", "")
    settings = parse_settings(text.encode(), "sample")
    assert settings.target.domain == "gte-api.example.com"
    assert settings.doctor.ignore[0].until == date(2027, 1, 31)
    assert settings.tls.thresholds[0].names == ("*.corp.example.com",)
    assert keys_in(tomllib.loads(text)) == {name for name, _, _ in key_values(Settings())}


def test_the_sample_is_utf_8_whatever_the_locale(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    run("sample")
    assert parse_settings(written.getvalue(), "sample") == Settings()


def test_the_sample_is_in_the_reader_s_language_and_within_a_terminal_s_width() -> None:
    assert "不设置时" in sample("zh")
    assert "不设置时" not in sample("en")
    comments = [line for line in sample("en").splitlines() if line.startswith("# ")]
    assert max(map(len, comments)) <= 102


# --- schema -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_schema_is_one_and_holds_for_the_sample_with_all_its_examples(language: Any) -> None:
    schema = json_schema(language)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for text in ("", sample(language), sample(language).replace("#: ", "")):
        validator.validate(as_json(tomllib.loads(text)))


@pytest.mark.parametrize(
    "text",
    [
        "[targt]",
        "[target]\ndomian = 'x'",
        "[doctor]\nbudget = 'soon'",
        "[doctor]\nbudget = -1",
        "[backup.keep]\ndaily = 'x'",
        "[backup.keep]\nhourly = 1",
        "[backup]\ncompression = 'xz'",
        "[[doctor.ignore]]\ncode = 'GUN013'",
        "[gunicorn]\nstart_command = 3",
    ],
)
def test_the_schema_refuses_what_the_commands_refuse(text: str) -> None:
    document = tomllib.loads(text)
    assert settings_errors(document)
    assert not Draft202012Validator(json_schema("en")).is_valid(as_json(document))


def as_json(document: Any) -> Any:
    return json.loads(json.dumps(document, default=lambda value: value.isoformat()))


def test_the_schema_says_meaning_default_and_example_of_each_key(run: Run) -> None:
    code, out, _ = run("schema", "--lang", "zh")
    assert code == 0
    budget = json.loads(out)["properties"]["doctor"]["properties"]["budget"]
    assert budget["default"] == "10s"
    assert budget["examples"] == ["20s"]
    assert "诊断" in budget["description"]


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_says_of_every_value_whether_the_file_or_the_default_set_it(run: Run) -> None:
    Path("gte-ops.toml").write_text('[target]\ndomain = "a.example.com"\n[backup.keep]\ndaily = 7\n')
    code, out, err = run("show", "--format", "json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert document["file"] == str(Path("gte-ops.toml").absolute())
    origins = {item["key"]: item["origin"] for item in document["values"]}
    assert set(origins) == {name for name, _, _ in key_values(Settings())}
    # A value that the file sets to what the default is nevertheless comes from the file.
    assert {name for name, origin in origins.items() if origin == "file"} == {
        "target.domain",
        "backup.keep.daily",
    }
    values = {item["key"]: item["value"] for item in document["values"]}
    assert values["doctor.since"] == "15m"
    assert values["target.connect_to"] is None


def test_show_names_the_file_and_what_is_used_for_a_key_that_is_not_set(run: Run) -> None:
    code, out, _ = run("show", "--lang", "en")
    assert code == 0
    assert "No gte-ops.toml was read" in out
    assert "default  target.url not set: https://DOMAIN\n" in out
    Path("gte-ops.toml").write_text('[doctor]\nsince = "1h"\n')
    code, out, _ = run("show", "--lang", "zh")
    assert f"读取的文件：{Path('gte-ops.toml').absolute()}" in out
    assert '文件  doctor.since = "1h"\n' in out


@pytest.mark.parametrize("form", ["text", "json"])
def test_show_masks_every_secret(form: str) -> None:
    text = (
        f'[notify]\nurls = ["dingtalk://{PASSWORD}@TOKEN", "mailtos://me:{PASSWORD}@example.com"]\n'
        f'[backup]\nto = ["restic:rest:https://me:{PASSWORD}@example.com/x"]\n'
        f'[gunicorn]\nstart_command = ["start", "--password", "{PASSWORD}"]\n'
        f'[target]\nurl = "https://me:{PASSWORD}@example.com"\npredict_body = \'{{"api_key": "{PASSWORD}"}}\'\n'
    )
    out = io.StringIO()
    settings = parse_settings(text.encode(), "x")
    render(form, SettingsReport(settings, SettingsFile(None), tomllib.loads(text)), "en", out)
    assert PASSWORD not in out.getvalue()
    assert "dingtalk://***" in out.getvalue()
    assert "TOKEN" not in out.getvalue()


def test_what_opens_no_door_is_shown_whole() -> None:
    recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    assert shown_value((recipient,)) == [recipient]
    assert shown_value("/etc/gte-ops/backup_key") == "/etc/gte-ops/backup_key"


def test_show_of_a_file_that_cannot_be_used_is_one_line_and_exits_3(run: Run) -> None:
    Path("gte-ops.toml").write_text("[target]\ndomian = 1\n")
    code, out, err = run("show")
    assert (code, out) == (3, "")
    assert err == "gte-ops: gte-ops.toml: unknown key target.domian; did you mean target.domain?\n"


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_names_all_errors_with_file_key_and_the_nearest_key(run: Run) -> None:
    Path("mine.toml").write_text(
        '[targt]\n[target]\ndomian = "x"\nurl = "ftp://x"\nslow_after_s = "x"\n[backup.keep]\ndayly = 3\n'
        '[doctor]\nbudget = "soon"\n[[tls.thresholds]]\nnames = ["x"]\nwarn = "much"\n'
    )
    code, out, err = run("check", "mine.toml", "--lang", "en")
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[:3] == [
        "mine.toml: unknown key targt; did you mean target?",
        "mine.toml: unknown key target.domian; did you mean target.domain?",
        "mine.toml: unknown key backup.keep.dayly; did you mean backup.keep.daily?",
    ]
    assert any(line.startswith("mine.toml: target.url: 'ftp://x' cannot be dialled") for line in lines)
    assert any(line.startswith("mine.toml: target.slow_after_s: expected `float`") for line in lines)
    assert any(line.startswith("mine.toml: doctor.budget: 'soon' is not a duration") for line in lines)
    assert any(line.startswith("mine.toml: tls.thresholds[0].warn: 'much'") for line in lines)
    assert lines[-1] == "mine.toml: cannot be used; errors: 7"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[doctor]\nbudget = "1h"', "doctor.budget: choose between 1s and 5m"),
        (
            "[backup]\nkeep = {last = 0, daily = 0, weekly = 0, monthly = 0}",
            "backup.keep: this would keep no backup",
        ),
        ('[backup]\nto = ["rclone:x:y", "ftp:z"]', "backup.to[1]: 'ftp:z' is no destination"),
        ('[notify]\nurls = ["nonsense"]', "notify.urls[0] (***): not an Apprise URL"),
        ('[notify]\nca_file = "/nowhere/root.pem"', "notify.ca_file /nowhere/root.pem: No such file"),
        ('[notify]\nca_file = "/dev/null"', "notify.ca_file /dev/null: not a regular file"),
        ('[target]\nheaders_file = "/nowhere/headers"', "target.headers_file /nowhere/headers: No such file"),
        ('[target]\nheaders_file = "/dev/null"', "target.headers_file /dev/null: not a regular file"),
        ("[target\n", "not valid TOML"),
    ],
)
def test_check_finds_what_the_command_that_uses_a_value_would_refuse(run: Run, text: str, words: str) -> None:
    Path("gte-ops.toml").write_text(text)
    code, out, _ = run("check", "--format", "json")
    document = json.loads(out)
    assert (code, document["status"], document["schema_version"]) == (3, "unknown", 1)
    assert len(document["errors"]) == 1
    assert words in document["errors"][0]


def test_check_of_a_good_file_exits_0_and_counts_its_keys(run: Run) -> None:
    Path("gte-ops.toml").write_text('[target]\ndomain = "a.example.com"\n')
    assert run("check", "--lang", "en") == (0, "gte-ops.toml: can be used; keys set: 1\n", "")
    code, out, _ = run("check", "--format", "json", "--config", "gte-ops.toml")
    assert code == 0
    assert json.loads(out) == {
        "schema_version": 1,
        "file": "gte-ops.toml",
        "status": "ok",
        "keys_set": ["target.domain"],
        "errors": [],
    }


def test_check_without_a_file_says_that_defaults_are_used(run: Run) -> None:
    code, out, err = run("check", "--lang", "en")
    assert (code, err) == (0, "")
    assert out.startswith("No gte-ops.toml was read: every key has its default.")


@pytest.mark.parametrize("by_name", [True, False])
def test_check_says_that_a_file_which_others_may_write_is_not_read(run: Run, by_name: bool) -> None:
    Path("gte-ops.toml").write_text('[target]\ndomain = "a.example.com"\n')
    Path("gte-ops.toml").chmod(0o666)
    code, out, _ = run("check", *(("gte-ops.toml",) if by_name else ()), "--lang", "en")
    assert code == 3
    assert "not read: " in out
    assert "cannot be used; errors: 1" in out


VALUES = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=False),
    st.sampled_from(["", "10s", "soon", "https://x", "x:1", "zst", "10%"]),
    st.lists(st.sampled_from(["a", "b", 3]), max_size=2),
    st.dictionaries(
        st.sampled_from(["daily", "budget", "within", "x"]), st.sampled_from([1, "1h", "x"]), max_size=2
    ),
    st.lists(
        st.dictionaries(st.sampled_from(["names", "warn", "code"]), st.sampled_from(["1d", ["x"], "x"]))
    ),
)
NAMES = [*sorted({name.split(".")[1] for name in IDS}), "unknown"]
DOCUMENTS = st.dictionaries(
    st.sampled_from([*Settings.__struct_fields__, "unknown"]),
    st.one_of(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), VALUES),
    max_size=3,
)


@given(document=DOCUMENTS)
def test_a_file_has_errors_exactly_where_a_command_refuses_it_and_the_first_is_among_them(
    document: dict[str, Any],
) -> None:
    errors = settings_errors(document)
    text = "\n".join(f"{name} = {toml_value(value)}" for name, value in document.items())
    if errors:
        with pytest.raises(SettingsError) as refused:
            parse_settings(text.encode(), "x")
        assert str(refused.value).removeprefix("x: ") in [error.en for error in errors]
    else:
        parse_settings(text.encode(), "x")


def test_check_takes_one_file(run: Run) -> None:
    code, out, err = run("check", "a.toml", "--config", "b.toml")
    assert (code, out) == (3, "")
    assert "not both" in err
    code, out, _ = run("check", "/no/such.toml")
    assert code == 3
    assert "No such file" in out


# --- values as they are written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["0s", "10s", "90s", "15m", "30m", "36h", "24h", "3d", "7d", "250ms", "2500ms"]
)
def test_a_duration_is_written_as_people_write_it(written: str) -> None:
    assert written_duration(parse_duration(written)) == written


def test_a_number_without_end_is_written_as_toml_and_json_can(run: Run) -> None:
    Path("gte-ops.toml").write_text("[target]\nslow_after_s = inf\n")
    assert "target.slow_after_s = inf\n" in run("show")[1]
    out = run("show", "--format", "json")[1]
    values = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["values"]
    assert {"inf"} == {item["value"] for item in values if item["key"] == "target.slow_after_s"}


@pytest.mark.parametrize(
    "value", ["plain", 'a "quote"', 'it\'s "both"', "back\\slash", "line\nbreak", "\x7f", "中"]
)
def test_a_text_is_written_so_that_toml_reads_it_back(value: str) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}


@pytest.mark.parametrize("command", [[], ["show"], ["check"], ["schema"], ["sample"]])
def test_help_shows_an_example_in_both_languages(run: Run, command: list[str]) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert " ".join(["gte-ops config", *command]) in out.partition("Example:")[2]
    assert CHINESE.search(out)
