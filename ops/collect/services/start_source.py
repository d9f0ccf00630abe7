"""Read the application's source at the places that a failed start's traceback names: the environment variables, files
and ports used there. The source is parsed, never run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from ops.facts.start import Default, EnvironmentFile, EnvironmentRead, Mention, Use
from ops.files.bounded_read import read_regular_file
from ops.files.presence import is_there
from ops.text.sanitize import safe_line

MAX_SOURCE_BYTES = 1 << 20
MAX_FILES = 12
MAX_READS = 40
_FRAME = re.compile(r'^\s*File "([^"]{1,1000})", line (\d{1,9})(?:, in (\S+))?')
_NAME = re.compile(r"[A-Za-z_]\w{0,79}")
# Objects and methods by which django-environ, environs and python-decouple read a variable: env("X"), env.int("X"),
# config("X").
_OBJECTS = ("env", "environ", "ENV")
_CASTS = frozenset(
    {"str", "int", "bool", "float", "list", "json", "url", "db", "db_url", "path", "decimal", "date", "datetime",
     "timedelta", "uuid", "enum", "log_level", "cache", "email_url", "get_value", "dict", "tuple", "bytes"}
)  # fmt: skip
_LOOK_UPS = ("getattr", "import_module", "import_string", "__import__", "load_module")
_FILE = re.compile(
    r"(?:[\w.~-]*/)*[\w.-]+\.(?:db|sqlite3?|json|ya?ml|toml|ini|cfg|conf|env|properties|xml|csv|pkl|pickle|joblib|pth?)"
)
_ENVIRONMENT_FILES = (".env", "env", ".env.production", ".envrc", "config/.env", "../.env")


class _Source(msgspec.Struct, frozen=True):
    path: str
    tree: ast.Module
    reads: tuple[tuple[EnvironmentRead, ast.AST], ...]


class SourceReading(msgspec.Struct, frozen=True):
    """The facts found in the source. ``prefixes``: by the name of a settings class (pydantic), or by ``*`` for all
    (dynaconf)."""

    reads: tuple[EnvironmentRead, ...] = ()
    mentions: tuple[Mention, ...] = ()
    prefixes: dict[str, str] = {}


def read_sources(app_dir: str, output: str, ends: Sequence[tuple[str, int]] = ()) -> SourceReading:
    """Read the source at the frames in ``output`` that are in the application's directory, the innermost first.
    ``ends``: file and line of statements that end the process."""
    frames = [*_own_frames(app_dir, output), *ends]
    sources: dict[str, _Source] = {}
    for path, _ in frames:
        _load(path, app_dir, sources, follow=True)
    reads: list[EnvironmentRead] = []
    mentions: list[Mention] = []
    for path, line in frames:
        source = sources.get(path)
        statement = _statement(source.tree, line) if source else None
        if source is None or statement is None:
            continue
        frame = f"{safe_line(path, 1000)}:{line}"
        reads += _used(statement, source, sources, frame)
        mentions += _mentions(statement, source.tree, frame)
    for source in sources.values():
        reads += [read for read, _ in source.reads]
    unique = dict.fromkeys(reads)
    return SourceReading(
        reads=tuple(islice(unique, MAX_READS)),
        mentions=tuple(dict.fromkeys(mentions))[:20],
        prefixes=_prefixes(sources.values()),
    )


def environment_files(app_dir: str) -> tuple[EnvironmentFile, ...]:
    """Return the files beside the application that set variables, with only the variables' names."""
    files = []
    for name in _ENVIRONMENT_FILES:
        path = str((Path(app_dir) / name).resolve()) if ".." in name else str(Path(app_dir) / name)
        try:
            text = read_regular_file(path, 64 << 10).content.decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        names = re.findall(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w{0,79})[ \t]*=", text, re.MULTILINE)
        if names:
            files.append(EnvironmentFile(path=safe_line(path, 1000), names=tuple(dict.fromkeys(names))[:200]))
    return tuple(files)


def migrations_command(app_dir: str) -> str | None:
    """Return the command that creates the tables of the application's database, judged by the files of Django,
    Flask-Migrate and Alembic."""
    root = Path(app_dir)
    if is_there(root / "manage.py"):
        return "manage.py migrate"
    if is_there(root / "migrations" / "env.py"):
        return "-m flask db upgrade"
    if is_there(root / "alembic.ini"):
        return "-m alembic upgrade head"
    return None


def _own_frames(app_dir: str, output: str) -> list[tuple[str, int]]:
    root = app_dir.rstrip("/") + "/"
    frames = []
    for line in output.splitlines():
        match = _FRAME.match(line)
        if match and match[1].startswith(root) and "-packages/" not in match[1]:
            frames.append((match[1], int(match[2])))
    return list(dict.fromkeys(reversed(frames)))[:20]


def _load(path: str, app_dir: str, sources: dict[str, _Source], *, follow: bool) -> None:
    """Load a file, and the application's own modules that it imports or names as settings."""
    if path in sources or len(sources) >= MAX_FILES:
        return
    try:
        content = read_regular_file(path, MAX_SOURCE_BYTES).content
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return
    sources[path] = _Source(path, tree, tuple(_environment_reads(path, tree)))
    if follow:
        for module in _imports(tree):
            for candidate in (Path(app_dir) / f"{module}.py", Path(app_dir) / module / "__init__.py",
                              Path(path).parent / f"{module}.py"):  # fmt: skip
                if is_there(candidate):
                    _load(str(candidate), app_dir, sources, follow=False)


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield modules as paths without '.py': the imported ones, and the value of DJANGO_SETTINGS_MODULE."""
    for node in islice(ast.walk(tree), 20_000):
        if isinstance(node, ast.Import):
            yield from (name.name.replace(".", "/") for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").replace(".", "/")
            if node.level and not base:
                yield from (name.name for name in node.names)
            elif base:
                yield base
        elif isinstance(node, ast.Call) and len(node.args) == 2:
            arguments = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if arguments[:1] == ["DJANGO_SETTINGS_MODULE"] and isinstance(arguments[-1], str):
                yield arguments[-1].replace(".", "/")


# --- variables -------------------------------------------------------------------------------------------------------


def _environment_reads(path: str, tree: ast.Module) -> Iterator[tuple[EnvironmentRead, ast.AST]]:
    """Yield every read of a variable, with its node and the target it is assigned to."""
    targets = _targets(tree)
    for node in islice(ast.walk(tree), 50_000):
        read = _read(node)
        if read is not None:
            name, default = read
            yield (
                EnvironmentRead(
                    name=name,
                    path=safe_line(path, 1000),
                    line=getattr(node, "lineno", 0),
                    default=default,
                    target=targets.get(id(node)),
                ),
                node,
            )


def _read(node: ast.AST) -> tuple[str, Default] | None:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        if ast.unparse(node.value).rpartition(".")[2] in ("environ", "environb"):
            return _named(node.slice, Default.REQUIRED)
        return None
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        is_environment = ast.unparse(node.comparators[0])[-20:].endswith("environ")
        return _named(node.left, Default.NONE) if is_environment else None
    if not isinstance(node, ast.Call) or not node.args:
        return None
    function = ast.unparse(node.func)[:100]
    last = function.rpartition(".")[2]
    plain = any(function == each or function.endswith(f".{each}") for each in ("getenv", "environ.get"))
    is_cast = (
        isinstance(node.func, ast.Attribute) and last in _CASTS and function.partition(".")[0] in _OBJECTS
    )
    of_package = function in ("env", "config", "environ") or is_cast
    if function.rpartition(".")[2] == "setdefault" and "environ" in function:
        return _named(node.args[0], Default.VALUE)
    if not plain and not of_package:
        return None
    default = (
        node.args[1]
        if len(node.args) > 1
        else next((k.value for k in node.keywords if k.arg == "default"), None)
    )
    if default is None:
        return _named(node.args[0], Default.NONE if plain else Default.REQUIRED)
    if isinstance(default, ast.Constant) and default.value is None:
        return _named(node.args[0], Default.NONE)
    is_empty = isinstance(default, ast.Constant) and default.value in ("", b"")
    return _named(node.args[0], Default.EMPTY if is_empty else Default.VALUE)


def _named(node: ast.AST, default: Default) -> tuple[str, Default] | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return (value, default) if isinstance(value, str) and _NAME.fullmatch(value) else None


def _targets(tree: ast.Module) -> dict[int, str]:
    """Map the identity of each node to the name, attribute or key that its statement assigns."""
    target_names: dict[int, str] = {}
    for statement in islice(ast.walk(tree), 50_000):
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        elif isinstance(statement, ast.keyword) and statement.arg:
            target_names |= {
                id(node): statement.arg for node in ast.walk(statement.value) if id(node) not in target_names
            }
            continue
        else:
            continue
        name = _target(targets[0])
        if name:
            target_names |= {id(node): name for node in ast.walk(value)}
    return target_names


def _target(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value if isinstance(node.slice.value, str) else None
    return None


def _statement(tree: ast.Module, line: int) -> ast.AST | None:
    """Return the innermost statement that spans a line; for if, while, for and with, only its head; for a definition or
    try, None."""
    best: ast.AST | None = None
    for node in islice(ast.walk(tree), 50_000):
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        best = node
    if isinstance(best, ast.If | ast.While):
        return best.test
    if isinstance(best, ast.For):
        return best.iter
    if isinstance(best, ast.With):
        return ast.Tuple(elts=[item.context_expr for item in best.items], ctx=ast.Load())
    if isinstance(best, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Try):
        return None
    return best


def _used(
    statement: ast.AST, source: _Source, sources: dict[str, _Source], frame: str
) -> Iterator[EnvironmentRead]:
    """Yield the variables that a frame's statement uses: those of its conditions first."""
    for condition in _conditions(source.tree, statement):
        use = _use(condition)
        for read, _ in _with_nodes(condition, source, sources):
            yield msgspec.structs.replace(read, frame=frame, use=use)
    looked_up = _looked_up(statement)
    for read, node in _with_nodes(statement, source, sources):
        yield msgspec.structs.replace(read, frame=frame, use=Use.NAME if id(node) in looked_up else None)


def _with_nodes(
    statement: ast.AST, source: _Source, sources: dict[str, _Source]
) -> Iterator[tuple[EnvironmentRead, ast.AST]]:
    """Yield the reads in the statement itself; then those assigned to a name that it uses."""
    nodes = list(islice(ast.walk(statement), 5000))
    inside = {id(node) for node in nodes}
    yield from ((read, node) for read, node in source.reads if id(node) in inside)
    names = {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }
    for each in (source, *(other for other in sources.values() if other is not source)):
        for read, node in each.reads:
            if read.target in names and id(node) not in inside:
                yield read, node


def _conditions(tree: ast.Module, statement: ast.AST) -> Iterator[ast.AST]:
    """Yield the conditions under which a statement ends the loading, the nearest first; an assertion's own condition,
    negated."""
    if isinstance(statement, ast.Assert):
        yield ast.UnaryOp(op=ast.Not(), operand=statement.test)
    if not isinstance(statement, ast.Raise | ast.Expr):
        return
    conditions = [
        node
        for node in islice(ast.walk(tree), 50_000)
        if isinstance(node, ast.If)
        and any(inner is statement for body in node.body for inner in ast.walk(body))
    ]
    yield from (node.test for node in reversed(conditions[-2:]))


def _use(condition: ast.AST) -> Use:
    """Return whether a condition holds for an unset variable or for an unwanted value."""
    for node in ast.walk(condition):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Use.UNSET
        if isinstance(node, ast.Compare):
            right = ast.unparse(node.comparators[0])[:40]
            if isinstance(node.ops[0], ast.Is | ast.Eq) and right in ("None", "''"):
                return Use.UNSET
            if isinstance(node.ops[0], ast.NotIn) and right.endswith("environ"):
                return Use.UNSET
    return Use.VALUE


def _looked_up(statement: ast.AST) -> set[int]:
    """Return the nodes whose value is passed to a look-up by name (`_LOOK_UPS`)."""
    nodes: set[int] = set()
    for node in islice(ast.walk(statement), 5000):
        if isinstance(node, ast.Call) and ast.unparse(node.func)[-60:].rpartition(".")[2] in _LOOK_UPS:
            nodes |= {id(inner) for argument in node.args for inner in ast.walk(argument)}
    return nodes


def _prefixes(sources: Iterable[_Source]) -> dict[str, str]:
    prefixes: dict[str, str] = {}
    for source in sources:
        for node in islice(ast.walk(source.tree), 50_000):
            if isinstance(node, ast.ClassDef):
                for inner in ast.walk(node):
                    prefix = _keyword(inner, "env_prefix")
                    if prefix is not None:
                        prefixes[safe_line(node.name, 100)] = prefix
            elif (prefix := _keyword(node, "envvar_prefix")) is not None:
                prefixes["*"] = f"{prefix}_" if prefix else ""
    return prefixes


def _keyword(node: ast.AST, name: str) -> str | None:
    if isinstance(node, ast.Call):
        value = next((each.value for each in node.keywords if each.arg == name), None)
    elif isinstance(node, ast.Assign) and _target(node.targets[0]) == name:
        value = node.value
    else:
        return None
    word = value.value if isinstance(value, ast.Constant) else None
    return word if isinstance(word, str) and re.fullmatch(r"\w{0,60}", word) else None


# --- files and ports -------------------------------------------------------------------------------------------------


def _mentions(statement: ast.AST, tree: ast.Module, frame: str) -> Iterator[Mention]:
    """Yield the files and ports that the statement names; then the files that its module opens or reads."""
    for node in islice(ast.walk(statement), 5000):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and _FILE.fullmatch(value):
            yield Mention(frame=frame, file=safe_line(value, 400))
        elif isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
            yield Mention(frame=frame, port=value)
    for node in islice(ast.walk(tree), 50_000):
        if isinstance(node, ast.Call) and ast.unparse(node.func)[-20:].endswith(
            ("open", "read", "read_text", "load")
        ):
            for argument in node.args[:1]:
                value = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(value, str) and _FILE.fullmatch(value):
                    yield Mention(frame=frame, file=safe_line(value, 400), is_near=True)
