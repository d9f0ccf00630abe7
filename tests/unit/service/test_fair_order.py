"""The fair order in simulated time: lanes that compute, clients in closed loops, no clock and no thread."""

import heapq
import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from service.admission.fair_order import FairOrder, rank_of

LONGEST = 5.0  # seconds: half of the longest wait


@dataclass(eq=False)
class Request:
    client: str
    steps: list[float]  # seconds each
    arrived: float = 0.0
    began: float | None = None
    ended: float = 0.0


@dataclass(eq=False)
class Loop:
    """A client that sends ``steps`` again, ``pause`` seconds after each answer, ``at_once`` requests at a time."""

    name: str
    steps: list[float]
    at_once: int = 1
    pause: float = 0.0
    begins: float = 0.0


@dataclass
class Simulation:
    lanes: int
    loops: list[Loop]
    served: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    done: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    waiting: list[Request] = field(default_factory=list)

    def run(self, seconds: float) -> "Simulation":
        order: FairOrder[Request] = FairOrder()
        events: list[tuple[float, int, str, object]] = []
        tick = itertools.count()
        remaining: dict[int, list[float]] = {}
        unfinished: dict[int, int] = {}
        free = self.lanes
        for loop in self.loops:
            for _ in range(loop.at_once):
                heapq.heappush(events, (loop.begins, next(tick), "arrive", loop))
        while events and events[0][0] < seconds:
            now, _, kind, what = heapq.heappop(events)
            if kind == "arrive":
                assert isinstance(what, Loop)
                request = Request(what.name, list(what.steps), now)
                remaining[id(request)] = list(what.steps)
                unfinished[id(request)] = len(what.steps)
                self._loops[id(request)] = what
                order.add(request, what.name, rank_of(now, sum(what.steps), LONGEST))
            else:
                assert isinstance(what, Request)
                free += 1
                unfinished[id(what)] -= 1
                if not unfinished[id(what)]:
                    what.ended = now
                    self.done[what.client].append(what)
                    loop = self._loops.pop(id(what))
                    heapq.heappush(events, (now + loop.pause, next(tick), "arrive", loop))
            while free and len(order):
                request = order.first()
                step = remaining[id(request)].pop(0)
                request.began = now if request.began is None else request.began
                order.charge(request, step)
                self.served[request.client] += step
                if not remaining[id(request)]:
                    order.remove(request)
                free -= 1
                heapq.heappush(events, (now + step, next(tick), "computed", request))
        self.waiting = list(order)
        return self

    def __post_init__(self) -> None:
        self._loops: dict[int, Loop] = {}


def longest_wait(requests: list[Request]) -> float:
    return max((one.began or 0.0) - one.arrived for one in requests)


def test_two_clients_of_eight_long_texts_do_not_starve_one_of_a_short_text() -> None:
    heavy = [Loop(name, [1.9] * 8, at_once=8) for name in ("x", "y")]
    run = Simulation(2, [*heavy, Loop("light", [0.06], pause=0.5)]).run(300)
    # It begins with the next step that ends, never behind a whole request.
    assert len(run.done["light"]) > 100
    assert longest_wait(run.done["light"]) <= 1.9 + 1e-9


def test_clients_share_the_work_alike_however_much_each_asks_for() -> None:
    run = Simulation(
        1, [Loop("one", [1.0]), Loop("many", [1.0], at_once=30), Loop("small pieces", [0.1], at_once=20)]
    ).run(600)
    shares = sorted(run.served.values())
    assert shares[-1] - shares[0] < 0.05 * sum(shares)


def test_who_was_away_has_no_claim_to_what_others_used_meanwhile() -> None:
    late = Loop("late", [1.0], at_once=4, begins=500)
    run = Simulation(1, [Loop("early", [1.0], at_once=4), late]).run(520)
    assert run.served["late"] == pytest.approx(10, abs=2)


def test_who_comes_anew_for_each_request_gains_nothing_by_it() -> None:
    run = Simulation(1, [Loop("steady", [1.0], at_once=4), Loop("returning", [3.0], pause=0.001)]).run(400)
    assert run.served["returning"] <= run.served["steady"] * 1.05


def test_of_one_clients_requests_the_short_come_first_and_the_long_one_in_time() -> None:
    loops = [Loop("a", [1.0] * 8, begins=0.5), Loop("a", [0.1], at_once=12, pause=0.05)]
    run = Simulation(1, loops).run(120)
    short = [one for one in run.done["a"] if len(one.steps) == 1]
    long = [one for one in run.done["a"] if len(one.steps) > 1]
    assert longest_wait(short) < 10
    # Short ones alone would keep the lane busy: without ageing the long one would never begin.
    assert long
    assert (
        longest_wait([one for one in [*long, *run.waiting] if len(one.steps) > 1 and one.began])
        <= LONGEST + 3
    )


def test_new_clients_without_end_do_not_starve_one_that_was_served_before() -> None:
    newcomers = [Loop(f"new {number}", [0.5], begins=20 + number * 0.45, pause=1e9) for number in range(180)]
    run = Simulation(1, [Loop("old", [0.5], at_once=3), *newcomers]).run(100)
    late = [one for one in run.done["old"] if one.arrived > 30]
    assert len(late) >= 5


def test_the_work_ahead_of_a_client_that_waits_for_nothing_is_small() -> None:
    order: FairOrder[Request] = FairOrder()
    for number in range(8):
        order.add(Request("a", [10.0]), "a", float(number))
    for name, rank, expected in [("b", 99.0, 0.0), ("a", 99.0, 80.0), ("a", 3.5, 40.0)]:
        assert order.ahead(name, rank, lambda request: sum(request.steps)) == expected


def test_what_is_remembered_of_clients_that_left_is_bounded() -> None:
    order: FairOrder[Request] = FairOrder()
    always = Request("always", [])
    order.add(always, "always", 0.0)
    for number in range(5000):
        request = Request(str(number), [])
        order.add(request, request.client, 0.0)
        order.charge(request, 1000.0)
        order.remove(request)
    assert len(order._served) < 2000
    assert list(order) == [always]


def test_what_was_charged_wrongly_is_settled() -> None:
    order: FairOrder[Request] = FairOrder()
    costly, cheap = Request("costly", []), Request("cheap", [])
    for request, charged, used in ((costly, 0.1, 9.0), (cheap, 5.0, 0.1)):
        order.add(request, request.client, 0.0)
        order.charge(request, charged)
        order.remove(request)
        order.settle(request.client, used - charged)
    order.add(costly, "costly", 0.0)
    order.add(cheap, "cheap", 1.0)
    assert order.first() is cheap
