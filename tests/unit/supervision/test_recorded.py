"""What the first version's watchdog wrote to disk is read by this one, and its names on disk are still the same.

Recorded with 0.1.0, before its modules were renamed, by `gte-ops watchdog --once` on a stack of the lab in which one
worker after another was stuck, with a budget of two actions. Only directories and the boot id are replaced. The lock
file that it left is empty, and is not kept.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.process.boot_clock import boot_id
from ops.collect.services.watchdog_state import watchdog_state
from ops.facts.safeguards import WatchdogFacts
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings, WatchdogSettings
from ops.supervision.escalation import Allowance, allowance, used
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.evidence_store import EvidenceDirectory
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Clocks
from ops.supervision.rules import Rules
from ops.supervision.state import (
    ActionKind,
    ActionOutcome,
    ActionRecord,
    Fault,
    Pending,
    ServiceState,
    WatchdogState,
    WorkerState,
    from_json,
    to_json,
)
from ops.supervision.state_store import Pause, StateStore, clocks
from tests.unit.supervision.made_observation import made_observation

RECORDED = Path(__file__).parent / "recorded"
PENDING, SPENT = RECORDED / "watchdog-action-pending.json", RECORDED / "watchdog-budget-spent.json"
RULES = Rules(request_deadline=2.0, boot_deadline=15.0, interval=1.0, failures=1, budget=2, within=600.0)


def read(path: Path) -> WatchdogState:
    return from_json(path.read_bytes())


def test_a_pending_action_is_read() -> None:
    state = read(PENDING)
    worker = ProcessRef(15524, 47748)
    assert state.pending == Pending(
        kind=ActionKind.KILL_WORKER, at=485.781126135, until=500.781126135, worker=worker
    )
    assert state.actions == (
        ActionRecord(
            at=485.781126135,
            wall=1796019509.6383595,
            kind=ActionKind.KILL_WORKER,
            fault=Fault.WORKER_HUNG,
            pid=15524,
            outcome=ActionOutcome.BEGUN,
        ),
    )
    assert state.counters == {"kill_worker": 1}
    assert (state.circuit_open, state.suspended) == (False, False)


def test_a_trouble_is_read() -> None:
    trouble = read(PENDING).trouble
    assert trouble is not None
    assert (trouble.fault, trouble.since, trouble.wall) == (
        Fault.WORKER_HUNG,
        482.653366973,
        1796019506.5106006,
    )
    assert trouble.detail_en == "worker 15524: nothing completed for 8 s (/stick), CPU flat, stacks unchanged"
    assert trouble.detail_zh == "工作进程 15524：8 秒没有完成请求 (/stick)，不占 CPU，调用栈不变"
    assert trouble.announced
    assert trouble.actions == (ActionKind.KILL_WORKER,)
    assert trouble.evidence == "/srv/gte/run/watchdog-evidence/20261130T061826-worker_suspect"


def test_the_service_and_its_workers_are_read() -> None:
    state = read(PENDING)
    assert (state.cycles, state.service_state, state.failures) == (3, ServiceState.FAILING, 1)
    assert (state.state_since, state.state_wall) == (485.781126135, 1796019509.6383595)
    assert state.clocks == Clocks(wall=1796019509.6383595, monotonic=485.78112464, boottime=485.781126135)
    assert state.subject.backend == "127.149.27.133:41015"
    assert state.subject.master == ProcessRef(15509, 47697)
    assert state.subject.workers == (ProcessRef(15524, 47748), ProcessRef(15525, 47749))
    assert state.subject.threads == 2
    assert state.workers["15524"] == WorkerState(
        start_ticks=47748,
        cpu=0.03,
        cpu_at=485.781126135,
        share=0.0,
        dump="python:911ffc03e91dc5d48953ed7b8a8563de",
        dump_at=485.781126135,
        same_stacks=True,
        resident=37466112,
        least=37335040,
    )
    assert state.answer_marks == {"15524": 1, "15525": 7, "access log": 718}


def test_a_spent_budget_is_read_and_still_spent() -> None:
    state = read(SPENT)
    assert state.service_state == ServiceState.FAILING
    assert (state.circuit_open, state.circuit_open_wall, state.level) == (True, 1796019526.805192, 0)
    assert state.rearm_at == 1120.1970258400265
    assert state.suspended
    assert [action.outcome for action in state.actions] == [ActionOutcome.RECOVERED] * 2
    assert state.last_recovery_seconds == 3.584
    assert state.clocks is not None
    now = state.clocks.boottime
    assert used(state, RULES, now) == 2
    assert allowance(state, RULES, now, ActionKind.KILL_WORKER, 0.0) == Allowance.CIRCUIT_OPEN
    assert allowance(state, RULES, state.rearm_at, ActionKind.KILL_WORKER, 0.0) == Allowance.HALF_OPEN


@pytest.mark.parametrize("path", [PENDING, SPENT])
def test_what_is_written_has_the_same_names_and_values(path: Path) -> None:
    before: dict[str, Any] = json.loads(path.read_bytes())
    after: dict[str, Any] = json.loads(to_json(from_json(path.read_bytes())))
    for structure, was in [
        (after, before),
        *((after["workers"][pid], w) for pid, w in before["workers"].items()),
    ]:
        nested = ("subject", "workers")
        assert {name: structure[name] for name in was if name not in nested} == {
            name: value for name, value in was.items() if name not in nested
        }
    assert after["workers"].keys() == before["workers"].keys()
    assert {name: after["subject"][name] for name in before["subject"]} == before["subject"]


def test_the_state_store_takes_the_file_as_its_own(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "watchdog.json")
    shutil.copyfile(SPENT, store.path)
    later = Clocks(wall=1796019530.8583186 + 60, monotonic=10.0, boottime=10.0)
    state = store.load(later)
    assert (store.set_aside, store.trouble) == (None, None)
    assert state.circuit_open, "after a reboot too"
    assert state.rearm_at == pytest.approx(10.0 + 1120.1970258400265 - 507.001085404 - 60)


def test_the_doctor_reads_the_state_too() -> None:
    facts = watchdog_state(str(SPENT), 1.0)
    assert isinstance(facts, WatchdogFacts)
    assert facts.gave_up
    assert facts.last_round == 1796019530.8583186
    assert [(action.rung, action.pid) for action in facts.done] == [
        ("kill_worker", 15524),
        ("kill_worker", 15525),
    ]


@pytest.mark.parametrize("step", [-8 * 3600.0, 8 * 86400.0], ids=["back", "forward"])
def test_the_doctor_tells_the_last_round_by_the_clock_as_it_is_set_now(tmp_path: Path, step: float) -> None:
    state, now = json.loads(SPENT.read_bytes()), clocks()
    state |= {
        "boot_id": boot_id(),
        "clocks": {"wall": now.wall - 20 - step, "monotonic": now.monotonic, "boottime": now.boottime - 20},
    }
    path = tmp_path / "watchdog.json"
    path.write_text(json.dumps(state))
    facts = watchdog_state(str(path), 15.0)
    assert isinstance(facts, WatchdogFacts)
    assert facts.last_round == pytest.approx(now.wall - 20, abs=5)


def test_a_pause_is_read(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "watchdog.json")
    shutil.copyfile(RECORDED / "watchdog.json.pause", store.pause_path)
    pause = Pause(until=1796021330.9805741, since=1796019530.9805741, by="root")
    assert store.paused(1796019531.0) == pause
    assert msgspec.json.encode(pause) == store.pause_path.read_bytes()
    assert store.paused(pause.until) is None


def test_the_evidence_of_a_trouble_is_gone_on_with(tmp_path: Path) -> None:
    settings = Settings(watchdog=WatchdogSettings(state_file=str(tmp_path / "watchdog.json")))
    state = read(PENDING)
    evidence = EvidenceCapture(settings, None, RULES)
    evidence.open(Assessment(ServiceState.FAILING, Fault.WORKER_HUNG), made_observation(), state)
    assert evidence.path == str(tmp_path / "watchdog-evidence" / "20261130T061826-worker_suspect")


def test_the_doctors_report_in_the_evidence_is_read(tmp_path: Path) -> None:
    directory = EvidenceDirectory(tmp_path, "20261130T061835-worker_suspect")
    directory.put("look.json", "{}")
    shutil.copyfile(RECORDED / "doctor.json", directory.path / "doctor.json")
    assert [cause.code for cause in directory.causes()] == ["GUN015", "ENV001"]
