"""Faults that people reported in public, rebuilt: what the doctor says of hosts that nobody had in mind when it was
written. One module for a group of the kinds; each case names its source and is repaired as the reporter did.
"""

from tests.lab.reported import (
    application_and_host,
    boot,
    certificate,
    eighth_app,
    eighth_front,
    eighth_process,
    everyday,
    fifth,
    first_list,
    fourth,
    front,
    healthy,
    holder,
    log,
    looking,
    paths,
    routing,
    seventh_app,
    seventh_front,
    share,
    sixth_front,
    start,
    traffic,
    worker,
)
from tests.lab.reported.case import Reported, reports_of

_MODULES = (
    traffic,
    routing,
    start,
    front,
    looking,
    share,
    paths,
    boot,
    certificate,
    holder,
    log,
    worker,
    healthy,
    everyday,
    fourth,
    fifth,
    application_and_host,
    sixth_front,
    seventh_app,
    seventh_front,
    eighth_app,
    eighth_front,
    eighth_process,
    first_list,
)
REPORTED: tuple[Reported, ...] = tuple(report for module in _MODULES for report in reports_of(module))
