"""The line that explains it stands in another log than gunicorn's, or in none."""

from __future__ import annotations

from tests.lab.faults.app import PLAIN_APP
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack

ORDERS_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
RATES = {"EUR": 1.0}

@app.post("/orders")
def orders():
    return jsonify(total=RATES[request.get_json()["currency"]])
"""
)

OWN_LOG_APP = ORDERS_APP.replace(
    "app = Flask(__name__)\n",
    """app = Flask(__name__)
import logging.handlers
own = logging.handlers.RotatingFileHandler("LOG", maxBytes=1_000_000)
own.setFormatter(logging.Formatter("%(asctime)s %(levelname)s in %(module)s: %(message)s"))
app.logger.handlers = [own]
""",
)


PRINTING_APP = (
    ORDERS_APP
    + """
import traceback

@app.errorhandler(Exception)
def failed(error):
    traceback.print_exc()
    return jsonify(error="try again later"), 500
"""
)


def _orders_fail(stack: Stack) -> bool:
    statuses = {stack.request("POST", "/orders", json_body={"currency": "CNY"}).status for _ in range(5)}
    return statuses == {500} and stack.predict().status == 200


def _mend_orders(stack: Stack) -> None:
    stack.edit(stack.app_file, '{"EUR": 1.0}', '{"EUR": 1.0, "CNY": 8.0}')


@report(
    Kind.LOG,
    "benoitc/gunicorn#379",
    sees=_orders_fail,
    repair=_mend_orders,
    codes=("APP020",),
    says=("KeyError: 'CNY'", "/orders", "shop.log"),
    app=OWN_LOG_APP,
)
def traceback_is_in_the_application_s_own_log(stack: Stack) -> None:
    """natlas#67, gunicorn#2705: the application's logger has a file of its own, and gunicorn's log has nothing."""
    stack.edit(stack.app_file, '"LOG"', repr(str(stack.logs / "shop.log")))


@report(
    Kind.LOG,
    "benoitc/gunicorn#1124",
    sees=_orders_fail,
    repair=_mend_orders,
    codes=("APP020",),
    says=("KeyError: 'CNY'", "/orders", "gunicorn-output.log"),
    app=PRINTING_APP,
)
def traceback_is_in_the_file_of_the_standard_output(stack: Stack) -> None:
    """fail-nicely-django#1, opera-sds-pcm#319: what supervisord or a shell writes of it; errorlog is another file."""
    stack.edit(stack.gunicorn_conf, "capture_output = True", "capture_output = False")


def _no_error_log(stack: Stack) -> None:
    lines = stack.gunicorn_conf.read_text().splitlines(keepends=True)
    stack.gunicorn_conf.write_text(
        "".join(line for line in lines if not line.startswith(("errorlog", "capture_output", "enable_stdio")))
    )
    del stack.config["gunicorn"]["error_log"]
    stack.write_config()
    stack.restart_gunicorn()


@report(
    Kind.LOG,
    "benoitc/gunicorn#596",
    sees=_orders_fail,
    repair=_mend_orders,
    codes=(),
    says=("/orders", "500", "errorlog"),
    app=ORDERS_APP,
    layout="guide",
)
def daemon_has_no_error_log(stack: Stack) -> None:
    """nprapps#580: daemon = True and no errorlog, so the tracebacks went to /dev/null; that is what must be said."""
    _no_error_log(stack)
