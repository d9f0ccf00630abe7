"""What /health and /ready say of the service."""

from __future__ import annotations

from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Observation
from ops.supervision.rules import FEW_DESCRIPTORS
from ops.supervision.state import Fault, ServiceState
from ops.text.language import Text


def assess_answer(observation: Observation) -> Assessment:
    """The service as it describes itself. /health must have been answered.

    Any answer below 500 is that of a living application: a health path that redirects, wants a key or is not there
    says nothing about the service, and no restart changes it."""
    health = observation.health
    assert isinstance(health, Exchange)  # noqa: S101  the callers have checked
    if health.status is None or health.status >= 500:
        return Assessment(
            ServiceState.FAILING,
            Fault.HEALTH_FAILS,
            with_descriptors(
                observation,
                Text(
                    en=f"{health_path(observation)} answers {health.status}: a restart is not known to help",
                    zh=f"{health_path(observation)} 返回 {health.status}：重启未必有用",
                ),
            ),
        )
    match reason := ready_reason(observation):
        case "":
            return Assessment(ServiceState.HEALTHY, detail=_answers(observation, health.status))
        case "saturated":
            return Assessment(
                ServiceState.SATURATED,
                Fault.SATURATED,
                Text(en="/ready says saturated", zh="/ready 报告已饱和"),
                saturated=True,
            )
        case "loading":
            return Assessment(
                ServiceState.BOOTING,
                Fault.BOOTING,
                Text(en="/ready says loading", zh="/ready 报告正在加载模型"),
            )
    return Assessment(
        ServiceState.FAILING,
        Fault.NOT_READY,
        Text(
            en=f"/ready says {reason}: a restart does not fix that", zh=f"/ready 报告 {reason}：重启无法解决"
        ),
    )


def _answers(observation: Observation, status: int) -> Text:
    if status < 300:
        return Text(en="the service answers", zh="服务有应答")
    path = health_path(observation)
    return Text(en=f"the service answers ({path}: {status})", zh=f"服务有应答（{path}：{status}）")


def ready_reason(observation: Observation) -> str:
    """Why /ready refuses; empty if it does not."""
    if not isinstance(observation.ready, Exchange) or observation.ready.status != 503:
        return ""
    answer = observation.ready.json()
    return str(answer.get("reason") or "") if isinstance(answer, dict) else ""


def with_descriptors(observation: Observation, detail: Text) -> Text:
    """``detail``, and which workers have no descriptor left: a likely reason, but no evidence of a hang."""
    for worker in observation.workers:
        if worker.descriptors is None or worker.descriptors[0] < worker.descriptors[1] - FEW_DESCRIPTORS:
            continue
        open_count, limit = worker.descriptors
        detail = Text(
            en=f"{detail.en}; worker {worker.pid} has {open_count} of {limit} descriptors open",
            zh=f"{detail.zh}；工作进程 {worker.pid} 已打开 {open_count}/{limit} 个文件描述符",
        )
    return detail


def health_path(observation: Observation) -> str:
    """The path of the health URL as it was requested, for sentences."""
    url = observation.health.url if isinstance(observation.health, Exchange) else ""
    return "/" + url.partition("://")[2].partition("/")[2] if url else "/health"


def is_refused(observation: Observation) -> bool:
    """Whether nobody listens: the connection was refused, or the socket is missing."""
    return isinstance(observation.health, Exchange) and observation.health.failure in (
        ProbeFailure.REFUSED,
        ProbeFailure.MISSING,
    )
