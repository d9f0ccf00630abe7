"""`nginx -t` opens the configured listeners: it is waited for before the probes where nobody else holds them."""

from __future__ import annotations

import pytest

from ops.collect.run import _nginx_serves
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.nginx import Pidfile
from ops.facts.target import Target
from tests.unit.made_snapshot import GUNICORN_PROCESSES, HEALTHY, NGINX_PROCESSES, process, processes

ANOTHER = process(4711, 1, "nginx: master process /usr/sbin/nginx -c /srv/other/nginx.conf")


@pytest.mark.parametrize(
    ("seen", "is_serving"),
    [
        (processes(NGINX_PROCESSES, GUNICORN_PROCESSES), True),
        (processes(GUNICORN_PROCESSES), False),
        (processes((ANOTHER,), GUNICORN_PROCESSES), False),
        (NotSeen(reason="/proc may not be read"), False),
    ],
    ids=["it runs", "it does not run", "only another site's nginx runs", "not seen"],
)
def test_only_a_master_of_this_configuration_holds_its_listeners(
    seen: Processes | NotSeen, is_serving: bool
) -> None:
    target = HEALTHY.target
    assert isinstance(target, Target)
    pidfile = Pidfile(path="/run/nginx.pid", pid=NGINX_PROCESSES[0].pid)
    assert _nginx_serves(target, seen, pidfile) is is_serving
