"""What takes a service's file descriptors: many connections to one server, or one file opened again and again.

Source: tcp(7): a connection that the other side has closed stays in CLOSE_WAIT until this side closes it."""

from __future__ import annotations

from ops.diagnosis.finding import Evidence
from ops.facts.service_process import ServiceProcess
from ops.text.language import Text


def held_evidence(given: ServiceProcess) -> tuple[Evidence, ...]:
    """One piece of evidence for each place that many of its descriptors lead to."""
    return tuple(
        Evidence(
            f"/proc/{given.pid}/fd",
            Text(
                en=f"{count} x {place}: opened by the application and not closed",
                zh=f"{count} 个 {place}：应用打开后没有关闭",
            ),
        )
        for place, count in given.held.items()
    )


def closing_step(given: ServiceProcess) -> tuple[Text, ...]:
    """The step against it; none if its descriptors lead to many places."""
    if not given.held:
        return ()
    places = ", ".join(given.held)
    return (
        Text(
            en=f"Have the application close what it opens ({places}): with open(...), with a client; one client for all"
            " requests in place of one for each. A higher limit only delays it",
            zh=f"让应用关闭自己打开的东西（{places}）：用 with open(...)、with 客户端；所有请求共用一个客户端，"
            "不要每个请求新建。调高上限只是推迟问题",
        ),
    )
