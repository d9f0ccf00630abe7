"""Causes that a site defines itself, without Python: the files of /etc/gte-ops/causes.d (docs/site-causes.md).

A file is TOML, in the form of the catalogue: one table a cause, and ``[[CODE.proof]]`` for each condition. A cause is
proven if all its conditions hold. Pure: `ops.collect.site_causes` reads the files.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ops.diagnosis.catalogue import (
    DERIVED_VALUES,
    TARGET_VALUES,
    CauseEntry,
    catalogue,
    is_command,
    made_entry,
    placeholders,
)
from ops.diagnosis.site_causes import CODE, ProofDefinition, ProofKind, SiteCauseDefinition, SiteCauseError
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.changes import PlaceKind
from ops.facts.site_causes import SiteCause, SiteCauses
from ops.text.duration import parse_duration
from ops.text.language import Text, verbatim
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

MAX_CAUSES = 100
# In all files of a host, and so in a bundle.
MAX_CAUSES_OF_HOST = 300
MAX_PROOFS = 10
MAX_PATTERN_CHARS = 2000
MAX_SECONDS = 10.0
# The `regex` package writes out the least count of every repetition, some hundred bytes each.
MAX_PATTERN_NODES = 100_000
LOG_NAMES = ("nginx_error", "nginx_access", "gunicorn_error", "gunicorn_access")
_REPEATS = re.compile(r"(.?)\{\s*(\d+)", re.DOTALL)
_GROUP = re.compile(r"[a-z][a-z_]*")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?")
_STATUS_CLASS = re.compile(r"[1-5]xx")
_INDEX = re.compile(r"\.proof\[(\d+)\]")
_LAST_KEY = re.compile(r"\.([a-z_]+)(?:\[(?:\d+|\.\.\.)\])?$")

# The keys that go with each kind.
_COMPANIONS: dict[ProofKind, frozenset[str]] = {
    ProofKind.LOG: frozenset({"pattern", "within", "count", "present"}),
    ProofKind.URL: frozenset({"status", "body", "present", "timeout"}),
    ProofKind.PROCESS: frozenset({"present", "user"}),
    ProofKind.FILE: frozenset({"pattern", "older", "newer", "present"}),
    ProofKind.COMMAND: frozenset({"exit", "output", "timeout"}),
}


def parse_site_causes(content: bytes, file: str) -> tuple[SiteCauseDefinition, ...]:
    """The causes of one file. Raises SiteCauseError for the first thing that is wrong, with its line."""
    try:
        source = content.decode()
        document = tomllib.loads(source)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _error(file, line, Text(en="not UTF-8 text", zh="不是 UTF-8 文本")) from None
    except (ValueError, RecursionError) as error:
        raise SiteCauseError(
            Text(en=f"{file}: not valid TOML: {error}", zh=f"{file}：不是有效的 TOML：{error}")
        ) from None
    if not document:
        raise _error(
            file,
            1,
            Text(en="no cause in it: begin with [SITE001]", zh="其中没有故障原因：请以 [SITE001] 开头"),
        )
    if len(document) > MAX_CAUSES:
        raise _error(file, 1, Text(en=f"more than {MAX_CAUSES} causes", zh=f"故障原因超过 {MAX_CAUSES} 个"))
    lines = _Lines(source)
    definitions = []
    for code, table in document.items():
        try:
            definitions.append(_definition(code, table, file))
        except _WrongError as wrong:
            raise _error(file, lines.number(code, wrong.proof, wrong.key), wrong.words) from None
    return tuple(definitions)


def defined_again(cause: SiteCause) -> SiteCauseDefinition:
    """The definition that the facts carry, checked again: a bundle is untrusted. Raises SiteCauseError."""
    try:
        return _definition(cause.code, cause.definition, cause.file)
    except _WrongError as wrong:
        raise _error(cause.file, 1, wrong.words) from None


def definitions_in(site: SiteCauses | NotSeen) -> tuple[SiteCauseDefinition, ...]:
    """The definitions that a snapshot carries, without those that cannot be read. A code counts once, as on its host;
    beyond `MAX_CAUSES_OF_HOST` nothing is read, for whoever made a bundle may have put any number into it."""
    if isinstance(site, NotSeen):
        return ()
    definitions: dict[str, SiteCauseDefinition] = {}
    for definition in _readable(site.causes[:MAX_CAUSES_OF_HOST]):
        definitions.setdefault(definition.code, definition)
    return tuple(definitions.values())


def _readable(causes: Sequence[SiteCause]) -> Iterator[SiteCauseDefinition]:
    for cause in causes:
        try:
            yield defined_again(cause)
        except SiteCauseError:
            continue


def refuse_doubles(
    definitions: Sequence[SiteCauseDefinition], known: Mapping[str, SiteCauseDefinition]
) -> None:
    """Raises SiteCauseError if a code was defined by another file already."""
    for definition in definitions:
        if (other := known.get(definition.code)) is not None:
            raise SiteCauseError(
                Text(
                    en=f"{definition.file}: {definition.code} is defined in {other.file} already",
                    zh=f"{definition.file}：{definition.code} 已在 {other.file} 中定义",
                )
            )


class _WrongError(Exception):
    """What is wrong, and at which key of which condition; the line follows from it."""

    def __init__(self, en: str, zh: str, key: str | None = None, proof: int | None = None) -> None:
        super().__init__(en)
        self.words, self.key, self.proof = Text(en=en, zh=zh), key, proof


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a cause's table."""

    en: dict[str, str]
    proof: tuple[ProofDefinition, ...]
    severity: str = "fail"
    explains: tuple[str, ...] = ()
    outranks: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    verify: str | dict[str, str] | None = None
    fix: tuple[str | dict[str, str], ...] = ()
    confirm: str | None = None
    zh: dict[str, str] = {}


def _definition(code: str, table: Any, file: str) -> SiteCauseDefinition:
    if not CODE.fullmatch(code):
        raise _WrongError(
            f"{safe_line(code, 60)!r} is no code of a site: 4 to 12 capital letters and 3 digits, as SITE001",
            f"{safe_line(code, 60)!r} 不能用作站点代码：应为 4 到 12 个大写字母加 3 位数字，例如 SITE001",
        )
    if not isinstance(table, dict):
        raise _WrongError(f"write [{code}] as a table", f"请写成表 [{code}]")
    try:
        written = msgspec.convert(table, _Table)
    except msgspec.ValidationError as error:
        raise _not_of_the_form(str(error)) from None
    _refuse_texts(written)
    _refuse_references(written)
    _refuse_sentences(written)
    if not written.proof:
        raise _WrongError(
            f"no condition: add [[{code}.proof]]", f"没有条件：请添加 [[{code}.proof]]", "proof"
        )
    if len(written.proof) > MAX_PROOFS:
        raise _WrongError(f"more than {MAX_PROOFS} conditions", f"条件超过 {MAX_PROOFS} 个", "proof")
    groups = {name for number, proof in enumerate(written.proof) for name in _groups(proof, number)}
    entry = _entry(code, written, groups)
    _refuse_unknown_placeholders(entry, groups)
    return SiteCauseDefinition(code, file, table, entry, written.outranks, written.proof)


def _not_of_the_form(message: str) -> _WrongError:
    """msgspec's message with the key and the condition that its path names."""
    what, _, path = message.partition(" - at `$")
    path = path.rstrip("`")
    index = _INDEX.search(path)
    unknown = re.search(r"unknown field `([^`]{1,60})`|missing required field `([^`]{1,60})`", what)
    key = _LAST_KEY.search(path)
    name = (unknown[1] or None) if unknown else (key[1] if key else None)
    words, words_zh = what[:1].lower() + what[1:], chinese(what)
    if unknown and unknown[1] in _TEXTS:
        words += f": it goes below the language, as in [SITE001.en] {unknown[1]} = ..."
        words_zh += f"：应写在语言之下，例如 [SITE001.en] {unknown[1]} = ..."
    elif what.startswith("Expected `array") and name:
        words = f'a list in brackets, as {name} = ["..."]'
        words_zh = f'应为方括号中的列表，例如 {name} = ["..."]'
    place = f"{name}: " if name and not unknown else ""
    return _WrongError(f"{place}{words}", f"{place}{words_zh}", name, int(index[1]) if index else None)


# A step that begins as a sentence and ends as one: `sh` would look for a program of that name.
_SENTENCE = re.compile(r"[A-Z][a-z]+,? [^|;&$]*[a-z]\.|[\u4e00-\u9fff].*")
_TEXTS = ("title", "summary", "means", "shows", "prevent")


def _refuse_texts(written: _Table) -> None:
    for language, texts in (("en", written.en), ("zh", written.zh)):
        for name in texts:
            if name not in _TEXTS:
                raise _WrongError(
                    f"{language}.{name}: not one of {', '.join(_TEXTS)}",
                    f"{language}.{name}：不是 {'、'.join(_TEXTS)} 之一",
                    name,
                )
    for name in ("title", "summary"):
        if not written.en.get(name, "").strip():
            raise _WrongError(f"en.{name} is missing", f"缺少 en.{name}", "en")


def _refuse_sentences(written: _Table) -> None:
    for step in (*written.fix, written.verify):
        if isinstance(step, str) and _SENTENCE.fullmatch(step.strip()):
            shown = safe_line(step, 60)
            key = "fix" if step in written.fix else "verify"
            raise _WrongError(
                f'{key}: {shown!r} is a sentence; a string is a command: write {{ en = "...", zh = "..." }}',
                f'{key}：{shown!r} 是句子，而字符串表示命令：请写成 {{ en = "...", zh = "..." }}',
                key,
            )


def _refuse_references(written: _Table) -> None:
    all_causes = catalogue()
    if written.severity not in ("fail", "warn"):
        raise _WrongError("severity: fail or warn", "severity：应为 fail 或 warn", "severity")
    for symptom in written.explains:
        if symptom not in all_causes.symptoms:
            names = ", ".join(all_causes.symptoms)
            raise _WrongError(
                f"explains: no symptom is called {symptom!r}; there are {names}",
                f"explains：没有名为 {symptom!r} 的现象；可用的有 {names}",
                "explains",
            )
    for code in written.outranks:
        if code not in all_causes.codes and not CODE.fullmatch(code):
            raise _WrongError(
                f"outranks: no cause is called {code!r}; gte-ops explain lists them",
                f"outranks：没有名为 {code!r} 的故障代码；gte-ops explain 列出全部代码",
                "outranks",
            )
    kinds = [kind.value for kind in PlaceKind]
    for place in written.places:
        if place.partition(":")[0] not in kinds:
            raise _WrongError(
                f"places: {place!r} begins with none of {', '.join(kinds)}",
                f"places：{place!r} 的开头不是 {'、'.join(kinds)} 之一",
                "places",
            )


def _groups(proof: ProofDefinition, number: int) -> Iterator[str]:
    """The named groups of a condition's patterns. Raises _WrongError for whatever is wrong with the condition."""
    kinds = [kind for kind in ProofKind if getattr(proof, kind) is not None]
    if len(kinds) != 1:
        raise _WrongError(
            f"a condition has exactly one of {', '.join(ProofKind)}",
            f"一个条件必须且只能有 {'、'.join(ProofKind)} 之一",
            kinds[1] if kinds else None,
            number,
        )
    kind = kinds[0]
    for key in proof.__struct_fields__:
        if key != kind and getattr(proof, key) is not None and key not in _COMPANIONS[kind]:
            allowed = ", ".join(sorted(_COMPANIONS[kind]))
            raise _WrongError(
                f"{key}: does not go with {kind}, which takes {allowed}",
                f"{key}：不能与 {kind} 一起使用；{kind} 可以带 {allowed}",
                key,
                number,
            )
    _refuse_values(proof, kind, number)
    for key in ("pattern", "body", "output", "process"):
        pattern = getattr(proof, key)
        if pattern is not None:
            yield from _pattern_groups(pattern, key, number)


def _refuse_values(proof: ProofDefinition, kind: ProofKind, number: int) -> None:
    def wrong(key: str, en: str, zh: str) -> _WrongError:
        return _WrongError(f"{key}: {en}", f"{key}：{zh}", key, number)

    for key in ("within", "timeout", "older", "newer"):
        if (value := getattr(proof, key)) is not None:
            try:
                seconds = float(parse_duration(value))
            except ValueError:
                raise wrong(key, "not a duration, as 15m", "不是时长，应如 15m") from None
            if key == "timeout" and not 0 < seconds <= MAX_SECONDS:
                raise wrong(key, f"0 to {MAX_SECONDS:.0f} seconds", f"应在 0 到 {MAX_SECONDS:.0f} 秒之间")
    if proof.log is not None:
        if proof.log not in LOG_NAMES and not proof.log.startswith("/"):
            names = ", ".join(LOG_NAMES)
            raise wrong("log", f"an absolute path or one of {names}", f"应为绝对路径或 {names} 之一")
        if proof.pattern is None:
            raise wrong("log", "a pattern must be given with it", "必须同时给出 pattern")
    if proof.count is not None and not 1 <= proof.count <= 10_000:
        raise wrong("count", "1 to 10000", "应在 1 到 10000 之间")
    if proof.file is not None and not proof.file.startswith("/"):
        raise wrong("file", "not an absolute path", "不是绝对路径")
    if proof.file is not None and re.search(r"[*?]", proof.file):
        raise wrong("file", "one path: * and ? are not expanded", "应为一个路径：不展开 * 和 ?")
    if proof.file is not None and proof.present is False and (proof.pattern or proof.older or proof.newer):
        raise wrong(
            "present", "a file that is absent has no content and no age", "不存在的文件没有内容和时间"
        )
    if proof.command is not None and (not proof.command or not proof.command[0].startswith("/")):
        raise wrong(
            "command",
            "a list of arguments that begins with a program's absolute path",
            "应为参数列表，第一项是程序的绝对路径",
        )
    if proof.url is not None:
        _refuse_url(proof.url, wrong)
    if kind is ProofKind.URL and proof.present is False and (proof.status is not None or proof.body):
        raise wrong(
            "present", "without an answer there is no status and no body", "没有应答就没有状态码和响应体"
        )
    for item in proof.status if isinstance(proof.status, tuple) else (proof.status,):
        is_class = isinstance(item, str) and _STATUS_CLASS.fullmatch(item)
        is_status = isinstance(item, int) and 100 <= item <= 599
        if item is not None and not is_class and not is_status:
            raise wrong("status", '100 to 599, or a class as "5xx"', '应为 100 到 599，或如 "5xx" 的一类')


def _refuse_url(url: str, wrong: Any) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or any(ord(letter) <= 32 for letter in url):
        raise wrong("url", "not an http or https URL", "不是 http 或 https 的 URL")


def _pattern_groups(pattern: str, key: str, number: int) -> Iterator[str]:
    import regex  # a tenth of a second: only a site with causes of its own needs it

    if len(pattern) > MAX_PATTERN_CHARS:
        raise _WrongError(
            f"{key}: longer than {MAX_PATTERN_CHARS} characters",
            f"{key}：超过 {MAX_PATTERN_CHARS} 个字符",
            key,
            number,
        )
    if _nodes(pattern) > MAX_PATTERN_NODES:
        raise _WrongError(
            f"{key}: its counts in braces multiply to more than {MAX_PATTERN_NODES}; use + or *",
            f"{key}：花括号中的次数相乘超过 {MAX_PATTERN_NODES}；请改用 + 或 *",
            key,
            number,
        )
    try:
        compiled = regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise _WrongError(
            f"{key}: not a pattern: {error}", f"{key}：不是有效的正则表达式：{error}", key, number
        ) from None
    for name in compiled.groupindex:
        if not _GROUP.fullmatch(name) or name in TARGET_VALUES | DERIVED_VALUES:
            raise _WrongError(
                f"{key}: a group cannot be called {name!r}: small letters and _, and no value of the target",
                f"{key}：命名组不能叫 {name!r}：只能用小写字母和 _，且不能与目标的值同名",
                key,
                number,
            )
        yield name


def _nodes(pattern: str) -> int:
    """At least as many nodes as the compiled pattern has. A count behind ``)`` repeats a group, which may hold all the
    others; so may one behind white space, in a verbose pattern."""
    nodes, groups = len(pattern), 1
    for before, digits in _REPEATS.findall(pattern):
        # int() refuses longer ones.
        count = int(digits) if len(digits) < 10 else MAX_PATTERN_NODES + 1
        if before == ")" or before.isspace():
            groups *= max(1, count)
        else:
            nodes += count
    return nodes * groups


def _entry(code: str, written: _Table, groups: set[str]) -> CauseEntry:
    english = dict.fromkeys(_TEXTS, "") | written.en
    # A team that writes one language reads one language.
    chinese_texts = english | written.zh
    table = {
        "severity": written.severity,
        "explains": written.explains,
        "facts": sorted(groups),
        "places": written.places,
        "verify": written.verify or f"gte-ops doctor --only {shlex.quote(code)}",
        "fix": list(written.fix),
        "confirm": written.confirm,
        "en": english,
        "zh": chinese_texts,
    }
    try:
        return made_entry(code, table)
    except (msgspec.ValidationError, OpsError, KeyError, TypeError, AttributeError) as error:
        raise _WrongError(
            f"verify or fix: a command is a string, a sentence {{en, zh}}: {error}",
            f"verify 或 fix：命令写成字符串，句子写成 {{en, zh}}：{error}",
            "fix",
        ) from None


def _refuse_unknown_placeholders(entry: CauseEntry, groups: set[str]) -> None:
    known = TARGET_VALUES | DERIVED_VALUES | groups
    texts = {"summary": (entry.summary,), "verify": (entry.verify,), "fix": entry.fix}
    for key, templates in texts.items():
        for name in (name for text in templates for name in placeholders(f"{text.en} {text.zh}")):
            if name not in known:
                raise _WrongError(
                    f"{key}: {{{name}}} is neither a value of the target nor a named group of a pattern",
                    f"{key}：{{{name}}} 既不是目标的值，也不是某个正则的命名组",
                    key,
                )
    commands = {"verify": (entry.verify,), "fix": entry.fix, "confirm": (verbatim(entry.confirm or ""),)}
    for key, steps in commands.items():
        for name in (name for step in steps if is_command(step) for name in _inside_quotes(step.en)):
            raise _WrongError(
                f"{key}: {{{name}}} stands inside quotation marks: leave them away, values are quoted already",
                f"{key}：{{{name}}} 位于引号之内：请去掉引号，值会自动加引号",
                key,
            )


def _inside_quotes(command: str) -> Iterator[str]:
    """The placeholders that a shell reads inside quotation marks, where a quoted value would end the quotation."""
    quote = ""
    for part in re.finditer(r"\\.|['\"]|(?<![%$])\{([a-z][a-z_]*)\}", command, re.DOTALL):
        words = part[0]
        if part[1] is not None:
            if quote:
                yield part[1]
        elif quote == "'":
            quote = "" if words in ("'", "\\'") else quote
        elif words in ("'", '"') and quote in ("", words):
            quote = "" if quote else words


# --- lines ------------------------------------------------------------------------------------------------------------


class _Lines:
    """Where the tables and keys of a TOML file stand."""

    def __init__(self, source: str) -> None:
        self._keys: dict[tuple[str, int | None, str | None], int] = {}
        code, proof, counts = "", None, dict[str, int]()
        for number, line in enumerate(source.splitlines(), 1):
            header = _HEADER.fullmatch(line)
            if header is not None:
                code, _, rest = header[2].partition(".")
                code, proof = code.strip(" \"'"), None
                if header[1] == "[[" and rest.strip() == "proof":
                    proof = counts.get(code, 0)
                    counts[code] = proof + 1
                self._keys.setdefault((code, proof, rest.strip() if proof is None and rest else None), number)
                continue
            key = re.match(r"\s*([A-Za-z0-9_-]+)\s*=", line)
            if key is not None:
                self._keys.setdefault((code, proof, key[1]), number)

    def number(self, code: str, proof: int | None, key: str | None) -> int:
        """The line of a key, else of its table, else of its cause; 1 if the file is laid out in another way."""
        places = ((code, proof, key), (code, proof, None), (code, None, None))
        return next((self._keys[place] for place in places if place in self._keys), 1)


def _error(file: str, line: int, words: Text) -> SiteCauseError:
    return SiteCauseError(Text(en=f"{file}: line {line}: {words.en}", zh=f"{file}：第 {line} 行：{words.zh}"))
