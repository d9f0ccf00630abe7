"""Remedies that need no past: printed edits, a pair that fits, directives at their level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ops.archive.manifest import ManifestEntry
from ops.collect.services.certificate_files import certificate_files
from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.finding import quote
from ops.diagnosis.model import Cause
from ops.diagnosis.steps import put_before_line, replaced_in_line, without_line
from ops.facts.certificates import Certificates, KeyFile
from ops.facts.host import Listener
from ops.facts.machine import OpenFiles
from ops.facts.nginx import NginxTest
from ops.files.entry_kind import EntryKind
from ops.repair.certificate_pairs import archived_pair, with_intermediate
from ops.repair.model import (
    ExchangeFiles,
    FileEdit,
    Remedy,
    RepairContext,
    Replacement,
    RestartGunicorn,
    Safety,
)
from ops.repair.nginx_text import NotLocatedError, moved_before_block, replace_argument_at
from ops.repair.plan import plan
from ops.repair.printed_edits import printed_edits
from ops.text.language import Text, verbatim
from tests.lab.authority import Authority, new_key, write_lineage
from tests.unit.made_snapshot import (
    BACKEND,
    DOMAIN,
    GUNICORN_COMMAND,
    HEALTHY,
    MACHINE,
    NGINX_CONF,
    NGINX_PROCESSES,
    SITE,
    SITE_FILE,
    TARGET,
    but,
    nginx_config,
    process,
    processes,
)

# Of the block that proxies.
LOCATION = "    location / {\n"
START = "systemctl start gte-api.service"


def cause(code: str, *fix: str, evidence: str = "") -> Cause:
    entry = catalogue().entry(code)
    return Cause(
        code,
        entry.severity,
        entry.title,
        entry.summary,
        (),
        (quote(evidence, "seen"),) if evidence else (),
        verbatim("true"),
        tuple(map(verbatim, fix)),
    )


def planned(code: str, site: str = SITE, *, evidence: str = "", snapshot: object = None) -> Remedy:
    """The first remedy of a cause on a host whose site file holds ``site``."""
    names = {SITE_FILE: SITE_FILE, NGINX_CONF: NGINX_CONF}
    entries = {
        path: ManifestEntry(
            path=path.strip("/"), kind=EntryKind.FILE, mode=0o644, uid=0, gid=0, modified_ns=0
        )
        for path in names
    }
    context = RepairContext(
        files={SITE_FILE: site.encode(), NGINX_CONF: b"user www-data;\npid /run/nginx.pid;\n"},
        real=names,
        entries=entries,
        start=START,
    )
    seen = snapshot or but(nginx_config=nginx_config(site))
    remedy, *_ = plan((cause(code, evidence=evidence),), seen, context)  # type: ignore[arg-type]
    return remedy


def content(remedy: Remedy) -> str:
    """What the remedy puts into its one file."""
    assert isinstance(remedy.action, ExchangeFiles)
    (file,) = remedy.action.files
    return file.content.decode()


# --- text -------------------------------------------------------------------------------------------------------------

MISPLACED = """\
upstream a { server 127.0.0.1:1; }
server {
    listen 80;
    limit_req_zone $binary_remote_addr zone=api:10m rate=10r/s;
    location / { limit_req zone=api; }
}
"""


def test_a_directive_is_moved_before_the_server_block() -> None:
    moved = moved_before_block(MISPLACED, 4, "limit_req_zone", "server")
    zone = "limit_req_zone $binary_remote_addr zone=api:10m rate=10r/s;"
    assert moved == MISPLACED.replace(f"    {zone}\n", "").replace("server {\n", f"{zone}\nserver {{\n", 1)


def test_a_directive_in_no_block_is_not_moved() -> None:
    with pytest.raises(NotLocatedError):
        moved_before_block("limit_req_zone a;\n", 1, "limit_req_zone", "server")


def test_one_word_of_a_condition_is_replaced() -> None:
    text = "if ($http_user_agent ~* (curl|nikto)) {\n    return 403;\n}\n"
    assert replace_argument_at(text, 1, "if", "(curl|nikto)", "(nikto)") == text.replace("curl|", "")
    with pytest.raises(NotLocatedError):
        replace_argument_at(text, 1, "if", "wget", "x")


# --- printed edits ----------------------------------------------------------------------------------------------------

FILE = "/etc/nginx/a.conf"


def edits_of(*lines: str, text: str = "one;\ntwo  2;\nthree;\n") -> str | None:
    """The text after the printed lines; None if nothing is edited."""
    edits = printed_edits(cause("NGX030", *lines), TARGET, {FILE: text.encode()}, {FILE: "/real/a.conf"})
    assert {edit.path for edit in edits} <= {"/real/a.conf"}
    return edits[0].after.decode() if edits else None


def test_printed_lines_are_done_in_their_order() -> None:
    lines = (replaced_in_line(f"{FILE}:2", "two 2;", "2&;"), without_line(f"{FILE}:1"))
    assert edits_of(*lines, TARGET.test_nginx, "gte-ops doctor") == "2&;\nthree;\n"
    assert edits_of(put_before_line(f"{FILE}:3", "deny all;")) == "one;\ntwo  2;\ndeny all;\nthree;\n"


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /etc/nginx",
        "sed -i --follow-symlinks 1d /etc/passwd",
        f"sed -i --follow-symlinks 1d {FILE} && reboot",
        f"sed -i --follow-symlinks '1e touch /tmp/gte-ops-was-here' {FILE}",
        f"sed -i --follow-symlinks 'w /tmp/gte-ops-was-here' {FILE}",
        f"sed -i 1d {FILE}",
    ],
)
def test_a_line_that_does_something_else_is_not_done(line: str) -> None:
    assert edits_of(without_line(f"{FILE}:1"), line) is None
    assert not Path("/tmp/gte-ops-was-here").exists()


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_zone_in_a_server_block_goes_to_the_http_level() -> None:
    site = SITE.replace("    server_name", "    limit_req_zone $uri zone=z:1m rate=1r/s;\n    server_name", 1)
    line = site[: site.index("limit_req_zone $uri")].count("\n") + 1
    words = f'nginx: [emerg] "limit_req_zone" directive is not allowed here in {SITE_FILE}:{line}'
    test = NginxTest(command=("nginx", "-t"), exit_code=1, lines=(words,))
    remedy = planned("NGX003", site, snapshot=but(nginx_config=nginx_config(site), nginx_test=test))
    assert content(remedy).index("limit_req_zone $uri") < content(remedy).index("server {")
    assert remedy.safety is Safety.SAFE


def test_documented_clients_are_taken_out_of_the_filter() -> None:
    filter_ = "if ($http_user_agent ~* (sqlmap|curl|python-requests)) { return 403; }"
    site = SITE.replace(LOCATION, f"    {filter_}\n{LOCATION}", 1)
    remedy = planned("NGX010", site)
    assert content(remedy) == site.replace("(sqlmap|curl|python-requests)", "(sqlmap)")
    assert remedy.safety is Safety.RISKY


def test_a_filter_of_documented_clients_alone_is_a_person_s() -> None:
    site = SITE.replace(LOCATION, "    if ($http_user_agent ~* curl) { return 403; }\n" + LOCATION, 1)
    assert planned("NGX010", site).action is None


def test_a_redirect_of_predictions_becomes_a_proxy() -> None:
    site = SITE.replace(LOCATION, "    location = /predict { return 301 /predict/; }\n" + LOCATION, 1)
    remedy = planned("NGX014", site)
    assert "return 301 /predict/;" not in content(remedy)
    assert "location = /predict { proxy_pass http" in content(remedy)


@pytest.mark.parametrize("name", ["nginx", "gunicorn"])
def test_few_open_files_are_more_by_configuration_or_by_a_restart(name: str) -> None:
    machine = msgspec.structs.replace(
        MACHINE, open_files=(OpenFiles(pid=77, process=name, soft=256, used=10),)
    )
    remedy = planned(
        "HST004",
        evidence="/proc/77/limits",
        snapshot=but(machine=machine, nginx_config=nginx_config(SITE)),
    )
    if name == "gunicorn":
        assert isinstance(remedy.action, RestartGunicorn)
    else:
        assert "worker_rlimit_nofile 65535;" in content(remedy)


def test_a_second_copy_is_ended_and_a_stranger_is_not() -> None:
    for cwd, is_ended in ((TARGET.app_dir, True), ("/srv/shop", False)):
        copy = process(900, 1, *GUNICORN_COMMAND, cwd=cwd)
        listener = Listener(address=BACKEND, pids=(900,))
        seen = but(
            processes=processes(NGINX_PROCESSES, (copy,), listeners=(listener,)),
            target=msgspec.structs.replace(TARGET, gunicorn_master=None, gunicorn_workers=()),
        )
        remedy = planned("GUN012", snapshot=seen)
        assert isinstance(remedy.action, RestartGunicorn) is is_ended
        if isinstance(remedy.action, RestartGunicorn):
            assert remedy.action.master.pid == 900


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.fixture
def letsencrypt(tmp_path: Path) -> Path:
    """Two versions: the links lead to the second, whose key is another's."""
    authority = Authority()
    write_lineage(tmp_path, DOMAIN, authority.issue([DOMAIN]), version=1)
    odd = dataclasses.replace(authority.issue([DOMAIN]), key=new_key())
    write_lineage(tmp_path, DOMAIN, odd, version=2)
    return tmp_path


def now_of(letsencrypt: Path) -> float:
    return (letsencrypt / "archive" / DOMAIN / "cert1.pem").stat().st_mtime


def target_in(letsencrypt: Path) -> object:
    live = letsencrypt / "live" / DOMAIN
    return msgspec.structs.replace(
        TARGET,
        letsencrypt_dir=str(letsencrypt),
        certificate=str(live / "fullchain.pem"),
        private_key=str(live / "privkey.pem"),
    )


def test_the_newest_pair_that_fits_is_linked(letsencrypt: Path) -> None:
    files = archived_pair(target_in(letsencrypt), now_of(letsencrypt))  # type: ignore[arg-type]
    assert [Path(file.path).name for file in files] == [
        "cert.pem", "privkey.pem", "chain.pem", "fullchain.pem",
    ]  # fmt: skip
    assert {file.entry.target for file in files if file.entry} == {
        f"../../archive/{DOMAIN}/{stem}1.pem" for stem in ("cert", "privkey", "chain", "fullchain")
    }


def test_a_pair_that_has_ended_or_is_of_another_name_does_not_fit(letsencrypt: Path) -> None:
    later = now_of(letsencrypt) + 400 * 86400
    assert archived_pair(target_in(letsencrypt), later) == ()  # type: ignore[arg-type]
    other = msgspec.structs.replace(target_in(letsencrypt), domain="other.example")  # type: ignore[type-var]
    assert archived_pair(other, now_of(letsencrypt)) == ()  # type: ignore[arg-type]


def test_the_key_that_lies_beside_the_certificate_is_named() -> None:
    other = KeyFile(path="/etc/ssl/right.key", resolved="/etc/ssl/right.key", public_key="00")
    certificates = msgspec.structs.replace(HEALTHY.certificates, other_keys=(other,))
    remedy = planned("TLS007", snapshot=but(certificates=certificates, nginx_config=nginx_config(SITE)))
    assert "ssl_certificate_key /etc/ssl/right.key;" in content(remedy)


# --- a damaged certificate --------------------------------------------------------------------------------------------


def site_files(letsencrypt: Path, damage: Callable[[bytes], bytes]) -> Certificates:
    """The site's files as they are read, fullchain.pem being damaged."""
    chain = (letsencrypt / "live" / DOMAIN / "fullchain.pem").resolve()
    chain.write_bytes(damage(chain.read_bytes()))
    return certificate_files(target_in(letsencrypt), HEALTHY.nginx_config)  # type: ignore[arg-type]


@pytest.fixture
def lineage_alone(tmp_path: Path) -> Path:
    write_lineage(tmp_path, DOMAIN, Authority().issue([DOMAIN]))
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-150], id="cut off"),
        pytest.param(lambda content: b"".join(content.splitlines(keepends=True)[:4]), id="cut off early"),
        pytest.param(
            lambda content: b"".join(
                line for n, line in enumerate(content.splitlines(keepends=True)) if n != 4
            ),
            id="a line is lost",
        ),
    ],
)
def test_what_is_lost_of_the_chain_lies_beside_it(
    lineage_alone: Path, damage: Callable[[bytes], bytes]
) -> None:
    live = lineage_alone / "live" / DOMAIN
    whole = (live / "fullchain.pem").read_bytes()
    file = with_intermediate(site_files(lineage_alone, damage))
    assert file is not None
    assert file.content.split() == whole.split()


def test_another_s_certificate_beside_the_damaged_chain_does_not_replace_it(lineage_alone: Path) -> None:
    other = Authority().issue([DOMAIN])
    (lineage_alone / "archive" / DOMAIN / "cert1.pem").write_bytes(other.pem)
    assert with_intermediate(site_files(lineage_alone, lambda content: content[:100])) is None


def test_an_older_pair_takes_the_place_of_a_damaged_certificate() -> None:
    pair = (Replacement("/l/live/x/cert.pem", None, b"", Text(en="version 1", zh="第 1 版"), None),)
    for code in ("TLS001", "TLS021", "TLS022"):
        remedy, *_ = plan((cause(code),), HEALTHY, RepairContext(pair=pair, start=START))
        assert isinstance(remedy.action, ExchangeFiles), code


def test_lines_that_alone_are_wrong_are_edited_as_the_fix_says() -> None:
    pair = (Replacement("/l/live/x/cert.pem", None, b"", Text(en="version 1", zh="第 1 版"), None),)
    edit = FileEdit("/l/fullchain.pem", b"a", b"b")
    entry = ManifestEntry(
        path="l/fullchain.pem", kind=EntryKind.FILE, mode=0o644, uid=0, gid=0, modified_ns=0
    )
    context = RepairContext(pair=pair, printed={"TLS021": (edit,)}, entries={edit.path: entry}, start=START)
    remedy, *_ = plan((cause("TLS021"),), HEALTHY, context)
    assert isinstance(remedy.action, ExchangeFiles)
    assert [file.path for file in remedy.action.files] == [edit.path]
