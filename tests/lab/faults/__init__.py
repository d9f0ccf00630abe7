"""The faults the lab injects, one module per layer of the catalogue.

A new case is one function:

    @fault("GUN001", sees=answers(502))
    def gunicorn_is_killed(stack: Stack) -> None:
        stack.kill_gunicorn()
"""

from tests.lab.faults import (
    app,
    dns,
    env,
    given,
    gunicorn,
    hanging,
    host,
    memory,
    model,
    net,
    nginx,
    ops,
    precedence,
    routing,
    start,
    tls,
    traffic,
)
from tests.lab.faults.case import Case, cases_of

_MODULES = (
    dns,
    net,
    tls,
    nginx,
    routing,
    given,
    gunicorn,
    start,
    hanging,
    memory,
    app,
    model,
    env,
    host,
    ops,
    precedence,
    traffic,
)
CASES: tuple[Case, ...] = tuple(case for module in _MODULES for case in cases_of(module))
