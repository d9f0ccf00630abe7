"""Pages that users asked for: what they load, and which of them draw all of the site's pages by a script.

Files are read, the application's source is searched, and nothing is run. Sources: HTML standard (script, link);
FastAPI's documentation (docs_url, redoc_url: pages that load their scripts from cdn.jsdelivr.net)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ops.collect.logs.packed_files import PackedPlace
from ops.collect.logs.served_files import asked_files
from ops.collect.logs.websocket_routes import MAX_FILE_BYTES, sources
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import PageResource, ShellPage
from ops.files.bounded_read import read_regular_file
from ops.text.sanitize import safe_line

MAX_BYTES = 1 << 20
MAX_RESOURCES = 20
_SCRIPT = re.compile(r"<script\b([^>]*)>", re.IGNORECASE)
_STYLE = re.compile(r"<link\b([^>]*\brel=[\"']?stylesheet\b[^>]*)>", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:src|href)\s*=\s*[\"']?\s*((?:https?:)?//[^\"'\s>]{1,200})", re.IGNORECASE)
_SOURCE = re.compile(r"\bsrc\s*=", re.IGNORECASE)
_TYPE = re.compile(r"\btype\s*=\s*[\"']?([\w/+.-]+)", re.IGNORECASE)
_RUN_AS = ("module", "text/javascript", "application/javascript")
# An element without content that a script fills, as the usual frameworks name it.
_FILLED_BY_A_SCRIPT = re.compile(
    r"<(?:(?:div|main|body)[^>]*\bid=[\"']?(?:app|root|__next|__nuxt|q-app|main|svelte)[\"']?[^>]*>\s*</(?:div|main|body)>"
    r"|app-root\b[^>]*>)",
    re.IGNORECASE,
)
_FASTAPI = re.compile(r"\bFastAPI\(")
_PAGE_SETTING = re.compile(r"\b(docs_url|redoc_url)\s*=\s*(?:(None)|[\"'](/[\w./-]{1,100})[\"'])")
_OWN_PAGE = re.compile(r"\bget_(?:swagger_ui|redoc)_html\b")
_PAGES = {"docs_url": "/docs", "redoc_url": "/redoc"}
_CDN = "https://cdn.jsdelivr.net"


def page_resources(
    places: Iterable[PackedPlace], app_dir: str, log: AccessLog | NotSeen
) -> tuple[PageResource, ...]:
    """Return what the pages that users were sent load from elsewhere, and their scripts without a file."""
    found: list[PageResource] = []
    for asked, path in asked_files(places, log).items():
        if path.endswith((".html", ".htm")):
            found += _resources_of(asked, path)
    found += _of_documentation(app_dir, log)
    return tuple(found[:MAX_RESOURCES])


def _resources_of(asked: str, path: str) -> Iterator[PageResource]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        where = safe_line(f"{path}:{number}", 1000)
        for match in _SCRIPT.finditer(line):
            address = _ADDRESS.search(match[1])
            kind = _TYPE.search(match[1])
            if address:
                yield PageResource(request_path=asked, kind="script", origin=_origin(address[1]), where=where)
            elif not _SOURCE.search(match[1]) and (kind is None or kind[1].lower() in _RUN_AS):
                yield PageResource(request_path=asked, kind="script", origin="", where=where)
        for match in _STYLE.finditer(line):
            if address := _ADDRESS.search(match[1]):
                yield PageResource(request_path=asked, kind="style", origin=_origin(address[1]), where=where)


def _origin(address: str) -> str:
    """Scheme, host and port of an absolute address; of one without a scheme, https."""
    full = address if address.lower().startswith("http") else f"https:{address}"
    return safe_line("/".join(full.split("/")[:3]).lower(), 200)


def _of_documentation(app_dir: str, log: AccessLog | NotSeen) -> Iterator[PageResource]:
    """What FastAPI's own pages load, if users asked for one of them."""
    if not app_dir or isinstance(log, NotSeen) or log.traffic is None:
        return
    asked = {a.path for a in log.traffic.answers if a.method == "GET" and a.status in ("200", "304")}
    if not any(path.endswith((*_PAGES.values(), "/api-docs")) for path in asked):
        return
    for path in sources(app_dir):
        text = _text(str(path), MAX_FILE_BYTES)
        if _OWN_PAGE.search(text):
            return  # it says itself where its scripts are
        match = _FASTAPI.search(text)
        if match is None:
            continue
        pages = dict(_PAGES) | {m[1]: "" if m[2] else m[3] for m in _PAGE_SETTING.finditer(text)}
        where = safe_line(f"{path}:{text.count(chr(10), 0, match.start()) + 1}", 1000)
        for page in pages.values():
            for request_path in (p for p in asked if page and p.endswith(page)):
                yield PageResource(request_path=request_path, kind="script", origin=_CDN, where=where)
        return


def shell_pages(places: Iterable[PackedPlace], log: AccessLog | NotSeen) -> tuple[ShellPage, ...]:
    """Return the pages that draw the others by a script, of the places where users were answered 404."""
    if not isinstance(log, AccessLog) or log.traffic is None:
        return ()
    lost = {item.path for item in log.traffic.answers if item.method == "GET" and item.status == "404"}
    found = []
    for place in places if lost else ():
        prefix = place.prefix if place.prefix.endswith("/") else f"{place.prefix}/"
        file = place.file(f"{prefix}index.html")
        if not any(path.startswith(prefix) for path in lost) or ".." in file:
            continue
        text = _text(file)
        if _FILLED_BY_A_SCRIPT.search(text) and _SCRIPT.search(text):
            found.append(ShellPage(prefix=prefix, path=safe_line(file, 1000)))
    return tuple(found[:MAX_RESOURCES])


def _text(path: str, most: int = MAX_BYTES) -> str:
    try:
        return read_regular_file(path, most).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
