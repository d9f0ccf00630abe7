"""nginx's configuration read by nginx's own rules of choice."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.facts.host import Processes
from ops.facts.nginx import Directive, NginxConfig
from ops.interpret import nginx
from ops.interpret.address import dialled, is_loopback, join_address, same_address, split_address
from ops.interpret.nginx import Listen, Server, parse_listen
from ops.interpret.trust import covers
from tests.unit.made_snapshot import (
    NGINX_PROCESSES,
    SITE_FILE,
    certificate,
    nginx_config,
    process,
)


def config(site: str) -> NginxConfig:
    return nginx_config(site)


def servers(site: str) -> tuple[Server, ...]:
    return nginx.servers(config(site))


def named(*names: str) -> tuple[Server, ...]:
    return servers("".join(f"server {{ listen 443 ssl; server_name {name}; }}\n" for name in names))


def chosen(candidates: tuple[Server, ...], name: str) -> str:
    server = nginx.chosen_server(candidates, "127.0.0.1", 443, name)
    assert server is not None
    return " ".join(server.names)


# --- listen ---


@pytest.mark.parametrize(
    ("args", "listen"),
    [
        (("443", "ssl"), Listen("*", 443, True, False)),
        (("80",), Listen("*", 80, False, False)),
        (("127.0.0.1",), Listen("127.0.0.1", 80, False, False)),
        (("127.0.0.1:8443", "ssl", "http2"), Listen("127.0.0.1", 8443, True, False)),
        (("*:80", "default_server"), Listen("*", 80, False, True)),
        (("0.0.0.0:80",), Listen("*", 80, False, False)),
        (("[::]:443", "ssl", "ipv6only=on"), Listen("*", 443, True, False, True)),
        (("[::]:443", "ssl"), Listen("*", 443, True, False, True)),
        (("[::]:443", "ssl", "ipv6only=off"), Listen("*", 443, True, False)),
        (("[::1]",), Listen("::1", 80, False, False)),
        (("localhost:8000",), Listen("localhost", 8000, False, False)),
        (("80", "default"), Listen("*", 80, False, True)),
        (("unix:/run/nginx.sock", "ssl"), Listen("unix:/run/nginx.sock", 0, True, False)),
        (("$port",), Listen("$port", 80, False, False)),
        (("127.0.0.1:http",), None),
    ],
)
def test_listen_is_read_as_nginx_reads_it(args: tuple[str, ...], listen: Listen | None) -> None:
    assert parse_listen(args) == listen


def test_without_listen_nginx_takes_port_80() -> None:
    (server,) = servers("server { server_name x; }")
    assert server.listens == (Listen("*", 80, False, False),)


def test_ssl_on_makes_every_listen_of_the_block_tls() -> None:
    (server,) = servers("server { listen 443; listen 8443; ssl on; }")
    assert [item.ssl for item in server.listens] == [True, True]


TEXT = st.text(string.printable + "²٣字\u202e", max_size=20)


@given(st.lists(TEXT, min_size=1, max_size=3))
@example(["²"])
@example(["127.0.0.1:²"])
@example(["[::1"])
@example(["9" * 5000])
def test_no_listen_crashes(args: list[str]) -> None:
    parse_listen(tuple(args))


@given(TEXT, TEXT)
@example("127.0.0.1:²", "x")
@example("[]", "9" * 5000 + ":" + "9" * 5000)
def test_no_address_crashes(left: str, right: str) -> None:
    split_address(left)
    dialled(left)
    same_address(left, right)


# --- server_name ---


def test_an_exact_name_goes_before_every_pattern() -> None:
    blocks = named("~^api", "*.example.com", "api.*", "api.example.com")
    assert chosen(blocks, "api.example.com") == "api.example.com"


def test_the_longest_leading_wildcard_goes_next() -> None:
    blocks = named("*.com", "api.*", "*.example.com", "~.*")
    assert chosen(blocks, "api.example.com") == "*.example.com"


def test_then_the_longest_trailing_wildcard() -> None:
    blocks = named("~.*", "api.*", "api.example.*")
    assert chosen(blocks, "api.example.org") == "api.example.*"


def test_then_the_first_regular_expression() -> None:
    blocks = named(r"~^www\d+\.", r"~^(?<who>.+)\.example\.com$", "~.*")
    assert chosen(blocks, "api.example.com") == r"~^(?<who>.+)\.example\.com$"


def test_a_look_behind_is_no_named_group() -> None:
    blocks = named("first.example", r"~(?<!www\.)example\.com$")
    assert chosen(blocks, "api-example.com").startswith("~")


def test_else_the_default_server_the_marked_one_before_the_first() -> None:
    assert chosen(named("a", "b"), "nobody") == "a"
    marked = servers(
        "server { listen 443 ssl; server_name a; } server { listen 443 ssl default_server; server_name b; }"
    )
    assert chosen(marked, "nobody") == "b"


def test_a_dot_stands_for_the_name_and_all_below_it() -> None:
    blocks = named("other", ".example.com")
    assert chosen(blocks, "example.com") == chosen(blocks, "a.b.example.com") == ".example.com"
    assert chosen(blocks, "notexample.com") == "other"


def test_a_wildcard_stands_for_one_part_at_least() -> None:
    blocks = named("other", "*.example.com")
    assert chosen(blocks, "example.com") == "other"
    assert chosen(blocks, "a.b.example.com") == "*.example.com"


def test_names_are_compared_without_case() -> None:
    blocks = named("other", "API.Example.com", r"~^WWW\.")
    assert chosen(blocks, "api.example.COM") == "API.Example.com"
    assert chosen(blocks, "www.x").startswith("~")


def test_the_most_specific_address_decides_before_the_name() -> None:
    blocks = servers(
        """server { listen 443 ssl; server_name api; }
        server { listen 127.0.0.1:443 ssl; server_name other; }"""
    )
    assert chosen(blocks, "api") == "other"
    elsewhere = nginx.chosen_server(blocks, "192.0.2.1", 443, "api")
    assert elsewhere is not None
    assert elsewhere.names == ("api",)


def test_nobody_listens_on_another_port() -> None:
    assert nginx.chosen_server(named("a"), "127.0.0.1", 8443, "a") is None


@pytest.mark.parametrize("pattern", ["~(", "~[", "~a{99999999999}", "~*", "~(?<a>x)(?<a>y)", "~" + "(" * 500])
def test_a_regular_expression_that_python_cannot_read_matches_nothing(pattern: str) -> None:
    (server,) = named("x")
    assert not nginx.names_match(Server(server.blocks, (pattern,), server.listens), "x")
    block = (
        Directive(name="location", args=("~", pattern[1:]), file="x", line=1, block=()),
        Directive(name="location", args=("/",), file="x", line=2, block=()),
    )
    around = Server((Directive(name="server", args=(), file="x", line=1, block=block),))
    location = around.location_for("/x")
    assert location is not None
    assert location.pattern == "/"


@given(TEXT, TEXT)
@example("~(?<", "x")
@example("~a{99999999999}", "x")
@example("*.", "")
def test_no_name_crashes(pattern: str, name: str) -> None:
    (server,) = named("x")
    nginx.names_match(Server(server.blocks, (pattern,), server.listens), name)


# --- location ---


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/health", "= /health"),
        ("/health/", "/"),
        ("/predict", "/pred"),
        ("/static/a.php", "^~ /static/"),
        ("/img/a.php", r"~ \.php$"),
        ("/img/a.PNG", r"~* \.(png|gif)$"),
        ("/img/a.txt", "/img/"),
        ("/glued", "= /glued"),
        ("/outer/inner/x", "/outer/inner/"),
        ("/v2/predict", r"~ ^/v(?<version>\d+)/"),
        ("/else", "/"),
    ],
)
def test_a_location_is_chosen_exact_longest_prefix_regex(path: str, location: str) -> None:
    (server,) = servers(
        r"""server {
            location / { }
            location /pred { }
            location = /health { }
            location ^~ /static/ { }
            location /img/ { }
            location ~ \.php$ { }
            location ~* \.(png|gif)$ { }
            location ~ \.php { }
            location ~ ^/v(?<version>\d+)/ { }
            location =/glued { }
            location @named { }
            location /outer/ { location /outer/inner/ { } }
        }"""
    )
    match = server.location_for(path)
    assert match is not None
    assert match.written == location


def test_a_path_that_no_location_takes_has_none() -> None:
    (server,) = servers("server { location /api/ { } }")
    assert server.location_for("/health") is None


def test_what_a_level_does_not_say_it_inherits_from_the_next_one_out() -> None:
    (server,) = servers(
        """proxy_read_timeout 10s;
        server { limit_req zone=a; limit_req zone=b; location / { } location /own { limit_req zone=c; } }"""
    )
    outer, own = server.location_for("/x"), server.location_for("/own")
    assert outer is not None
    assert own is not None
    assert outer.value("proxy_read_timeout") == "10s"
    assert [d.args for d in outer.effective("limit_req")] == [("zone=a",), ("zone=b",)]
    assert [d.args for d in own.effective("limit_req")] == [("zone=c",)]
    assert outer.value("error_log") == "/var/log/nginx/error.log"
    assert outer.value("proxy_pass") is None


# --- proxy_pass ---


def passed(site: str, path: str = "/predict") -> nginx.ProxyPass | None:
    whole = config(site)
    server = next(s for s in nginx.servers(whole) if "x" in s.names)
    return nginx.proxy_pass_for(whole, server, path)


@pytest.mark.parametrize(
    ("url", "before", "addresses"),
    [
        ("http://127.0.0.1:8000", "", ("127.0.0.1:8000",)),
        ("http://127.0.0.1:8000/v1/", "", ("127.0.0.1:8000",)),
        ("http://localhost:8000", "", ("127.0.0.1:8000",)),
        ("http://10.0.0.5", "", ("10.0.0.5:80",)),
        ("https://10.0.0.5", "", ("10.0.0.5:443",)),
        ("http://[::1]:8000", "", ("[::1]:8000",)),
        ("http://[::1]", "", ("[::1]:80",)),
        ("http://unix:/run/gte.sock", "", ("unix:/run/gte.sock",)),
        ("http://unix:/run/gte.sock:/v1/", "", ("unix:/run/gte.sock",)),
        ("http://gte", "", ("127.0.0.1:8000", "10.0.0.6:8001", "unix:/run/gte.sock")),
        ("http://nobody", "", ("nobody:80",)),
        ("http://$where", "set $where 127.0.0.1:9000;", ("127.0.0.1:9000",)),
        ("http://$where", "set $where gte;", ("127.0.0.1:8000", "10.0.0.6:8001", "unix:/run/gte.sock")),
        ("$whole", "set $whole http://127.0.0.1:9000/x;", ("127.0.0.1:9000",)),
        ("$scheme://127.0.0.1:9000", "", ("127.0.0.1:9000",)),
        ("http://$host:$port", "set $port 9000;", ()),
        ("http://$chosen", "", ()),
        ("http://$where", "set $where $arg_x;", ()),
    ],
)
def test_a_proxy_pass_is_followed_to_its_addresses(url: str, before: str, addresses: tuple[str, ...]) -> None:
    proxy_pass = passed(
        f"""upstream gte {{
            server 127.0.0.1:8000; server 10.0.0.6:8001 backup; server 10.0.0.7:8001 down;
            server unix:/run/gte.sock; keepalive 8;
        }}
        server {{ server_name x; {before} location / {{ proxy_pass {url}; }} }}"""
    )
    assert proxy_pass is not None
    assert (proxy_pass.written, proxy_pass.addresses, proxy_pass.determined) == (
        url,
        addresses,
        bool(addresses),
    )


def test_the_location_of_the_path_decides() -> None:
    site = """server { server_name x;
        location / { proxy_pass http://127.0.0.1:1; }
        location = /predict { proxy_pass http://127.0.0.1:2; }
        location = /health { return 200; }
    }"""
    assert (proxy_pass := passed(site)) is not None
    assert proxy_pass.addresses == ("127.0.0.1:2",)
    assert passed(site, "/health") is None
    assert (other := passed(site, "/else")) is not None
    assert other.where == f"{SITE_FILE}:2"


def test_every_proxy_pass_of_a_block_is_found_nested_and_conditional() -> None:
    whole = config(
        """server { server_name x;
            location /a {
                if ($arg_x) { proxy_pass http://127.0.0.1:1; }
                location /a/b { proxy_pass http://127.0.0.1:2; }
            }
            location /c { proxy_pass http://127.0.0.1:3; }
        }"""
    )
    (server,) = nginx.servers(whole)
    assert {a for p in nginx.proxy_passes(whole, server) for a in p.addresses} == {
        "127.0.0.1:1",
        "127.0.0.1:2",
        "127.0.0.1:3",
    }


@given(TEXT)
@example("http://unix:")
@example("$")
@example("http://")
@example("http://[::1")
def test_no_proxy_pass_crashes(url: str) -> None:
    whole = config("server { location / { proxy_pass x; } }")
    (server,) = nginx.servers(whole)
    (location,) = server.locations()
    directive = Directive(name="proxy_pass", args=(url,), file="x", line=1)
    nginx.resolve_proxy_pass(whole, location, directive)


# --- processes, logs, addresses, names ---


def test_masters_and_their_current_workers_are_known_by_their_titles() -> None:
    everyone = (
        *NGINX_PROCESSES,
        process(702, 700, "nginx:", "worker", "process"),
        process(703, 700, "nginx: worker process is shutting down"),
        process(704, 1, "nginx: worker process"),
        process(705, 1, "vim", "nginx: master process"),
    )
    table = Processes(processes=everyone, listeners=())
    assert [p.pid for p in nginx.nginx_masters(table)] == [700]
    assert [p.pid for p in nginx.nginx_workers(everyone, 700)] == [701, 702]
    assert [p.pid for p in nginx.old_workers(everyone, 700)] == [703]


def test_logs_are_files_below_the_prefix() -> None:
    whole = config(
        """server { server_name x; error_log logs/x.log warn; error_log syslog:server=h; error_log stderr;
        access_log off; location / { access_log /var/log/$host.log; } }"""
    )
    (server,) = nginx.servers(whole)
    assert nginx.log_paths(whole, server, "error_log") == ("/usr/share/nginx/logs/x.log",)
    assert nginx.log_paths(whole, server, "access_log") == ()
    assert nginx.log_paths(whole, server.locations()[0], "access_log") == ()


def test_off_is_a_file_s_name_to_error_log_alone() -> None:
    whole = config("server { server_name x; error_log off; access_log off; }")
    (server,) = nginx.servers(whole)
    assert nginx.log_paths(whole, server, "error_log") == ("/usr/share/nginx/off",)
    assert nginx.log_paths(whole, server, "access_log") == ()


def test_several_http_blocks_are_one() -> None:
    one, two = (nginx_config(f"server {{ server_name {n}; }}") for n in "ab")
    both = nginx_config("", directives=(*one.directives, *two.directives))
    assert [s.names for s in nginx.servers(both)] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("listening", "address", "same"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000", True),
        ("0.0.0.0:8000", "127.0.0.1:8000", True),
        ("[::]:8000", "192.0.2.1:8000", True),
        ("127.0.0.1:8000", "localhost:8000", True),
        ("127.0.0.1:8000", "127.0.0.1:8001", False),
        ("192.0.2.1:8000", "127.0.0.1:8000", False),
        ("unix:/run/a", "unix:/run/a", True),
        ("unix:/run/a", "unix:/run/b", False),
        ("0.0.0.0:8000", "unix:/run/a", False),
    ],
)
def test_a_socket_takes_connections_to_its_own_address(listening: str, address: str, same: bool) -> None:
    assert same_address(listening, address) is same


def test_addresses_are_written_and_read_alike() -> None:
    for host, port in (("127.0.0.1", 80), ("::1", 8000), ("gte.example", 443)):
        assert split_address(join_address(host, port)) == (host, port)
    assert split_address("127.0.0.1") == ("127.0.0.1", 0)
    assert dialled("0.0.0.0:8000") == dialled("[::]:8000") == dialled("localhost:8000") == "127.0.0.1:8000"
    assert dialled("unix:/run/x") == "unix:/run/x"
    assert [is_loopback(h) for h in ("127.0.0.9", "::1", "localhost", "192.0.2.1")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "host", "covered"),
    [
        ("api.example.com", "API.example.com.", True),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "example.com", False),
        ("example.com", "api.example.com", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("*", "com", False),
        ("*.com", "localhost", False),
    ],
)
def test_a_certificate_covers_a_name(name: str, host: str, covered: bool) -> None:
    assert covers(certificate(names=("other.example", name)), host) is covered


def test_the_names_that_nginx_asked_for_at_its_start_are_known() -> None:
    site = (
        "upstream up { server app.internal:8000; server 127.0.0.1:1; server unix:/run/a.sock; }\n"
        "server { location / { proxy_pass http://up; } location /a { proxy_pass http://localhost:8000/; }\n"
        "location /b { proxy_pass http://[::1]:8000; } location /c { set $b x; proxy_pass http://$b; }\n"
        "location /d { proxy_pass http://127.0.0.1; } location /e { uwsgi_pass wsgi.internal:3031; } }"
    )
    assert nginx.proxied_names(config(site)) == ("app.internal", "localhost", "wsgi.internal")
