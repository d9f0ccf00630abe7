"""Find lines of the application's source that say what browsers or nginx are to make of its answers: the names that
cookies are for, files that a web server is to send in its place, bodies that it packs.

The source is searched, never run. Sources: documentation of Flask (SESSION_COOKIE_DOMAIN, USE_X_SENDFILE), Django
(SESSION_COOKIE_DOMAIN, django-sendfile2), Starlette (GZipMiddleware), Flask-Compress."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource, SourceFile
from ops.collect.logs.assigned_settings import Assignment, assignments
from ops.collect.logs.private_routes import lines_of_routes
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import CookieDomain, SourceRoute
from ops.interpret.traffic import answers_in
from ops.text.sanitize import safe_line

REFUSED = ("401", "403", "302", "303")
_COOKIE_DOMAIN = re.compile(r"(?:SESSION|CSRF|REMEMBER|JWT|JWT_ACCESS|LANGUAGE|AUTH)_COOKIE_DOMAIN")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{3,200}")
# A file of settings for another host than this one.
_NOT_OF_THIS_HOST = re.compile(
    r"(?:^|[/_.-])(?:dev|develop|development|local|test|tests|testing|ci|stag|staging|example|sample)(?:[/_.-]|$)"
)
_WORDS_OF_APACHE = re.compile(r"USE_X_SENDFILE|SENDFILE_BACKEND|(?i:X-Sendfile)")
_BACKEND_OF_APACHE = re.compile(r"[\w.]*sendfile\.backends\.xsendfile")
_WORDS_OF_NGINX = re.compile(r"(?i)X-Accel-Redirect|sendfile\.backends\.nginx")
# An answer without a body, and without a file that another is to send.
_SENDS_NOTHING = re.compile(
    r"""return\s*+\(?\s*+(?:(?:\w{1,60}\.)?\w{0,60}(?:Response|make_response)\(\s*+)?(?:b?(?:""|'')|\)|status\w*=|None\b)"""
)
# GZipMiddleware of Starlette and Django, Flask-Compress, brotli-asgi.
_PACKS_ALL = re.compile(
    r"""\bGZipMiddleware\b|\bBrotliMiddleware\b|\bCompress\(\s{0,40}\w{1,80}\s{0,40}\)|\bcompress\.init_app\("""
)
_PACKING = ("gzipmiddleware", "brotlimiddleware", "compress(", "compress.init_app(", "content-encoding")
_PACKS_ONE = re.compile(r"""["'](?i:content-encoding)["'\]]*\s*[:,=]\s*["'](?:gzip|br|deflate|zstd)["']""")
# nginx replaces words in text/html (sub_filter_types): what tells a route that answers with it.
_IS_A_PAGE = re.compile(
    r"text/html|\brender_template|\bHTMLResponse\b|\bTemplateResponse\b|\brender\(|<(?:html|body|div|p|a|h1|table)\b",
    re.IGNORECASE,
)
_PAGE_BY_NAME = ".*[.]html?"
_SENDS_A_FILE = re.compile(r"\b(?:send_file|send_from_directory|sendfile)\(|[\"']X-Sendfile[\"']")


def cookie_domains(source: ApplicationSource, *logs: AccessLog | NotSeen) -> tuple[CookieDomain, ...]:
    """Return the names that the source's settings give cookies for, if users were refused or sent elsewhere."""
    if not any(item.status in REFUSED for item in answers_in(logs)):
        return ()
    given: dict[str, list[CookieDomain | None]] = {}
    for file in source.files:
        below = file.path.removeprefix(source.app_dir).lower()
        if "_COOKIE_DOMAIN" in file.text and not _NOT_OF_THIS_HOST.search(below):
            for assignment in assignments(file.text, _COOKIE_DOMAIN):
                given.setdefault(assignment.name, []).append(_domain(assignment, file.path))
    # Of several values the one in force is not known, if one of them is not written out.
    found = [item for items in given.values() if None not in items for item in items if item]
    return tuple(found)[:MAX_ROUTES]


def _domain(assignment: Assignment, path: str) -> CookieDomain | None:
    value = assignment.value
    if not isinstance(value, str) or not _DOMAIN.fullmatch(value):
        return None
    return CookieDomain(
        setting=assignment.name, domain=value.lstrip("."), where=safe_line(f"{path}:{assignment.line}", 1000)
    )


def handed_over_files(source: ApplicationSource, *logs: AccessLog | NotSeen) -> tuple[SourceRoute, ...]:
    """Return the lines by which the source lets the web server send files in Apache's words, and the routes that send
    files, if answers without a body were given."""
    if not any(
        item.method == "GET" and item.status == "200" and item.sent and item.sent.median == 0
        for item in answers_in(logs)
    ):
        return ()
    said: list[tuple[Assignment, str, str]] = []
    routes: list[str] = []
    for file in source.files:
        path, text = file.path, file.text
        if not file.has("sendfile", "send_file", "send_from_directory", "x-accel-redirect"):
            continue
        if _WORDS_OF_NGINX.search(text):
            return ()  # it has words for nginx too: which are in force is not known
        if _WORDS_OF_APACHE.search(text):
            lines = text.splitlines()
            said += (
                (given, f"{path}:{given.line}", lines[given.line - 1])
                for given in assignments(text, _WORDS_OF_APACHE)
                if given.line <= len(lines)
            )
        if _SENDS_A_FILE.search(text):
            routes += _routes_that_send_files(lines_of_routes(file))
    if not said or not all(_is_apache_s(given) for given, _, _ in said):
        return ()
    _, where, written = said[0]
    # Without a known route, that of any path: nginx's own words say which it is.
    return tuple(_source_route(pattern, where, written) for pattern in [*routes[: MAX_ROUTES - 1], ""])


def _is_apache_s(given: Assignment) -> bool:
    """Whether a setting is as Apache wants it; a header that is sent is, whatever its value."""
    match given.name:
        case "USE_X_SENDFILE":
            return given.value is True
        case "SENDFILE_BACKEND":
            return isinstance(given.value, str) and _BACKEND_OF_APACHE.fullmatch(given.value) is not None
    return True


def _routes_that_send_files(lines: Iterable[tuple[str, int, str]]) -> list[str]:
    """Return the patterns of routes that send files, and nothing else that has no body."""
    sending: dict[str, None] = {}
    empty: set[str] = set()
    for pattern, _, line in lines:
        if _SENDS_A_FILE.search(line):
            sending[pattern] = None
        elif _SENDS_NOTHING.match(line):
            empty.add(pattern)
    return [pattern for pattern in sending if pattern not in empty]


def packed_bodies(source: ApplicationSource, log: AccessLog | NotSeen) -> tuple[SourceRoute, ...]:
    """Return the routes of pages whose answers the source packs, each with the line that does: its own, or one for
    every route."""
    if not any(item.method == "GET" and item.status == "200" for item in answers_in((log,))):
        return ()
    if not any(file.has(*_PACKING) for file in source.files):
        return ()
    found: list[SourceRoute] = []
    pages: dict[str, None] = {}
    for_all = None
    for file in source.files:
        if not any(words.search(file.text) for words in (_IS_A_PAGE, _PACKS_ALL)):
            continue
        routes = [(pattern, file.place(number), line) for pattern, number, line in lines_of_routes(file)]
        own_pages = dict.fromkeys(pattern for pattern, _, line in routes if _IS_A_PAGE.search(line))
        pages.update(own_pages)
        found += (
            _source_route(pattern, where, line)
            for pattern, where, line in routes
            if pattern in own_pages and _PACKS_ONE.search(line)
        )
        for_all = for_all or next(filter(_packs_all, _lines(file)), None)
    if for_all is not None:
        found += (_source_route(pattern, *for_all) for pattern in (*pages, _PAGE_BY_NAME))
    return tuple(found[:MAX_ROUTES])


def _source_route(pattern: str, where: str, line: str) -> SourceRoute:
    return SourceRoute(
        pattern=safe_line(pattern, 400), where=safe_line(where, 1000), written=safe_line(line.strip(), 200)
    )


def _packs_all(line: tuple[str, str]) -> bool:
    return _PACKS_ALL.search(line[1]) is not None and not line[1].lstrip().startswith(("from ", "import "))


def _lines(file: SourceFile) -> Iterator[tuple[str, str]]:
    """Yield the lines that are no comments, each with its place."""
    for number, line in file.lines:
        if not line.lstrip().startswith("#"):
            yield file.place(number), line
