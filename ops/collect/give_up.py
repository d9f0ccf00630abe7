"""Stop waiting for the service's answers early, if the state of its processes shows that none will come."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from ops.collect.net.connection import Deadline
from ops.collect.process import threads, worker_activity
from ops.collect.process.accepted_connections import Ends, held
from ops.collect.process.worker_activity import ActivityReading
from ops.collect.task import Task
from ops.facts.target import Target

# Seconds to wait for an answer before the first look at the service's processes, and between further looks.
FIRST_LOOK = 1.0
LOOK_AGAIN = 0.2
# Consecutive looks at which all workers are new and none has given a sign of life, before we give up.
LOOKS_AT_ENDING = 3
# Seconds that a worker which can never go on (that is proven by then) may hold requests of ours, before we give up: in
# this time the others answer what is theirs.
SHARE_HANGS = 0.8


class Watch:
    """Look at the workers from time to time, and keep what distinguishes a stuck worker from an idle one."""

    def __init__(
        self,
        target: Target,
        progress_dir: str | None,
        before: ActivityReading,
        patience: Deadline,
        *,
        main_polls: bool,
        own_connections: int | None = None,
    ) -> None:
        """Made before any request is sent, and after ``before``. ``main_polls``: the workers accept connections in
        their main thread and serve them in others (gthread); ``own_connections``: see `OthersRequests`."""
        self._target, self._progress_dir, self._before = target, progress_dir, before
        self._patience, self._main_polls = patience, main_polls
        self._workers = target.gunicorn_workers
        self._others = worker_activity.OthersRequests(
            before, target, patience, own_connections=own_connections
        )
        self._others_completed = 0
        self._earlier: dict[int, threads.Waiting | None] = {}
        self._held: dict[int, frozenset[Ends]] = {}
        self._deadlocked: tuple[int, ...] = ()
        self._hanging: tuple[int, ...] = ()
        self._hanging_since = 0.0
        self._generation: frozenset[int] = frozenset(target.gunicorn_workers)
        self._ended_looks = 0

    def until_answered(self, answers: Sequence[Task], backend: Task, deadline: float) -> ActivityReading:
        """Wait for ``answers``, of which ``backend`` is the service's own, at most until ``deadline`` (time.monotonic),
        and return the state of the workers; cut the wait short once no answer can come."""
        began = time.monotonic()
        look = began + FIRST_LOOK
        while True:
            for task in answers:
                task.wait(min(look, deadline))
            is_over = all(task.is_done for task in answers) or time.monotonic() >= deadline
            reading = worker_activity.read(self._target, self._progress_dir)
            if is_over:
                return msgspec.structs.replace(
                    reading,
                    deadlocked=self._deadlocked,
                    hanging=self._hanging,
                    others_completed=self._others_completed,
                )
            stuck = self._look(reading, owes=not backend.is_done)
            self._count_generations()
            if (why := self._why_pointless(reading, stuck, deadline - began)) is not None:
                self._patience.cut(why)
            look = time.monotonic() + LOOK_AGAIN

    def _look(self, reading: ActivityReading, *, owes: bool) -> list[int]:
        """The workers that can never go on. ``owes``: the service itself owes an answer.

        An idle worker looks the same, so this is proof only if the service owes an answer and all workers are stuck; if
        several serve in threads, only for those that have held a request of ours since the last look."""
        now = {pid: threads.waiting(pid) for pid in self._workers}
        stuck: list[int] = []
        if owes and not (self._main_polls and reading.queued):
            stuck = [
                pid
                for pid in self._workers
                if threads.can_never_go_on(pid, self._earlier.get(pid), now[pid], main_polls=self._main_polls)
            ]
            self._remember(stuck)
        self._earlier = now
        return stuck

    def _count_generations(self) -> None:
        """Count the consecutive looks at which all workers were new and none had given a sign of life."""
        master = self._target.gunicorn_master
        workers = frozenset(worker_activity.children(master)) if master is not None else frozenset()
        is_new = not workers & self._generation
        is_mute = not any(worker_activity.has_beaten(pid) for pid in workers)
        self._ended_looks = self._ended_looks + 1 if master is not None and is_new and is_mute else 0
        self._generation = workers

    def _remember(self, stuck: list[int]) -> None:
        everyone = len(self._workers)
        if not self._main_polls or everyone == 1:
            self._deadlocked = tuple(stuck) if len(stuck) == everyone else ()
            return
        holders = held(self._target.backend, self._workers)
        owing = {pid for pid in holders if holders[pid] & self._held.get(pid, frozenset())}
        self._hanging = tuple(pid for pid in stuck if pid in owing or pid in self._hanging)
        if not self._hanging or not self._hanging_since:
            self._hanging_since = time.monotonic()
        self._held = holders
        self._deadlocked = self._hanging if len(self._hanging) == everyone else ()

    def _why_pointless(self, reading: ActivityReading, stuck: list[int], budget: float) -> str | None:
        """Why waiting is pointless; None if an answer may still come. ``budget``: seconds in total."""
        limit = self._target.request_deadline
        if worker_activity.nobody_can_answer(reading, self._workers):
            return "every worker is stopped"
        if self._deadlocked:
            return "every worker is deadlocked"
        if self._ended_looks >= LOOKS_AT_ENDING:
            return "workers end as soon as they begin"
        shares = self._hanging and len(stuck) == len(self._workers)
        if shares and time.monotonic() - self._hanging_since > SHARE_HANGS:
            return "a worker can never go on, and the others have nothing of ours"
        if worker_activity.nobody_boots(reading, self._target):
            return "every worker is past its boot deadline"
        if worker_activity.all_silent_for(reading, min(budget, limit)):
            # The records show the past: nothing has completed for as long as we would wait.
            return "no worker has completed anything for longer than the budget"
        if worker_activity.ours_is_with_the_stuck(self._before, reading, limit):
            return "a worker is past its request deadline, and the others have nothing of ours"
        if reading.queued and (completed := self._others.completed(reading)):
            self._others_completed = completed
            return "requests complete while others queue"
        return None
