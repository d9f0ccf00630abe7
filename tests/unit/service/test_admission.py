"""The places in a worker, and the turns to compute in its threads."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from service.admission import deadline
from service.admission.client import Client, of_address
from service.admission.errors import ClientGoneError, EngineTimeoutError
from service.admission.gate import OverloadedError, Place, Places, Turns, arrived_with, end_turn

PATIENCE = 30.0
A = Client("a")


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


def taken(places: Places, client: Client, *, dear: bool = False) -> list[Place]:
    """All places that ``client`` gets."""
    held: list[Place] = []

    def take_all() -> None:
        while True:
            held.append(places.take(client, dear=dear))

    with pytest.raises(OverloadedError) as refusal:
        take_all()
    assert 1 <= refusal.value.retry_after <= 30
    return held


# --- places -----------------------------------------------------------------------------------------------


def test_one_client_never_gets_all_places_and_others_still_get_some() -> None:
    places = Places(28)
    assert len(taken(places, A)) == 21
    assert len(taken(places, Client("b"))) >= 4
    assert len(taken(places, Client("c"))) >= 1


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_the_smallest_service_has_a_place_for_one(capacity: int) -> None:
    assert len(taken(Places(capacity), A)) >= 1


def test_many_clients_fill_all_places_and_no_more() -> None:
    places = Places(28)
    clients = [Client(str(number)) for number in range(100)]
    assert sum(len(taken(places, client)) for client in clients) == places.inside == 28


def test_dear_requests_of_many_clients_leave_places_for_cheap_ones() -> None:
    places = Places(28)
    for number in range(100):
        taken(places, Client(str(number)), dear=True)
    assert places.inside == 21
    assert places.take(A)


def test_a_request_that_turns_out_dear_counts_as_such() -> None:
    places = Places(8)
    for number in range(6):
        places.take(Client(str(number))).make_dear()
    places.take(A)
    cheap = places.take(A)
    with pytest.raises(OverloadedError, match="large model"):
        cheap.make_dear()
    assert not cheap.is_dear


def test_a_place_is_given_back_once() -> None:
    places = Places(4)
    held = taken(places, A, dear=True)
    for place in [*held, *held]:
        place.leave()
    assert places.inside == 0
    assert len(taken(places, A, dear=True)) == len(held)


# --- clients ----------------------------------------------------------------------------------------------


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert (
        of_address("2001:db8:1:2::1") == of_address("2001:db8:1:2:ffff::9") != of_address("2001:db8:1:3::1")
    )
    assert of_address("::ffff:192.0.2.1") == of_address("192.0.2.1") != of_address("192.0.2.2")
    assert of_address("") != of_address("unknown")


# --- turns ------------------------------------------------------------------------------------------------


@contextmanager
def turn(turns: Turns, client: Client, size: float) -> Iterator[None]:
    taken = turns.take(client, int(100 * size))
    try:
        yield
    finally:
        taken.end()


def hold(turns: Turns, pool: ThreadPoolExecutor, until_set: threading.Event, client: Client = A) -> None:
    """Take a turn in a thread of ``pool`` and hold it."""
    inside = threading.Event()

    def held() -> None:
        with turn(turns, client, 1.0):
            inside.set()
            until_set.wait(PATIENCE)

    pool.submit(held)
    assert inside.wait(PATIENCE)


def test_who_waits_too_long_is_refused_and_waits_no_more() -> None:
    turns = Turns(1, wait=0.01)
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        hold(turns, pool, done)
        for _ in range(3):
            with pytest.raises(OverloadedError, match="within"), turn(turns, A, 1.0):
                pytest.fail("there was no turn")
        assert turns.waiting == 0
        done.set()


def test_a_client_that_left_and_a_prediction_whose_time_is_over_wait_no_more() -> None:
    turns = Turns(1, wait=PATIENCE)
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        hold(turns, pool, done)
        began = time.monotonic()
        with pytest.raises(ClientGoneError), turn(turns, Client("b", lambda: True), 1.0):
            pytest.fail("there was no turn")
        with deadline.within(0.05), pytest.raises(EngineTimeoutError), turn(turns, A, 1.0):
            pytest.fail("there was no turn")
        assert time.monotonic() - began < 5
        assert turns.waiting == 0
        done.set()


def test_turns_go_round_the_clients_and_to_the_short_first() -> None:
    turns = Turns(1, wait=PATIENCE)
    done = threading.Event()
    served: list[str] = []

    def serve(name: str, client: Client, work: float) -> None:
        with turn(turns, client, work):
            served.append(name)

    with ThreadPoolExecutor(8) as pool:
        turns._seconds_per_byte = 0.01
        hold(turns, pool, done)
        for waiting, (name, client, work) in enumerate(
            [("long", A, 3.0), ("short", A, 0.01), ("also long", A, 3.0), ("other", Client("b"), 3.0)], 1
        ):
            pool.submit(serve, name, client, work)
            until(lambda waiting=waiting: turns.waiting == waiting)  # type: ignore[misc]
        done.set()
    assert served == ["other", "short", "long", "also long"]


def test_an_error_inside_frees_the_turn() -> None:
    turns = Turns(1, wait=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turn(turns, A, 1.0):
            raise ZeroDivisionError
    assert turns.waiting == 0


def test_never_more_at_once_than_turns() -> None:
    turns = Turns(3, wait=PATIENCE)
    lock = threading.Lock()
    inside = most = 0

    def work(number: int) -> None:
        nonlocal inside, most
        with turn(turns, Client(str(number % 5)), 1.0):
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(500)))
    assert 1 <= most <= 3
    assert turns.waiting == 0


def test_a_request_is_served_in_its_turn_until_it_waits_for_something_else() -> None:
    places, turns = Places(4), Turns(1, wait=PATIENCE)
    with arrived_with(places.take(A), turns, 100):
        other = threading.Thread(target=lambda: turns.take(Client("b"), 100).end())
        other.start()
        until(lambda: turns.waiting == 1)
        end_turn()
        other.join(PATIENCE)
        assert turns.waiting == 0
        end_turn()
    assert places.inside == 0
    # Neither the request's end nor the second end of its turn made another turn of it.
    turns._wait = 0.01
    held = turns.take(A, 100)
    with pytest.raises(OverloadedError):
        turns.take(A, 100)
    held.end()


def test_whose_turn_did_not_come_learns_it_where_it_can_be_answered() -> None:
    places, turns = Places(4), Turns(1, wait=0.01)
    held = turns.take(A, 100)
    place = places.take(A)
    with arrived_with(place, turns, 100):
        with pytest.raises(OverloadedError, match="within"):
            place.require_turn()
        end_turn()
    assert places.inside == 0
    held.end()
    with arrived_with(another := places.take(A), turns, 100):
        assert another.require_turn() < PATIENCE
