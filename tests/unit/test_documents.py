"""Documents lead somewhere: every relative link and anchor in tracked Markdown, and every path of ours that one names.

What a reader of GitHub meets is what is checked: links in inline and reference style and in ``src`` and ``href``, as
they resolve there; anchors by GitHub's own rule.
"""

from __future__ import annotations

import functools
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.pages import Trial, blocks, prose

ROOT = Path(__file__).parents[2]
# Tells of former layouts too.
OF_ITS_TIME = ("CHANGELOG.md",)
# Both languages of a page hold the same commands, so that what was tried of one holds for the other.
TRANSLATED = (
    *(
        "docs/quickstart.md",
        "docs/architecture.md",
        "docs/README.md",
        "docs/deployment.md",
        "docs/recovery.md",
    ),
    *("docs/install.md", "docs/adopt.md", "docs/upgrade.md", "docs/offline.md"),
)

_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_INLINE = re.compile(r"\]\(\s*(?:<([^>]*)>|((?:[^\s()]|\([^\s()]*\))*))(?:\s+[\"'(][^)]*)?\s*\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?")
_ATTRIBUTE = re.compile(r"<(?:img|a|source)\b[^>]*?\b(?:src|href)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_NAMED = re.compile(r"<a\b[^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_CODE_SPAN = re.compile(r"(`+)(?:(?!\1).)+?\1(?!`)")
_PLACE = re.compile(
    r"(?<![\w./-])((?:ops|service|deploy|docs|tests|scripts|benchmarks|\.github)/[\w./*{},-]*[\w/*}])"
)

_TO_FILL_IN = re.compile(r"(?<=/)[A-Z]+(?=\.)")


def tracked_documents() -> list[str]:
    """Every Markdown file that git tracks, as a path from the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "*.md"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return sorted(name for name in listing.stdout.split("\0") if name and (ROOT / name).exists())


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading: lower case, no punctuation, hyphens for blanks."""
    words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    words = re.sub(r"[^\w\- ]", "", words.replace("`", "").lower())
    return words.replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Every anchor of a document. A heading that occurs again gets ``-1``, ``-2`` behind it."""
    found: dict[str, int] = {}
    names = set[str]()
    for line in prose(text):
        names.update(_NAMED.findall(line))
        if heading := _HEADING.match(line):
            name = anchor(heading[2])
            count = found.get(name, 0)
            found[name] = count + 1
            names.add(f"{name}-{count}" if count else name)
    return names


@functools.cache
def anchors_of(document: Path) -> set[str]:
    """The anchors of a document on disk."""
    return anchors(document.read_text(encoding="utf-8"))


def links(text: str) -> Iterator[tuple[int, str]]:
    """Each link's line number and target."""
    for number, line in enumerate(prose(text), 1):
        shown = _CODE_SPAN.sub("", line)
        for match in _INLINE.finditer(shown):
            yield number, match[1] or match[2]
        for pattern in (_REFERENCE, _ATTRIBUTE):
            for match in pattern.finditer(shown):
                yield number, match[1]


def broken_links(root: Path, name: str) -> list[str]:
    """What of the document ``name`` below ``root`` leads nowhere, a line each."""
    text = (root / name).read_text(encoding="utf-8")
    problems = []
    for number, target in links(text):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        path = unquote(parts.path)
        place = (root / path.lstrip("/") if path.startswith("/") else (root / name).parent / path).resolve()
        if path == "":
            place = (root / name).resolve()
        if not place.is_relative_to(root.resolve()):
            problems.append(f"{name}:{number}: {target} leads out of the repository")
        elif not place.exists():
            problems.append(f"{name}:{number}: {target}: no such file")
        elif parts.fragment and place.suffix == ".md" and unquote(parts.fragment) not in anchors_of(place):
            problems.append(f"{name}:{number}: {target}: no such heading")
    return problems


def expanded(place: str) -> list[str]:
    """``a/{b,c}`` as ``a/b`` and ``a/c``."""
    if braces := re.search(r"\{([^{}]*)\}", place):
        return [
            whole
            for choice in braces[1].split(",")
            for whole in expanded(place[: braces.start()] + choice.strip() + place[braces.end() :])
        ]
    return [place]


def missing_places(root: Path, text: str) -> list[str]:
    """Paths from the root that ``text`` names, in prose, code and pictures alike, and that are not there.

    ``*`` and a name to be filled in (``bots/NAME.py``) stand for any."""
    named = {one for match in _PLACE.finditer(text) for one in expanded(match[1])}
    return sorted(one for one in named if not any(root.glob(_TO_FILL_IN.sub("*", one.rstrip("/")))))


def rooms(root: Path) -> set[str]:
    """Every directory and module directly below both packages."""
    return {
        f"{package}/{entry.name}{'/' if entry.is_dir() else ''}"
        for package in ("ops", "service")
        for entry in (root / package).iterdir()
        if not entry.name.startswith(("_", ".")) and (entry.is_dir() or entry.suffix == ".py")
    }


def unnamed(text: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that ``text`` does not give as code."""
    return sorted(name for name in names if f"`{name}`" not in text)


def layers() -> dict[str, list[str]]:
    """For each package the levels of its rooms, the highest first, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return {one["containers"][0]: one["layers"] for one in contracts if one["type"] == "layers"}


def out_of_order(text: str, plan: dict[str, list[str]]) -> list[str]:
    """Rooms that a table of ``text`` lists below one of a lower layer of ``plan``."""
    found = []
    for package, levels in plan.items():
        rank = {name.strip(): number for number, level in enumerate(levels) for name in level.split("|")}
        lowest = 0
        for name in re.findall(rf"^\| `{package}/(\w+)(?:\.py|/)` \|", text, re.MULTILINE):
            if name not in rank:  # data, no code
                continue
            if rank[name] < lowest:
                found.append(f"{package}/{name}")
            lowest = max(lowest, rank[name])
    return found


def commands(text: str) -> list[str]:
    """The indented commands and pictures of a document, without what is said beside them."""
    rest = [line for line, words in zip(text.splitlines(), prose(text), strict=True) if line and not words]
    return [re.sub(r"\s+#.*", "", line) for line in rest]


@pytest.mark.parametrize("name", tracked_documents())
def test_every_relative_link_and_anchor_of_a_document_leads_somewhere(name: str) -> None:
    assert broken_links(ROOT, name) == []


@pytest.mark.parametrize("name", [name for name in tracked_documents() if name not in OF_ITS_TIME])
def test_every_path_of_the_repository_that_a_document_names_exists(name: str) -> None:
    assert missing_places(ROOT, (ROOT / name).read_text(encoding="utf-8")) == []


def test_the_architecture_names_every_room_of_both_packages() -> None:
    for name in ("docs/architecture.md", "docs/architecture.zh-CN.md"):
        assert unnamed((ROOT / name).read_text(encoding="utf-8"), rooms(ROOT)) == [], name


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/architecture.zh-CN.md"])
def test_the_architecture_lists_the_rooms_from_the_top_down_as_import_linter_holds_them(name: str) -> None:
    assert out_of_order((ROOT / name).read_text(encoding="utf-8"), layers()) == []


def test_the_index_leads_to_every_page_of_docs_in_its_language() -> None:
    docs = ROOT / "docs"
    places = (*docs.glob("*.md"), *docs.glob("*/README*.md"))
    pages = {str(path.relative_to(docs)) for path in places} - {"README.md", "README.zh-CN.md"}
    for name, wanted in (
        ("docs/README.md", {page for page in pages if not page.endswith(".zh-CN.md")}),
        ("docs/README.zh-CN.md", {page for page in pages if page.endswith(".zh-CN.md")}),
    ):
        linked = {target.split("#")[0] for _, target in links((ROOT / name).read_text(encoding="utf-8"))}
        assert sorted(wanted - linked) == [], name


def test_every_page_of_docs_is_there_in_both_languages_and_leads_to_the_other() -> None:
    for path in (ROOT / "docs").glob("**/*.md"):
        is_chinese = path.name.endswith(".zh-CN.md")
        stem = path.name.removesuffix(".zh-CN.md" if is_chinese else ".md")
        twin = path.with_name(f"{stem}{'' if is_chinese else '.zh-CN'}.md")
        assert twin.exists(), path
        targets = {target for _, target in links(path.read_text(encoding="utf-8"))}
        assert twin.name in targets, path


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_of_a_page_give_the_same_commands(name: str) -> None:
    chinese = name.removesuffix(".md") + ".zh-CN.md"
    english, translated = ((ROOT / one).read_text(encoding="utf-8") for one in (name, chinese))
    if name == "docs/architecture.md":  # its picture is labelled in words
        assert len(commands(translated)) == len(commands(english))
    else:
        assert commands(translated) == commands(english)


@pytest.mark.parametrize("name", [name for name in tracked_documents() if ".zh-CN." in name])
def test_both_languages_of_a_page_say_the_same_about_trying_a_block(name: str) -> None:
    english = name.replace(".zh-CN.", ".")
    marks = [
        [block.trial for block in blocks((ROOT / one).read_text(encoding="utf-8")) if block.trial != Trial()]
        for one in (english, name)
    ]
    assert marks[0] == marks[1]


# --- each of these checks can fail ------------------------------------------------------------------------------------


def _written(root: Path, **documents: str) -> None:
    for name, text in documents.items():
        (root / f"{name}.md").write_text(text, encoding="utf-8")


def test_a_link_to_a_file_that_is_not_there_is_found_in_every_spelling(tmp_path: Path) -> None:
    _written(
        tmp_path,
        a='[x](gone.md)\n[y](<gone too.md> "t")\n[z]: gone3.md\n<img src="gone.png">\n'
        "![p](gone4.png)\n[w](gone(5).md)\n[v](/gone6.md)\n",
    )
    assert [problem.split(":")[1] for problem in broken_links(tmp_path, "a.md")] == list("1234567")


def test_a_link_that_leads_out_of_the_repository_is_found(tmp_path: Path) -> None:
    _written(tmp_path, a="[x](../../etc/passwd)")
    assert "leads out" in broken_links(tmp_path, "a.md")[0]


def test_an_anchor_that_no_heading_has_is_found_in_this_and_in_another_document(tmp_path: Path) -> None:
    _written(tmp_path, a="# Here\n[x](#there)\n[y](b.md#here)\n[z](#here)\n", b="# There\n```\n# Here\n```\n")
    problems = broken_links(tmp_path, "a.md")
    assert [problem.rsplit(": ", 2)[1] for problem in problems] == ["#there", "b.md#here"]


def test_anchors_follow_githubs_rule() -> None:
    headings = (
        "# What `verify` proves\n## A, b & c\n## 备份：内容（一）\n## A, b & c\n### [Off](x.md) the host\n"
    )
    assert anchors(headings) == {
        "what-verify-proves", "a-b--c", "备份内容一", "a-b--c-1", "off-the-host",
    }  # fmt: skip


def test_code_holds_no_links(tmp_path: Path) -> None:
    _written(tmp_path, a="```\n[x](gone.md)\n```\n\n    [y](gone.md)\n\n`[z](gone.md)` and [w](a.md)\n")
    assert broken_links(tmp_path, "a.md") == []


def test_a_path_that_is_not_there_is_found_in_prose_code_and_pictures(tmp_path: Path) -> None:
    (tmp_path / "ops" / "cli").mkdir(parents=True)
    (tmp_path / "ops" / "cli" / "doctor.py").touch()
    text = (
        "`ops/cli/doctor.py`, ops/cli/, `ops/cli/*.py`, ops/{cli,gone}/\n```\n  ops/absent.py --> x\n```\n"
        "https://example.org/ops/elsewhere and devops/x are no paths of ours. `ops/cli/NAME.py`, ops/none/NAME.py"
    )
    assert missing_places(tmp_path, text) == ["ops/absent.py", "ops/gone/", "ops/none/NAME.py"]


def test_a_room_that_no_line_names_is_found(tmp_path: Path) -> None:
    for room in ("ops/cli", "service/api", "ops/__pycache__"):
        (tmp_path / room).mkdir(parents=True)
    for module in ("ops/doctor.py", "ops/__init__.py", "service/app.py"):
        (tmp_path / module).touch()
    text = "`ops/cli/` and `service/app.py`; ops/doctor.py in passing"
    assert unnamed(text, rooms(tmp_path)) == ["ops/doctor.py", "service/api/"]


def test_a_room_that_is_listed_below_a_lower_one_is_found() -> None:
    plan = {"ops": ["cli", "report | repair", "facts"], "service": ["app", "http"]}
    table = "| `ops/cli/` | x |\n| `ops/facts/` | x |\n| `ops/repair/` | x |\n| `service/app.py` | x |\n"
    assert out_of_order(table, plan) == ["ops/repair"]


def test_a_command_that_only_one_language_gives_is_found() -> None:
    page = "Say:\n\n    gte-ops doctor    # looks\n    gte-ops watchdog\n"
    assert commands(page) == ["    gte-ops doctor", "    gte-ops watchdog"]
    assert commands(page) == commands(page.replace("looks", "查看").replace("Say", "执行"))
    assert commands(page) != commands(page.replace("watchdog", "backup"))
