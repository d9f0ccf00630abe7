"""Pages that users asked for: what they load, and which of them draw all of the site's pages by a script.

Files are read, the application's source is searched, and nothing is run. Sources: HTML standard (script, link);
FastAPI's documentation (docs_url, redoc_url: pages that load their scripts from cdn.jsdelivr.net)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.packed_files import PackedPlace
from ops.collect.logs.served_files import asked_files
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import PageResource, ShellPage
from ops.files.bounded_read import read_regular_file
from ops.interpret.traffic import answers_in
from ops.text.sanitize import safe_line

MAX_BYTES = 256 << 10  # of one page
MAX_ELEMENTS = 10_000
MAX_RESOURCES = 20
# Of one element, characters.
MAX_ATTRIBUTES = 2000
_START = re.compile(
    r"<(?:!--|(script|style|noscript|template|textarea|title|iframe|link|div|main|body|app-root)(?=[\s/>]))",
    re.IGNORECASE,
)
# Elements whose content is no page of its own: text, or what a browser with scripts does not load.
_CLOSING = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "noscript", "template", "textarea", "title", "iframe")
}
_STYLESHEET = re.compile(r"(?<![\w-])rel\s{0,8}=\s{0,8}[\"']?\s{0,8}stylesheet\b", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(?<![\w-])(?:src|href)\s{0,8}=\s{0,8}[\"']?\s{0,8}((?:https?:)?//[^\"'\s>]{1,200})", re.IGNORECASE
)
_SOURCE = re.compile(r"(?<![\w-])src\s{0,8}=", re.IGNORECASE)
_TYPE = re.compile(r"(?<![\w-])type\s{0,8}=\s{0,8}[\"']?([\w/+.-]{1,100})", re.IGNORECASE)
_OLD_BROWSERS = re.compile(r"(?<![\w-])nomodule\b", re.IGNORECASE)
_RUN_AS = ("module", "text/javascript", "application/javascript")
# An element without content that a script fills, as the usual frameworks name it.
_FILLED = re.compile(
    r"(?<![\w-])id=[\"']?(?:app|root|__next|__nuxt|q-app|main|svelte)(?![\w-])", re.IGNORECASE
)
_EMPTY = re.compile(r"\s*+</(?:div|main|body)>", re.IGNORECASE)
_FASTAPI = re.compile(r"\bFastAPI\(")
_PAGE_SETTING = re.compile(r"\b(docs_url|redoc_url)\s{0,40}=\s{0,40}(?:(None)|[\"'](/[\w./-]{1,100})[\"'])")
_OWN_PAGE = re.compile(r"\bget_(?:swagger_ui|redoc)_html\b")
_PAGES = {"docs_url": "/docs", "redoc_url": "/redoc"}
_CDN = "https://cdn.jsdelivr.net"


def page_resources(
    places: Iterable[PackedPlace], source: ApplicationSource, log: AccessLog | NotSeen
) -> tuple[PageResource, ...]:
    """Return what the pages that users were sent load from elsewhere, and their scripts without a file."""
    found: list[PageResource] = []
    for asked, path in asked_files(places, log).items():
        if path.endswith((".html", ".htm")):
            found += _resources_of(asked, path)
    found += _of_documentation(source, log)
    return tuple(found[:MAX_RESOURCES])


class _Element(NamedTuple):
    """An element's start. ``end``: where its content begins."""

    name: str
    attributes: str
    line: int
    end: int


def _elements(text: str) -> Iterator[_Element]:
    """Yield the elements of interest that a browser with scripts makes of a page; it makes none of what stands in a
    comment (HTML standard, 13.2.5). Each character is looked at once: anybody may have uploaded the page."""
    at, line, counted = 0, 1, 0
    for _ in range(MAX_ELEMENTS):
        start = _START.search(text, at)
        if start is None:
            return
        at, name = start.end(), (start[1] or "").lower()
        end = text.find(">", at, at + MAX_ATTRIBUTES) if name else text.find("-->", start.start() + 2)
        if not name and end < 0:
            return
        if not name or end < 0:
            at = max(at, end + 3)
            continue
        line, counted = line + text.count("\n", counted, at), at
        attributes, at = text[at:end], end + 1
        yield _Element(name, attributes, line, at)
        if closing := _CLOSING.get(name):
            closed = closing.search(text, at)
            if closed is None:
                return
            at = closed.end()


def _resources_of(asked: str, path: str) -> Iterator[PageResource]:
    for element in _elements(_text(path)):
        where = safe_line(f"{path}:{element.line}", 1000)
        address = _ADDRESS.search(element.attributes)
        if element.name == "script" and _is_run(element.attributes):
            if address:
                yield PageResource(request_path=asked, kind="script", origin=_origin(address[1]), where=where)
            elif not _SOURCE.search(element.attributes):
                yield PageResource(request_path=asked, kind="script", origin="", where=where)
        elif element.name == "link" and address and _STYLESHEET.search(element.attributes):
            yield PageResource(request_path=asked, kind="style", origin=_origin(address[1]), where=where)


def _is_run(attributes: str) -> bool:
    """Whether today's browsers run a script with these attributes."""
    kind = _TYPE.search(attributes)
    return not _OLD_BROWSERS.search(attributes) and (kind is None or kind[1].lower() in _RUN_AS)


def _is_filled_by_a_script(text: str) -> bool:
    is_filled = has_script = False
    for element in _elements(text):
        has_script = has_script or element.name == "script"
        is_filled = (
            is_filled
            or element.name == "app-root"
            or (
                element.name in ("div", "main", "body")
                and _FILLED.search(element.attributes) is not None
                and _EMPTY.match(text, element.end) is not None
            )
        )
    return is_filled and has_script


def _origin(address: str) -> str:
    """Scheme, host and port of an absolute address; of one without a scheme, https."""
    full = address if address.lower().startswith("http") else f"https:{address}"
    return safe_line("/".join(full.split("/")[:3]).lower(), 200)


def _of_documentation(source: ApplicationSource, log: AccessLog | NotSeen) -> Iterator[PageResource]:
    """What FastAPI's own pages load, if users asked for one of them."""
    if isinstance(log, NotSeen) or log.traffic is None:
        return
    asked = {a.path for a in log.traffic.answers if a.method == "GET" and a.status in ("200", "304")}
    if not any(path.endswith((*_PAGES.values(), "/api-docs")) for path in asked):
        return
    for file in source.files:
        text = file.text
        if _OWN_PAGE.search(text):
            return  # it says itself where its scripts are
        match = _FASTAPI.search(text)
        if match is None:
            continue
        pages = dict(_PAGES) | {m[1]: "" if m[2] else m[3] for m in _PAGE_SETTING.finditer(text)}
        where = safe_line(file.place(text.count("\n", 0, match.start()) + 1), 1000)
        for page in pages.values():
            for request_path in (p for p in asked if page and p.endswith(page)):
                yield PageResource(request_path=request_path, kind="script", origin=_CDN, where=where)
        return


def shell_pages(places: Iterable[PackedPlace], log: AccessLog | NotSeen) -> tuple[ShellPage, ...]:
    """Return the pages that draw the others by a script, of the places where users were answered 404."""
    lost = {item.path for item in answers_in((log,)) if item.method == "GET" and item.status == "404"}
    found = []
    for place in places if lost else ():
        prefix = place.prefix if place.prefix.endswith("/") else f"{place.prefix}/"
        file = place.file(f"{prefix}index.html")
        if not any(path.startswith(prefix) for path in lost) or ".." in file:
            continue
        if _is_filled_by_a_script(_text(file)):
            found.append(ShellPage(prefix=prefix, path=safe_line(file, 1000)))
    return tuple(found[:MAX_RESOURCES])


def _text(path: str) -> str:
    try:
        return read_regular_file(path, MAX_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
