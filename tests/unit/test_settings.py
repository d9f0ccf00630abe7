"""gte-ops.toml: every key has a default, an unknown key is an error that names key, file and the nearest known key."""

from __future__ import annotations

import math
import os
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.errors import SettingsError
from ops.facts.target import ExpiryRule
from ops.interpret.expiry import rules_of
from ops.settings import (
    MAX_FILE_BYTES,
    SEARCH_PATH,
    Settings,
    SettingsFile,
    find_settings_file,
    load_settings,
    parse_settings,
)
from ops.text.duration import Margin

CONTRACT = """
[target]
domain = "gte-api.example.com"
url = "https://gte-api.example.com"
connect_to = "127.0.0.1:8443"
connect_to_http = "127.0.0.1:8080"
expected_addresses = []
resolver = "127.0.0.1:5353"
health_path = "/health"
ready_path = "/ready"
predict_path = "/predict"
predict_body = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'
expect_key = "result"
slow_after_s = 3.0
[doctor]
since = "15m"
budget = "10s"
[app]
dir = "/root/build"
python = "/root/build/venv/bin/python"
wsgi = "app:app"
requires = ["flask", "gunicorn"]
progress_dir = "/run/gte-api/progress"
request_deadline = "120s"
boot_deadline = "300s"
[gunicorn]
bind = "127.0.0.1:8000"
config_file = "/root/build/gunicorn.conf.py"
pidfile = "/var/run/gte-gunicorn.pid"
access_log = "/var/log/gte-gunicorn-access.log"
error_log = "/var/log/gte-gunicorn-error.log"
control_socket = ""
unit = "gte-api.service"
start_command = ""
[nginx]
binary = "nginx"
config_file = "/etc/nginx/nginx.conf"
site_file = "/etc/nginx/conf.d/gte-api.conf"
pidfile = "/run/nginx.pid"
access_log = "/var/log/nginx/gte-access.log"
error_log = "/var/log/nginx/gte-error.log"
[tls]
certificate = "/etc/letsencrypt/live/<domain>/fullchain.pem"
private_key = "/etc/letsencrypt/live/<domain>/privkey.pem"
letsencrypt_dir = "/etc/letsencrypt"
ca_file = ""
[model]
dir = "/root/build/iic/nlp_gte_sentence-embedding_chinese-large"
[logrotate]
config_files = ["/etc/logrotate.d/nginx", "/etc/logrotate.d/gte-api"]
[schedule]
cron = ["/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs"]
systemd = ["/etc/systemd/system", "/lib/systemd/system"]
[backup]
dir = "/var/backups/gte-ops"
max_age = "36h"
keep = {daily = 7, weekly = 4, monthly = 6}
recipients = []
[watchdog]
interval = "15s"
failures = 3
restarts = {budget = 3, within = "30m"}
state_file = "/var/lib/gte-ops/watchdog.json"
[notify]
urls = []
"""


def parse(text: str) -> Settings:
    return parse_settings(text.encode(), "gte-ops.toml")


def refusal(text: str | bytes) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(SettingsError) as refused:
        parse_settings(content, "gte-ops.toml")
    message = str(refused.value)
    assert message.startswith("gte-ops.toml: ")
    assert refused.value.exit_code == 3
    return message


def test_every_key_of_the_contract_is_known_and_the_written_defaults_are_the_defaults() -> None:
    written, default = parse(CONTRACT), Settings()
    assert written.target.domain == "gte-api.example.com"
    assert written.backup == default.backup
    assert written.watchdog == default.watchdog
    assert written.doctor == default.doctor
    assert (written.schedule, written.logrotate, written.notify) == (
        default.schedule,
        default.logrotate,
        default.notify,
    )
    for name in ("health_path", "ready_path", "predict_path", "predict_body", "expect_key", "slow_after_s"):
        assert getattr(written.target, name) == getattr(default.target, name)
    # `requires` is left out: without it, what the GTE model takes is needed too where that is served.
    assert default.app.requires is None
    for name in ("wsgi", "request_deadline", "boot_deadline"):
        assert getattr(written.app, name) == getattr(default.app, name)


def test_an_empty_file_is_all_defaults() -> None:
    assert parse("") == Settings() == load_settings(None)


def test_durations_are_seconds() -> None:
    written = parse('[doctor]\nsince = "1h"\nbudget = 2.5\n[watchdog]\nrestarts = {within = "2d"}\n')
    assert (written.doctor.since, written.doctor.budget) == (3600.0, 2.5)
    assert float(written.watchdog.restarts.within) == 2 * 86400
    assert written.watchdog.restarts.budget == 3


def test_a_start_command_is_a_string_or_an_argument_list() -> None:
    assert (
        parse('[gunicorn]\nstart_command = "systemctl start x"').gunicorn.start_command == "systemctl start x"
    )
    assert parse('[gunicorn]\nstart_command = ["a", "b c"]').gunicorn.start_command == ["a", "b c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[targt]\n", ["targt", "target"]),
        ('[target]\ndomian = "x"', ["target.domian", "did you mean target.domain?"]),
        ("[backup.keep]\ndayly = 3", ["backup.keep.dayly", "backup.keep.daily"]),
        ("[watchdog]\nrestarts = {bugdet = 3}", ["watchdog.restarts.bugdet", "watchdog.restarts.budget"]),
        ('[nginx]\nletsencrypt_dir = "/x"', ["nginx.letsencrypt_dir", "did you mean tls.letsencrypt_dir?"]),
        ("[doctor]\nzzzz = 1", ["doctor.zzzz", "known here: budget, causes_dir, ignore, plugins, since"]),
    ],
)
def test_an_unknown_key_names_itself_and_the_nearest_known_one(text: str, words: list[str]) -> None:
    message = refusal(text)
    assert "unknown key" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[target]\ndomain = 5", ["target.domain", "expected `str | null`, got `int`"]),
        ("target = 3", ["target", "object"]),
        ('[doctor]\nsince = "soon"', ["doctor.since", "'soon' is not a duration", "15m"]),
        ("[doctor]\nsince = -5", ["doctor.since", "is not a duration"]),
        ("[doctor]\nsince = true", ["doctor.since", "is not a duration"]),
        ("[doctor]\nsince = inf", ["doctor.since", "is not a duration"]),
        ("[doctor]\nbudget = 1979-05-27", ["doctor.budget", "is not a duration"]),
        ('[notify]\nurls = ["x", 5]', ["notify.urls[1]"]),
        ("[target\n", ["not valid TOML", "line 1"]),
        ("[target]\n[target]\n", ["not valid TOML"]),
        (b"[target]\n# caf\xe9\n", ["line 2", "UTF-8"]),
        (b"\xff", ["line 1", "UTF-8"]),
        ("a = " + "9" * 5000, ["not valid TOML"]),
        ("a = " + "[" * 5000, ["nested too deeply"]),
    ],
)
def test_what_cannot_be_used_is_named(text: str | bytes, words: list[str]) -> None:
    message = refusal(text)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "url",
    ["gte-api.example.com", "ftp://x", "https://", "https://[::1", "https://x:99999", "https://x:y", ""],
)
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    if url:
        assert "target.url" in refusal(f"[target]\nurl = '{url}'")
    else:
        assert parse("[target]\nurl = ''").target.url == ""


@pytest.mark.parametrize("url", ["https://x", "http://x:8080", "https://[::1]:8443", "https://192.0.2.1/"])
def test_a_url_that_leads_somewhere_is_taken(url: str) -> None:
    assert parse(f"[target]\nurl = '{url}'").target.url == url


@pytest.mark.parametrize("domain", ["[", "a b", "https://x", "x:443", "x/y", "a@b", "[::1]", "\u2100"])
def test_a_domain_that_is_no_host_name_is_refused(domain: str) -> None:
    assert "target.domain" in refusal(f"[target]\ndomain = '{domain}'")


@pytest.mark.parametrize("domain", ["gte-api.example.com", "192.0.2.1", "::1", "例子.example", "under_score"])
def test_a_host_name_or_an_address_is_taken(domain: str) -> None:
    assert parse(f"[target]\ndomain = '{domain}'").target.domain == domain


@pytest.mark.parametrize("key", ["connect_to", "connect_to_http"])
def test_an_address_to_dial_names_its_port(key: str) -> None:
    assert f"target.{key}" in refusal(f'[target]\n{key} = "127.0.0.1"')
    assert "names no port" in refusal(f'[target]\n{key} = "127.0.0.1:https"')
    assert getattr(parse(f'[target]\n{key} = "[::1]:8443"').target, key) == "[::1]:8443"


@pytest.mark.parametrize("path", ["", ".", "/", "/var/lib/gte-ops/.."])
def test_the_watchdog_s_state_file_has_a_name(path: str) -> None:
    assert "names no file" in refusal(f'[watchdog]\nstate_file = "{path}"')


@pytest.mark.parametrize(
    "rate", ["", "60", "0r/s", "60r/h", "1.5r/s", "60r/m burst=9", "60r/m;", "６0r/m", "1000000r/s"]
)
def test_a_rate_that_nginx_would_refuse_is_refused(rate: str) -> None:
    assert "nginx.rate" in refusal(f"[nginx]\nrate = '{rate}'")


def test_a_rate_and_a_burst_are_taken() -> None:
    assert parse('[nginx]\nrate = "600r/m"\nburst = 0').nginx.burst == 0
    assert "nginx.burst" in refusal("[nginx]\nburst = -1")


# --- Where the file is ---


def test_a_file_that_was_named_must_exist() -> None:
    with pytest.raises(SettingsError, match=r"/no/such\.toml: no such file \(named by --config\)"):
        find_settings_file("/no/such.toml", {})
    with pytest.raises(SettingsError, match=r"named by \$GTE_OPS_CONFIG"):
        find_settings_file(None, {"GTE_OPS_CONFIG": "/no/such.toml"})


def test_the_first_of_option_environment_and_directory_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("option.toml", "environ.toml", "gte-ops.toml"):
        (tmp_path / name).write_text("")
    environ = {"GTE_OPS_CONFIG": str(tmp_path / "environ.toml")}
    assert find_settings_file(str(tmp_path / "option.toml"), environ).path == tmp_path / "option.toml"
    assert find_settings_file(None, environ).path == tmp_path / "environ.toml"
    assert find_settings_file(None, {"GTE_OPS_CONFIG": ""}).path == Path("gte-ops.toml")
    assert SEARCH_PATH == ("./gte-ops.toml", "/etc/gte-ops/gte-ops.toml")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a gte-ops.toml, and a second place where one is looked for."""
    here, second = tmp_path / "here", tmp_path / "etc"
    for place in (here, second):
        place.mkdir(mode=0o755)
        (place / "gte-ops.toml").write_text("")
        (place / "gte-ops.toml").chmod(0o644)
    monkeypatch.chdir(here)
    monkeypatch.setattr("ops.settings.file.SEARCH_PATH", ("./gte-ops.toml", str(second / "gte-ops.toml")))
    return here


def others_file(here: Path) -> str:
    os.chown(here / "gte-ops.toml", 65534, 65534)
    return "belongs to user 65534"


def others_directory(here: Path) -> str:
    os.chown(here, 65534, 65534)
    return "belongs to user 65534"


def writable_file(here: Path) -> str:
    (here / "gte-ops.toml").chmod(0o666)
    return "everybody may write"


def writable_directory(here: Path) -> str:
    here.chmod(0o777)
    return "everybody may write"


def sticky_directory(here: Path) -> str:
    here.chmod(0o1777)
    return "everybody may write"


def others_link(here: Path) -> str:
    (here / "gte-ops.toml").rename(here / "real.toml")
    (here / "gte-ops.toml").symlink_to("real.toml")
    os.chown(here / "gte-ops.toml", 65534, 65534, follow_symlinks=False)
    return "belongs to user 65534"


def link_into_others_directory(here: Path) -> str:
    theirs = here.parent / "theirs"
    theirs.mkdir()
    (here / "gte-ops.toml").rename(theirs / "gte-ops.toml")
    (here / "gte-ops.toml").symlink_to(theirs / "gte-ops.toml")
    os.chown(theirs, 65534, 65534)
    return "belongs to user 65534"


def test_a_working_directory_that_is_closed_to_us_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """runuser and sudo leave the caller's: found by another user it must end nothing, and proves no configuration."""

    def exists(self: Path) -> bool:
        if str(self) == "gte-ops.toml":
            raise PermissionError(13, "Permission denied", str(self))
        return False

    monkeypatch.setattr(Path, "exists", exists)
    assert find_settings_file(None, {}) == SettingsFile(None)


def test_a_configuration_that_may_not_be_looked_at_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "gte-ops.toml"
    monkeypatch.setattr("ops.settings.file.SEARCH_PATH", (str(closed),))
    monkeypatch.setattr("ops.settings.file.is_there", lambda _: None)
    (line,) = find_settings_file(None, {}).passed_over
    assert line.startswith(f"{closed}: not read: ")
    with pytest.raises(SettingsError, match=re.escape(f"{closed}: ")):
        load_settings(find_settings_file(str(closed), {}).path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
@pytest.mark.parametrize(
    "spoil",
    [
        others_file,
        others_directory,
        writable_file,
        writable_directory,
        sticky_directory,
        others_link,
        link_into_others_directory,
    ],
)
def test_a_configuration_that_others_could_have_written_is_passed_over_and_named_it_is_refused(
    elsewhere: Path, spoil: Callable[[Path], str]
) -> None:
    assert find_settings_file(None, {}).path == Path("gte-ops.toml")
    why = spoil(elsewhere)
    file = find_settings_file(None, {})
    assert file.path == elsewhere.parent / "etc" / "gte-ops.toml"
    (line,) = file.passed_over
    assert line.startswith(f"{elsewhere}/gte-ops.toml: not read: ")
    assert why in line
    with pytest.raises(SettingsError, match=why):
        load_settings(elsewhere / "gte-ops.toml")


def test_a_link_of_root_s_to_root_s_configuration_is_followed(elsewhere: Path) -> None:
    (elsewhere / "gte-ops.toml").rename(elsewhere / "real.toml")
    (elsewhere / "gte-ops.toml").symlink_to("real.toml")
    file = find_settings_file(None, {})
    assert (file.path, file.passed_over) == (Path("gte-ops.toml"), ())
    load_settings(file.path)


def test_a_pipe_in_its_place_is_no_configuration_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gte-ops.toml")
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings(tmp_path / "gte-ops.toml")


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[target]\ndomain = "例子.example"\n', encoding="utf-8")
    assert load_settings(file).target.domain == "例子.example"


def test_a_directory_and_a_giant_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)
    giant = tmp_path / "giant.toml"
    giant.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than 1 MiB"):
        load_settings(giant)


# --- Whatever is written ---


def outcome(content: bytes) -> str:
    """ "settings", or the refusal's words; anything else that is raised fails the test."""
    try:
        assert isinstance(parse_settings(content, "x"), Settings)
    except SettingsError as error:
        return str(error)
    return "settings"


@given(st.binary(max_size=300))
@example(b"[target]\x00")
def test_bytes_are_settings_or_refused(content: bytes) -> None:
    assert outcome(content).startswith(("settings", "x: "))


SECTIONS = {name: getattr(Settings(), name).__struct_fields__ for name in Settings().__struct_fields__}
VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(string.printable + "字\u202e", max_size=12),
        st.sampled_from(["15m", "10s", "-1s", "https://x", "http://[", "127.0.0.1:80", "<domain>"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["daily", "budget", "x"]), inner, max_size=2),
    ),
    max_leaves=4,
)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return repr(value)


@st.composite
def tables(draw: st.DrawFn) -> str:
    lines = []
    for section in draw(st.sets(st.sampled_from(sorted(SECTIONS)), min_size=1, max_size=3)):
        lines.append(f"[{section}]")
        for key in draw(st.sets(st.sampled_from(sorted((*SECTIONS[section], "nonsense"))), max_size=3)):
            lines.append(f"{key} = {toml(draw(VALUES))}")
    return "\n".join(lines)


@given(tables())
def test_tables_are_settings_or_refused(text: str) -> None:
    result = outcome(text.encode())
    assert result.startswith(("settings", "x: "))
    assert "not valid TOML" not in result


def test_thresholds_of_certificates() -> None:
    text = '[[tls.thresholds]]\nnames = ["*.example.com"]\nwarn = "20d"\nfail = "10%"\n'
    (rule,) = rules_of(parse_settings(text.encode(), "f").tls.thresholds)
    assert rule == ExpiryRule(
        names=("*.example.com",), warn=Margin(seconds=20 * 86400.0), fail=Margin(share=0.1)
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('warn = "soon"', "tls.thresholds[0].warn: 'soon' is no time left; write it like 20d, 36h or 25%"),
        ('wran = "20d"', "unknown key tls.thresholds.wran; did you mean tls.thresholds.warn?"),
    ],
)
def test_thresholds_that_cannot_be_meant(line: str, says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)):
        parse_settings(f'[[tls.thresholds]]\nnames = ["x"]\n{line}\n'.encode(), "f")
