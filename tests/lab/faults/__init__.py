"""The faults the lab injects, one module per layer of the catalogue.

A new case is one function:

    @fault("GUN001", sees=answers(502))
    def gunicorn_is_killed(stack: Stack) -> None:
        stack.kill_gunicorn()
"""

from tests.lab.faults import app, dns, gunicorn, host, model, net, nginx, ops, tls
from tests.lab.faults.case import Case, cases_of

CASES: tuple[Case, ...] = tuple(
    case for module in (dns, net, tls, nginx, gunicorn, app, model, host, ops) for case in cases_of(module)
)
