"""The Flask application."""

from __future__ import annotations

import sys

from tests.lab.applications import DJANGO, FASTAPI, UVICORN_WORKER
from tests.lab.client import Answer
from tests.lab.faults.case import answers, fault, page
from tests.lab.stack import Stack

PLAIN_APP = """
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="plain")

@app.post("/predict")
def predict():
    return jsonify(result={})
"""

DEBUGGED_APP = (
    PLAIN_APP + "\nfrom werkzeug.debug import DebuggedApplication\napp = DebuggedApplication(app, True)\n"
)

TRUSTING_APP = FASTAPI + (
    """

from starlette.middleware.trustedhost import TrustedHostMiddleware

app.add_middleware(TrustedHostMiddleware, allowed_hosts=["finance.example"])
"""
)

UNHEALTHY_APP = PLAIN_APP.replace(
    'return jsonify(status="ok", service="plain")',
    'return jsonify(status="failing", service="plain", reason="database is gone"), 503',
).replace("return jsonify(result={})", 'return jsonify(error="database is gone"), 503')

HTML_APP = PLAIN_APP.replace("return jsonify(result={})", 'return "<!doctype html><h1>Hello</h1>"')

RAISING_APP = PLAIN_APP.replace("return jsonify(result={})", 'return jsonify(result={}["entities"])')


SLOW_APP = PLAIN_APP.replace(
    "return jsonify(result={})", "time.sleep(0.7)\n    return jsonify(result={})"
).replace("from flask", "import time\nfrom flask")

OTHER_CONTRACT_APP = PLAIN_APP.replace(
    "return jsonify(result={})", 'return jsonify(code=0, data={"entities": []})'
)


def debugger(stack: Stack) -> Answer:
    """What everyone on the internet gets for the debugger's script."""
    return stack.request(path="/?__debugger__=yes&cmd=resource&f=debugger.js")


@fault("APP001", sees=lambda stack: debugger(stack).status == 200, app=DEBUGGED_APP)
def debugger_is_open(_stack: Stack) -> None:
    """The application is wrapped in Werkzeug's debugger."""


@fault(
    "APP001",
    sees=lambda stack: stack.predict().status == 200,
    app=PLAIN_APP,
    service_environment={"FLASK_DEBUG": "1"},
)
def debug_mode_is_on(_stack: Stack) -> None:
    """FLASK_DEBUG in the environment of the workers."""


@fault("APP002", sees=answers(503), app=UNHEALTHY_APP)
def health_reports_failure(_stack: Stack) -> None:
    """The application knows that it is ill."""


@fault("APP003", sees=page(), app=HTML_APP)
def prediction_is_a_page(_stack: Stack) -> None:
    """HTML with status 200."""


@fault("APP004", sees=page(500), app=RAISING_APP, explains=("APP003",))
def prediction_raises(stack: Stack) -> None:
    stack.predict()


@fault(
    "APP005",
    sees=lambda stack: stack.predict().status == 200,
    severity="warn",
    app=SLOW_APP,
    worker_class="gthread",
    threads=4,
)
def predictions_are_slow(stack: Stack) -> None:
    # What is slow is the operator's to say; with the default of 3 s this would only take longer.
    stack.config["target"]["slow_after_s"] = 0.5
    stack.write_config()


def answers_without_result(stack: Stack) -> bool:
    answer = stack.predict()
    return answer.status == 200 and answer.content_type == "application/json" and "result" not in answer.text


@fault("APP007", sees=answers_without_result, app=OTHER_CONTRACT_APP)
def answer_is_json_but_no_prediction(_stack: Stack) -> None:
    """Another version of the application, with another shape of answers."""


@fault(
    "APP006",
    sees=lambda stack: stack.request(door="backend").headers["Server"].startswith("Werkzeug"),
    app=PLAIN_APP,
)
def development_server_serves(stack: Stack) -> None:
    stack.stop_gunicorn()
    host, _, port = stack.bind.rpartition(":")
    stack.spawn(
        sys.executable,
        "-m",
        "flask",
        "--app",
        "app",
        "run",
        "--host",
        host,
        "--port",
        port,
        cwd=stack.app_dir,
    )
    stack.wait_until_listening(stack.bind)


@fault(
    "APP026",
    sees=answers(400),
    app=TRUSTING_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
    says=("allowed_hosts",),
)
def name_is_not_one_that_the_middleware_trusts(_stack: Stack) -> None:
    """Starlette's TrustedHostMiddleware; it logs nothing."""


@fault(
    "APP027",
    sees=lambda stack: {stack.request(path="/static/admin/base.css").status for _ in range(4)} == {404},
    app=DJANGO,
    layout="guide",
    says=("/static/", "collectstatic"),
)
def style_of_the_admin_is_asked_of_django(_stack: Stack) -> None:
    """DEBUG was switched off."""


def _style_is_asked_at_the_root(stack: Stack) -> bool:
    found = stack.request(path="/shop/static/app.css").status == 200
    return found and {stack.request(path="/static/app.css").status for _ in range(3)} == {404}


@fault(
    "APP028",
    sees=_style_is_asked_at_the_root,
    app=PLAIN_APP,
    layout="guide",
    says=("/shop", "X-Forwarded-Prefix"),
)
def application_is_moved_below_a_path(stack: Stack) -> None:
    """Its pages still name their style from the root."""
    (stack.app_dir / "static").mkdir()
    (stack.app_dir / "static" / "app.css").write_text("body {}\n")
    stack.restart_gunicorn()
    (stack.directory / "site").mkdir()
    stack.edit(
        stack.site_file,
        "location / {\n        limit_req",
        "location /shop/ { proxy_pass http://gte_backend/; }\n    location /static/ {"
        f" root {stack.directory}/site; }}\n    location / {{\n        limit_req",
    )


SESSION_APP = (
    PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, session").replace(
        "app = Flask(__name__)", "import os\n\napp = Flask(__name__)\napp.secret_key = os.urandom(24)"
    )
    + """
@app.post("/login")
def login():
    session["user"] = "alice"
    return jsonify(user="alice")

@app.get("/profile")
def profile():
    if "user" not in session:
        return jsonify(error="log in first"), 401
    return jsonify(user=session["user"])
"""
)


def is_logged_out_now_and_then(stack: Stack) -> bool:
    """Whether one cookie lets in at one worker and not at another."""
    cookie = str(stack.request("POST", "/login").headers["Set-Cookie"]).partition(";")[0]
    statuses = [stack.request(path="/profile", headers={"Cookie": cookie}).status for _ in range(12)]
    return {200, 401} <= set(statuses)


@fault(
    "APP029",
    severity="warn",
    sees=is_logged_out_now_and_then,
    says=("/profile", "401", "app.py:"),
    app=SESSION_APP,
    workers=3,
    worker_class="sync",
    layout="guide",
    site={"rate": "200r/s", "burst": "400"},
)
def each_worker_draws_a_key_of_its_own(_stack: Stack) -> None:
    """The key that signs sessions is made at import."""


CORS_APP = FASTAPI + (
    """

from starlette.middleware.cors import CORSMiddleware

app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://shop.example", "https://desk.example/app"],
    allow_methods=["*"],
    allow_headers=["*"],
)
"""
)


def _desk_asks(stack: Stack) -> int | None:
    asked = {"Origin": "https://desk.example", "Access-Control-Request-Method": "POST"}
    return stack.request("OPTIONS", "/predict", headers=asked).status


@fault(
    "APP030",
    sees=lambda stack: {_desk_asks(stack) for _ in range(5)} == {400},
    severity="warn",
    app=CORS_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
    says=("https://desk.example/app", "app.py:"),
)
def origin_has_a_path(_stack: Stack) -> None:
    """The address of the page is allowed, and no browser names a page by its path."""


HOOK_APP = PLAIN_APP.replace("Flask, jsonify", "Flask, jsonify, request") + (
    """
@app.post("/hooks")
def hooks():
    return jsonify(received=len(request.get_json()))
"""
)


def _untyped_hook(stack: Stack) -> int | None:
    return stack.request(
        "POST", "/hooks", body=b'{"event": "paid"}', headers={"Content-Type": "text/plain"}
    ).status


@fault(
    "APP035",
    sees=lambda stack: {_untyped_hook(stack) for _ in range(4)} == {415},
    severity="warn",
    app=HOOK_APP,
    site={"rate": "100r/s", "burst": "200"},
    layout="guide",
    says=("/hooks", "415", "Content-Type"),
)
def senders_call_json_plain_text(stack: Stack) -> None:
    """One sender says application/json, the other does not."""
    for _ in range(4):
        stack.request("POST", "/hooks", json_body={"event": "paid"})
        _untyped_hook(stack)


BASKET_APP = PLAIN_APP.replace("Flask, jsonify", "Flask, jsonify, request") + (
    """
baskets = {}

@app.put("/baskets/<name>")
def put(name):
    baskets[name] = request.get_json()
    return jsonify(saved=True)

@app.get("/baskets/<name>")
def get(name):
    return (jsonify(baskets[name]), 200) if name in baskets else (jsonify(error="unknown"), 404)
"""
)


def _basket_comes_and_goes(stack: Stack) -> bool:
    stack.request("PUT", "/baskets/4711", json_body={"items": 1})
    return {stack.request(path="/baskets/4711").status for _ in range(16)} == {200, 404}


@fault(
    "APP031",
    sees=_basket_comes_and_goes,
    severity="warn",
    app=BASKET_APP,
    workers=4,
    worker_class="sync",
    site={"rate": "100r/s", "burst": "200"},
    layout="guide",
    says=("/baskets/", "workers"),
)
def basket_is_in_the_memory_of_one_worker(stack: Stack) -> None:
    for _ in range(3):
        _basket_comes_and_goes(stack)


QUOTA_APP = PLAIN_APP.replace("Flask, jsonify", "Flask, jsonify, request") + (
    """
seen = {}

@app.get("/tile")
def tile():
    seen[request.remote_addr] = seen.get(request.remote_addr, 0) + 1
    return (jsonify(error="slow down"), 429) if seen[request.remote_addr] > 3 else (jsonify(tile=1), 200)
"""
)


@fault(
    "APP032",
    sees=lambda stack: stack.request(path="/tile", source="127.0.5.9").status == 429,
    severity="warn",
    app=QUOTA_APP,
    worker_class="gthread",
    threads=4,
    site={"rate": "100r/s", "burst": "200"},
    layout="guide",
    says=("X-Forwarded-For", "/tile"),
)
def quota_is_counted_by_nginx_s_address(stack: Stack) -> None:
    for number in range(1, 13):
        stack.request(path="/tile", source=f"127.0.6.{number}")


DOMAIN_APP = PLAIN_APP.replace("Flask, jsonify", "Flask, jsonify, session") + (
    """
app.secret_key = "lab"
app.config.update(
    SESSION_COOKIE_DOMAIN=".shop-old.example",
)

@app.post("/enter")
def enter():
    session["user"] = "alice"
    return jsonify(welcome=True)

@app.get("/basket")
def basket():
    return jsonify(basket=[]) if "user" in session else ("", 303, {"Location": "/enter"})
"""
)


def _is_sent_to_the_login(stack: Stack) -> bool:
    cookie = stack.request("POST", "/enter").headers["Set-Cookie"]
    # A browser keeps no cookie for another name.
    return "shop-old.example" in cookie and {stack.request(path="/basket").status for _ in range(4)} == {303}


@fault(
    "APP033",
    sees=_is_sent_to_the_login,
    severity="warn",
    app=DOMAIN_APP,
    site={"rate": "100r/s", "burst": "200"},
    layout="guide",
    says=("/basket", "shop-old.example", "SESSION_COOKIE_DOMAIN"),
)
def basket_s_cookie_is_for_the_old_name(_stack: Stack) -> None:
    pass


SENDFILE_APP = PLAIN_APP + (
    """
@app.get("/bills/<number>")
def bill(number):
    return "", 200, {"X-Sendfile": "/srv/bills/" + number}
"""
)


@fault(
    "APP034",
    sees=lambda stack: {stack.request(path=f"/bills/{number}").text for number in range(5)} == {""},
    severity="warn",
    app=SENDFILE_APP,
    site={"rate": "100r/s", "burst": "200"},
    layout="guide",
    says=("/bills/", "X-Accel-Redirect"),
)
def bills_are_handed_over_to_a_server_that_is_gone(_stack: Stack) -> None:
    pass
