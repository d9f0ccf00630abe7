"""The predictions in flight, according to the progress records, and the capacity for them."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.monitoring.progress import Phase, Record

# The paths of predictions, and whether each wants the encoder whatever its body says.
PREDICTION_PATHS = {"/predict": False, "/v1/embeddings": True, "/v1/rerank": True, "/rerank": True}


@dataclass(frozen=True)
class Load:
    """Predictions in flight in all workers together, and their capacity."""

    in_flight: int
    capacity: int


def load_of(records: Iterable[Record], capacity_per_worker: int) -> Load:
    """The load according to the progress records of one gunicorn's workers.

    A draining worker takes no new requests, so its capacity does not count; nor do its requests, which take no place in
    the others.
    """
    working = [record for record in records if record.phase is not Phase.DRAINING]
    in_flight = sum(request.path in PREDICTION_PATHS for record in working for request in record.in_flight)
    return Load(in_flight, capacity_per_worker * len(working))
