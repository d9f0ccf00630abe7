"""An eighth collection, gunicorn's part and the process's: one setting and variable after the other, each with a value
that people really wrote, rebuilt before the doctor was asked about any of it."""

from __future__ import annotations

import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.reported.case import Kind, needs_root, report
from tests.lab.reported.users import always
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

RAISES = ("APP020", "APP004")


def _with(routes: str, *, imports: str) -> str:
    """The plain application with these routes as well."""
    return imports + PLAIN_APP + routes


def _failed_start(stack: Stack, words: str) -> None:
    """Starts gunicorn, which says ``words`` and does not come up."""
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: words in stack.gunicorn_said(), "gunicorn to fail", within=30)


class _Rates(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Answers an HTTP request."""
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}")


RATES_APP = _with(
    """
@app.get("/rates")
def rates():
    return jsonify(rates=requests.get("http://127.77.0.11:PORT/rates", timeout=3).json())
""",
    imports="import requests\n",
)


def _not_by_the_proxy(stack: Stack) -> None:
    stack.set_service_environment(no_proxy="127.77.0.11")
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "osism/ansible-collection-commons#320",
    sees=lambda stack: always(stack, "/rates", 500),
    repair=_not_by_the_proxy,
    codes=RAISES,
    says=("ProxyError", "/rates", "http_proxy"),
    app=PLAIN_APP,
    service_environment={"http_proxy": "http://127.77.0.12:3128"},
    layout="guide",
)
def partner_next_door_is_asked_by_the_proxy(stack: Stack) -> None:
    """localstack#244, teamclaude#75: the variable is for the way out, and counts for what is inside as well."""
    server = socketserver.ThreadingTCPServer(("127.77.0.11", 0), _Rates)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.at_end(server.server_close)
    stack.at_end(server.shutdown)
    stack.app_file.write_text(RATES_APP.replace("PORT", str(server.server_address[1])))
    stack.restart_gunicorn()


FEED_APP = _with(
    """
@app.get("/feed")
def feed():
    return jsonify(feed=requests.get("http://feeds:8000/new", timeout=3).json())
""",
    imports="import requests\n",
)


@report(
    Kind.PART,
    "mastodon/mastodon#2857",
    sees=lambda stack: always(stack, "/feed", 500),
    repair=lambda stack: stack.edit(
        stack.app_file, 'requests.get("http://feeds:8000/new", timeout=3).json()', "[]"
    ),
    codes=RAISES,
    says=("Failed to resolve 'feeds'", "/feed", "app.py:"),
    app=FEED_APP,
    layout="guide",
)
def name_is_known_among_containers_only(_stack: Stack) -> None:
    """docker/compose#4285: the application was taken out of its container, and the other's name stayed in it."""


STORE_APP = (
    'import os\n\nimport sqlalchemy\n\nengine = sqlalchemy.create_engine(os.environ["DATABASE_URL"])\n'
    + PLAIN_APP
)
QUOTED = """raw_env = ['DATABASE_URL="sqlite:///shop.db"']"""


def _without_quotes(stack: Stack) -> None:
    text = stack.gunicorn_conf.read_text()
    stack.gunicorn_conf.write_text(text.replace(QUOTED, "raw_env = ['DATABASE_URL=sqlite:///shop.db']"))
    stack.start_gunicorn()


@report(
    Kind.START,
    "bunkerity/bunkerweb#3344",
    sees=answers(502),
    repair=_without_quotes,
    codes=("GUN003",),
    says=("Could not parse SQLAlchemy URL", "DATABASE_URL", "quot"),
    app=PLAIN_APP,
    layout="guide",
)
def value_of_the_variable_has_its_quotes(stack: Stack) -> None:
    """crates.io#417, kind_robots#2086: a shell takes them away, and what reads this line does not."""
    stack.stop_gunicorn()
    stack.app_file.write_text(STORE_APP)
    stack.gunicorn_conf.write_text(f"{stack.gunicorn_conf.read_text()}{QUOTED}\n")
    _failed_start(stack, "Could not parse SQLAlchemy URL")


def _stay_who_you_are(stack: Stack) -> None:
    stack.gunicorn_conf.write_text(stack.gunicorn_conf.read_text().replace('user = "nobody"\n', ""))
    stack.start_gunicorn()


@report(
    Kind.START,
    "benoitc/gunicorn#2758",
    sees=answers(502),
    repair=_stay_who_you_are,
    codes=("GUN001", "GUN003"),
    says=("Operation not permitted", "nobody"),
    impossible=needs_root,
    app=PLAIN_APP,
    layout="guide",
)
def gunicorn_may_not_become_another_user(stack: Stack) -> None:
    """gunicorn#137, authentik#4098: the unit has taken the right to do so away, and the configuration wants it."""
    stack.stop_gunicorn()
    stack.launcher = ["setpriv", "--bounding-set=-setuid,-setgid"]
    stack.gunicorn_conf.write_text(f'{stack.gunicorn_conf.read_text()}user = "nobody"\n')
    _failed_start(stack, "Operation not permitted")


REPORT_APP = _with(
    """
@app.get("/report")
def report():
    time.sleep(2.5)
    return jsonify(report=[])
""",
    imports="import time\n",
)


def _during_a_deployment(stack: Stack) -> int | None:
    """What somebody gets who asks for the report a moment before the service is restarted."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stack.request, path="/report")
        time.sleep(0.7)
        stack.restart_gunicorn()
        return answer.result().status


@report(
    Kind.PART,
    "rtCamp/Frappe-Manager#418",
    sees=lambda stack: _during_a_deployment(stack) == 502,
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "graceful_timeout = 1\n", "graceful_timeout = 30\n"),
    codes=(),
    says=("/report", "graceful_timeout", "gunicorn.conf.py"),
    app=REPORT_APP,
    threads=4,
    gunicorn_extra="graceful_timeout = 1\n",
    layout="guide",
)
def deployment_does_not_wait_for_who_is_being_served(stack: Stack) -> None:
    """frappe/agent#65, gunicorn#718: each restart cuts off whoever asked for something long."""
    _during_a_deployment(stack)
