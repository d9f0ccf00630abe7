"""Pages that users asked for, by their files and by the application's source."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.packed_files import PackedPlace
from ops.collect.logs.pages import MAX_BYTES, page_resources, shell_pages
from ops.collect.logs.source_lines import packed_bodies
from ops.facts.logs import AccessLog
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import answered

LOG = "/var/log/nginx/access.log"


def asked(*paths: str, status: str = "200") -> AccessLog:
    return logged(LOG, *(answered(status, 5, path=path, method="GET") for path in paths))


def loads(directory: Path, html: str) -> list[tuple[str, str]]:
    (directory / "index.html").write_text(html)
    places = (PackedPlace("/", str(directory), replaces=False),)
    log = asked("/")
    return [(item.kind, item.origin) for item in page_resources(places, ApplicationSource(""), log)]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<script src="https://cdn.example/a.js"></script>', [("script", "https://cdn.example")]),
        ("<SCRIPT async src=//cdn.example:8443/a.js></SCRIPT>", [("script", "https://cdn.example:8443")]),
        ('<link rel="stylesheet" href="https://fonts.example/css">', [("style", "https://fonts.example")]),
        ("<script>start()</script>", [("script", "")]),
        ('<script type="module">import "/a.js"</script>', [("script", "")]),
        ('<script type="application/ld+json">{}</script>', []),
        ('<script src="/a.js"></script>', []),
        ('<link rel="icon" href="https://cdn.example/i.png">', []),
        ('<script\n  src="https://cdn.example/a.js"\n></script>', [("script", "https://cdn.example")]),
        # What no browser loads that runs scripts.
        ('<!--[if lt IE 9]><script src="https://cdn.example/html5shiv.js"></script><![endif]-->', []),
        ('<!-- <link rel="stylesheet" href="https://cdn.example/a.css">\n<script>start()</script> -->', []),
        ('<noscript><link rel="stylesheet" href="https://cdn.example/a.css"></noscript>', []),
        ('<template><script src="https://cdn.example/a.js"></script></template>', []),
        ('<script nomodule src="https://cdn.example/old.js"></script>', []),
        ('<script type="text/x-template" src="https://cdn.example/a.html"></script>', []),
        ('<script type="application/json">"<script>start()"</script>', []),
        (
            '<img data-src="https://cdn.example/a.js"><script data-src="https://cdn.example/b.js" src="/b.js">',
            [],
        ),
        ("<!-- never closed <script>start()</script>", []),
    ],
)
def test_what_a_page_loads(tmp_path: Path, html: str, expected: list[tuple[str, str]]) -> None:
    assert loads(tmp_path, html) == expected


@pytest.mark.parametrize(
    ("source", "path", "is_found"),
    [
        ("app = FastAPI()\n", "/docs", True),
        ("app = FastAPI()\n", "/api/redoc", True),
        ("app = FastAPI(docs_url='/help')\n", "/help/docs", False),
        ("app = FastAPI(docs_url=None, redoc_url=None)\n", "/docs", False),
        ("app = FastAPI()\nget_swagger_ui_html(swagger_js_url='/s.js')\n", "/docs", False),
        ("app = Flask(__name__)\n", "/docs", False),
        ("app = FastAPI()\n", "/predict", False),
    ],
)
def test_fastapi_s_own_pages_load_their_scripts_from_a_cdn(
    tmp_path: Path, source: str, path: str, *, is_found: bool
) -> None:
    (tmp_path / "app.py").write_text(source)
    found = page_resources((), ApplicationSource(str(tmp_path)), asked(path))
    assert [item.origin for item in found] == (["https://cdn.jsdelivr.net"] if is_found else [])


@pytest.mark.parametrize(
    ("html", "is_shell"),
    [
        ('<div id="app"></div><script src="a.js"></script>', True),
        ("<app-root></app-root>\n<script src=main.js></script>", True),
        ('<div id="root">\n</div>\n<script type="module" src="/a.js"></script>', True),
        ('<div id="app"><h1>Hello</h1></div><script src="a.js"></script>', False),
        ('<div id="app"></div>', False),
        ("<h1>Hello</h1><script src=a.js></script>", False),
    ],
)
def test_a_page_that_a_script_draws(tmp_path: Path, html: str, *, is_shell: bool) -> None:
    (tmp_path / "index.html").write_text(html)
    places = (PackedPlace("/shop/", f"{tmp_path}/", replaces=True),)
    lost = asked("/shop/orders/*", status="404")
    assert bool(shell_pages(places, lost)) is is_shell
    assert not shell_pages(places, asked("/shop/"))
    assert not shell_pages(places, asked("/other", status="404"))


JSON_ROUTE = '@app.get("/items")\ndef items():\n    return body, {"Content-Encoding": "gzip"}\n'
ROUTE = (
    '@app.get("/page")\ndef page():\n'
    '    return body, {"Content-Type": "text/html", "Content-Encoding": "gzip"}\n'
)
BY_NAME = ".*[.]html?"


@pytest.mark.parametrize(
    ("source", "patterns"),
    [
        (ROUTE, ["/page"]),
        (JSON_ROUTE, []),
        ("Compress(app)\n", [BY_NAME]),
        (f"{JSON_ROUTE}\nCompress(app)\n{ROUTE.replace('gzip', 'identity')}", ["/page", BY_NAME]),
        ("app.add_middleware(GZipMiddleware, minimum_size=500)\n", [BY_NAME]),
        ('MIDDLEWARE = [\n    "django.middleware.gzip.GZipMiddleware",\n]\n', [BY_NAME]),
        ("from starlette.middleware.gzip import GZipMiddleware\n", []),
        ('headers = {"Content-Encoding": "gzip"}  # of a request\n', []),
        ("# Compress(app)\n", []),
    ],
)
def test_where_answers_are_packed(tmp_path: Path, source: str, patterns: list[str]) -> None:
    (tmp_path / "app.py").write_text(source)
    assert [
        item.pattern for item in packed_bodies(ApplicationSource(str(tmp_path)), asked("/page"))
    ] == patterns


@pytest.mark.parametrize(
    "unit",
    [
        "<link rel=stylesheet ",
        "<script ",
        "<script>",
        "<div ",
        "<div id=app>",
        "<!--",
        "<!-->",
        "<",
        "</",
        "<a\n",
        "\n",
    ],
)
def test_a_page_that_somebody_uploaded_is_read_in_the_time_of_its_length(tmp_path: Path, unit: str) -> None:
    """In seconds of the processor, of this thread; the expressions before these took minutes."""
    (tmp_path / "index.html").write_text(unit * (MAX_BYTES // len(unit)))
    places = (PackedPlace("/shop/", f"{tmp_path}/", replaces=True),)
    source = ApplicationSource("")
    began = time.thread_time()
    page_resources(places, source, asked("/shop/"))
    shell_pages(places, asked("/shop/orders/*", status="404"))
    assert time.thread_time() - began < 2
