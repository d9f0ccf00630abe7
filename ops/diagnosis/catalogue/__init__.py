"""The catalogue of root causes: what each means, how to prove it by hand, how to mend it, in both languages.

The words are data: the TOML files beside this module, one a layer, ``symptoms.toml`` and ``precedence.toml``. An
entry is parsed when it is asked for: a run needs the few it found, not all of them.

A code is a public, stable name: never reused, never renumbered. Within a layer the entries stand in the order of
their numbers. An entry:

- ``severity``: fail = users are affected now; warn = they will be, or a safeguard is missing. The usual one: a finding
  may differ.
- ``explains``: the symptoms (ids in ``symptoms.toml``) this cause can be behind.
- ``facts``: the placeholders, beside the target's own, that the check which proves the cause supplies.
- ``verify``: one command that shows the cause.
- ``fix``: steps, in order: a string is a command, a table ``{en, zh}`` a sentence.
- ``places``: what can bring it about where it changes, `ops.facts.changes.PlaceKind`, alone or with the directives,
  settings or packages that count: ``nginx:proxy_pass|server``; ``access`` among them: its owner or mode.
- ``confirm``: one command that shows whether the fix worked, if `ops/diagnosis/steps.py` knows no better one.
- ``en``, ``zh``: title; summary (one sentence about this very case); means; shows; prevent.

Placeholders stand in summary, verify and fix only. In a command a value arrives quoted for the shell: never put a
placeholder inside quotes there.
"""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ops.diagnosis.finding import Severity
from ops.diagnosis.gunicorn_places import OPTIONS
from ops.diagnosis.steps import confirmation, printed_steps
from ops.diagnosis.steps import is_command as is_command
from ops.errors import OpsError
from ops.text.duration import in_chinese_units
from ops.text.language import COMMA, UNSEEN, Language, Text, verbatim
from ops.text.reasons import reason

MISSING = "?"
# Values that list things, with commas in English.
_LISTS = {
    "addresses",
    "alive",
    "changed",
    "client",
    "files",
    "logs",
    "names",
    "packages",
    "pids",
    "statuses",
    "version",
}
# Values that are durations, as `age` writes them or in seconds: a Chinese text has their units in Chinese.
_DURATIONS = frozenset({"ago", "left", "age", "waited", "took", "timeout", "offset"})

# The host as the deployment guide lays it out: what an explanation shows where no host was looked at.
GUIDE_VALUES: dict[str, str] = {
    "domain": "gte-api.example.com",
    "url": "https://gte-api.example.com",
    "host": "gte-api.example.com",
    "port": "443",
    "front": "gte-api.example.com:443",
    "backend": "127.0.0.1:8000",
    "backend_url": "http://127.0.0.1:8000",
    "backend_curl": "curl -v http://127.0.0.1:8000",
    "health_path": "/health",
    "ready_path": "/ready",
    "predict_path": "/predict",
    "predict_body": '{"task_type": "ner", "input_text": "北京"}',
    "predict_url": "https://gte-api.example.com/predict",
    "certificate": "/etc/letsencrypt/live/gte-api.example.com/fullchain.pem",
    "private_key": "/etc/letsencrypt/live/gte-api.example.com/privkey.pem",
    "ca_file": "/etc/ssl/certs/ca-certificates.crt",
    "site_file": "/etc/nginx/conf.d/gte-api.conf",
    "nginx_config": "/etc/nginx/nginx.conf",
    "nginx_error_log": "/var/log/nginx/gte-error.log",
    "nginx_access_log": "/var/log/nginx/gte-access.log",
    "gunicorn_config": "/root/build/gunicorn.conf.py",
    "gunicorn_error_log": "/var/log/gte-gunicorn-error.log",
    "gunicorn_access_log": "/var/log/gte-gunicorn-access.log",
    "gunicorn_pidfile": "/var/run/gte-gunicorn.pid",
    "start": "systemctl start gte-api",
    "restart": "systemctl restart gte-api",
    "apply_nginx": "systemctl reload nginx",
    "install_schedule": "gte-ops render systemd --install",
    "start_nginx": "systemctl start nginx",
    "reload_nginx": "systemctl reload nginx",
    "test_nginx": "nginx -t",
    "model_dir": "/root/build/iic/nlp_gte_sentence-embedding_chinese-large",
    "app_dir": "/root/build",
    "letsencrypt_dir": "/etc/letsencrypt",
    "python": "/root/build/venv/bin/python",
    "python_command": "/root/build/venv/bin/python",
    **{f"{name}_place": "/root/build/gunicorn.conf.py" for name in OPTIONS},
}

# Filled in for every cause, from the target.
TARGET_VALUES = frozenset(GUIDE_VALUES)
# Made here from the values above, see `with_derived`.
DERIVED_VALUES = frozenset(
    {"backend_head", "backend_listeners", "backend_predict", "nginx_error_tail", "gunicorn_error_tail"}
)
# Values that are commands already: they go into a command as they are. All others are quoted for the shell.
COMMAND_VALUES = DERIVED_VALUES | frozenset(
    (
        "start",
        "restart",
        "start_nginx",
        "reload_nginx",
        "apply_nginx",
        "install_schedule",
        "test_nginx",
        "backend_curl",
        "python_command",
    )
)
# Values that are several words: each becomes an argument of its own.
LIST_VALUES = frozenset({"packages", "pids"})

# The layers, in the order of the catalogue: from the name that users type inwards, then what stands around the service.
LAYERS = ("dns", "net", "tls", "nginx", "gunicorn", "app", "model", "environment", "host", "safeguards")
_DIRECTORY = Path(__file__).parent
_ENTRY_HEADER = re.compile(r"^\[([A-Z]{3}\d{3})\][ \t]*$", re.MULTILINE)
# curl's %{http_code} and the shell's ${name} are no placeholders.
# Facts that are sentences of gte-ops itself, or of the system.
REASON_VALUES = ("why", "reason", "detail", "problem")
_PLACEHOLDER = re.compile(r"(?<![%$])\{([a-z][a-z_]*)\}")


class UnknownCodeError(OpsError, KeyError):
    """A code or symptom that the catalogue does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class CauseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One root cause.

    ``severity`` is the usual one. ``explains``: ids of the symptoms it can be behind. ``facts``: the placeholders,
    beside the target's, that whoever proves this cause supplies. ``title``, ``means``, ``shows`` and ``prevent`` are
    finished texts; ``summary``, ``verify`` and ``fix`` are templates. A command is the same in both languages."""

    code: str
    severity: Severity
    explains: tuple[str, ...]
    facts: tuple[str, ...]
    title: Text
    summary: Text
    means: Text
    shows: Text
    prevent: Text
    verify: Text
    fix: tuple[Text, ...]
    confirm: str | None = None
    places: tuple[str, ...] = ()

    def summary_with(self, values: Mapping[str, str | Text]) -> Text:
        """The sentence about one case."""
        return fill_text(self.summary, values)

    def verify_with(self, values: Mapping[str, str | Text]) -> Text:
        """The command that shows the cause, ready to be pasted into a shell."""
        return fill_command(self.verify, values)

    def fix_with(self, values: Mapping[str, str | Text], first: tuple[Text, ...] = ()) -> tuple[Text, ...]:
        """The steps that fix it: commands ready to be pasted, and sentences; the last command shows whether it worked.
        ``first``: finished steps in place of the entry's first.

        A command for which a value is unknown is left out (``kill ?`` fixes nothing), unless no step remained."""
        derived = with_derived(values)
        of_sentences = {**derived, **values}
        own = self.fix[1:] if first else self.fix
        steps = first + tuple(
            fill_command(step, values) if is_command(step) else fill_text(step, of_sentences)
            for step in own
            if not is_command(step)
            or all(derived.get(name, MISSING) != MISSING for name in placeholders(step.en))
        )
        return self.printed(steps or tuple(fill_text(step, of_sentences) for step in self.fix), values)

    def printed(self, steps: Iterable[Text], values: Mapping[str, str | Text]) -> tuple[Text, ...]:
        """``steps`` that were made for one case, completed as `fix_with` completes the entry's own."""
        confirm = (
            fill_command(verbatim(self.confirm), values).en
            if self.confirm is not None
            else confirmation(self.code, is_fail=self.severity is Severity.FAIL)
        )
        derived = with_derived(values)
        return printed_steps(steps, confirm, derived.get("settings_file"), derived.get("app_dir"))


class SymptomEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a user meets, as a sentence, and the commands to try next where no cause explains it. All templates."""

    en: str
    zh: str
    next: tuple[str, ...]


class Catalogue:
    """Every cause and symptom there is, and which cause goes before which.

    ``read`` gives the TOML document. Nothing is read before it is asked for: a healthy host needs none of it.
    ``added``: causes that stand before the document's, ``added_rules``: theirs."""

    def __init__(
        self,
        read: Callable[[], str],
        added: Mapping[str, CauseEntry] | None = None,
        added_rules: tuple[str, ...] = (),
    ) -> None:
        self._read = read
        self._added = dict(added or {})
        self._added_rules = added_rules
        self._entries: dict[str, CauseEntry] = dict(self._added)

    def extended(self, entries: Mapping[str, CauseEntry], rules: tuple[str, ...]) -> Catalogue:
        """This catalogue with ``entries`` before its own, and their precedence ``rules``."""
        return Catalogue(self._read, {**self._added, **entries}, self._added_rules + rules)

    @functools.cached_property
    def _source(self) -> tuple[str, dict[str, str]]:
        """What stands before the first entry, and each entry by its code, as TOML."""
        source = self._read()
        headers = list(_ENTRY_HEADER.finditer(source))
        starts = [header.start() for header in headers] + [len(source)]
        entries = zip(headers, starts, starts[1:], strict=False)
        return source[: starts[0]], {header[1]: source[begin:end] for header, begin, end in entries}

    @property
    def _parts(self) -> dict[str, str]:
        return self._source[1]

    @functools.cached_property
    def _head(self) -> dict[str, Any]:
        return tomllib.loads(self._source[0])

    @functools.cached_property
    def _symptoms(self) -> dict[str, SymptomEntry]:
        return {name: msgspec.convert(words, SymptomEntry) for name, words in self._head["symptoms"].items()}

    @property
    def rules(self) -> tuple[str, ...]:
        """Chains of codes: each is the cause of those behind it."""
        return (*self._head["precedence"]["rules"], *self._added_rules)

    @functools.cached_property
    def last(self) -> frozenset[str]:
        """Causes that only say that something fails: any that can be behind the same symptoms goes before them."""
        return frozenset(self._head["precedence"].get("last", ()))

    @functools.cached_property
    def _below(self) -> dict[str, frozenset[str]]:
        return _closure(self.rules)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code, in the catalogue's order."""
        return (*self._added, *self._parts)

    @property
    def symptoms(self) -> tuple[str, ...]:
        """Every symptom's id."""
        return tuple(self._symptoms)

    def entry(self, code: str) -> CauseEntry:
        """The cause called ``code``. Raises `UnknownCodeError`, which names the nearest ones."""
        if code not in self._entries:
            if code not in self._parts:
                raise _unknown("cause", code, self.codes)
            self._entries[code] = made_entry(code, tomllib.loads(self._parts[code])[code])
        return self._entries[code]

    def symptom(self, id: str) -> Text:  # noqa: A002
        """The sentence, a template, for the symptom ``id``. Raises `UnknownCodeError`."""
        entry = self._symptom(id)
        return Text(en=entry.en, zh=entry.zh)

    def next_commands(self, id: str, values: Mapping[str, str | Text]) -> tuple[str, ...]:  # noqa: A002
        """What to run next when nothing explains the symptom ``id``, as far as ``values`` fill it. Raises
        `UnknownCodeError`."""
        derived = with_derived(values)
        return tuple(
            fill_command(verbatim(command), values).en
            for command in self._symptom(id).next
            if all(derived.get(name, MISSING) != MISSING for name in placeholders(command))
        )

    def _symptom(self, name: str) -> SymptomEntry:
        if name not in self._symptoms:
            raise _unknown("symptom", name, self._symptoms)
        return self._symptoms[name]

    def outranks(self, left: str, right: str) -> bool:
        """Whether, where one fault proves both, ``left`` is the cause and ``right`` only follows from it."""
        return right in self._below.get(left, frozenset())


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue that comes with the toolkit."""
    return Catalogue(lambda: source("precedence", "symptoms", *LAYERS))


def source(*files: str) -> str:
    """What the catalogue's ``files`` hold, one after the other, as one TOML document."""
    return "\n".join((_DIRECTORY / f"{file}.toml").read_text(encoding="utf-8") for file in files)


@functools.cache
def layer_of(code: str) -> str | None:
    """The layer of a code, None if it is not of this catalogue (a cause of the site's own)."""
    return next((layer for layer in LAYERS if code in layer_codes(layer)), None)


def layer_codes(layer: str) -> tuple[str, ...]:
    """The codes of one of `LAYERS`, in order."""
    return tuple(_ENTRY_HEADER.findall(source(layer)))


def placeholders(template: str) -> tuple[str, ...]:
    """The names that `fill` would put something in for."""
    return tuple(_PLACEHOLDER.findall(template))


def fill(template: str, values: Mapping[str, str | Text], language: Language = "en") -> str:
    """``template`` with every ``{name}`` replaced by its value, ``?`` where there is none.

    A value is inserted letter by letter: braces in it mean nothing."""

    def value(match: re.Match[str]) -> str:
        words = values.get(match[1], MISSING)
        if isinstance(words, str) and language == "zh":
            return _in_chinese(match[1], words)
        return words.to(language) if isinstance(words, Text) else words

    return _PLACEHOLDER.sub(value, template)


def _in_chinese(name: str, value: str) -> str:
    """The value ``name`` as a Chinese sentence has it: its unit, its reason and the marks of a list are Chinese."""
    if name in _DURATIONS:
        return in_chinese_units(value)
    if name in _LISTS:
        return value.replace(COMMA.en, COMMA.zh)
    return reason(value).to("zh") if name in REASON_VALUES else value


def fill_text(template: Text, values: Mapping[str, str | Text]) -> Text:
    """`fill` in both languages, for a sentence: it says where a value was not seen."""
    names = placeholders(template.en + template.zh)
    told = {name: UNSEEN if values.get(name, MISSING) == MISSING else values[name] for name in names}
    return Text(en=fill(template.en, told), zh=fill(template.zh, told, "zh"))


def fill_command(template: Text, values: Mapping[str, str | Text]) -> Text:
    """`fill` for a command, which is the same in both languages. Values are quoted for a POSIX shell, because a file
    name or a line of a log must not become a second command in the hands of whoever pastes it."""
    return verbatim(fill(template.en, shell_values(values)))


def shell_values(values: Mapping[str, str | Text]) -> dict[str, str]:
    """``values`` with the derived ones added, quoted for a shell; those that are commands stay as they are."""
    return {
        name: value if name in COMMAND_VALUES else _quoted(name, value)
        for name, value in with_derived(values).items()
    }


def _quoted(name: str, value: str) -> str:
    return shlex.join(value.replace(",", " ").split()) if name in LIST_VALUES else shlex.quote(value)


def with_derived(values: Mapping[str, str | Text]) -> dict[str, str]:
    """``values`` and what follows from them where it is not given: from ``backend`` ``backend_curl``, ``backend_head``
    (the same, but asking for the head alone), ``backend_predict`` (the same with a prediction) and
    ``backend_listeners`` (the command that lists who listens there); from the error logs the commands that show their
    ends."""
    # A command is the same in both languages.
    derived = {name: value.en if isinstance(value, Text) else value for name, value in values.items()}
    if backend := derived.get("backend"):
        socket = backend.removeprefix("unix:")
        if socket != backend:
            curl = f"curl -v --unix-socket {shlex.quote(socket)} http://localhost"
            listeners = f"ss -lxp | grep {shlex.quote(socket)}"
        else:
            curl = f"curl -v {shlex.quote('http://' + backend)}"
            listeners = f"ss -ltnp | grep {shlex.quote(':' + backend.rpartition(':')[2])}"
        derived.setdefault("backend_curl", curl)
        derived.setdefault("backend_listeners", listeners)
    if curl := derived.get("backend_curl", ""):
        derived.setdefault("backend_head", curl.replace("curl -v", "curl -I", 1))
        if "predict_path" in derived and "predict_body" in derived:
            path, body = shlex.quote(derived["predict_path"]), shlex.quote(derived["predict_body"])
            options = f"-H 'Content-Type: application/json' -d {body}"
            derived.setdefault("backend_predict", f"{curl}{path} {options}")
    for name in ("nginx", "gunicorn"):
        if log := derived.get(f"{name}_error_log"):
            derived.setdefault(f"{name}_error_tail", f"tail -n 40 {shlex.quote(log)}")
    return derived


def made_entry(code: str, table: dict[str, Any]) -> CauseEntry:
    """The cause ``code`` from its TOML table, which this uses up. Raises OpsError if a text is in one language only,
    msgspec.ValidationError for a table of another form."""
    english, chinese = table.pop("en"), table.pop("zh")
    if english.keys() != chinese.keys():
        raise OpsError(
            verbatim(f"{code}: the texts {sorted(english.keys() ^ chinese.keys())} are in one language only")
        )
    texts = {name: {"en": words, "zh": chinese[name]} for name, words in english.items()}
    table["verify"] = _both(table["verify"])
    table["fix"] = [_both(step) for step in table["fix"]]
    return msgspec.convert({"code": code, **table, **texts}, CauseEntry)


def _both(words: str | dict[str, str]) -> dict[str, str]:
    return {"en": words, "zh": words} if isinstance(words, str) else words


def _closure(rules: Iterable[str]) -> dict[str, frozenset[str]]:
    """Each code with everything below it. A rule is a chain, ``A > B > C``."""
    direct: dict[str, set[str]] = {}
    for rule in rules:
        chain = [code.strip() for code in rule.split(">")]
        for left, right in itertools.pairwise(chain):
            direct.setdefault(left, set()).add(right)
    below: dict[str, frozenset[str]] = {}
    for code in direct:
        reached: set[str] = set()
        ahead = list(direct[code])
        while ahead:
            if (next_code := ahead.pop()) not in reached:
                reached.add(next_code)
                ahead.extend(direct.get(next_code, ()))
        below[code] = frozenset(reached)
    return below


def _unknown(kind: str, name: str, candidates: Iterable[str]) -> UnknownCodeError:
    import difflib  # only a mistyped code needs it

    names = list(candidates)
    near = difflib.get_close_matches(name.upper() if kind == "cause" else name, names, n=3, cutoff=0.5)
    hint = f"the nearest are {', '.join(near)}" if near else f"they run from {names[0]} to {names[-1]}"
    hint_zh = f"最接近的是 {'、'.join(near)}" if near else f"代码从 {names[0]} 到 {names[-1]}"
    kind_zh = "故障代码" if kind == "cause" else "现象"
    return UnknownCodeError(
        Text(
            en=f"the catalogue has no {kind} {name!r}; {hint}",
            zh=f"目录中没有{kind_zh} {name!r}；{hint_zh}",
        )
    )
