"""Whether a prediction would be served now: the rule of ``/ready``."""

from service.engines.interface import UnavailableReason
from service.engines.registry import Readiness
from service.monitoring.load import Load


def judge(engines: Readiness, load: Load) -> Readiness:
    """A missing engine comes before a full queue: a service without a model is not merely busy."""
    if engines.reason is not None:
        return engines
    if load.in_flight >= load.capacity > 0:
        return Readiness(
            UnavailableReason.SATURATED,
            f"{load.in_flight} predictions are in flight, {load.capacity} is the most",
        )
    return engines
