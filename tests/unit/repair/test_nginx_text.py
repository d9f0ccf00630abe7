"""Edits of nginx's own text: exactly the directive that is meant, and every other byte as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.repair.nginx_text import NotLocatedError, insert_before, replace_argument, replace_statement

SITE = """\
# limit_req is explained in limit_req.md; do not touch
server {
    location / {
        limit_req zone=api burst=20;  # limit_req here
        proxy_pass http://gte;
    }
    location = /health { access_log off; return 200 "O;K\\n"; }
    add_header X "a { b ; limit_req c";
}
"""


def test_a_statement_goes_before_the_directive_on_a_line_of_its_own() -> None:
    edited = insert_before(SITE, 4, "limit_req", "limit_req_status 429;")
    assert edited.splitlines()[3:5] == [
        "        limit_req_status 429;",
        "        limit_req zone=api burst=20;  # limit_req here",
    ]
    assert edited.replace("        limit_req_status 429;\n", "") == SITE


def test_a_directive_that_shares_its_line_gets_its_neighbour_there() -> None:
    text = "location / { limit_req zone=api; proxy_pass http://gte; }\n"
    assert (
        insert_before(text, 1, "limit_req", "limit_req_status 429;")
        == "location / { limit_req_status 429; limit_req zone=api; proxy_pass http://gte; }\n"
    )


def test_a_statement_is_replaced_to_its_own_semicolon_and_no_further() -> None:
    edited = replace_statement(SITE, 7, "return", "proxy_pass http://gte;")
    assert edited.splitlines()[6] == "    location = /health { access_log off; proxy_pass http://gte; }"


def test_an_argument_is_replaced_where_it_is_the_one_that_is_meant() -> None:
    text = 'upstream gte { server 127.0.0.1:8001 weight=2; server "127.0.0.1:8002"; }\n'
    assert "server 127.0.0.1:8000 weight=2" in replace_argument(
        "upstream gte { server 127.0.0.1:8001 weight=2; }\n", 1, "server", "127.0.0.1:8001", "127.0.0.1:8000"
    )
    with pytest.raises(NotLocatedError):
        replace_argument(text, 1, "server", "127.0.0.1:8001", "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        (SITE, 1, "limit_req"),  # a comment
        (SITE, 8, "limit_req"),  # inside quotes
        (SITE, 5, "limit_req"),  # another line
        ("limit_req a; limit_req b;\n", 1, "limit_req"),  # which of the two?
        ("content_by_lua_block { -- don't }\nlimit_req a;\n", 2, "limit_req"),
    ],
)
def test_what_cannot_be_located_for_certain_is_left_alone(text: str, line: int, name: str) -> None:
    with pytest.raises(NotLocatedError):
        insert_before(text, line, name, "x 1;")


def test_a_block_is_no_statement() -> None:
    with pytest.raises(NotLocatedError):
        replace_statement("server {\n}\n", 1, "server", "x;")


@given(st.text(alphabet="ab;{}\"'\\#$ \n", max_size=60), st.integers(1, 6))
def test_any_text_is_edited_or_refused_and_nothing_is_lost(text: str, line: int) -> None:
    try:
        edited = insert_before(text, line, "a", "INSERTED 1;")
    except NotLocatedError:
        return
    before, _, after = edited.partition("INSERTED 1;")
    assert text.startswith(before)
    assert text.endswith(after.lstrip())
