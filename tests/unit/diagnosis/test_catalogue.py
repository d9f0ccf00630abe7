"""The catalogue is data: these tests are what a compiler would be to it."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

import ops.diagnosis.catalogue
from ops.diagnosis.catalogue import (
    DERIVED_VALUES,
    GUIDE_VALUES,
    LAYERS,
    LIST_VALUES,
    MISSING,
    TARGET_VALUES,
    Catalogue,
    CauseEntry,
    UnknownCodeError,
    catalogue,
    fill,
    fill_command,
    fill_text,
    is_command,
    layer_codes,
    placeholders,
    source,
    with_derived,
)
from ops.errors import OpsError
from ops.report.explain import example_values
from ops.text.language import Text, verbatim

SOURCE = source("precedence", "symptoms", *LAYERS)
CONTRACT = tomllib.loads(Path(__file__).with_name("contract_codes.toml").read_text(encoding="utf-8"))
CODES = list(CONTRACT["codes"])
CHINESE = re.compile(r"[\u4e00-\u9fff]")
CHECKS = Path(ops.diagnosis.catalogue.__file__).parents[1] / "checks"


def catalogue_of(words: str) -> Catalogue:
    return Catalogue(lambda: words)


def entries() -> list[CauseEntry]:
    return [catalogue().entry(code) for code in catalogue().codes]


def templates(entry: CauseEntry) -> list[str]:
    return [words for text in (entry.summary, entry.verify, *entry.fix) for words in (text.en, text.zh)]


def broken_promises(all_causes: Catalogue) -> list[str]:
    """What other programs rely on and ``all_causes`` does not hold any more."""
    promises = []
    if [code for code in all_causes.codes if code in CODES] != CODES:
        promises.append("codes")
    if len(set(all_causes.codes)) != len(all_causes.codes):
        promises.append("twice")
    for code in set(CODES) & set(all_causes.codes):
        entry, promised = all_causes.entry(code), CONTRACT["codes"][code]
        if entry.title.en != promised["title"]:
            promises.append(f"{code} title")
        if entry.severity != promised["severity"]:
            promises.append(f"{code} severity")
    if all_causes.rules[: len(CONTRACT["rules"])] != tuple(CONTRACT["rules"]):
        promises.append("rules")
    return promises


def test_every_code_of_the_contract_is_there_once_in_its_order_with_its_title_and_severity() -> None:
    assert broken_promises(catalogue()) == []


def entry_text(code: str) -> str:
    """The entry as the file has it."""
    return SOURCE[SOURCE.index(f"[{code}]\n") :].partition("\n\n")[0].rstrip("\n") + "\n"


# Each costs a whole catalogue: the first and the last code, and some of every layer.
@pytest.mark.parametrize("code", [*CODES[::8], CODES[-1]])
@pytest.mark.parametrize("change", ["dropped", "renamed", "severity", "title"])
def test_a_changed_code_of_the_contract_is_noticed(code: str, change: str) -> None:
    text = entry_text(code)
    severity = CONTRACT["codes"][code]["severity"]
    other = "warn" if severity == "fail" else "fail"
    changed, noticed = {
        "dropped": ("", "codes"),
        "renamed": (text.replace(f"[{code}", "[XXX001"), "codes"),
        "severity": (text.replace(f'severity = "{severity}"', f'severity = "{other}"'), f"{code} severity"),
        "title": (text.replace('title = "', 'title = "Not ', 1), f"{code} title"),
    }[change]
    assert changed != text
    assert broken_promises(catalogue_of(SOURCE.replace(text, changed))) == [noticed]


def test_a_changed_order_and_a_dropped_rule_of_the_contract_are_noticed() -> None:
    first, second = entry_text("DNS001"), entry_text("DNS002")
    moved = SOURCE.replace(first, "").replace(second, second + first)
    assert broken_promises(catalogue_of(moved)) == ["codes"]
    assert broken_promises(catalogue_of(SOURCE.replace('"GUN008 > GUN010",', ""))) == ["rules"]


def test_a_new_code_breaks_no_promise() -> None:
    text = entry_text("NGX022")
    grown = SOURCE.replace(text, text + text.replace("[NGX022", "[NGX999"))
    assert "NGX999" in catalogue_of(grown).codes
    assert broken_promises(catalogue_of(grown)) == []


def test_a_layer_s_file_holds_the_codes_of_that_layer_alone_in_the_order_of_their_numbers() -> None:
    assert [code for layer in LAYERS for code in layer_codes(layer)] == list(catalogue().codes)
    for layer in LAYERS:
        codes = layer_codes(layer)
        assert len({code[:3] for code in codes}) == 1, layer
        assert list(codes) == sorted(codes)
    files = {path.stem for path in Path(ops.diagnosis.catalogue.__file__).parent.glob("*.toml")}
    assert files == {"precedence", "symptoms", *LAYERS}


def test_parsing_by_parts_gives_what_parsing_the_whole_file_gives() -> None:
    # A line in a text that looks like a header would cut an entry in two.
    whole = tomllib.loads(SOURCE)
    assert list(whole) == ["precedence", "symptoms", *catalogue().codes]
    for entry in entries():
        table = whole[entry.code]
        assert entry.explains == tuple(table["explains"])
        assert len(entry.fix) == len(table["fix"])
        for name in ("title", "summary", "means", "shows", "prevent"):
            assert getattr(entry, name) == Text(en=table["en"][name], zh=table["zh"][name])


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_every_text_is_in_both_languages(entry: CauseEntry) -> None:
    sentences = [step for step in entry.fix if not is_command(step)]
    for text in (entry.title, entry.summary, entry.means, entry.shows, entry.prevent, *sentences):
        assert text.en.strip()
        assert not CHINESE.search(text.en), text.en
        assert CHINESE.search(text.zh), text.zh


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_nothing_of_it_is_still_to_be_written(entry: CauseEntry) -> None:
    # What scripts/new-cause lays out.
    assert "TODO" not in entry_text(entry.code)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_verify_is_one_line_and_there_is_something_to_do(entry: CauseEntry) -> None:
    assert is_command(entry.verify)
    assert entry.verify.en.strip()
    assert entry.fix
    for template in templates(entry):
        assert "\n" not in template


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_placeholders_are_the_target_s_or_declared_and_used(entry: CauseEntry) -> None:
    used = {name for template in templates(entry) for name in placeholders(template)}
    assert used <= TARGET_VALUES | DERIVED_VALUES | set(entry.facts)
    assert set(entry.facts) <= used
    assert not set(entry.facts) & TARGET_VALUES
    for text in (entry.title, entry.means, entry.shows, entry.prevent):
        assert not placeholders(text.en + text.zh), "only summary, verify and fix are filled"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_both_languages_tell_the_same_values(entry: CauseEntry) -> None:
    assert set(placeholders(entry.summary.en)) == set(placeholders(entry.summary.zh))


HOSTILE = "a b'; touch x $(id) `id` \"|&>\\ *"


def words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_a_hostile_value_changes_no_command_s_shape(entry: CauseEntry) -> None:
    def commands(value: str) -> list[str]:
        values = {**GUIDE_VALUES, **{name: value for name in entry.facts if name not in LIST_VALUES}}
        values |= {name: "7" for name in entry.facts if name in LIST_VALUES}
        return [step.en for step in (entry.verify_with(values), *entry.fix_with(values)) if is_command(step)]

    for harmless, hostile in zip(commands("x"), commands(HOSTILE), strict=True):
        parsed = subprocess.run(["sh", "-n", "-c", hostile], capture_output=True, check=False)
        assert parsed.returncode == 0, hostile
        # A loop's $(...) is beyond this lexer; the shell has parsed it above.
        if "$(" not in harmless:
            assert len(words(harmless)) == len(words(hostile))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_no_placeholder_stands_inside_quotes_of_a_command(entry: CauseEntry) -> None:
    commands = [entry.verify, *(step for step in entry.fix if is_command(step))]
    for command in commands:
        unquoted = re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", "", command.en)
        assert placeholders(unquoted) == placeholders(command.en), command.en


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.code)
def test_symptoms_it_explains_exist(entry: CauseEntry) -> None:
    assert set(entry.explains) <= set(catalogue().symptoms)
    assert len(set(entry.explains)) == len(entry.explains)


SYMPTOM_VALUES = {"url", "status", "detail", "waited"}
STATUSES = (400, 403, 404, 405, 413, 429, 500, 502, 503, 504)


def test_symptoms_are_complete_and_in_both_languages() -> None:
    all_causes = catalogue()
    assert {f"http.{status}" for status in STATUSES} <= set(all_causes.symptoms)
    for name in all_causes.symptoms:
        text = all_causes.symptom(name)
        assert not CHINESE.search(text.en)
        assert CHINESE.search(text.zh)
        assert set(placeholders(text.en)) == set(placeholders(text.zh)) <= SYMPTOM_VALUES
        for known in (("url", "domain", "front", "backend"), GUIDE_VALUES):
            commands = all_causes.next_commands(name, {k: GUIDE_VALUES[k] for k in known})
            assert commands
            for command in commands:
                assert not re.search(r"\{[a-z_]+\}| \?|\?/", command), command
                # A POST route answers 405 to another method on a healthy host too.
                assert not re.search(r"curl.* (-I|--head)\b.*/predict", command), command


def test_every_symptom_can_be_explained_by_some_cause() -> None:
    explained = {name for entry in entries() for name in entry.explains}
    assert explained == set(catalogue().symptoms)


def test_the_rows_every_on_call_knows() -> None:
    def verify(code: str) -> str:
        return catalogue().entry(code).verify_with(GUIDE_VALUES).en

    assert verify("GUN001") == "curl -v http://127.0.0.1:8000/health"
    assert "ss -ltnp | grep :8000" in verify("GUN012")
    for code in ("TLS001", "TLS004", "TLS005"):
        assert verify(code).startswith("openssl s_client -connect gte-api.example.com:443 -servername ")
    assert "limiting requests" in verify("NGX008")
    assert "/var/log/nginx/gte-error.log" in verify("NGX008")
    for code in ("NGX012", "NGX014", "APP003"):
        assert verify(code) == "curl -I http://127.0.0.1:8000/predict"


# --- precedence --------------------------------------------------------------------------------------------------


def test_between_codes_of_the_contract_precedence_is_the_contract_s_and_rules_of_our_own() -> None:
    own = catalogue().rules[len(CONTRACT["rules"]) :]
    between = [rule for rule in own if set(re.split(r"\s*>\s*", rule)) <= set(CODES)]
    assert between == [
        "DNS003 > TLS004",
        "HST005 > APP005",
        "NGX002 > TLS008",
        "NGX002 > NGX004",
        "GUN003 > GUN007",
        "GUN003 > GUN014",
        "GUN003 > GUN004",
        "GUN003 > GUN017",
        "GUN005 > GUN003",
    ]
    promised = catalogue_of(
        f"[symptoms]\n[precedence]\nrules = {json.dumps([*CONTRACT['rules'], *between])}\n"
    )
    for left, right in itertools.product(CODES, CODES):
        assert catalogue().outranks(left, right) == promised.outranks(left, right), (left, right)


def test_precedence_names_known_codes_and_has_no_cycle() -> None:
    all_causes = catalogue()
    for rule in all_causes.rules:
        assert set(re.split(r"\s*>\s*", rule)) <= set(all_causes.codes)
    assert not [code for code in all_causes.codes if all_causes.outranks(code, code)]


def test_precedence_is_transitive() -> None:
    all_causes = catalogue()
    assert all_causes.outranks("ENV001", "GUN001")
    assert all_causes.outranks("ENV001", "NGX005")
    assert all_causes.outranks("NGX013", "APP003")
    assert not all_causes.outranks("GUN001", "ENV001")
    assert not all_causes.outranks("DNS001", "GUN001")


def test_a_cycle_would_be_seen() -> None:
    cyclic = catalogue_of('[symptoms]\n[precedence]\nrules = ["AAA001 > BBB001", "BBB001 > AAA001"]\n')
    assert cyclic.outranks("AAA001", "AAA001")


# --- filling -----------------------------------------------------------------------------------------------------


def test_a_missing_value_is_a_question_mark() -> None:
    assert fill("{pid} at {where}", {"pid": "7"}) == "7 at ?"


@pytest.mark.parametrize(
    "value", ["{pid}", "{0.__class__}", "{", "}", "{{}}", "%s", r"\g<0>", r"\1", "{where!r:>1000000000}"]
)
def test_a_value_is_inserted_letter_by_letter(value: str) -> None:
    assert fill("<{where}> {pid}", {"where": value, "pid": "7"}) == f"<{value}> 7"


@pytest.mark.parametrize(
    "template", ["{pid.real}", "{pid!r}", "{pid:>9}", "{0}", "{}", "%{http_code}", "${pid}", "{PID}"]
)
def test_what_is_no_placeholder_stays(template: str) -> None:
    assert fill(template, {"pid": "7", "http_code": "x"}) == template


def test_a_value_cannot_become_a_command() -> None:
    command = fill_command(verbatim("ls -l {archive}"), {"archive": "/m/a.zip; rm -rf /"})
    assert shlex.split(command.en) == ["ls", "-l", "/m/a.zip; rm -rf /"]


def test_a_list_becomes_one_argument_each() -> None:
    command = fill_command(verbatim("pip install {packages}"), {"packages": "flask, a;b"})
    assert command.en == "pip install flask 'a;b'"


def test_what_is_a_command_stays_one() -> None:
    assert fill_command(verbatim("{restart}"), {"restart": "systemctl restart x"}).en == "systemctl restart x"


def test_a_unix_socket_gets_commands_of_its_own() -> None:
    derived = with_derived({"backend": "unix:/run/x.sock"})
    assert derived["backend_curl"] == "curl -v --unix-socket /run/x.sock http://localhost"
    assert derived["backend_head"] == "curl -I --unix-socket /run/x.sock http://localhost"
    assert derived["backend_listeners"] == "ss -lxp | grep /run/x.sock"


def test_a_step_without_its_value_is_left_out() -> None:
    steps = catalogue().entry("GUN012").fix_with({**GUIDE_VALUES, "pid": "?", "command": "?"})
    assert not [step for step in steps if step.en.startswith("kill")]
    assert [
        step
        for step in catalogue().entry("GUN012").fix_with({**GUIDE_VALUES, "pid": "7"})
        if step.en == "kill 7"
    ]


def test_a_sentence_says_that_a_value_was_not_seen() -> None:
    sentence = Text(en="process {pid} holds {port}", zh="进程 {pid} 占用 {port}")
    assert fill_text(sentence, {"pid": "?", "port": "80"}) == Text(
        en="process (not seen) holds 80", zh="进程 （未看到） 占用 80"
    )
    assert fill_text(sentence, {"pid": "7"}).en == "process 7 holds (not seen)"


# --- lookup ------------------------------------------------------------------------------------------------------


def test_an_unknown_code_names_the_nearest() -> None:
    with pytest.raises(UnknownCodeError, match="GUN001") as caught:
        catalogue().entry("GNU001")
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, OpsError)
    assert "GNU001" in str(caught.value)
    with pytest.raises(UnknownCodeError, match=r"http\.502"):
        catalogue().symptom("http.520")


def test_an_entry_in_one_language_only_is_refused() -> None:
    broken = catalogue_of(
        "[symptoms]\n[precedence]\nrules = []\n"
        "[AAA001]\nseverity = 'warn'\nexplains = []\nfacts = []\nverify = 'x'\nfix = ['y']\n"
        "[AAA001.en]\ntitle = 'a'\nmeans = 'b'\n[AAA001.zh]\ntitle = '甲'\n"
    )
    with pytest.raises(OpsError, match="means"):
        broken.entry("AAA001")


def test_loading_and_two_entries_cost_little() -> None:
    def once() -> float:
        started = time.perf_counter()
        all_causes = catalogue_of(SOURCE)
        all_causes.entry("GUN001")
        all_causes.entry("NGX012")
        return time.perf_counter() - started

    # The best of several: other work on the machine is not what is measured.
    assert min(once() for _ in range(10)) < 0.015


# --- the checks --------------------------------------------------------------------------------------------------


def _findings_in_checks() -> list[tuple[str, str, set[str]]]:
    """(place, code, names of facts) of every Finding(...) that the checks write out literally."""
    findings = []
    for path in sorted(CHECKS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and node.args):
                continue
            facts = next((k.value for k in node.keywords if k.arg == "facts"), None)
            facts = node.args[2] if facts is None and len(node.args) > 2 else facts
            code = node.args[0]
            if isinstance(code, ast.Constant) and (facts is None or isinstance(facts, ast.Dict)):
                keys = facts.keys if isinstance(facts, ast.Dict) else []
                if all(isinstance(key, ast.Constant) for key in keys):
                    names = {str(key.value) for key in keys if isinstance(key, ast.Constant)}
                    findings.append((f"{path.name}:{node.lineno}", str(code.value), names))
    return findings


def test_checks_supply_every_fact_that_their_cause_asks_for() -> None:
    findings = _findings_in_checks()
    assert findings, "the checks have moved: this test sees nothing"
    missing = {
        place: set(catalogue().entry(code).facts) - names
        for place, code, names in findings
        if set(catalogue().entry(code).facts) - names
    }
    assert not missing


def test_no_brace_is_doubled_in_what_is_printed() -> None:
    """Braces are filled in by name alone: a doubled one would be printed, and nginx takes none."""
    assert "{{" not in source("precedence", "symptoms", *LAYERS)


def test_a_chinese_sentence_has_chinese_units_and_lists() -> None:
    values = {"waited": "4.0 s", "logs": "/a.log, /b.log", "request": "GET /a, b"}
    text = Text(en="{waited} {logs} {request}", zh="{waited} {logs} {request}")
    assert fill_text(text, values) == Text(
        en="4.0 s /a.log, /b.log GET /a, b", zh="4.0 秒 /a.log、/b.log GET /a, b"
    )


@pytest.mark.parametrize("code", catalogue().codes)
def test_no_sentence_of_a_fix_has_a_hole_where_the_host_is_known(code: str) -> None:
    entry = catalogue().entry(code)
    steps = entry.fix_with(example_values(entry))
    assert [step.zh for step in steps if not is_command(step) and MISSING in step.zh] == []
