"""What clients are given with a good answer: headers, types, encodings, whose answer it is."""

from __future__ import annotations

import gzip
import secrets

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import fault
from tests.lab.stack import Stack

PLACE = "    location / {\n        limit_req"
# What a browser sends for a page of another site.
BY_A_PAGE = {
    "Origin": "https://shop.example",
    "Referer": "https://shop.example/",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0",
}
ORDERS_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/orders")
def orders():
    if "of" in request.args:
        return jsonify(orders=[])
    return jsonify(error="which?"), 400
"""
)


def _in_server(stack: Stack, lines: str) -> None:
    stack.edit(stack.site_file, PLACE, f"    {lines}\n{PLACE}")


def _page_sees_no_reason(stack: Stack) -> bool:
    assert stack.request(path="/orders?of=me", headers=BY_A_PAGE).status == 200
    answers = [stack.request(path="/orders", headers=BY_A_PAGE) for _ in range(5)]
    return all(a.status == 400 and not a.headers["Access-Control-Allow-Origin"] for a in answers)


@fault(
    "NGX090",
    sees=_page_sees_no_reason,
    severity="warn",
    app=ORDERS_APP,
    layout="guide",
    says=("Access-Control-Allow-Origin", "always"),
)
def pages_may_not_read_why_they_are_refused(stack: Stack) -> None:
    """add_header without always: a page is told of a network error where the service says 400."""
    _in_server(stack, "add_header Access-Control-Allow-Origin https://shop.example;")


@fault(
    "NGX091",
    sees=lambda stack: (
        {stack.request(path="/assets/main.mjs").content_type for _ in range(5)}
        == {"application/octet-stream"}
    ),
    severity="warn",
    app=PLAIN_APP,
    layout="guide",
    says=("/assets/main.mjs", "types"),
)
def module_is_sent_as_anything(stack: Stack) -> None:
    """mime.types of this nginx knows no .mjs, and a browser takes no module of another type."""
    assets = stack.directory / "assets"
    assets.mkdir()
    (assets / "main.mjs").write_text("export default 1\n")
    _in_server(stack, f"location /assets/ {{ alias {assets}/; }}")


PACKED_APP = PLAIN_APP.replace("from flask", "import gzip\nfrom flask") + (
    """
@app.after_request
def pack(answer):
    answer.set_data(gzip.compress(answer.get_data()))
    answer.headers["Content-Encoding"] = "gzip"
    return answer
"""
)


@fault(
    "NGX092",
    sees=lambda stack: stack.predict().headers["Content-Encoding"] == "gzip",
    app=PACKED_APP,
    layout="guide",
    says=("gzip", "Accept-Encoding"),
)
def application_packs_for_everybody(_stack: Stack) -> None:
    """It does not look at what the client takes."""


BASKET_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/basket")
def basket():
    answer = jsonify(of=request.headers.get("X-User"))
    answer.headers["Cache-Control"] = "no-store"
    return answer
"""
)


def _sees_another_s_basket(stack: Stack) -> bool:
    asked = [stack.request(path="/basket", headers={"X-User": name}) for name in "abcde"]
    return asked[-1].status == 200 and asked[-1].json() == asked[0].json()


@fault(
    "NGX093",
    sees=_sees_another_s_basket,
    severity="warn",
    app=BASKET_APP,
    layout="guide",
    says=("/basket", "cache"),
)
def basket_is_kept_for_the_next(stack: Stack) -> None:
    """The service forbids to keep it, and nginx was told not to listen."""
    zone = f"proxy_cache_path {stack.directory}/cache keys_zone=pages:1m;"
    upstream = "upstream gte_backend {"
    stack.edit(stack.site_file, upstream, f"{zone}\n{upstream}", apply=False)
    _in_server(
        stack,
        "location /basket {\n        proxy_pass http://gte_backend;\n        proxy_cache pages;\n"
        "        proxy_cache_valid 10m;\n        proxy_ignore_headers Cache-Control;\n    }",
    )


TYPED_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/orders")
def order():
    return jsonify(ordered=request.get_json())
"""
)


@fault(
    "NGX094",
    sees=lambda stack: {stack.request("POST", "/orders", json_body={}).status for _ in range(5)} == {415},
    severity="warn",
    app=TYPED_APP,
    layout="guide",
    says=("Content-Type", "/orders", "gte-api.conf:"),
)
def every_body_is_called_plain_text(stack: Stack) -> None:
    """proxy_set_header Content-Type, out of a guide for something else."""
    host = "        proxy_set_header Host $host;"
    stack.edit(stack.site_file, host, f"        proxy_set_header Content-Type text/plain;\n{host}")


LATER_APP = PLAIN_APP + (
    """
@app.get("/report")
def report():
    return jsonify(error="later"), 409
"""
)


@fault(
    "NGX095",
    sees=lambda stack: {stack.request(path="/report").status for _ in range(5)} == {200},
    severity="warn",
    app=LATER_APP,
    layout="guide",
    says=("error_page", "409", "=200"),
)
def refusal_is_called_a_success(stack: Stack) -> None:
    """error_page 409 =200: whoever looks at the status takes the page for the report."""
    _in_server(
        stack,
        "proxy_intercept_errors on; error_page 409 =200 /later.html;\n"
        "    location = /later.html { return 200 later; }",
    )


def _is_sent_round(stack: Stack) -> bool:
    answers = [
        stack.request(path="/items", door="http", headers={"X-Forwarded-Proto": "https"}) for _ in range(15)
    ]
    return {answer.status for answer in answers} == {301}


@fault(
    "NGX096",
    sees=_is_sent_round,
    severity="warn",
    app=PLAIN_APP,
    layout="guide",
    says=("/items", "301", "X-Forwarded-Proto"),
)
def balancer_asks_in_the_clear(_stack: Stack) -> None:
    """TLS ends at the balancer; nginx's block for plain HTTP logs where every server block does by default."""


# --- open to anybody, and done twice

INTERNAL_APP = PLAIN_APP + (
    """
@app.get("/internal/salaries")
def salaries():
    return jsonify(salaries=[1, 2, 3])
"""
)


def _a_made_up_address_gets_in(stack: Stack) -> bool:
    named = stack.request(path="/internal/salaries", headers={"X-Forwarded-For": "10.1.2.3"}).status
    return named == 200 and stack.request(path="/internal/salaries").status == 403


@fault(
    "NGX072",
    sees=_a_made_up_address_gets_in,
    severity="warn",
    app=INTERNAL_APP,
    layout="guide",
    says=("nginx believes 0.0.0.0/1",),
)
def both_halves_of_everybody_are_proxies(stack: Stack) -> None:
    """The two halves are all addresses, and the office's are believed of anybody."""
    proxied = "proxy_pass http://gte_backend; proxy_set_header Host $host;"
    _in_server(
        stack,
        "set_real_ip_from 0.0.0.0/1; set_real_ip_from 128.0.0.0/1; real_ip_header X-Forwarded-For;"
        f" location /internal/ {{ allow 10.0.0.0/8; deny all; {proxied} }}",
    )


@fault(
    "NGX097",
    sees=lambda stack: "SHOP_KEY" in stack.request(path="/media../shop.env").text,
    severity="warn",
    app=PLAIN_APP,
    layout="guide",
    says=("/media../", "^/media/("),
)
def expression_takes_two_dots(stack: Stack) -> None:
    """All that follows the prefix is put behind the directory's slash."""
    (stack.directory / "media").mkdir()
    (stack.directory / "shop.env").write_text("SHOP_KEY=abc\n")
    _in_server(stack, f"location ~ ^/media(.*)$ {{ alias {stack.directory}/media/$1; }}")


PAYMENTS_APP = (
    "import collections, time\n"
    + PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request")
    + (
        """
paid = collections.Counter()

@app.post("/payments")
def pay():
    number = request.get_json()["number"]
    paid[number] += 1
    if paid[number] == 1:
        time.sleep(1.4)
    return jsonify(paid=paid[number])
"""
    )
)


def _paid_twice(stack: Stack) -> bool:
    answer = stack.request("POST", "/payments", json_body={"number": secrets.token_hex(4)})
    return answer.status == 200 and answer.json()["paid"] == 2


@fault(
    "NGX098",
    sees=_paid_twice,
    severity="warn",
    app=PAYMENTS_APP,
    threads=8,
    layout="guide",
    says=("/payments", "non_idempotent"),
)
def payment_is_sent_to_the_next_server_too(stack: Stack) -> None:
    """The next server is another process of the same service; here it is the same one."""
    server = f"    server {stack.bind}"
    stack.edit(stack.site_file, f"{server};", f"{server} max_fails=0;\n{server} max_fails=0;", apply=False)
    retried = "proxy_next_upstream error timeout non_idempotent; proxy_read_timeout 1s;"
    _in_server(stack, f"location /payments {{ proxy_pass http://gte_backend; {retried} }}")


@fault(
    "NGX099",
    sees=lambda stack: stack.request(path="/health").headers.get("Cache-Control") == "max-age=86400",
    severity="warn",
    app=PLAIN_APP,
    layout="guide",
    says=("expires 1d",),
)
def answers_are_kept_for_a_day(stack: Stack) -> None:
    """A line for pictures, in the block of the whole site."""
    _in_server(stack, "expires 1d;")


def _is_lost_by_a_reload(stack: Stack) -> bool:
    referrer = {"Referer": f"https://{stack.domain}/admin/users"}
    paths = [f"/admin/users/{number}" for number in range(5)]
    return {stack.request(path=path, headers=referrer).status for path in paths} == {404}


@fault(
    "NGX100",
    sees=_is_lost_by_a_reload,
    severity="warn",
    app=PLAIN_APP,
    layout="guide",
    says=("/admin/users/", "/admin/index.html"),
)
def users_of_the_admin_page_are_no_files(stack: Stack) -> None:
    """The location has an alias, and nothing else."""
    admin = stack.directory / "admin"
    admin.mkdir()
    (admin / "index.html").write_text(
        '<div id="root"></div>\n<script type="module" src="/admin/m.js"></script>\n'
    )
    _in_server(stack, f"location /admin/ {{ alias {admin}/; }}")


PACKING_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
import gzip

@app.get("/intro")
def intro():
    body = b"<p>welcome to shop.internal</p>"
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return body, 200, {"Content-Type": "text/html"}
    return gzip.compress(body), 200, {"Content-Type": "text/html", "Content-Encoding": "gzip"}
"""
)


def _is_sent_packed(stack: Stack) -> bool:
    headers = {"Accept-Encoding": "gzip, br"}
    answers = [stack.request(path="/intro", headers=headers) for _ in range(4)]
    return all(b"shop.internal" in gzip.decompress(answer.body) for answer in answers)


@fault(
    "NGX101",
    sees=_is_sent_packed,
    severity="warn",
    app=PACKING_APP,
    layout="guide",
    says=("/intro", "Accept-Encoding"),
)
def name_inside_is_shown_to_browsers(stack: Stack) -> None:
    """curl is shown the other one."""
    words = "sub_filter shop.internal shop.example;"
    _in_server(stack, f"location /intro {{ proxy_pass http://gte_backend; {words} }}")


@fault(
    "NGX102",
    sees=lambda stack: (
        {stack.request(path="/welcome/").headers.get("Content-Security-Policy", "") for _ in range(4)}
        == {"script-src 'self'"}
    ),
    severity="warn",
    app=PLAIN_APP,
    layout="guide",
    says=("/welcome/", "script-src 'self'"),
)
def script_in_the_page_itself_is_forbidden(stack: Stack) -> None:
    """A page's few lines of script are written in it."""
    welcome = stack.directory / "welcome"
    welcome.mkdir()
    (welcome / "index.html").write_text("<h1>Hello</h1>\n<script>\nstart();\n</script>\n")
    policy = "add_header Content-Security-Policy \"script-src 'self'\";"
    _in_server(stack, f"{policy}\nlocation /welcome/ {{ root {stack.directory}; }}")
