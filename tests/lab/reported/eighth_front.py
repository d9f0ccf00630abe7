"""An eighth collection, of what stands before the service: one directive of nginx after the other, each with a value
that people really wrote, rebuilt before the doctor was asked about any of it."""

from __future__ import annotations

import gzip
import secrets
import socket
import ssl

from tests.lab.faults.app import PLAIN_APP
from tests.lab.reported.case import Kind, add_location, healthy, report
from tests.lab.reported.users import always, predicts
from tests.lab.stack import Stack

LOCATION = "    location / {\n        limit_req"
UPSTREAM = "upstream gte_backend {"
PROXIED = (
    "proxy_pass http://gte_backend; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;"
)
VISITORS = [f"127.0.3.{number}" for number in range(1, 13)]


def _asking(application: str) -> str:
    """The plain application with Flask's request, and these routes."""
    return PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + application


# --- who it is that asks ----------------------------------------------------------------------------------------------

INTERNAL_APP = _asking(
    """
@app.get("/internal/salaries")
def salaries():
    return jsonify(salaries=[1, 2, 3])
"""
)
EVERYBODY = "    set_real_ip_from 0.0.0.0/0;\n"


def _stranger_gets_in(stack: Stack) -> bool:
    """Whether somebody who is nowhere near the office gets in by saying that he is in it, and not without that."""
    says_so = stack.request(path="/internal/salaries", headers={"X-Forwarded-For": "10.1.2.3"}).status
    return says_so == 200 and stack.request(path="/internal/salaries").status == 403


@report(
    Kind.ROUTING,
    "kubernetes/ingress-nginx#200",
    sees=lambda stack: all(_stranger_gets_in(stack) for _ in range(3)),
    repair=lambda stack: stack.edit(stack.site_file, EVERYBODY, "    set_real_ip_from 192.0.2.10;\n"),
    codes=(),
    says=("set_real_ip_from", "0.0.0.0/0", "gte-api.conf:"),
    app=INTERNAL_APP,
    layout="guide",
)
def anybody_may_say_that_he_is_in_the_office(stack: Stack) -> None:
    """drupal-with-nginx#271, plane#8981: the header is believed whoever sends it, and the list of addresses with it."""
    stack.edit(
        stack.site_file, LOCATION, f"{EVERYBODY}    real_ip_header X-Forwarded-For;\n{LOCATION}", apply=False
    )
    add_location(stack, f"location /internal/ {{ allow 10.0.0.0/8; deny all; {PROXIED} }}")


SEARCH_APP = _asking(
    """
@app.get("/search")
def search():
    return jsonify(found=[])
"""
)
ZONE_OF_ALL = "limit_req_zone $server_name zone=search:1m rate=1r/s;"


def _each_visitor_s_first(stack: Stack, path: str) -> set[int | None]:
    """The statuses of one request of each of several visitors."""
    return {stack.request(path=path, source=visitor).status for visitor in VISITORS}


def _count_each_visitor(stack: Stack) -> None:
    stack.edit(stack.site_file, "$server_name zone=search:", "$binary_remote_addr zone=search:", apply=False)
    stack.restart_nginx()


@report(
    Kind.PART,
    "joglomedia/LEMPer#117",
    sees=lambda stack: 429 in _each_visitor_s_first(stack, "/search"),
    repair=_count_each_visitor,
    codes=("NGX008", "NGX071"),
    says=("/search", "$server_name", "limit_req_zone", "gte-api.conf:"),
    app=SEARCH_APP,
    layout="guide",
)
def one_limit_is_counted_for_all_visitors(stack: Stack) -> None:
    """The key of the zone is the site's own name: whoever comes as the third in a second is refused."""
    stack.edit(stack.site_file, UPSTREAM, f"{ZONE_OF_ALL}\n{UPSTREAM}", apply=False)
    add_location(
        stack,
        f"location /search {{ limit_req zone=search burst=6 nodelay; limit_req_status 429; {PROXIED} }}",
    )
    for _ in range(4):
        _each_visitor_s_first(stack, "/search")


LOGIN_APP = _asking(
    """
@app.route("/check", methods=["GET", "POST"])
def check():
    app.logger.debug("%s", request.get_data())
    return "", 204

@app.post("/reports")
def reports():
    return jsonify(saved=True)
"""
)
BODILESS = "proxy_pass_request_body off;"


def _saves_a_report(stack: Stack) -> int | None:
    return stack.request("POST", "/reports", json_body={"text": "x" * 50}).status


@report(
    Kind.PART,
    "bitly/oauth2_proxy#442",
    sees=lambda stack: {_saves_a_report(stack) for _ in range(2)} == {500},
    repair=lambda stack: stack.edit(
        stack.site_file, BODILESS, f'{BODILESS} proxy_set_header Content-Length "";'
    ),
    codes=(),
    says=("/reports", "auth_request", "Content-Length", "gte-api.conf:"),
    app=LOGIN_APP,
    threads=8,
    layout="guide",
)
def who_checks_the_login_waits_for_a_body(stack: Stack) -> None:
    """authelia#132, oauth2-proxy#2149: the length is passed on to whom the body is not, so each POST waits for it."""
    check = f"proxy_pass http://gte_backend/check; proxy_read_timeout 2s; {BODILESS}"
    add_location(
        stack,
        f"location = /login-check {{ internal; {check} }}\n"
        f"    location /reports {{ auth_request /login-check; {PROXIED} }}",
    )


# --- how nginx speaks to the service ----------------------------------------------------------------------------------

ORDERS_APP = "import collections, time\n" + _asking(
    """
placed = collections.Counter()

@app.post("/orders")
def order():
    number = request.get_json()["number"]
    placed[number] += 1
    if placed[number] == 1:
        time.sleep(1.4)
    return jsonify(placed=placed[number])
"""
)


def _orders_once(stack: Stack) -> int:
    """How often the order of somebody who sent it once was placed."""
    answer = stack.request("POST", "/orders", json_body={"number": secrets.token_hex(4)})
    return int(answer.json()["placed"]) if answer.status == 200 else 0


def _never_twice(stack: Stack) -> None:
    stack.edit(stack.site_file, " non_idempotent; proxy_read_timeout 1s;", ";")


@report(
    Kind.PART,
    "moov-io/infra#5",
    sees=lambda stack: {_orders_once(stack) for _ in range(2)} == {2},
    repair=_never_twice,
    codes=(),
    says=("/orders", "non_idempotent", "gte-api.conf:"),
    app=ORDERS_APP,
    threads=8,
    layout="guide",
)
def order_is_placed_twice(stack: Stack) -> None:
    """openresty#351: nginx is told to try even a POST again, where the first server was only slow."""
    server = f"    server {stack.bind}"
    stack.edit(stack.site_file, f"{server};", f"{server} max_fails=0;\n{server} max_fails=0;", apply=False)
    retried = "proxy_next_upstream error timeout non_idempotent; proxy_read_timeout 1s;"
    add_location(stack, f"location /orders {{ {PROXIED} {retried} }}")


PACKED_APP = "import gzip\n" + _asking(
    """
PAGE = '<a href="http://intranet.lan/orders">orders</a>'

@app.get("/page")
def page():
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    body = gzip.compress(PAGE.encode()) if packed else PAGE.encode()
    return body, 200, {"Content-Type": "text/html", **({"Content-Encoding": "gzip"} if packed else {})}
"""
)


def _link_of_the_page(stack: Stack) -> str:
    answer = stack.request(path="/page", headers={"Accept-Encoding": "gzip"})
    packed = answer.headers.get("Content-Encoding") == "gzip"
    text = gzip.decompress(answer.body).decode() if packed else answer.text
    return text.split('"')[1]


@report(
    Kind.PART,
    "jitsi/docker-jitsi-meet#1279",
    sees=lambda stack: {_link_of_the_page(stack) for _ in range(4)} == {"http://intranet.lan/orders"},
    repair=lambda stack: stack.edit(
        stack.site_file, "sub_filter_once off;", 'sub_filter_once off; proxy_set_header Accept-Encoding "";'
    ),
    codes=(),
    says=("sub_filter", "Accept-Encoding", "gte-api.conf:"),
    app=PACKED_APP,
    layout="guide",
)
def words_are_not_replaced_in_packed_pages(stack: Stack) -> None:
    """jsonnet-libs#793, ngx_http_substitutions_filter_module#10: nginx looks for them in what the service packed."""
    replaced = "sub_filter http://intranet.lan $scheme://$host; sub_filter_once off;"
    add_location(stack, f"location /page {{ {PROXIED} {replaced} }}")


# --- what nginx makes of answers and files ----------------------------------------------------------------------------

STOCK_APP = "import itertools\n" + _asking(
    """
numbers = itertools.count()

@app.get("/stock")
def stock():
    return jsonify(left=next(numbers))
"""
)
MONTH = "    expires 30d;\n"


def _browser_keeps_it(stack: Stack) -> bool:
    """Whether a browser may show for long what is another by now."""
    first, second = (stack.request(path="/stock") for _ in range(2))
    return first.body != second.body and first.headers.get("Cache-Control") == "max-age=2592000"


@report(
    Kind.PART,
    "h5bp/server-configs#22",
    sees=lambda stack: all(_browser_keeps_it(stack) for _ in range(3)),
    repair=lambda stack: stack.edit(stack.site_file, MONTH, ""),
    codes=(),
    says=("expires", "Cache-Control", "gte-api.conf:"),
    app=STOCK_APP,
    layout="guide",
)
def browsers_keep_the_answers_for_a_month(stack: Stack) -> None:
    """ordino#72: the rule for pictures and styles was written for the whole site."""
    stack.edit(stack.site_file, LOCATION, f"{MONTH}{LOCATION}")


def _static(stack: Stack) -> str:
    static = stack.directory / "static"
    static.mkdir()
    (static / "app.js").write_text("old();\n")
    return str(static)


REMEMBERED = "    open_file_cache max=1000 inactive=24h;\n    open_file_cache_valid 24h;\n"


@report(
    Kind.PART,
    "rommapp/romm#4468",
    sees=lambda stack: {stack.request(path="/static/app.js").text for _ in range(4)} == {"old();\n"},
    repair=lambda stack: stack.edit(stack.site_file, REMEMBERED, ""),
    codes=(),
    says=("open_file_cache", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def file_is_served_as_it_was_before_the_deployment(stack: Stack) -> None:
    """nginx-conf#3, server-configs-nginx#203: another file lies there by now, and nginx holds the old one open."""
    static = _static(stack)
    stack.edit(stack.site_file, LOCATION, f"{REMEMBERED}{LOCATION}", apply=False)
    add_location(stack, f"location /static/ {{ alias {static}/; }}")
    assert stack.request(path="/static/app.js").text == "old();\n"
    new = stack.directory / "static" / "app.js.new"
    new.write_text("new();\n")
    new.replace(stack.directory / "static" / "app.js")


def _called_gbk(stack: Stack) -> bool:
    answer = stack.request(path="/about/")
    return answer.headers.get("Content-Type") == "text/html; charset=gbk" and "订单" in answer.text


@report(
    Kind.PART,
    "openresty/openresty#142",
    sees=lambda stack: all(_called_gbk(stack) for _ in range(4)),
    repair=lambda stack: stack.edit(stack.site_file, "    charset gbk;\n", "    charset utf-8;\n"),
    codes=(),
    says=("charset", "gbk", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def pages_in_utf_8_are_called_gbk(stack: Stack) -> None:
    """ngx_lua_waf#73: the site was moved from an old one, with its line; browsers show gibberish."""
    about = stack.directory / "about"
    about.mkdir()
    (about / "index.html").write_text("<h1>订单</h1>\n", encoding="utf-8")
    stack.edit(stack.site_file, LOCATION, f"    charset gbk;\n{LOCATION}", apply=False)
    add_location(stack, f"location /about/ {{ root {stack.directory}; }}")


def _reloads_a_page_inside(stack: Stack) -> set[int | None]:
    pages = [f"/shop/orders/{number}" for number in range(1, 7)]
    return {stack.request(path=page, headers={"Referer": f"{stack.url}/shop/"}).status for page in pages}


@report(
    Kind.ROUTING,
    "akveo/ngx-admin#5649",
    sees=lambda stack: stack.request(path="/shop/").status == 200 and _reloads_a_page_inside(stack) == {404},
    repair=lambda stack: stack.edit(
        stack.site_file, "try_files $uri $uri/ =404;", "try_files $uri /shop/index.html;"
    ),
    codes=(),
    says=("/shop/", "try_files", "=404", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def page_inside_is_not_found_when_it_is_reloaded(stack: Stack) -> None:
    """docker-nginx#23, kov-blog#13: the paths of the page's own router are nobody's files."""
    shop = stack.directory / "public" / "shop"
    shop.mkdir(parents=True)
    (shop / "index.html").write_text('<div id="app"></div><script src="/shop/app.js"></script>\n')
    (shop / "app.js").write_text("start();\n")
    add_location(stack, f"location /shop/ {{ root {stack.directory}/public; try_files $uri $uri/ =404; }}")


@report(
    Kind.ROUTING,
    "membermatters/MemberMatters#109",
    sees=lambda stack: "SHOP_KEY" in stack.request(path="/static../shop.env").text,
    repair=lambda stack: stack.edit(stack.site_file, "location /static {", "location /static/ {"),
    codes=(),
    says=("/static..", "alias", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def what_lies_beside_the_static_files_is_open_to_all(stack: Stack) -> None:
    """gixy#61, NPMplus#3807: the prefix has no slash at its end and the alias has one, so two dots lead out."""
    static = _static(stack)
    (stack.directory / "shop.env").write_text("SHOP_KEY=abc\n")
    add_location(stack, f"location /static {{ alias {static}/; }}")


# --- TLS --------------------------------------------------------------------------------------------------------------


def _old_client_is_refused(stack: Stack) -> bool:
    """A client of some years ago, that knows TLS up to 1.2."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(stack.https, 5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=stack.domain):
                return False
        except (ssl.SSLError, ConnectionError):
            return True


BOTH, NEWEST = "    ssl_protocols TLSv1.2 TLSv1.3;\n", "    ssl_protocols TLSv1.3;\n"


@report(
    Kind.CERTIFICATE,
    "MarvAmBass/docker-nginx-ssl-secure#7",
    sees=lambda stack: all(_old_client_is_refused(stack) for _ in range(8)),
    repair=lambda stack: stack.edit(stack.site_file, NEWEST, BOTH),
    codes=(),
    says=("ssl_protocols", "TLSv1.2", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def partner_s_program_speaks_an_older_tls(stack: Stack) -> None:
    """openssl#4989: only the newest is let in, and a share of those who come do not speak it."""
    stack.edit(stack.site_file, BOTH, NEWEST)


# --- unusual, and healthy ---------------------------------------------------------------------------------------------


@healthy("hortonworks/cloudbreak-images#1358", serves=predicts, app=PLAIN_APP, layout="guide")
def everybody_speaks_the_newest_tls(stack: Stack) -> None:
    """Nothing older is offered, and nobody asks for it."""
    stack.edit(stack.site_file, BOTH, NEWEST)
    for _ in range(6):
        stack.predict()


@healthy("demokratie-live/democracy-development#16", serves=predicts, app=PLAIN_APP, layout="guide")
def nothing_is_logged_for_privacy_s_sake(stack: Stack) -> None:
    """NPMplus#496: neither nginx nor gunicorn writes down who came."""
    stack.edit(stack.site_file, f"access_log {stack.nginx_access_log};", "access_log off;", apply=False)
    stack.edit(stack.nginx_conf, f"access_log {stack.logs / 'nginx-access.log'};", "access_log off;")
    stack.edit(stack.gunicorn_conf, f"accesslog = {str(stack.gunicorn_access_log)!r}", "accesslog = None")
    for _ in range(6):
        stack.predict()


@healthy(
    "wodby/nginx#30",
    serves=lambda stack: predicts(stack) and always(stack, "/assets/app.4f2a91c0.js", 200),
    app=PLAIN_APP,
    layout="guide",
)
def files_of_a_changing_name_are_kept_for_a_year(stack: Stack) -> None:
    """A new version has a new name, so browsers need never ask again."""
    assets = stack.directory / "assets"
    assets.mkdir()
    (assets / "app.4f2a91c0.js").write_text("start();\n")
    add_location(stack, f"location /assets/ {{ root {stack.directory}; expires 1y; }}")
