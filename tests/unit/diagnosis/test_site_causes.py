"""Causes that a site defines: what a file may say, where an error stands, and when a cause is proven."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

import ops.diagnosis.plugins
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.model import CheckStatus, Diagnosis, Status
from ops.diagnosis.plugins import load_plugins
from ops.diagnosis.site_causes import SiteCauseError, site_checks
from ops.diagnosis.site_causes_file import parse_site_causes
from ops.diagnosis.site_causes_replay import replayed
from ops.errors import SettingsError
from ops.facts.base import NotSeen
from ops.facts.host import Host
from ops.facts.site_causes import ProofObservation, SiteCauses
from ops.facts.snapshot import Snapshot, from_json, to_json
from ops.interpret.redaction import redacted
from tests.unit.made_snapshot import HEALTHY, without_gunicorn

LICENCE = r"""
[SITE001]
explains = ["http.500"]
outranks = ["APP004"]
places = ["environment_file"]
fix = ["systemctl restart {unit}", { en = "Ask the owner of {server}.", zh = "请联系 {server} 的负责人。" }]

[SITE001.en]
title = "The licence server refuses"
summary = "The licence server {server} refuses the application."

[[SITE001.proof]]
log = "gunicorn_error"
pattern = 'licence server (?<server>\S+) refused (?<unit>\S+)'

[[SITE001.proof]]
process = "licence-agent"
present = false
"""


def definition(source: str = LICENCE) -> Any:
    return parse_site_causes(source.encode(), "/etc/gte-ops/causes.d/licence.toml")[0]


HOLDS = ProofObservation(
    holds=True,
    source="/var/log/app.log",
    detail="licence server lic1 refused",
    values={"server": "lic1", "unit": "a b"},
)
FAILS = ProofObservation(holds=False, source="processes", detail="pid 7: licence-agent")
UNSEEN = NotSeen(reason="/var/log/app.log cannot be read: Permission denied", needs_root=True)


def diagnosed(*observations: ProofObservation | NotSeen, snapshot: Snapshot = HEALTHY) -> Diagnosis:
    one = definition()
    site = SiteCauses(causes=(one.observed(observations),))
    return diagnose(replace(snapshot, site_causes=site), (*CHECKS, *site_checks([one])))


def test_a_cause_is_proven_if_all_its_conditions_hold() -> None:
    diagnosis = diagnosed(HOLDS, HOLDS)
    (cause,) = diagnosis.causes
    assert (cause.code, diagnosis.status) == ("SITE001", Status.FAIL)
    assert cause.summary.en == "The licence server lic1 refuses the application."
    assert cause.evidence[0].detail.en == "licence server lic1 refused"


def test_what_a_pattern_matched_is_quoted_in_a_command_and_not_in_a_sentence() -> None:
    fix = [step.en for step in diagnosed(HOLDS, HOLDS).causes[0].fix]
    assert fix[:2] == ["systemctl restart 'a b'", "Ask the owner of lic1."]


def test_a_chinese_step_is_chinese_and_a_text_of_one_language_serves_both() -> None:
    cause = diagnosed(HOLDS, HOLDS).causes[0]
    assert cause.fix[1].zh == "请联系 lic1 的负责人。"
    assert cause.title.zh == "The licence server refuses"


@pytest.mark.parametrize("observations", [(HOLDS, FAILS), (FAILS, UNSEEN)])
def test_one_condition_that_does_not_hold_ends_it(observations: tuple[Any, ...]) -> None:
    diagnosis = diagnosed(*observations)
    assert (diagnosis.causes, diagnosis.status) == ((), Status.OK)


def test_a_condition_that_was_not_seen_leaves_the_cause_unjudged() -> None:
    diagnosis = diagnosed(HOLDS, UNSEEN)
    (result,) = [result for result in diagnosis.checks if result.id == "site.site001"]
    assert result.status is CheckStatus.SKIP
    assert result.skipped_because is not None
    assert "Permission denied" in result.skipped_because.en


def test_it_outranks_what_it_says() -> None:
    """GUN001 is what the doctor finds by itself on this host."""
    source = LICENCE.replace('["APP004"]', '["GUN001"]')
    one = definition(source)
    site = SiteCauses(causes=(one.observed((HOLDS, HOLDS)),))
    alone = diagnose(without_gunicorn(), CHECKS)
    diagnosis = diagnose(replace(without_gunicorn(), site_causes=site), (*CHECKS, *site_checks([one])))
    assert alone.causes[0].code == "GUN001"
    assert diagnosis.causes[0].code == "SITE001"
    assert "GUN001" in diagnosis.causes[0].explains


def test_a_bundle_is_diagnosed_elsewhere_the_same() -> None:
    site = SiteCauses(causes=(definition().observed((HOLDS, HOLDS)),))
    bundle = from_json(to_json(redacted(replace(HEALTHY, site_causes=site))))
    elsewhere = diagnose(bundle, (*CHECKS, *site_checks([definition()])))
    assert [cause.code for cause in elsewhere.causes] == ["SITE001"]
    assert elsewhere.causes[0].fix == diagnosed(HOLDS, HOLDS).causes[0].fix


def test_a_damaged_definition_in_a_bundle_is_no_crash() -> None:
    cause = replace(definition().observed((HOLDS, HOLDS)), definition={"proof": 3})
    diagnosis = diagnose(replace(HEALTHY, site_causes=SiteCauses(causes=(cause,))), CHECKS)
    assert diagnosis.status is Status.OK


PROOF = '[SITE001.en]\ntitle = "t"\nsummary = "s"\n[[SITE001.proof]]\n'


ERRORS = [
    ("[GUN001]\nx = 1\n", 1, "'GUN001' is no code of a site"),
    ("[site1]\nx = 1\n", 1, "'site1' is no code of a site"),
    ("SITE001 = 3\n", 1, "write [SITE001] as a table"),
    (f'\n[SITE001]\nexplain = []\n{PROOF}process = "a"\n', 3, "unknown field `explain`"),
    ('[SITE001]\n[SITE001.en]\ntitle = "t"\nsummary = "s"\n', 1, "missing required field `proof`"),
    ('[SITE001]\nproof = []\n[SITE001.en]\ntitle = "t"\nsummary = "s"\n', 2, "no condition"),
    (
        '[SITE001]\n[SITE001.en]\ntitle = "t"\n[[SITE001.proof]]\nprocess = "a"\n',
        2,
        "en.summary is missing",
    ),
    (f'[SITE001]\nseverity = "bad"\n{PROOF}process = "a"\n', 2, "severity: fail or warn"),
    (f'[SITE001]\nexplains = ["slow"]\n{PROOF}process = "a"\n', 2, "no symptom is called 'slow'"),
    (f'[SITE001]\noutranks = ["APP999"]\n{PROOF}process = "a"\n', 2, "no cause is called 'APP999'"),
    (f'[SITE001]\nplaces = ["disk"]\n{PROOF}process = "a"\n', 2, "places: 'disk' begins with none of"),
    (f'[SITE001]\nfix = ["kill {{pid}}"]\n{PROOF}process = "a"\n', 2, "{pid} is neither a value"),
    (f"[SITE001]\n{PROOF}", 5, "exactly one of log, url"),
    (f'[SITE001]\n{PROOF}process = "a"\nfile = "/x"\n', 7, "exactly one of log, url"),
    (f'[SITE001]\n{PROOF}process = "a"\nbody = "x"\n', 7, "body: does not go with process"),
    (f'[SITE001]\n{PROOF}process = "a"\n[[SITE001.proof]]\nlog = "/x"\n', 8, "a pattern must be given"),
    (f'[SITE001]\n{PROOF}log = "app.log"\npattern = "x"\n', 6, "an absolute path or one of nginx_error"),
    (f'[SITE001]\n{PROOF}log = "/x"\npattern = "("\n', 7, "pattern: not a pattern"),
    (f'[SITE001]\n{PROOF}log = "/x"\npattern = "(?<domain>.)"\n', 7, "a group cannot be called 'domain'"),
    (f'[SITE001]\n{PROOF}log = "/x"\npattern = "x"\nwithin = "soon"\n', 8, "within: not a duration"),
    (f'[SITE001]\n{PROOF}log = "/x"\npattern = "x"\ncount = 0\n', 8, "count: 1 to 10000"),
    (f'[SITE001]\n{PROOF}url = "ftp://x"\n', 6, "url: not an http or https URL"),
    (f'[SITE001]\n{PROOF}url = "http://[::1"\n', 6, "url: not an http or https URL"),
    (f'[SITE001]\n{PROOF}url = "http://a/"\nstatus = "6xx"\n', 7, "status: 100 to 599"),
    (f'[SITE001]\n{PROOF}url = "http://a/"\nstatus = [500, 99]\n', 7, "status: 100 to 599"),
    (
        f'[SITE001]\n{PROOF}url = "http://a/"\npresent = false\nstatus = 500\n',
        7,
        "present: without an answer",
    ),
    (f'[SITE001]\n{PROOF}url = "http://a/"\ntimeout = "1m"\n', 7, "timeout: 0 to 10 seconds"),
    (f'[SITE001]\n{PROOF}file = "x"\n', 6, "file: not an absolute path"),
    (
        f'[SITE001]\n{PROOF}file = "/x"\npresent = false\nolder = "1h"\n',
        7,
        "present: a file that is absent",
    ),
    (
        f"[SITE001]\n{PROOF}log = '/x'\npattern = '(?:(?:a{{1000}}){{1000}}){{1000}}'\n",
        7,
        "pattern: its counts in braces multiply to more than 100000",
    ),
    (
        f"[SITE001]\nfix = [\"grep '{{s}}' /log\"]\n{PROOF}process = '(?<s>.+)'\n",
        2,
        "fix: {s} stands inside quotation marks",
    ),
    (
        f"[SITE001]\nconfirm = 'grep -c \"a{{s}}\" /log'\n{PROOF}process = '(?<s>.+)'\n",
        2,
        "confirm: {s} stands inside quotation marks",
    ),
    (f'[SITE001]\n{PROOF}command = ["true"]\n', 6, "begins with a program's absolute path"),
    (f'[SITE001]\n{PROOF}command = "true"\n', 6, 'command: a list in brackets, as command = ["..."]'),
    (f'[SITE001]\nfix = "reboot"\n{PROOF}process = "a"\n', 2, 'fix: a list in brackets, as fix = ["..."]'),
    (f'[SITE001]\ntitle = "a"\n{PROOF}process = "a"\n', 2, "as in [SITE001.en] title ="),
    (
        f'[SITE001]\nfix = ["true", "Then restart it."]\n{PROOF}process = "a"\n',
        2,
        "'Then restart it.' is a sentence",
    ),
    (f'[SITE001]\nfix = ["然后重启"]\n{PROOF}process = "a"\n', 2, "is a sentence"),
    (f'[SITE001]\nverify = "Look at it."\n{PROOF}process = "a"\n', 2, "verify: 'Look at it.' is a sentence"),
    (f'[SITE001]\n{PROOF}file = "/var/spool/*.job"\n', 6, "file: one path"),
]


@pytest.mark.parametrize(("source", "line", "words"), ERRORS, ids=[words for _, _, words in ERRORS])
def test_an_error_names_its_line(source: str, line: int, words: str) -> None:
    with pytest.raises(SiteCauseError) as raised:
        parse_site_causes(source.encode(), "/f.toml")
    assert str(raised.value).startswith(f"/f.toml: line {line}: ")
    assert words in str(raised.value)
    assert raised.value.words.zh.startswith(f"/f.toml：第 {line} 行：")


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d{4}-\d{2}-\d{2}[T ](?:\d{2}:){2}\d{2} (?<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
        r"(?:\d{1,3}\.){3}\d{1,3}",
        r"\p{Lu}{2,4000}",
    ],
)
def test_counts_as_people_write_them_are_no_error(pattern: str) -> None:
    assert parse_site_causes(f"[SITE001]\n{PROOF}process = '{pattern}'\n".encode(), "/f.toml")


@pytest.mark.parametrize(
    "command",
    [
        r"grep 'it'{s} /log",
        r'grep "a\""{s} /log',
        r"grep \'{s} /log",
        r"grep 'a\'{s} /log",
        "curl -w '%{s}' x",
    ],
)
def test_a_value_outside_quotation_marks_is_no_error(command: str) -> None:
    source = f"[SITE001]\nfix = ['''{command}''']\n{PROOF}process = '(?<s>.+)'\n"
    assert parse_site_causes(source.encode(), "/f.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: no cause in it"),
        (b"[SITE001]\nx = \xff", "line 2: not UTF-8 text"),
        (b"[SITE001\n", "not valid TOML"),
        (b"\n".join(b"[SITE%03d]" % number for number in range(101)), "more than 100 causes"),
    ],
)
def test_a_file_that_is_none(content: bytes, words: str) -> None:
    with pytest.raises(SiteCauseError, match=words):
        parse_site_causes(content, "/f.toml")


def test_a_new_file_is_tried_on_an_old_bundle() -> None:
    """The log and the processes are in it; a URL is not."""
    source = LICENCE.replace("gunicorn_error", "nginx_error").replace("licence server", "upstream")
    one = definition(source)
    cause = replayed(one, HEALTHY)
    assert [type(item) for item in cause.observations] == [ProofObservation, NotSeen]
    running = definition(
        '[SITE001]\n[SITE001.en]\ntitle = "t"\nsummary = "s"\n[[SITE001.proof]]\nprocess = "gunicorn"\n'
        '[[SITE001.proof]]\nurl = "http://127.0.0.1/"\n'
    )
    process, url = replayed(running, HEALTHY).observations
    assert isinstance(process, ProofObservation)
    assert process.holds
    assert isinstance(url, NotSeen)
    assert "holds no url" in url.reason


def test_what_a_bundle_recorded_counts_for_the_same_condition() -> None:
    site = SiteCauses(causes=(definition().observed((HOLDS, FAILS)),))
    assert replayed(definition(), replace(HEALTHY, site_causes=site)).observations == (HOLDS, FAILS)


# --- packages ---------------------------------------------------------------------------------------------------------

CAUSES = """
[TEAM001]
severity = "warn"
explains = []
facts = []
verify = "hostname"
fix = ["hostname new"]
[TEAM001.en]
title = "The host has another's name"
summary = "s"
means = ""
shows = ""
prevent = ""
[TEAM001.zh]
title = "主机名不对"
summary = "s"
means = ""
shows = ""
prevent = ""
"""


@check("team.name", "TEAM001", en="the host's name", zh="主机名")
def wrong_name(host: Host) -> Any:
    yield Finding("TEAM001", (quote("hostname", host.hostname),))


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Offer an object as the entry point `runbook`."""

    def offer(plugin: Any) -> None:
        point = EntryPoint("runbook", "team:runbook", "gte_ops.checks")
        monkeypatch.setattr(EntryPoint, "load", lambda _self: plugin)
        monkeypatch.setattr(ops.diagnosis.plugins, "entry_points", lambda **_: EntryPoints([point]))

    return offer


def test_a_package_that_is_named_adds_its_judges(offer: Any) -> None:
    offer(SimpleNamespace(CAUSES=CAUSES, CHECKS=(wrong_name,)))
    plugins = load_plugins(("runbook",))
    diagnosis = diagnose(HEALTHY, (*CHECKS, *plugins.checks), (), plugins.entries)
    assert [(cause.code, cause.title.zh) for cause in diagnosis.causes] == [("TEAM001", "主机名不对")]


@pytest.mark.parametrize(
    ("plugin", "name", "words"),
    [
        (SimpleNamespace(CAUSES=CAUSES, CHECKS=()), "other", "no installed package offers it"),
        (SimpleNamespace(CAUSES="[GUN001]", CHECKS=()), "runbook", "'GUN001' is no code"),
        (SimpleNamespace(CAUSES="[", CHECKS=()), "runbook", "does not load: TOMLDecodeError"),
        (SimpleNamespace(CHECKS=()), "runbook", "does not load: AttributeError"),
        (SimpleNamespace(CAUSES="", CHECKS=(wrong_name,)), "team.name", "CAUSES has no TEAM001"),
    ],
)
def test_a_package_that_does_not_fit_is_one_line(offer: Any, plugin: Any, name: str, words: str) -> None:
    offer(plugin)
    with pytest.raises(SettingsError) as raised:
        load_plugins((name if name == "other" else "runbook",))
    assert f"doctor.plugins: {name}: {words}" in str(raised.value)
