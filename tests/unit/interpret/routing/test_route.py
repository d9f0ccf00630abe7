"""A request's way through nginx: the rules, one by one. The whole is held against nginx in tests/differential."""

from __future__ import annotations

from typing import Any

import pytest

from ops.facts.nginx import NginxConfig
from ops.interpret.routing.model import (
    FileKind,
    OutcomeKind,
    RequestRoute,
    RoutedRequest,
    RouteSurroundings,
    StepKind,
)
from ops.interpret.routing.route import route
from ops.interpret.routing.uri import BadUriError, normalize, unescape_redirect
from tests.unit.made_snapshot import SITE_FILE, nginx_config

PLAIN = "server {{ listen 80; server_name a.test; {} }}"


def config(site: str) -> NginxConfig:
    return nginx_config(site)


def asked(target: str, method: str = "GET", **changes: Any) -> RoutedRequest:
    values: dict[str, Any] = {"host": "a.test", "address": "127.0.0.1", "port": 80, "client": "127.0.0.1"}
    return RoutedRequest(method=method, target=target, **(values | changes))


def routed(site: str, request: RoutedRequest, **around: Any) -> RequestRoute:
    return route(config(site), request, RouteSurroundings(**around))


def inside(locations: str, target: str, method: str = "GET", **changes: Any) -> RequestRoute:
    return routed(PLAIN.format(locations), asked(target, method, **changes), assumed_file=FileKind.MISSING)


def sent_on(locations: str, target: str, method: str = "GET", **changes: Any) -> str:
    """The request line that the service gets."""
    request = inside(locations, target, method, **changes).outcome.passed
    assert request is not None
    return f"{request.method} {request.uri}"


# --- URIs ---


@pytest.mark.parametrize(
    ("target", "path", "arguments"),
    [
        ("/a//b", "/a/b", ""),
        ("/a/./b/../c", "/a/c", ""),
        ("/a/%2e%2e/b?x=%2F", "/b", "x=%2F"),
        ("/a%2Fb", "/a/b", ""),
        ("/a%3Fb?c", "/a?b", "c"),
        ("/a?x#f", "/a", "x"),
        ("/a/..", "/", ""),
        ("/...", "/...", ""),
    ],
)
def test_a_path_is_read_as_nginx_reads_it(target: str, path: str, arguments: str) -> None:
    assert normalize(target, merge_slashes=True)[:2] == (path, arguments)


@pytest.mark.parametrize("target", ["/..", "/a/../..", "/%zz", "/%", "/%00", "/a b", "/a\tb"])
def test_what_nginx_answers_400_is_refused(target: str) -> None:
    with pytest.raises(BadUriError):
        normalize(target, merge_slashes=True)


def test_slashes_are_kept_where_they_are_not_to_be_merged() -> None:
    assert normalize("/a//b", merge_slashes=False)[0] == "/a//b"


def test_a_redirect_s_escapes_are_decoded_up_to_a_question_mark() -> None:
    assert unescape_redirect("/%41%20%2f?%41") == "/A%20/?%41"


# --- servers ---


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("a.test", 1),
        ("A.TEST.", 1),
        ("a.test:8080", 1),
        ("x.a.test", 2),
        ("mail.example", 3),
        ("web7.example", 4),
        ("nobody.example", 1),
    ],
)
def test_the_server_block_is_chosen_by_exact_name_then_wildcards_then_patterns(host: str, line: int) -> None:
    site = "\n".join(
        f"server {{ listen 80; server_name {name}; return 200; }}"
        for name in ("a.test", "*.a.test", "mail.*", r"~^web\d+\.")
    )
    assert routed(site, asked("/", host=host)).server_where == f"{SITE_FILE}:{line}"


def test_the_most_specific_address_decides_before_the_name() -> None:
    site = "server { listen 80; server_name a.test; }\nserver { listen 127.0.0.1:80; server_name b.test; return 204; }"
    assert routed(site, asked("/")).outcome.status == 204
    assert routed(site, asked("/", address="192.0.2.1")).server_where == f"{SITE_FILE}:1"


def test_a_name_that_conflicts_is_ignored_and_said() -> None:
    site = (
        "server { listen 80; server_name a.test; return 201; }\n"
        "server { listen 80; server_name .a.test; return 202; }"
    )
    result = routed(site, asked("/"))
    assert result.outcome.status == 201
    assert [step.where for step in result.steps if "ignores" in step.words.en] == [f"{SITE_FILE}:2"]
    # nginx leaves out the whole name, its wildcard too.
    assert routed(site, asked("/", host="x.a.test")).outcome.status == 201


def test_tls_to_a_port_without_ssl_is_named() -> None:
    result = routed("server { listen 443; return 200; }", asked("/", port=443, scheme="https"))
    assert (result.outcome.kind, result.outcome.where) == (OutcomeKind.TLS_TO_PLAIN, f"{SITE_FILE}:1")


def test_plain_http_to_a_tls_port_is_answered_400_or_by_the_error_page_for_497() -> None:
    site = "server { listen 443 ssl; {} return 200; }"
    request = asked("/", port=443)
    assert routed(site.replace("{}", ""), request).outcome.status == 400
    outcome = routed(site.replace("{}", "error_page 497 https://a.test/;"), request).outcome
    assert (outcome.status, outcome.location) == (302, "https://a.test/")


def test_where_nothing_listens_that_is_said() -> None:
    assert routed(PLAIN.format(""), asked("/", port=81)).outcome.kind is OutcomeKind.NO_LISTENER


# --- locations ---

LOCATIONS = """
location = /a { return 201; }
location /a { return 202; location /a/b { return 203; } }
location ^~ /static/ { return 204; }
location ~ \\.png$ { return 205; }
location ~* \\.PNG$ { return 206; }
location / { return 207; }
"""


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/a", 201),
        ("/a/x", 202),
        ("/a/b/x", 203),
        ("/a/x.png", 205),
        ("/static/x.png", 204),
        ("/x.Png", 206),
        ("/%61", 201),
        ("/other", 207),
    ],
)
def test_the_location_is_exact_then_a_final_prefix_then_a_pattern_then_the_longest_prefix(
    target: str, status: int
) -> None:
    assert inside(LOCATIONS, target).outcome.status == status


def test_a_location_with_a_slash_redirects_the_path_without_it() -> None:
    outcome = inside("location /api/ { proxy_pass http://127.0.0.1:8000; }", "/api?x=1").outcome
    assert (outcome.status, outcome.location) == (301, "http://a.test/api/?x=1")


# --- proxy_pass ---


@pytest.mark.parametrize(
    ("locations", "target", "line"),
    [
        ("location /predict { proxy_pass http://127.0.0.1:8000; }", "/predict?x=1", "/predict?x=1"),
        ("location /predict { proxy_pass http://127.0.0.1:8000/; }", "/predict", "/"),
        ("location /api/ { proxy_pass http://127.0.0.1:8000/; }", "/api/predict?x=1", "/predict?x=1"),
        ("location /api { proxy_pass http://127.0.0.1:8000/; }", "/api/predict", "//predict"),
        ("location / { proxy_pass http://127.0.0.1:8000; }", "/a%2Fb//c", "/a%2Fb//c"),
        ("location / { proxy_pass http://127.0.0.1:8000/x/; }", "/a%20b", "/x/a%20b"),
        ("location / { rewrite ^/v1(.*)$ $1 break; proxy_pass http://127.0.0.1:8000; }", "/v1/p", "/p"),
        ("location / { rewrite ^/v1(.*)$ $1 break; proxy_pass http://127.0.0.1:8000/up; }", "/v1/p", "/p"),
        ("location / { set $b 127.0.0.1:8000; proxy_pass http://$b/fixed; }", "/p?x=1", "/fixed"),
        ("location / { set $b 127.0.0.1:8000; proxy_pass http://$b; }", "/p?x=1", "/p?x=1"),
        ("location ~ ^/(.*)/$ { proxy_pass http://127.0.0.1:8000/$1; }", "/a/b/", "/a/b"),
        ("location / { if ($request_method = GET) { proxy_pass http://127.0.0.1:8000; } }", "/p", "/p"),
    ],
)
def test_the_service_gets_the_path_that_proxy_pass_makes(locations: str, target: str, line: str) -> None:
    assert sent_on(locations, target) == f"GET {line}"


def test_headers_are_inherited_only_where_a_location_sets_none() -> None:
    outer = "proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Host $host;"
    inherited = inside(outer + "location / { proxy_pass http://127.0.0.1:8000; }", "/").outcome.passed
    own = inside(
        outer + 'location / { proxy_set_header X-A "1"; proxy_pass http://127.0.0.1:8000; }', "/"
    ).outcome.passed
    assert inherited is not None
    assert own is not None
    assert ("X-Forwarded-Proto", "http") in {(h.name, h.value) for h in inherited.headers}
    assert {(h.name, h.value) for h in own.headers} == {
        ("Host", "127.0.0.1:8000"),
        ("Connection", "close"),
        ("X-A", "1"),
    }


def test_a_header_known_only_at_run_time_is_shown_as_it_is_written() -> None:
    result = inside(
        "location / { proxy_set_header X-Request-ID $request_id; proxy_pass http://127.0.0.1:8000; }", "/"
    )
    assert result.outcome.passed is not None
    header = next(h for h in result.outcome.passed.headers if h.name == "X-Request-ID")
    assert (header.value, header.written) == (None, "$request_id")


@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        ({"localhost": ("::1", "127.0.0.1")}, ["[::1]:8000", "127.0.0.1:8000"]),
        ({"localhost": ("::1",)}, ["[::1]:8000"]),
        ({}, []),
    ],
)
def test_a_name_leads_to_every_address_that_it_resolves_to(
    names: dict[str, tuple[str, ...]], addresses: list[str]
) -> None:
    result = routed(PLAIN.format("location / { proxy_pass http://localhost:8000; }"), asked("/"), names=names)
    assert result.outcome.passed is not None
    assert [server.address for server in result.outcome.passed.servers] == addresses


def test_an_upstream_s_servers_are_named_with_their_parameters() -> None:
    site = (
        "upstream up { server 127.0.0.1:1 max_fails=3; server 127.0.0.1:2 down; server unix:/run/a.sock backup; }\n"
        + PLAIN.format("location / { proxy_pass http://up; }")
    )
    request = routed(site, asked("/")).outcome.passed
    assert request is not None
    assert (request.upstream, request.host) == ("up", "up")
    assert [(s.address, s.max_fails, s.is_down, s.is_backup) for s in request.servers] == [
        ("127.0.0.1:1", 3, False, False),
        ("127.0.0.1:2", 1, True, False),
        ("unix:/run/a.sock", 1, False, True),
    ]


# --- files ---


def test_a_location_without_proxy_pass_serves_files_and_refuses_a_post() -> None:
    locations = "root /srv; location / { try_files $uri /index.html; }"
    site = PLAIN.format(locations)
    files = {"/srv/predict": FileKind.MISSING, "/srv/index.html": FileKind.FILE}
    posted = routed(site, asked("/predict", "POST"), files=files)
    assert posted.outcome.status == 405
    assert posted.passed is None
    got = routed(site, asked("/predict"), files=files).outcome
    assert (got.kind, got.path) == (OutcomeKind.FILE, "/srv/index.html")


def test_a_file_that_nobody_looked_at_ends_the_route_and_is_named() -> None:
    result = routed(PLAIN.format("root /srv; try_files $uri =404;"), asked("/x"))
    assert result.outcome.kind is OutcomeKind.UNKNOWN
    assert result.asked == ("/srv/x",)


# --- errors ---


def test_an_error_page_answers_for_a_service_that_refuses() -> None:
    locations = "error_page 502 /sorry; location = /sorry { return 200 sorry; }"
    site = PLAIN.format(locations + "location / { proxy_pass http://127.0.0.1:8000; }")
    result = routed(site, asked("/predict", "POST"), answer=0)
    assert (result.outcome.status, result.outcome.body) == (502, "sorry")
    assert any(step.kind is StepKind.ERROR_PAGE for step in result.steps)


@pytest.mark.parametrize(("switch", "kind"), [("on", OutcomeKind.RESPONSE), ("off", OutcomeKind.PROXIED)])
def test_an_answer_of_the_service_is_replaced_only_where_errors_are_intercepted(
    switch: str, kind: OutcomeKind
) -> None:
    locations = (
        f"error_page 422 = /page; location = /page {{ return 200 page; }} proxy_intercept_errors {switch};"
    )
    site = PLAIN.format(locations + "location / { proxy_pass http://127.0.0.1:8000; }")
    assert routed(site, asked("/predict", "POST"), answer=422).outcome.kind is kind


def test_rewrites_in_a_circle_end_with_500() -> None:
    outcome = inside("location / { rewrite ^ /x last; }", "/a").outcome
    assert outcome.status == 500
    assert "cycle" in outcome.reason.en


# --- who is let in ---


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ("deny 127.0.0.0/8;", 403),
        ("allow 127.0.0.1; deny all;", 204),
        ("limit_except GET { deny all; }", 403),
        ("auth_basic a; auth_basic_user_file f;", 401),
        ("satisfy any; allow 127.0.0.1; deny all; auth_basic a;", 204),
    ],
)
def test_a_request_is_let_in_or_refused_as_nginx_does(rules: str, status: int) -> None:
    # With `return` in the location nginx would answer before it asks who it is.
    locations = f"location / {{ {rules} try_files /none =204; }}"
    assert inside(locations, "/predict", "POST").outcome.status == status


def test_a_body_over_the_limit_is_answered_413_with_the_line() -> None:
    result = inside("client_max_body_size 1k; location / { return 200; }", "/", "POST", body_length=2000)
    assert (result.outcome.status, result.outcome.where) == (413, f"{SITE_FILE}:1")


def test_limits_in_force_are_named_with_their_lines() -> None:
    limits = {
        limit.name: (limit.value, limit.where)
        for limit in inside(
            "proxy_read_timeout 5s;\nlocation / { proxy_pass http://127.0.0.1:1; }", "/"
        ).limits
    }
    assert limits["proxy_read_timeout"] == ("5s", f"{SITE_FILE}:1")
    assert limits["client_max_body_size"] == ("1m", "")


# --- what cannot be known ---


@pytest.mark.parametrize(
    ("locations", "words"),
    [
        ("if ($geoip_country = CN) { return 403; }", "$geoip_country"),
        ("location / { content_by_lua_block { } }", "content_by_lua_block"),
        ("location / { access_by_lua_file a.lua; proxy_pass http://127.0.0.1:1; }", "access_by_lua_file"),
        ("location / { set $b api.internal; proxy_pass http://$b; }", "no resolver"),
        ("location ~ (?C1)x { return 200; }", "regular expression"),
    ],
)
def test_what_only_the_running_nginx_knows_ends_the_route_and_says_why(locations: str, words: str) -> None:
    result = inside(locations, "/x")
    assert result.outcome.kind is OutcomeKind.UNKNOWN
    assert words in result.outcome.reason.en
    assert result.outcome.where == f"{SITE_FILE}:1"
    assert result.steps[-1].kind is StepKind.UNKNOWN


def test_a_map_over_what_is_known_is_followed() -> None:
    site = "map $http_x $b { default 127.0.0.1:1; ~^b 127.0.0.1:2; }\n" + PLAIN.format(
        "location / { proxy_pass http://$b; }"
    )
    request = routed(site, asked("/", headers=(("X", "beta"),))).outcome.passed
    assert request is not None
    assert [server.address for server in request.servers] == ["127.0.0.1:2"]
