"""Which lines of a text changed, to which statements they belong, and whether the change means anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.facts.changes import PlaceKind
from ops.interpret.changed_text import changed_lines

SITE = """\
upstream gte {
    server 127.0.0.1:8000;
}
server {
    listen 443 ssl;  # the door
    location / {
        proxy_set_header X-Forwarded-For
            $proxy_add_x_forwarded_for;
        proxy_pass http://gte;
    }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "name"),
    [
        ("server 127.0.0.1:8000;", "server 127.0.0.1:8001;", 2, "server"),
        ("listen 443 ssl;  # the door", "listen 443;  # the door", 5, "listen"),
        ("proxy_pass http://gte;", "proxy_pass http://gte/;", 9, "proxy_pass"),
        # The second line of a statement belongs to its first word.
        ("$proxy_add_x_forwarded_for;", "$remote_addr;", 8, "proxy_set_header"),
    ],
)
def test_a_changed_line_of_nginx_has_its_number_and_its_directive(
    old: str, new: str, line: int, name: str
) -> None:
    (hunk,), is_harmless = changed_lines(SITE, SITE.replace(old, new), PlaceKind.NGINX)
    assert (hunk.line, hunk.names, is_harmless) == (line, (name,), False)
    assert old in hunk.before[0]
    assert new in hunk.after[0]


def test_every_directive_of_a_changed_line_is_named() -> None:
    old, new = "server { listen 80; }\n", "server { listen 80; return 301 /x; }\n"
    (hunk,), _ = changed_lines(old, new, PlaceKind.NGINX)
    assert set(hunk.names) == {"server", "listen", "return"}


@pytest.mark.parametrize(
    ("place", "old", "new", "names"),
    [
        (PlaceKind.GUNICORN, "bind = 'a'\nworkers = 2\n", "bind = 'a'\nworkers = 3\n", ("workers",)),
        (PlaceKind.GUNICORN, "raw_env = [\n  'A=1',\n]\n", "raw_env = [\n  'A=2',\n]\n", ("raw_env",)),
        (
            PlaceKind.UNIT,
            "[Service]\nExecStart=a \\\n  b\n",
            "[Service]\nExecStart=a \\\n  c\n",
            ("ExecStart",),
        ),
        (PlaceKind.ENVIRONMENT_FILE, "GTE_KEY=1\n", "GTE_KEY=2\n", ("GTE_KEY",)),
        (PlaceKind.SETTINGS, "[app]\ndir = 'x'\n", "[app]\ndir = 'y'\n", ("app.dir",)),
        (PlaceKind.APPLICATION, "x = 1\n", "x = 2\n", ()),
    ],
)
def test_each_format_names_its_statement(
    place: PlaceKind, old: str, new: str, names: tuple[str, ...]
) -> None:
    (hunk,), is_harmless = changed_lines(old, new, place)
    assert (hunk.names, is_harmless) == (names, False)


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        (PlaceKind.NGINX, SITE, SITE.replace("upstream", "# the service\nupstream")),
        (PlaceKind.NGINX, SITE, SITE.replace("    listen", "        listen")),
        (PlaceKind.UNIT, "[Service]\nUser=a\n", "; by hand\n[Service]\n\nUser=a\n"),
        (PlaceKind.APPLICATION, "def f():\n    return 1\n", "def f():\n    # one\n    return 1\n"),
    ],
)
def test_comments_and_blank_lines_are_harmless(place: PlaceKind, old: str, new: str) -> None:
    assert changed_lines(old, new, place)[1]


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        (PlaceKind.APPLICATION, "if x:\n    a()\n    b()\n", "if x:\n    a()\nb()\n"),
        # RFC 7468, 2: no blank before the dashes.
        (PlaceKind.CERTIFICATE, "-----BEGIN CERTIFICATE-----\n", "  -----BEGIN CERTIFICATE-----\n"),
    ],
)
def test_where_a_line_begins_may_mean_something(place: PlaceKind, old: str, new: str) -> None:
    assert not changed_lines(old, new, place)[1]


def test_a_comment_beside_a_change_is_left_out() -> None:
    new = SITE.replace("8000", "8001").replace("    location /", "    # all\n    location /")
    hunks, _ = changed_lines(SITE, new, PlaceKind.NGINX)
    assert [hunk.names for hunk in hunks] == [("server",)]


@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from(list(PlaceKind)))
def test_any_two_texts_are_compared(old: str, new: str, place: PlaceKind) -> None:
    hunks, is_harmless = changed_lines(old, new, place)
    assert changed_lines(old, old, place) == ((), True)
    assert hunks or is_harmless


def test_an_entry_of_cron_names_its_programs() -> None:
    old, new = "17 3 * * * root /usr/bin/certbot -q renew\n", "17 3 * * 1 root /usr/bin/certbot -q renew\n"
    (hunk,), _ = changed_lines(old, new, PlaceKind.CRON)
    assert hunk.names == ("root", "certbot", "renew")
