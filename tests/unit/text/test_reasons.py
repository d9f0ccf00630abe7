"""A report in Chinese speaks Chinese to its end: every reason has a Chinese form."""

from __future__ import annotations

import ast
import errno
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.base import NotSeen
from ops.facts.bundle import read_bundle
from ops.facts.snapshot import Snapshot
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.report.explain import example_values
from ops.text.reason_forms import in_chinese
from ops.text.reasons import reason
from tests.lab.recorded import RECORDED, recorded
from tests.unit.made_snapshot import HEALTHY, but, without_gunicorn
from tests.unit.source_trees import ROOT, trees_with

TESTS = Path(__file__).parents[2]
# What is said for the quoted part of a reason where the source has a variable: the system's words, or a path.
QUOTED = (
    "error", "words", "refused", "elsewhere", "detail", "distrusted", "newest.reason", "resolution.reason",
    "served.reason", "message",
)  # fmt: skip
# What stands there where the source has one word of a few.
ONE_OF = {
    "entry.kind": "directory", "kind": "directory", "instead": "a file", "what": "a FIFO",
    "_said(logs)": ": permission denied", "complaint": ": permission denied",
}  # fmt: skip
# These are no reasons of gte-ops: they hold what a program said, or a part of a fact that has its own sentence.
NO_SENTENCE = {"-", ""}


def _spoken(node: ast.expr, function: ast.AST) -> Iterator[str]:
    """The sentences that an expression may come to, with something in each place."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else _in_place(part) for part in node.values
        )
    elif isinstance(node, ast.IfExp):
        yield from _spoken(node.body, function)
        yield from _spoken(node.orelse, function)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _spoken(value, function)
    # The argument of refused_program is a program's name, which is no sentence; the sentence is in its own module.
    elif isinstance(node, ast.Call) and node.args and _name(node.func) != "refused_program":
        yield from _spoken(node.args[-1] if _name(node.func) == "next" else node.args[0], function)
    elif isinstance(node, ast.Name):
        for other in ast.walk(function):
            if isinstance(other, ast.Assign) and any(_name(target) == node.id for target in other.targets):
                yield from _spoken(other.value, function)


def _name(node: ast.AST) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def _in_place(part: ast.expr) -> str:
    source = ast.unparse(part)
    if isinstance(part, ast.FormattedValue) and (word := ONE_OF.get(ast.unparse(part.value))):
        return word
    if "filename" in source or "__name__" in source:
        return "/x/7"
    return "permission denied" if any(word in source for word in QUOTED) else "/x/7"


def _reasons() -> Iterator[tuple[str, str]]:
    for file, tree in trees_with("NotSeen("):
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for function in [*functions, tree]:
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _name(node.func) == "NotSeen":
                    for keyword in node.keywords:
                        if keyword.arg == "reason":
                            for words in _spoken(keyword.value, function):
                                yield words, f"{file.relative_to(ROOT)}:{node.lineno}"


SPOKEN = {words: place for words, place in _reasons() if words not in NO_SENTENCE}


def test_the_reasons_of_the_source_are_found() -> None:
    assert len(SPOKEN) > 90
    assert "gunicorn does not run" in SPOKEN


@pytest.mark.parametrize("words", SPOKEN)
def test_every_reason_in_the_source_has_a_chinese_form(words: str) -> None:
    shown = in_chinese(words)
    assert shown is not None, f"{SPOKEN[words]}: add a form for {words!r} to ops/text/reason_forms.py"
    assert re.search(r"[\u4e00-\u9fff]", shown)
    assert not english_runs(shown), shown


# Where a file or an address is refused in words that an operator meets, by themselves or within a reason.
REFUSING_ROOMS = (
    "archive", "backups", "baselines", "certificates", "collect", "control", "deployment", "facts", "files",
    "notifications", "supervision",
)  # fmt: skip
# These never leave their module: a value of gunicorn's configuration that is not known without running it.
NEVER_SHOWN = {
    "too large", "needs to be run", "not arithmetic on plain numbers",
    # A torn file is set aside, and that is what is said; a path is no sentence.
    "larger than it can be", "version /x/7 is not /x/7", "//x/7", "./x/7.lock~",
}  # fmt: skip


def _refusals() -> Iterator[tuple[str, str]]:
    for room in REFUSING_ROOMS:
        for file, tree in trees_with(room=ROOT / room):
            for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
                for node in ast.walk(function):
                    for expression in _refusing(node, function):
                        for words in _spoken(expression, function):
                            yield words, f"{file.relative_to(ROOT)}:{expression.lineno}"


def _refusing(node: ast.AST, function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The words of an error that the node makes, or of a problem that it returns."""
    if isinstance(node, ast.Call) and node.args and _name(node.func).endswith("Error"):
        # An archive's error has its path first.
        yield node.args[-1] if _name(node.func) in ("ArchiveError", "LockedArchiveError") else node.args[0]
    elif isinstance(node, ast.Call) and len(node.args) > 1 and _name(node.func) in ("_Outcome", "failed"):
        yield node.args[1]
    elif isinstance(node, ast.Return) and node.value is not None:
        if isinstance(node.value, ast.Tuple) and function.name == "_failure":
            yield node.value.elts[-1]
        elif function.name.endswith("_problem") or function.name == "_misplaced":
            yield node.value


REFUSALS = {words: place for words, place in _refusals() if words not in {*NO_SENTENCE, *NEVER_SHOWN}}


def test_the_refusals_of_the_source_are_found() -> None:
    assert len(REFUSALS) > 60
    assert {
        "it is cut off",
        "/x/7 names no port",
        "/x/7 is in it twice",
        "the private key cannot be read",
    } <= {*REFUSALS}


@pytest.mark.parametrize("words", REFUSALS)
def test_every_refusal_in_the_source_has_a_chinese_form(words: str) -> None:
    shown = in_chinese(words)
    assert shown is not None, f"{REFUSALS[words]}: add a form for {words!r} to ops/text/reason_forms.py"
    assert re.search(r"[\u4e00-\u9fff]", shown)
    assert not english_runs(shown), shown


def english_runs(words: str) -> list[str]:
    """Four English words and more in a row."""
    return re.findall(r"(?:[A-Za-z][a-z']+[ ,;:]+){3,}[A-Za-z][a-z']+", words)


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.EACCES, errno.EMFILE, errno.ENOSPC, errno.ECONNREFUSED]
)
def test_the_system_s_words_are_chinese_behind_a_path(number: int) -> None:
    shown = reason(f"/etc/x: {os.strerror(number)}").to("zh")
    assert shown.startswith("/etc/x：")
    assert re.search(r"[\u4e00-\u9fff]", shown)
    assert reason(f"/etc/x: {os.strerror(number)}").to("en").endswith(os.strerror(number))


def test_a_sentence_of_no_known_form_stays_as_it_is() -> None:
    assert reason("somebody's own words: about something").to("zh") == "somebody's own words: about something"
    # And yet it is said that root would see it.
    assert reason("own words (run as root to see)").to("zh") == "own words（需以 root 运行才能看到）"


def test_a_reason_within_a_reason_is_chinese_too() -> None:
    words = "nginx -t was not run: /opt/nginx/sbin/nginx may be written by its group (run as root to see)"
    assert reason(words).to("zh") == (
        "没有运行 nginx -t：/opt/nginx/sbin/nginx 所属的组可以写它（需以 root 运行才能看到）"
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("'ftp://x' is no URL and no path: begin with http://, https:// or /", "既不是 URL 也不是路径"),
        ("'x' is no address: an IP address, with :PORT if it is another", "不是地址"),
        ("99999 is no port: 1 to 65535", "不是端口"),
        ("no site of this host is known: give the whole URL, http://NAME/PATH", "不知道本机的站点"),
        ("Invalid value for '--body-size': 'abc' is not a valid integer range.", "不是整数"),
        ("Invalid value for '[NUMBER]': 'x' is not a valid integer.", "不是整数"),
        ("it is neither zstd, gzip nor age: not a backup of gte-ops", "不是 gte-ops 的备份"),
        ("it cannot be read: Is a directory", "无法读取：是目录"),
        ("etc/nginx/nginx.conf is not the file its manifest describes: it is damaged", "已损坏"),
        (
            "its manifest is refused: etc/my sites/a is a link to nowhere",
            "etc/my sites/a 是没有目标的符号链接",
        ),
        ("/var/backups/x.tar.zst: its manifest is refused: it lists etc/a twice", "把 etc/a 列了两次"),
        (
            "dev/null is a character device; only files, directories and symbolic links are taken",
            "是字符设备",
        ),
        ("etc/a would lie in etc, which is a link", "而后者是符号链接"),
        ("x.tar.zst.sha256 is not a line of sha256sum: it is damaged", "不是 sha256sum 的格式"),
        ("/var/backups/x.tar: not looked into: more than 500 members", "成员超过 500 个"),
        ("no connection within 0.3 s (wait ended early: every worker is stopped)", "0.3 秒内没有连上"),
        ("no TLS handshake within 0.3 s", "没有完成 TLS 握手"),
        ("the body ended after 3 of 9 bytes", "第 3 字节结束"),
        ("a.example does not resolve: the name does not exist (NXDOMAIN)", "无法解析 a.example"),
    ],
)
def test_what_an_operator_mistyped_or_a_damaged_archive_is_said_in_chinese(words: str, shown: str) -> None:
    assert shown in reason(words).to("zh")
    assert not english_runs(reason(words).to("zh"))


def _unseen_sections() -> Iterator[tuple[str, Snapshot]]:
    """A made host of which one section was not seen, and one of which nothing was."""
    names = [name for name in Snapshot.__struct_fields__ if name != "taken_at"]
    unseen = NotSeen(reason="'collector' did not finish within the budget", needs_root=True)
    for name in names:
        yield name, but(HEALTHY, **{name: unseen})
    yield "everything", but(HEALTHY, **dict.fromkeys(names, unseen))


BUNDLES = TESTS.glob("unit/facts/recorded/bundle*.json")
SNAPSHOTS: dict[str, Snapshot] = {
    "healthy": HEALTHY,
    "without gunicorn": without_gunicorn(),
    **dict(_unseen_sections()),
    **{code: recorded(code) for code in RECORDED},
    **{path.name: read_bundle(path).snapshot for path in BUNDLES},
}


@pytest.mark.parametrize("form", ["text", "html", "nagios", "junit"])
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_no_english_sentence_stands_in_a_chinese_report_but_what_is_quoted(name: str, form: str) -> None:
    diagnosis = diagnose(SNAPSHOTS[name], CHECKS)
    quoted = {
        piece.detail.zh
        for cause in diagnosis.causes
        for piece in cause.evidence
        if piece.detail.zh == piece.detail.en
    }
    commands = {
        step.zh for cause in diagnosis.causes for step in (cause.verify, *cause.fix) if step.zh == step.en
    }
    out = io.StringIO()
    render(form, DoctorReport(diagnosis), "zh", out)
    page = re.sub(r"<style>.*?</style>|<[^>]*>", "\n", out.getvalue(), flags=re.DOTALL)
    for words in sorted({*quoted, *commands}, key=len, reverse=True):
        page = page.replace(words, "")
    assert not english_runs(page), page


@pytest.mark.parametrize("code", catalogue().codes)
def test_no_english_sentence_stands_in_a_cause_s_chinese_texts_but_what_is_quoted(code: str) -> None:
    entry = catalogue().entry(code)
    values = example_values(entry)
    texts = [entry.title, entry.means, entry.prevent, entry.summary_with(values)]
    texts += [step for step in entry.fix_with(values) if not is_command(step)]
    for text in texts:
        # A command or a directive in a sentence stands in its own words: a line of it has no four words in a row.
        assert not english_runs(re.sub(r"`[^`]*`|“[^”]*”|（[^）]*）", "", text.zh)), text.zh
