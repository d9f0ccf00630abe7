"""A seventh collection, of what stands before the service: rebuilt from public reports before the doctor was asked
about any of it."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import sys
import time

import dns.exception
import dns.message
import dns.query
import dns.rcode
import psutil

from tests.lab.applications import DJANGO, FASTAPI, UVICORN_WORKER
from tests.lab.client import Answer
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import meets
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import Kind, add_location, healthy, report
from tests.lab.reported.users import at_once
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

LOCATION = "    location / {\n        limit_req"
UPSTREAM = "upstream gte_backend {"
HOST = "proxy_set_header Host $host;"
PROXIED = f"proxy_pass http://gte_backend; {HOST} proxy_set_header X-Forwarded-Proto $scheme;"


def _before_the_upstream(stack: Stack, lines: str) -> None:
    stack.edit(stack.site_file, UPSTREAM, f"{lines}\n{UPSTREAM}", apply=False)


# --- how nginx speaks to the service ----------------------------------------------------------------------------------


@report(
    Kind.ROUTING,
    "GeoNode/geonode-project#361",
    sees=lambda stack: stack.predict(timeout=8.0).status != 200,
    repair=lambda stack: stack.edit(
        stack.site_file, "uwsgi_pass gte_backend;", "proxy_pass http://gte_backend;"
    ),
    codes=(),
    says=("uwsgi_pass", "proxy_pass", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def nginx_speaks_uwsgi_to_a_server_of_http(stack: Stack) -> None:
    """The recipe was for uWSGI's own protocol, and what listens there speaks HTTP."""
    stack.edit(stack.site_file, "proxy_pass http://gte_backend;", "uwsgi_pass gte_backend;")


SLOW_REPORT_APP = PLAIN_APP.replace("from flask", "import time\nfrom flask") + (
    """
@app.get("/report")
def report():
    time.sleep(0.6)
    return jsonify(report=[])
"""
)


@report(
    Kind.PART,
    "os-autoinst/openQA#5278",
    sees=lambda stack: at_once(stack, "/report", 6) == {200, 502},
    repair=lambda stack: stack.edit(stack.site_file, " max_conns=2;", ";"),
    codes=(),
    says=("/report", "no live upstreams", "max_conns", "gte-api.conf:"),
    app=SLOW_REPORT_APP,
    threads=8,
    layout="guide",
)
def server_may_have_only_so_many_connections(stack: Stack) -> None:
    """There is no queue in nginx as it is free to all: who comes when all connections are in use gets 502."""
    stack.edit(stack.site_file, f"    server {stack.bind};", f"    server {stack.bind} max_conns=2;")


SEARCH_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/search")
def search():
    return jsonify(found=request.get_json()["query"])
"""
)


def _gets_another_s_result(stack: Stack) -> bool:
    answers = [
        stack.request("POST", "/search", json_body={"query": word}) for word in ("pears", "plums", "figs") * 2
    ]
    return all(answer.status == 200 for answer in answers) and len({answer.body for answer in answers}) == 1


def _key_with_the_body(stack: Stack) -> None:
    stack.edit(
        stack.site_file, "proxy_cache pages;", 'proxy_cache pages; proxy_cache_key "$uri $request_body";'
    )


@report(
    Kind.PART,
    "jiangwenyuan/nuster#47",
    sees=_gets_another_s_result,
    repair=_key_with_the_body,
    codes=(),
    says=("/search", "proxy_cache_methods", "POST", "gte-api.conf:"),
    app=SEARCH_APP,
    layout="guide",
)
def answer_to_one_post_is_given_to_all(stack: Stack) -> None:
    """sonyseng/json-caching-proxy#1: the key of the cache has the path, and what was asked stands in the body."""
    _before_the_upstream(stack, f"proxy_cache_path {stack.directory}/cache keys_zone=pages:1m;")
    add_location(
        stack,
        f"location /search {{\n        {PROXIED}\n        proxy_cache pages;\n"
        "        proxy_cache_methods GET HEAD POST;\n        proxy_cache_valid 200 10m;\n    }",
    )


# --- what nginx makes of the answer -----------------------------------------------------------------------------------

STALE = "old();\n"


def _unpacked_differs(stack: Stack) -> bool:
    def content() -> str:
        answer = stack.request(path="/static/app.js", headers={"Accept-Encoding": "gzip"})
        packed = answer.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(answer.body).decode() if packed else answer.text

    return {content() for _ in range(5)} == {STALE}


def _pack(stack: Stack, text: str) -> None:
    (stack.directory / "static" / "app.js.gz").write_bytes(gzip.compress(text.encode()))


@report(
    Kind.PART,
    "jstuckey/gulp-gzip#20",
    sees=_unpacked_differs,
    repair=lambda stack: _pack(stack, "new();\n"),
    codes=(),
    says=("app.js.gz", "gzip_static", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def packed_copy_is_older_than_the_file(stack: Stack) -> None:
    """cloudhead/node-static#116: the new version was deployed, and the .gz of the old one stayed beside it."""
    static = stack.directory / "static"
    static.mkdir()
    _pack(stack, STALE)
    month_ago = time.time() - 30 * 86400
    os.utime(static / "app.js.gz", (month_ago, month_ago))
    (static / "app.js").write_text("new();\n")
    add_location(stack, f"location /static/ {{ alias {static}/; gzip_static on; }}")


BUSY_APP = PLAIN_APP + (
    """
@app.get("/report")
def report():
    return jsonify(error="the report is not ready yet"), 503
"""
)


def _say_what_it_is(stack: Stack) -> None:
    stack.edit(stack.site_file, " =200 /sorry.html;", " /sorry.html;")
    stack.edit(stack.app_file, 'jsonify(error="the report is not ready yet"), 503', "jsonify(report=[])")


SORRY = "error_page 500 502 503 504 =200 /sorry.html;"


@report(
    Kind.PART,
    "pulibrary/princeton_ansible#2227",
    sees=lambda stack: (
        {(answer.status, answer.content_type) for answer in (stack.request(path="/report") for _ in range(5))}
        == {(200, "text/html")}
    ),
    repair=_say_what_it_is,
    codes=(),
    says=("/report", "error_page", "=200", "gte-api.conf:"),
    app=BUSY_APP,
    layout="guide",
)
def errors_are_called_a_success(stack: Stack) -> None:
    """Who asked for JSON and looks at the status takes the page that says sorry for the answer."""
    public = stack.directory / "public"
    public.mkdir()
    (public / "sorry.html").write_text("<h1>Sorry</h1>\n")
    lines = (
        f"proxy_intercept_errors on;\n    {SORRY}\n    location = /sorry.html {{ root {public}; internal; }}"
    )
    stack.edit(stack.site_file, LOCATION, f"    {lines}\n{LOCATION}")


POLICY = "    add_header Content-Security-Policy \"default-src 'self'\" always;\n"


def _scripts_are_blocked(stack: Stack) -> bool:
    answers = [stack.request(path="/docs") for _ in range(5)]
    return all(
        answer.status == 200
        and "https://cdn.jsdelivr.net" in answer.text
        and "cdn.jsdelivr.net" not in answer.headers.get("Content-Security-Policy", "cdn.jsdelivr.net")
        for answer in answers
    )


@report(
    Kind.PART,
    "aprin-labs/archimedes#1404",
    sees=_scripts_are_blocked,
    repair=lambda stack: stack.edit(stack.site_file, POLICY, ""),
    codes=(),
    says=("/docs", "Content-Security-Policy", "cdn.jsdelivr.net", "gte-api.conf:"),
    app=FASTAPI,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def policy_of_nginx_forbids_the_page_s_scripts(stack: Stack) -> None:
    """frecar/epguides-api#223, NginxProxyGuard#296: the page of the API's documentation stays blank."""
    stack.edit(stack.site_file, LOCATION, f"{POLICY}{LOCATION}")


FORM_APP = DJANGO.replace(
    '"django.middleware.common.CommonMiddleware"],',
    '"django.middleware.common.CommonMiddleware",\n        "django.middleware.csrf.CsrfViewMiddleware"],',
).replace(
    "urlpatterns = [",
    """
def form(request):
    from django.middleware.csrf import get_token

    return JsonResponse({"token": get_token(request)})


urlpatterns = [path("form", form), """,
)
NO_REFERRER = "    add_header Referrer-Policy no-referrer always;\n"


def _as_a_browser(stack: Stack) -> Answer:
    """Gets the form and sends it. A browser that was told to name no referrer calls its origin null."""
    page = stack.request(path="/form")
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    told = (page.headers.get_all("Referrer-Policy") or ["same-origin"])[-1]
    origin = "null" if told == "no-referrer" else stack.url
    sent = {"Cookie": cookie, "X-CSRFToken": page.json()["token"], "Origin": origin}
    if origin != "null":
        del sent["Origin"]
        sent["Referer"] = f"https://{stack.domain}/form"
    return stack.request("POST", "/form", headers=sent)


@report(
    Kind.PART,
    "debops/ansible-nginx#152",
    sees=lambda stack: {_as_a_browser(stack).status for _ in range(5)} == {403},
    repair=lambda stack: stack.edit(stack.site_file, NO_REFERRER, ""),
    codes=(),
    says=("/form", "Referrer-Policy", "no-referrer", "gte-api.conf:"),
    app=FORM_APP,
    layout="guide",
)
def browsers_may_not_say_where_they_come_from(stack: Stack) -> None:
    """wemake-django-template#1020: Django wants to know it of every form."""
    stack.edit(stack.site_file, LOCATION, f"{NO_REFERRER}{LOCATION}")


VERSIONS_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
VERSION = '"v1"'

@app.get("/items")
def items():
    answer = jsonify(items=["item"] * 200)
    answer.headers["ETag"] = VERSION
    return answer

@app.put("/items")
def change():
    if request.headers.get("If-Match") != VERSION:
        return jsonify(error="changed meanwhile"), 412
    return jsonify(changed=True)
"""
)


def _changes_what_it_has_read(stack: Stack) -> int | None:
    read = stack.request(path="/items", headers={"Accept-Encoding": "gzip"})
    return stack.request("PUT", "/items", json_body={}, headers={"If-Match": read.headers["ETag"]}).status


GZIP = "    gzip on;\n    gzip_types application/json;\n    gzip_proxied any;\n"


@report(
    Kind.PART,
    "commontoolsinc/labs#1751",
    sees=lambda stack: {_changes_what_it_has_read(stack) for _ in range(5)} == {412},
    repair=lambda stack: stack.edit(stack.site_file, GZIP, ""),
    codes=(),
    says=("/items", "412", "ETag", "gzip", "gte-api.conf:"),
    app=VERSIONS_APP,
    layout="guide",
)
def name_of_the_version_is_weakened(stack: Stack) -> None:
    """jshttp/fresh#17: nginx packs the answer and puts W/ before its ETag, which the service does not know again."""
    stack.edit(stack.site_file, LOCATION, f"{GZIP}{LOCATION}")


SESSION_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/app/login")
def login():
    answer = jsonify(welcome=True)
    answer.set_cookie("session", "s", path="/app")
    return answer

@app.get("/app/me")
def me():
    if request.cookies.get("session") != "s":
        return jsonify(error="log in first"), 401
    return jsonify(name="alice")
"""
)


def _is_asked_to_log_in_again(stack: Stack) -> int | None:
    """What a browser gets after it has logged in: it sends a cookie only below the cookie's path."""
    cookie = stack.request("POST", "/shop/login").headers["Set-Cookie"]
    name, _, rest = cookie.partition(";")
    path = rest.partition("Path=")[2].partition(";")[0]
    headers = {"Cookie": name} if "/shop/me".startswith(f"{path.rstrip('/')}/") else {}
    return stack.request(path="/shop/me", headers=headers).status


@report(
    Kind.PART,
    "MagnaCapax/PMSS#455",
    sees=lambda stack: {_is_asked_to_log_in_again(stack) for _ in range(5)} == {401},
    repair=lambda stack: stack.edit(
        stack.site_file, "gte_backend/app/;", "gte_backend/app/; proxy_cookie_path /app /shop;"
    ),
    codes=(),
    says=("/shop/", "/app", "cookie", "proxy_cookie_path", "gte-api.conf:"),
    app=SESSION_APP,
    layout="guide",
)
def cookie_is_for_a_path_that_users_never_ask_for(stack: Stack) -> None:
    """folio-org/docs#464, pgadmin4#3026: the path is another on the way, and the cookie's is not changed with it."""
    add_location(stack, f"location /shop/ {{ proxy_pass http://gte_backend/app/; {HOST} }}")


# --- a balancer in front ----------------------------------------------------------------------------------------------

TO_HTTPS = "    return 301 https://"


def _leads_to_itself(stack: Stack) -> bool:
    """A user's browser behind the balancer: each redirect leads to the very URL that was asked for."""
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
    answers = [stack.request(path="/items", door="http", headers=forwarded) for _ in range(20)]
    return all(
        answer.status == 301 and answer.headers["Location"] == f"{stack.url}/items" for answer in answers
    )


def _redirect_only_who_came_plainly(stack: Stack) -> None:
    text = stack.site_file.read_text()
    line = next(line for line in text.splitlines() if line.startswith(TO_HTTPS))
    condition = f"    if ($http_x_forwarded_proto != https) {{ {line.strip()} }}"
    passed = f"    location / {{ proxy_pass http://gte_backend; {HOST} proxy_set_header X-Forwarded-Proto https; }}"
    stack.edit(stack.site_file, line, f"{condition}\n{passed}")


@report(
    Kind.ROUTING,
    "digitalocean/nginxconfig.io#98",
    sees=_leads_to_itself,
    repair=_redirect_only_who_came_plainly,
    codes=(),
    says=("/items", "301", "X-Forwarded-Proto", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def balancer_ends_tls_and_nginx_sends_everybody_to_https(stack: Stack) -> None:
    """postal#389, NginxProxyManager#852: the balancer asks in the clear, so nginx redirects, for ever."""
    line = f"    server_name {stack.domain};\n{TO_HTTPS}"
    named = f"    access_log {stack.nginx_access_log};\n"
    stack.edit(stack.site_file, line, f"{named}{line}")


def _health_check(stack: Stack) -> Answer:
    headers = {"User-Agent": "ELB-HealthChecker/2.0"}
    return stack.request(path="/", door="http", host=stack.address, headers=headers)


def _answer_the_balancer(stack: Stack) -> None:
    (stack.nginx_dir / "conf.d" / "balancer.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['http']} default_server;\n"
        f"    access_log {stack.nginx_access_log};\n"
        "    location / { proxy_pass http://gte_backend/health; } }\n"
    )
    stack.reload_nginx()


@report(
    Kind.DOOR,
    "rootsignal/beanstalk-nginx-php-fpm#8",
    sees=lambda stack: {_health_check(stack).status for _ in range(12)} == {301},
    repair=_answer_the_balancer,
    codes=(),
    says=("ELB-HealthChecker", "301", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def balancer_s_check_is_redirected(stack: Stack) -> None:
    """elastic-beanstalk-samples#159, redash#1901: it wants 200, takes the host out, and no user comes any more."""
    line = f"    server_name {stack.domain};\n{TO_HTTPS}"
    stack.edit(stack.site_file, line, f"    access_log {stack.nginx_access_log};\n{line}")


# --- TLS --------------------------------------------------------------------------------------------------------------

ADMIN = "admin.gte.lab.example"


def _over_the_site_s_connection(stack: Stack) -> int | None:
    """Asks for the other name as a browser does: over the connection to the site, where its certificate has both."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        socket.create_connection(stack.https, 5) as raw,
        context.wrap_socket(raw, server_hostname=stack.domain) as client,
    ):
        names = str(client.getpeercert())
        if ADMIN not in names:
            return None
        client.sendall(f"GET /users HTTP/1.1\r\nHost: {ADMIN}\r\nConnection: close\r\n\r\n".encode())
        return int(client.recv(4096).split()[1])


def _leave_the_other_name_out(stack: Stack) -> None:
    stack.replace_certificate(names=[stack.domain])


@report(
    Kind.CERTIFICATE,
    "lysine-dev/okhttp#5424",
    sees=lambda stack: {_over_the_site_s_connection(stack) for _ in range(6)} == {421},
    repair=_leave_the_other_name_out,
    codes=(),
    says=("421", ADMIN, "ssl_verify_client", "certificate"),
    app=PLAIN_APP,
    layout="guide",
    names=("gte.lab.example", ADMIN),
)
def one_certificate_for_two_names_of_different_rules(stack: Stack) -> None:
    """nginx-ct#23, YOURLS#2924: browsers come for the second name over the connection that they have already."""
    (stack.nginx_dir / "conf.d" / "admin.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['https']} ssl;\n    server_name {ADMIN};\n"
        f"    ssl_certificate {stack.certificate};\n    ssl_certificate_key {stack.private_key};\n"
        f"    ssl_client_certificate {stack.ca_file};\n    ssl_verify_client on;\n"
        f"    access_log {stack.nginx_access_log};\n    error_log {stack.nginx_error_log};\n"
        f"    location / {{ proxy_pass http://gte_backend; {HOST} }}\n}}\n"
    )
    stack.reload_nginx()


def _browser_is_refused(stack: Stack) -> bool:
    """A client that knows the curve that every browser knows, and not the rare one."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.set_ecdh_curve("prime256v1")
    with socket.create_connection(stack.https, 5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=stack.domain):
                return False
        except ssl.SSLError:
            return True


@report(
    Kind.CERTIFICATE,
    "AMWA-TV/nmos-testing#206",
    sees=lambda stack: all(_browser_is_refused(stack) for _ in range(8)),
    repair=lambda stack: stack.edit(stack.site_file, "    ssl_ecdh_curve secp521r1;\n", ""),
    codes=(),
    says=("ssl_ecdh_curve", "secp521r1", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def only_curve_is_one_that_browsers_do_not_know(stack: Stack) -> None:
    """cipherli.st#52, ingress-nginx#1404: the strongest one alone was chosen."""
    stack.edit(stack.site_file, LOCATION, f"    ssl_ecdh_curve secp521r1;\n{LOCATION}")


def _install(stack: Stack) -> None:
    pair = stack.directory / "nginx" / "ssl"
    home = stack.directory / "acme.sh" / f"{stack.domain}_ecc"
    (pair / "fullchain.pem").write_bytes((home / "fullchain.cer").read_bytes())
    (pair / "key.pem").write_bytes((home / f"{stack.domain}.key").read_bytes())
    stack.reload_nginx()


@report(
    Kind.CERTIFICATE,
    "acmesh-official/acme.sh#1942",
    sees=meets("expired"),
    repair=_install,
    codes=(),
    says=("acme.sh", "--install-cert", "fullchain.cer"),
    app=PLAIN_APP,
    layout="guide",
)
def renewed_pair_was_not_copied_to_nginx(stack: Stack) -> None:
    """acme.sh#2193, #2835: it renews in its own directory, and nginx reads a copy that was made by hand."""
    pair = stack.directory / "nginx" / "ssl"
    home = stack.directory / "acme.sh" / f"{stack.domain}_ecc"
    pair.mkdir()
    home.mkdir(parents=True)
    old = stack.authority.issue([stack.domain], not_before=in_days(-90), not_after=in_days(-1))
    new = stack.authority.issue([stack.domain], not_before=in_days(-30), not_after=in_days(60))
    (pair / "fullchain.pem").write_bytes(old.fullchain_pem)
    (pair / "key.pem").write_bytes(old.key_pem)
    (pair / "key.pem").chmod(0o600)
    (home / "fullchain.cer").write_bytes(new.fullchain_pem)
    (home / f"{stack.domain}.cer").write_bytes(new.pem)
    (home / f"{stack.domain}.key").write_bytes(new.key_pem)
    (home / f"{stack.domain}.conf").write_text(
        f"Le_Domain='{stack.domain}'\nLe_Alt='no'\nLe_Webroot='{stack.challenges}'\n"
        "Le_RealCertPath=''\nLe_RealKeyPath=''\nLe_RealFullChainPath=''\nLe_ReloadCmd=''\n"
    )
    (stack.cron / "certbot").unlink()
    (stack.cron / "acme").write_text(
        f'11 0 * * * root "{home.parent}"/acme.sh --cron --home "{home.parent}" > /dev/null\n'
    )
    stack.config["tls"] |= {"certificate": str(pair / "fullchain.pem"), "private_key": str(pair / "key.pem")}
    stack.write_config()
    stack.edit(stack.site_file, str(stack.certificate), str(pair / "fullchain.pem"), apply=False)
    stack.edit(stack.site_file, str(stack.private_key), str(pair / "key.pem"))


# --- a start, and a name ----------------------------------------------------------------------------------------------


def _declare_the_zone(stack: Stack) -> None:
    zone = "limit_req_zone $binary_remote_addr zone=gte_api:10m rate=10r/s;"
    _before_the_upstream(stack, zone)
    stack.start_nginx()


@report(
    Kind.START,
    "mariusv/nginx-badbot-blocker#170",
    sees=meets("refused"),
    repair=_declare_the_zone,
    codes=("NGX003", "NGX002"),
    says=("zero size shared memory zone", "gte_api", "limit_req_zone", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def zone_is_used_and_nowhere_declared(stack: Stack) -> None:
    """Magento-2-server-installation#177: nginx names the zone, and neither a file nor a line."""
    stack.stop_nginx()
    text = stack.site_file.read_text()
    stack.site_file.write_text(text.partition("\n")[2])
    stack.try_to_start_nginx()


GONE = "gte-lb-7.cloud.example."
NAME_SERVER = f"""
import socket, sys
import dns.flags, dns.message, dns.rcode, dns.rrset

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, client = server.recvfrom(4096)
    query = dns.message.from_wire(data)
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA
    answer.set_rcode(dns.rcode.NXDOMAIN)
    name = query.question[0].name
    answer.answer.append(dns.rrset.from_text(name, 300, "IN", "CNAME", "{GONE}"))
    server.sendto(answer.to_wire(), client)
"""


def _asked(stack: Stack) -> dns.message.Message | None:
    query = dns.message.make_query(stack.domain, "A")
    try:
        return dns.query.udp(query, stack.address, port=stack.ports["dns"], timeout=2)
    except (dns.exception.Timeout, OSError):
        return None


def _does_not_exist(stack: Stack) -> bool:
    answer = _asked(stack)
    return answer is not None and answer.rcode() == dns.rcode.NXDOMAIN and GONE in answer.to_text()


def _lead_the_name_here(stack: Stack) -> None:
    pid = int((stack.run / "name-server.pid").read_text())
    psutil.Process(pid).kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "its end")
    stack.resolver.answer(stack.domain, stack.address)


@report(
    Kind.DOOR,
    "michelbr84/GarraRUST#1099",
    sees=_does_not_exist,
    repair=_lead_the_name_here,
    codes=("DNS001",),
    says=("CNAME", GONE.rstrip(".")),
    app=PLAIN_APP,
    layout="guide",
)
def name_is_an_alias_of_one_that_is_gone(stack: Stack) -> None:
    """hackclub/dns#1514: the balancer was deleted, and the alias still leads to its name."""
    stack.resolver.close()
    pid = stack.spawn(sys.executable, "-c", NAME_SERVER, stack.address, str(stack.ports["dns"]))
    (stack.run / "name-server.pid").write_text(str(pid))


# --- unusual, and healthy ---------------------------------------------------------------------------------------------

SUGGEST_APP = PLAIN_APP.replace("from flask", "import time\nfrom flask") + (
    """
@app.get("/suggest")
def suggest():
    time.sleep(0.15)
    return jsonify(words=[])
"""
)


@healthy(
    "travis-ci/travis-ci#84",
    serves=lambda stack: stack.request(path="/suggest?q=pears").status == 200,
    app=SUGGEST_APP,
    threads=4,
    layout="guide",
)
def page_takes_its_question_back_at_each_key(stack: Stack) -> None:
    """repocompare#32: while a user types, each request ends the one before; nobody waited for those."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    for _ in range(4):
        for word in ("pe", "pea", "pear"):
            with (
                socket.create_connection(stack.https, 5) as raw,
                context.wrap_socket(raw, server_hostname=stack.domain) as client,
            ):
                client.sendall(f"GET /suggest?q={word} HTTP/1.1\r\nHost: {stack.domain}\r\n\r\n".encode())
                time.sleep(0.03)
        assert stack.request(path="/suggest?q=pears").status == 200


CHALLENGED_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/repository")
def repository():
    if "Authorization" not in request.headers:
        return jsonify(error="who are you"), 401, {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    return jsonify(repository=[])
"""
)


def _clones(stack: Stack) -> bool:
    asked = stack.request(path="/repository").status
    answered = stack.request(path="/repository", headers={"Authorization": 'Digest username="alice"'}).status
    return (asked, answered) == (401, 200)


@healthy(
    "psf/requests#5176",
    serves=_clones,
    app=CHALLENGED_APP,
    layout="guide",
)
def clients_wait_to_be_asked_for_their_password(stack: Stack) -> None:
    """sabre-io/dav#763: every second request is answered 401, as the protocol has it."""
    for _ in range(20):
        assert _clones(stack)


@healthy(
    "LucasSantana-Dev/Lucky#1786",
    serves=lambda stack: stack.predict().status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def other_colour_is_stopped_and_marked_down(stack: Stack) -> None:
    """zzol#1090: of blue and green one serves at a time, and the other is not even started."""
    stack.edit(stack.site_file, UPSTREAM, f"{UPSTREAM}\n    server {stack.address}:{stack.free_port()} down;")
    for _ in range(10):
        stack.predict()
