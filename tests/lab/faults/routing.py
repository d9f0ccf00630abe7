"""nginx's own rules lead a request elsewhere than its author meant."""

from __future__ import annotations

from tests.lab.client import Answer
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, fault, meets, page
from tests.lab.stack import Stack

LOCATION = "location / {\n        limit_req"
PROXY = "proxy_pass http://gte_backend;"

# It says why it refuses, in its own words.
REFUSING_APP = """
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="refuses")

@app.post("/predict")
def predict():
    return jsonify(error="the licence of this model ended yesterday"), 409
"""


def put_before(stack: Stack, location: str, *, apply: bool = True) -> None:
    """``location`` in the site's HTTPS block, above the one that proxies."""
    stack.edit(stack.site_file, LOCATION, f"{location}\n    {LOCATION}", apply=apply)


def web_root(stack: Stack) -> str:
    """A web front end's files, open to nginx's workers."""
    root = stack.directory / "html"
    root.mkdir()
    root.chmod(0o755)
    (root / "index.html").write_text("<!DOCTYPE html><title>App</title>")
    return str(root)


# owntracks/frontend#63
@fault("NGX030", sees=answers(405))
def slash_behind_proxy_pass_replaces_the_path(stack: Stack) -> None:
    put_before(stack, "location /predict { proxy_pass http://gte_backend/; }")


@fault("NGX030", sees=answers(404))
def rewrite_takes_the_first_segment_away(stack: Stack) -> None:
    put_before(
        stack,
        "location /predict { rewrite ^/predict(.*)$ /v2/infer$1 break; proxy_pass http://gte_backend; }",
    )


# ant-design-pro#10434
@fault("NGX031", sees=answers(405))
def page_of_the_front_end_covers_the_api(stack: Stack) -> None:
    root = web_root(stack)
    put_before(
        stack,
        f"location /p {{ root {root}; try_files $uri /index.html; }}\n    location = /index.html {{ root {root}; }}",
    )


@fault("NGX031", sees=answers(404))
def pattern_for_static_files_covers_the_api(stack: Stack) -> None:
    put_before(stack, f"location ~ ^/(static|pre) {{ root {web_root(stack)}; }}")


# CodeCity#416: the name leads to another address than gunicorn's.
@fault("NGX032", sees=answers(502))
def localhost_is_not_where_gunicorn_listens(stack: Stack) -> None:
    stack.edit(stack.site_file, PROXY, f"proxy_pass http://localhost:{stack.ports['backend']};")


# vesta#2010
# gte-api waits for the end of what is no request, so nginx gives up first: 504.
@fault("NGX033", sees=lambda stack: stack.predict().status in (502, 504))
def proxy_pass_speaks_tls_to_a_plain_port(stack: Stack) -> None:
    stack.edit(stack.site_file, PROXY, "proxy_pass https://gte_backend;")


def claim_first(stack: Stack, answer: str) -> None:
    """Another file, read before the site's own, claims its name on its address."""
    (stack.nginx_dir / "conf.d" / "a-old.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['https']} ssl;\n    server_name {stack.domain};\n"
        f"    ssl_certificate {stack.certificate};\n    ssl_certificate_key {stack.private_key};\n"
        f"    location / {{ {answer} }}\n}}\n"
    )
    stack.reload_nginx()


# ajenti-v#105
@fault("NGX034", sees=answers(502), explains=("NGX005",))
def old_copy_of_the_site_claims_the_name_first(stack: Stack) -> None:
    claim_first(stack, f"proxy_pass http://{stack.address}:{stack.free_port()};")


@fault("NGX034", sees=answers(404))
def parked_page_claims_the_name_first(stack: Stack) -> None:
    claim_first(stack, f"root {web_root(stack)};")


# nginx-proxy#1495
@fault("NGX035", sees=answers(502))
def restart_sets_the_only_live_server_aside(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        f"server {stack.bind};",
        f"server {stack.bind} fail_timeout=300s;\n    server {stack.address}:{stack.free_port()} down;",
    )
    stack.stop_gunicorn()
    stack.predict()
    stack.start_gunicorn()


# countly-server#5120
@fault("NGX036", sees=meets("WRONG_VERSION_NUMBER"))
def ssl_is_missing_on_the_listen_directive(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        f"listen {stack.address}:{stack.ports['https']} ssl;",
        f"listen {stack.address}:{stack.ports['https']};",
    )


@fault("NGX037", sees=page(404), app=REFUSING_APP)
def reason_of_the_service_becomes_a_page(stack: Stack) -> None:
    put_before(
        stack,
        "location = /predict { proxy_pass http://gte_backend; proxy_intercept_errors on; error_page 409 =404 /gone; }\n"
        "    location = /gone { internal; default_type text/html; return 404 '<h1>Gone</h1>'; }",
    )


@fault("NGX038", sees=answers(403))
def only_get_is_let_in(stack: Stack) -> None:
    put_before(stack, "location = /predict { limit_except GET { deny all; } proxy_pass http://gte_backend; }")


@fault("NGX038", sees=answers(404))
def return_of_an_exact_location_answers(stack: Stack) -> None:
    put_before(stack, "location = /predict { return 404; }")


@fault("NGX038", sees=answers(405))
def condition_on_the_method_refuses_posts(stack: Stack) -> None:
    put_before(stack, "if ($request_method !~ ^(GET|HEAD)$) { return 405; }")


def _challenge(stack: Stack) -> Answer:
    return stack.request(path="/.well-known/acme-challenge/token", door="http")


# acme-nginx#23
@fault("NGX039", sees=lambda stack: _challenge(stack).status == 403, severity="warn")
def rule_against_hidden_files_covers_the_challenge(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        "    location /.well-known/acme-challenge/ {",
        "    location ~ /\\. { deny all; }\n    location /.well-known/acme-challenge/ {",
    )


# --- siblings, written before they were tried -------------------------------------------------------------------------


# huashengdun/webssh#343: the location has no slash at its end, proxy_pass has one.
@fault("NGX030", sees=answers(404))
def prefix_of_the_path_is_cut_off(stack: Stack) -> None:
    put_before(stack, "location /pre { proxy_pass http://gte_backend/; }")


@fault("NGX030", sees=answers(404))
def variable_in_proxy_pass_names_a_fixed_path(stack: Stack) -> None:
    put_before(stack, f"location = /predict {{ set $api {stack.bind}; proxy_pass http://$api/v1/predict; }}")


# sladkovm/docker-flask-gunicorn-nginx#1: only a path below is proxied.
@fault("NGX031", sees=answers(404))
def only_a_path_below_is_proxied(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        LOCATION,
        f"root {web_root(stack)};\n    {LOCATION.replace('location /', 'location /api/')}",
    )


# proxy_pass is not inherited by a location inside another one.
@fault("NGX031", sees=answers(404))
def nested_location_has_no_proxy_pass(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        LOCATION,
        LOCATION.replace("{", "{\n        location /predict { client_max_body_size 9m; }", 1),
    )


# A leading dot claims the name itself too.
@fault("NGX034", sees=answers(403))
def name_with_a_leading_dot_claims_the_name_first(stack: Stack) -> None:
    (stack.nginx_dir / "conf.d" / "a-wild.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['https']} ssl;\n    server_name .{stack.domain};\n"
        f"    ssl_certificate {stack.certificate};\n    ssl_certificate_key {stack.private_key};\n"
        "    location / { return 403; }\n}\n"
    )
    stack.reload_nginx()


@fault("NGX035", sees=answers(502))
def every_server_of_the_upstream_is_marked_down(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        f"server {stack.bind};",
        f"server {stack.bind} down;\n    server {stack.address}:{stack.free_port()} down;",
    )


@fault("NGX036", sees=meets("WRONG_VERSION_NUMBER"))
def http2_is_there_and_ssl_is_not(stack: Stack) -> None:
    listen = f"listen {stack.address}:{stack.ports['https']} ssl;"
    stack.edit(stack.site_file, listen, listen.replace(" ssl;", " http2;"))


@fault("NGX037", sees=page(200), app=REFUSING_APP)
def page_of_the_front_end_hides_the_refusal(stack: Stack) -> None:
    root = web_root(stack)
    put_before(
        stack,
        "location = /predict { proxy_pass http://gte_backend; proxy_intercept_errors on;"
        " error_page 409 =200 /index.html; }\n"
        f"    location = /index.html {{ root {root}; default_type text/html; }}",
    )


@fault("NGX038", sees=answers(403))
def deny_all_was_left_behind(stack: Stack) -> None:
    put_before(stack, "deny all;")


@fault("NGX038", sees=lambda stack: stack.predict().status is None)
def pattern_against_scanners_covers_the_api(stack: Stack) -> None:
    put_before(stack, "location ~* (wp-admin|\\.php$|pred) { return 444; }")


# NET004 is there too: nothing redirects to HTTPS any more.
@fault(
    "NGX039",
    sees=lambda stack: _challenge(stack).status == 404,
    first="NET004",
    beside=("NET004",),
    severity="warn",
)
def plain_http_answers_404_for_everything(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        "    location /.well-known/acme-challenge/ {",
        "    return 404;\n    location /.well-known/acme-challenge/ {",
    )


# TANGO#79 and many: no proxy_set_header Host, and an application that lists its hosts.
HOST = "        proxy_set_header Host $host;\n"
HOST_CHECK = """
@app.before_request
def known_host():
    from flask import abort, request
    if request.host.partition(":")[0] not in ("DOMAIN", "127.0.0.1"):
        abort(STATUS)
"""


@fault(
    "NGX080", sees=answers(400), app=PLAIN_APP, layout="guide", says=("gte_backend", "proxy_set_header Host")
)
def upstream_s_name_is_sent_as_host(stack: Stack) -> None:
    check = HOST_CHECK.replace("DOMAIN", stack.domain).replace("STATUS", "400")
    stack.app_file.write_text(PLAIN_APP + check)
    stack.reload_gunicorn()
    stack.edit(stack.site_file, HOST, "")


@fault("NGX080", sees=answers(404), app=PLAIN_APP, layout="guide", says=("api.internal", "$host"))
def host_of_another_name_is_sent(stack: Stack) -> None:
    check = HOST_CHECK.replace("DOMAIN", stack.domain).replace("STATUS", "404")
    stack.app_file.write_text(PLAIN_APP + check)
    stack.reload_gunicorn()
    stack.edit(stack.site_file, HOST, HOST.replace("$host", "api.internal"))


SEARCH_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/search")
def search():
    if "q" not in request.args:
        return jsonify(error="the parameter q is missing"), 422
    return jsonify(hits=[])
"""
)


def _finds_no_query(stack: Stack) -> bool:
    return {stack.request(path="/api/search?q=beijing").status for _ in range(3)} == {422}


# askdarcel-web#40
@fault("NGX081", sees=_finds_no_query, app=SEARCH_APP, layout="guide", says=("/api/search", "$is_args$args"))
def capture_in_proxy_pass_leaves_the_query_out(stack: Stack) -> None:
    put_before(
        stack, "location ~ ^/api/(.*)$ { proxy_pass http://gte_backend/$1; proxy_set_header Host $host; }"
    )


@fault(
    "NGX081",
    sees=_finds_no_query,
    app=SEARCH_APP,
    layout="guide",
    says=("/api/search", "Take the question mark"),
)
def rewrite_ends_with_a_question_mark(stack: Stack) -> None:
    put_before(stack, "location /api/ { rewrite ^/api/(.*)$ /$1? break; proxy_pass http://gte_backend; }")


KEYED_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.before_request
def key():
    if request.path != "/health" and request.headers.get("X-Api-Key") != "sesame":
        return jsonify(detail="api key missing"), 403
"""
)


def _key_is_refused(stack: Stack) -> bool:
    return {stack.predict(headers={"X-Api-Key": "sesame"}).status for _ in range(4)} == {403}


@fault("NGX082", sees=_key_is_refused, app=KEYED_APP, layout="guide", says=("proxy_pass_request_headers",))
def no_header_of_the_client_is_passed_on(stack: Stack) -> None:
    """It was meant for a location that fetches static files."""
    stack.edit(stack.site_file, PROXY, f"{PROXY}\n        proxy_pass_request_headers off;")


@fault("NGX082", sees=_key_is_refused, app=KEYED_APP, layout="guide", says=("X-Api-Key", "nginx replaces it"))
def key_is_replaced_by_a_variable_that_is_empty(stack: Stack) -> None:
    """The variable has the name of another header."""
    stack.edit(stack.site_file, PROXY, f"{PROXY}\n        proxy_set_header X-Api-Key $http_x_token;")


RAW_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/files/<path:name>")
def file(name):
    return (jsonify(name=name), 200) if "%2F" in request.environ["RAW_URI"] else (jsonify(error="none"), 404)
"""
)


def _encoded_is_missed(stack: Stack) -> bool:
    return {stack.request(path="/v1/files/a%2Fb").status for _ in range(4)} == {404}


@fault("NGX083", sees=_encoded_is_missed, app=RAW_APP, layout="guide", says=("%2F", "$request_uri"))
def prefix_is_taken_away_and_the_rest_decoded(stack: Stack) -> None:
    put_before(stack, "location /v1/ { proxy_pass http://gte_backend/; proxy_set_header Host $host; }")


@fault("NGX084", sees=answers(400), app=PLAIN_APP, layout="guide", says=("gte-api.conf:", "Host"))
def host_is_sent_by_an_included_file_too(stack: Stack) -> None:
    """Debian's proxy_params, and a line of one's own."""
    params = stack.nginx_dir / "proxy_params"
    params.write_text("proxy_set_header Host $http_host;\n")
    place = "        proxy_set_header X-Real-IP"
    stack.edit(stack.site_file, place, f"        include {params};\n{place}")


@fault("NGX085", sees=answers(400), layout="guide", app=PLAIN_APP)
def scheme_is_named_twice_and_differently(stack: Stack) -> None:
    """gunicorn wants ssl where the other header says https."""
    place = "        proxy_set_header X-Real-IP"
    line = "        proxy_set_header X-Forwarded-Protocol $scheme;\n"
    stack.edit(stack.site_file, place, f"{line}{place}")


@fault(
    "NGX086",
    sees=lambda stack: {stack.request("PUT", "/predict", body="{}").status for _ in range(3)} == {403},
    severity="warn",
    layout="guide",
    app=PLAIN_APP.replace('@app.post("/predict")', '@app.route("/predict", methods=["GET", "POST", "PUT"])'),
)
def method_of_the_api_is_not_on_the_list(stack: Stack) -> None:
    """A hardened template lets pages through."""
    place = "        proxy_set_header X-Real-IP"
    stack.edit(stack.site_file, place, f"        limit_except GET POST {{ deny all; }}\n{place}")


@fault("NGX087", sees=lambda stack: bool(stack.predict(timeout=3.0).error), layout="guide", app=PLAIN_APP)
def nobody_sends_the_proxy_line(stack: Stack) -> None:
    """The balancer was taken away, and listen asks for its line still."""
    stack.edit(stack.site_file, " ssl;", " ssl proxy_protocol;")
    for _ in range(3):
        stack.predict(timeout=3.0)


STREAMING_APP = PLAIN_APP + (
    """
@app.get("/events")
def events():
    return iter(["data: 1\\n\\n"]), 200, {"Content-Type": "text/event-stream"}
"""
)


@fault(
    "NGX088",
    sees=lambda stack: stack.request(path="/events").status == 200,
    severity="warn",
    layout="guide",
    app=STREAMING_APP,
)
def stream_of_events_is_buffered(stack: Stack) -> None:
    """As nginx does by default."""
    stack.request(path="/events")


def _follows_with_get(stack: Stack) -> bool:
    moved = stack.predict(door="http").status
    return moved == 301 and stack.request(path="/predict").status == 405


@fault("NGX089", sees=_follows_with_get, severity="warn", layout="guide", app=PLAIN_APP)
def redirect_makes_get_of_post(stack: Stack) -> None:
    """The site's own redirect, and clients that begin with http://."""
    for _ in range(4):
        _follows_with_get(stack)
