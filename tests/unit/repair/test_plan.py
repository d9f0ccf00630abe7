"""Which remedy a cause has: safe, risky or none, what it would do, and what makes a safe one risky."""

from __future__ import annotations

import msgspec
import pytest

from ops.collect.services.gunicorn import parse_config
from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Cause
from ops.facts.base import NotSeen
from ops.facts.gunicorn import InFlight, ProgressRecord
from ops.facts.nginx import Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Upstreams
from ops.facts.safeguards import OpenLog
from ops.facts.snapshot import Snapshot
from ops.facts.start import LastStart, StartWords
from ops.interpret.process_ref import ProcessRef
from ops.repair.model import (
    ChangeMode,
    Continue,
    EditGunicorn,
    EditNginx,
    InstallRotation,
    MendPidfile,
    NewFile,
    ReloadGunicorn,
    ReloadNginx,
    Remedy,
    ReopenLogs,
    RepairContext,
    RestartGunicorn,
    StartGunicorn,
    StartNginx,
)
from ops.repair.plan import PLANNERS, plan
from ops.text.language import Text, verbatim
from tests.unit.made_snapshot import (
    GUNICORN_CONF,
    GUNICORN_MASTER,
    GUNICORN_PIDFILE,
    GUNICORN_PROCESSES,
    GUNICORN_WORKERS,
    HEALTHY,
    KEY_FILE,
    NGINX_ACCESS_LOG,
    NGINX_MASTER,
    NGINX_PROCESSES,
    NGINX_WORKER,
    NOW,
    SETTINGS,
    SITE,
    SITE_FILE,
    but,
    exchange,
    gunicorn_config,
    nginx_config,
    processes,
    without_gunicorn,
    without_nginx,
)

START = "systemctl start gte-api.service"


def cause(code: str) -> Cause:
    """The cause as the catalogue has it."""
    entry = catalogue().entry(code)
    return Cause(code, entry.severity, entry.title, entry.summary, (), (), verbatim("true"), entry.fix)


def planned(code: str, snapshot: Snapshot = HEALTHY, **context: object) -> tuple[Remedy, ...]:
    """The remedies of one cause, on a host whose start command is known."""
    known = RepairContext(**({"start": START, "files": {SITE_FILE: SITE.encode()}} | context))  # type: ignore[arg-type]
    return plan((cause(code),), snapshot, known)


def only(code: str, snapshot: Snapshot = HEALTHY, **context: object) -> Remedy:
    (remedy,) = planned(code, snapshot, **context)
    return remedy


@pytest.mark.parametrize("code", [code for code in catalogue().codes if code not in PLANNERS])
def test_a_cause_without_an_automatic_remedy_says_so_and_keeps_its_manual_one(code: str) -> None:
    remedy = only(code)
    assert remedy.action is None
    assert remedy.safety is None
    assert remedy.what.en
    assert remedy.what.zh
    assert remedy.cause.fix


@pytest.mark.parametrize("code", PLANNERS)
def test_what_was_not_seen_is_never_acted_on(code: str) -> None:
    """A snapshot that saw nothing but its target: no remedy that needs to know what it acts on."""
    unseen = NotSeen(reason="not seen")
    names = [n for n in HEALTHY.__struct_fields__ if n not in ("taken_at", "target") and n != "watchdog"]
    blind = msgspec.structs.replace(HEALTHY, **dict.fromkeys(names, unseen))
    for remedy in plan((cause(code),), blind, RepairContext()):
        assert remedy.action is None or code in ("OPS003", "OPS004", "OPS005")


def test_the_plan_keeps_the_order_of_the_causes() -> None:
    causes = (cause("OPS003"), cause("GUN001"), cause("DNS001"))
    assert [r.cause.code for r in plan(causes, HEALTHY, RepairContext(start=START))] == [
        "OPS003",
        "GUN001",
        "DNS001",
    ]


# --- gunicorn ---------------------------------------------------------------------------------------------------------


def test_gunicorn_is_started_by_its_supervisor() -> None:
    snapshot = without_gunicorn()
    (remedy,) = plan(diagnose(snapshot, CHECKS).causes, snapshot, RepairContext(start=START))
    assert (remedy.safety, remedy.action, remedy.commands) == ("safe", StartGunicorn(), (START,))


@pytest.mark.parametrize(
    ("line", "starts"),
    [
        ("Error: No such user: 'shop'", False),
        ("Error: the moon is in the wrong house", True),
        ("Error: Already running on PID 7 (or pid file '/run/g.pid' is stale)", True),
    ],
)
def test_what_would_fail_again_is_not_started(line: str, *, starts: bool) -> None:
    words = StartWords(source="/var/log/g.log", time=NOW, lines=(line,))
    snapshot = but(
        without_gunicorn(), last_start=LastStart(words=(words,)), logs__gunicorn_access=NotSeen(reason="-")
    )
    (remedy,) = plan(diagnose(snapshot, CHECKS).causes, snapshot, RepairContext(start=START))
    assert remedy.cause.code == "GUN001"
    assert (remedy.action is not None) is starts
    assert starts or "by hand" in remedy.what.en


def test_without_a_known_start_command_it_is_left_to_a_person() -> None:
    remedy = only("GUN001", without_gunicorn(), start=None)
    assert remedy.action is None
    assert "gunicorn.start_command" in remedy.what.en


def test_a_stale_pidfile_that_gunicorn_keeps_gets_its_pid_back() -> None:
    remedy = only("GUN002", but(gunicorn__pidfile=Pidfile(path=GUNICORN_PIDFILE, pid=4711)))
    assert remedy.safety == "safe"
    master = ProcessRef(GUNICORN_MASTER, GUNICORN_PROCESSES[0].start_ticks)
    assert remedy.action == MendPidfile(GUNICORN_PIDFILE, 4711, master, keeps=True)


def test_a_pidfile_that_gunicorn_does_not_keep_is_removed() -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "pidfile"}
    snapshot = but(
        gunicorn__pidfile=Pidfile(path=GUNICORN_PIDFILE, pid=4711),
        gunicorn__config=gunicorn_config(**settings),
    )
    remedy = only("GUN002", snapshot)
    assert isinstance(remedy.action, MendPidfile)
    assert not remedy.action.keeps
    assert remedy.commands == (f"rm {GUNICORN_PIDFILE}",)


def _of_user(uid: int, user: str, snapshot: Snapshot) -> Snapshot:
    """gunicorn runs as that user."""
    theirs = tuple(msgspec.structs.replace(p, uid=uid, user=user) for p in GUNICORN_PROCESSES)
    return but(snapshot, processes=processes(NGINX_PROCESSES, theirs))


def test_a_pidfile_on_another_users_word_is_that_users_to_write() -> None:
    stale = but(gunicorn__pidfile=Pidfile(path=GUNICORN_PIDFILE, pid=4711))
    remedy = only("GUN002", _of_user(990, "gte-api", stale))
    assert isinstance(remedy.action, MendPidfile)
    assert remedy.action.namer == 990
    (command,) = remedy.commands
    assert command.startswith("runuser -u gte-api -- sh -c ")
    of_settings = only("GUN002", _of_user(990, "gte-api", stale), pidfile=GUNICORN_PIDFILE)
    assert isinstance(of_settings.action, MendPidfile)
    assert of_settings.action.namer is None


def test_a_file_without_a_number_is_no_pidfile() -> None:
    assert only("GUN002", but(gunicorn__pidfile=Pidfile(path="/etc/shadow", pid=None))).action is None


def test_a_containers_pidfile_is_not_this_hosts() -> None:
    stale = but(gunicorn__pidfile=Pidfile(path=GUNICORN_PIDFILE, pid=4711))
    nested = tuple(msgspec.structs.replace(p, is_nested=True) for p in GUNICORN_PROCESSES)
    assert only("GUN002", but(stale, processes=processes(NGINX_PROCESSES, nested))).action is None


def test_a_file_that_others_have_a_say_in_is_shown_with_its_change_and_not_edited() -> None:
    why = f"{SITE_FILE} belongs to user 990"
    site, conf = {SITE_FILE: BARE_LIMIT.encode()}, {GUNICORN_CONF: b"preload = True\n"}
    unknown = but(gunicorn__config=parse_config(GUNICORN_CONF, conf[GUNICORN_CONF]))
    for remedy in (
        only("NGX018", but(nginx_config=nginx_config(BARE_LIMIT)), files=site, not_edited={SITE_FILE: why}),
        only("NGX018", but(nginx_config=nginx_config(BARE_LIMIT, distrusted=why)), files=site),
        only("GUN008", unknown, files=conf, not_edited={GUNICORN_CONF: why}),
    ):
        assert remedy.action is None
        assert "belongs to user 990" in remedy.what.en
        assert any(line.startswith("+") for line in remedy.diff)


@pytest.mark.parametrize("code", ["NGX002", "NGX004", "TLS008"])
def test_nginx_is_neither_started_nor_reloaded_where_its_test_must_not_be_run(code: str) -> None:
    snapshot = without_nginx() if code == "NGX002" else HEALTHY
    distrusted = nginx_config(distrusted=f"{SITE_FILE} belongs to user 990")
    remedy = only(code, but(snapshot, nginx_config=distrusted))
    assert remedy.action is None
    assert "belongs to user 990" in remedy.what.en


def test_a_log_that_is_left_out_of_the_rule_is_said() -> None:
    why = Text(en="/etc/shadow is not rotated: x", zh="不轮转 /etc/shadow：x")
    rule = NewFile("/etc/logrotate.d/gte-api", "/var/log/gte*.log {}\n", 0o644, None)
    remedy = only("OPS001", rotation=(rule,), not_rotated=(why,))
    assert isinstance(remedy.action, InstallRotation)
    assert remedy.action.left_out == (why,)
    assert why.en in remedy.what.en
    assert why.zh in remedy.what.zh
    empty = NewFile("/etc/logrotate.d/gte-api", f"# {why.en}.\n", 0o644, None)
    alone = only("OPS001", rotation=(empty,), not_rotated=(why,))
    assert alone.action is None
    assert alone.what == why


def _with_states(**states: str) -> Snapshot:
    changed = tuple(
        msgspec.structs.replace(p, state=states.get(f"p{p.pid}", p.state)) for p in GUNICORN_PROCESSES
    )
    return but(processes=processes(NGINX_PROCESSES, changed))


def test_only_what_is_stopped_is_let_run_on() -> None:
    remedy = only("GUN016", _with_states(p900="stopped"))
    assert remedy.safety == "safe"
    assert isinstance(remedy.action, Continue)
    assert [p.pid for p in remedy.action.processes] == [GUNICORN_MASTER]
    everything = only("GUN007", _with_states(p900="stopped", p901="stopped", p902="stopped"))
    assert isinstance(everything.action, Continue)
    assert [p.pid for p in everything.action.processes] == [GUNICORN_MASTER, *GUNICORN_WORKERS]


@pytest.mark.parametrize("state", ["sleeping", "tracing-stop"])
def test_a_master_that_hangs_otherwise_takes_a_restart_which_is_risky(state: str) -> None:
    """A process under a debugger does not run on by SIGCONT."""
    remedy = only("GUN016", _with_states(p900=state))
    assert remedy.safety == "risky"
    assert isinstance(remedy.action, RestartGunicorn)
    assert remedy.risk is not None


def test_changed_code_goes_live_only_at_a_risk() -> None:
    assert isinstance(only("GUN011").action, RestartGunicorn)  # preload_app: the master holds the old code
    settings = SETTINGS | {"preload_app": False}
    remedy = only("GUN011", but(gunicorn__config=gunicorn_config(**settings)))
    assert isinstance(remedy.action, ReloadGunicorn)
    assert remedy.safety == "risky"


def test_of_several_workers_only_the_stuck_one_is_ended_and_at_a_risk() -> None:
    stuck = ProgressRecord(
        pid=901,
        start_ticks=1,
        phase="ready",
        completed=4,
        last_completed=NOW - 900,
        in_flight=(InFlight(path="/predict", since=NOW - 800),),
    )
    idle = ProgressRecord(pid=902, start_ticks=1, phase="ready", completed=9, last_completed=NOW - 1)
    remedy = only("GUN015", but(activity__progress=(stuck, idle)))
    assert (remedy.safety, remedy.commands[-1]) == ("risky", "kill -9 901")


def test_a_setting_that_gunicorn_does_not_know_is_renamed_only_at_a_risk() -> None:
    written = b'bind = "127.0.0.1:8000"\npreload = True  # preload is meant\nbind_ssl = "x"\n'
    config = parse_config(GUNICORN_CONF, written)
    remedy = only("GUN008", but(gunicorn__config=config), files={GUNICORN_CONF: written})
    assert remedy.safety == "risky"
    assert isinstance(remedy.action, EditGunicorn)
    assert remedy.action.edit.after == written.replace(b"\npreload =", b"\npreload_app =")
    assert "bind_ssl" not in remedy.what.en  # two settings: nobody knows which


@pytest.mark.parametrize(
    "written", [b"preload = True\npreload_app = False\n", b"bind_ssl = 1\n", b"x = preload = True\n"]
)
def test_a_name_whose_meaning_is_open_is_left_to_a_person(written: bytes) -> None:
    config = parse_config(GUNICORN_CONF, written)
    assert only("GUN008", but(gunicorn__config=config), files={GUNICORN_CONF: written}).action is None


# --- nginx ------------------------------------------------------------------------------------------------------------


def test_nginx_is_started_after_its_test() -> None:
    remedy = only("NGX002", without_nginx())
    assert (remedy.safety, remedy.action) == ("safe", StartNginx("nginx"))
    assert remedy.commands == ("nginx -t", "systemctl start nginx")


def test_an_nginx_that_another_program_holds_is_not_started() -> None:
    config = nginx_config()
    daemon_off = msgspec.structs.replace(
        config,
        directives=(msgspec.structs.replace(config.directives[0], name="daemon", args=("off",), block=None),),
    )
    snapshot = but(without_nginx(), nginx_config=daemon_off, target__start_nginx="/usr/sbin/nginx -c /x")
    assert only("NGX002", snapshot).action is None


@pytest.mark.parametrize("code", ["NGX004", "TLS008"])
def test_a_reload_is_safe(code: str) -> None:
    remedy = only(code)
    assert remedy.safety == "safe"
    assert remedy.action == ReloadNginx(
        (ProcessRef(NGINX_MASTER, NGINX_PROCESSES[0].start_ticks),), (NGINX_WORKER,)
    )


def test_a_reload_that_would_send_served_users_nowhere_is_not_offered() -> None:
    elsewhere = SITE.replace("127.0.0.1:8000", "127.0.0.1:8999")
    answers = {"127.0.0.1:8999": exchange(failure=ProbeFailure.REFUSED, status=None)}
    snapshot = but(nginx_config=nginx_config(elsewhere), upstreams=Upstreams(answers=answers))
    remedy = only("NGX004", snapshot)
    assert remedy.action is None
    assert "127.0.0.1:8999" in remedy.what.en
    assert "127.0.0.1:8999" in remedy.what.zh


BARE_LIMIT = SITE.replace("        limit_req_status 429;\n", "")


def test_the_rate_limit_is_made_to_answer_429_by_one_line() -> None:
    remedy = only(
        "NGX018", but(nginx_config=nginx_config(BARE_LIMIT)), files={SITE_FILE: BARE_LIMIT.encode()}
    )
    assert remedy.safety == "safe"
    assert isinstance(remedy.action, EditNginx)
    (edit,) = remedy.action.edits
    assert edit.before == BARE_LIMIT.encode()
    assert edit.after.decode() == BARE_LIMIT.replace(
        "        limit_req zone", "        limit_req_status 429;\n        limit_req zone"
    )
    assert [line for line in remedy.diff if line.startswith("+")][1:] == ["+        limit_req_status 429;"]


def test_a_diff_shows_no_secret_and_no_terminal_escape() -> None:
    secret = BARE_LIMIT.replace(
        "        proxy_pass http://gte_backend;\n    }",
        '        proxy_set_header Authorization "Bearer abcdefgh12345678"; # \x1b[31m\n'
        "        proxy_pass http://gte_backend;\n    }",
    )
    remedy = only("NGX018", but(nginx_config=nginx_config(secret)), files={SITE_FILE: secret.encode()})
    lines = "\n".join(remedy.diff)
    assert "Authorization" in lines
    assert "abcdefgh12345678" not in lines
    assert "\x1b" not in lines
    assert isinstance(remedy.action, EditNginx)
    assert b"abcdefgh12345678" in remedy.action.edits[0].after


def test_a_503_that_somebody_wrote_is_changed_only_at_a_risk() -> None:
    written = SITE.replace("limit_req_status 429", "limit_req_status 503")
    remedy = only("NGX018", but(nginx_config=nginx_config(written)), files={SITE_FILE: written.encode()})
    assert remedy.safety == "risky"
    assert isinstance(remedy.action, EditNginx)
    assert remedy.action.edits[0].after.decode() == SITE


def test_a_file_that_could_not_be_read_is_not_edited() -> None:
    remedy = only("NGX018", but(nginx_config=nginx_config(BARE_LIMIT)), files={})
    assert remedy.action is None
    assert SITE_FILE in remedy.what.en


def test_a_wrong_upstream_is_corrected_only_at_a_risk() -> None:
    wrong = SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:8001;")
    remedy = only("NGX005", but(nginx_config=nginx_config(wrong)), files={SITE_FILE: wrong.encode()})
    assert remedy.safety == "risky"
    assert isinstance(remedy.action, EditNginx)
    assert remedy.action.edits[0].after.decode() == SITE


def test_a_wrong_proxy_pass_keeps_its_path() -> None:
    wrong = SITE.replace(
        "proxy_pass http://gte_backend;\n    }", "proxy_pass http://127.0.0.1:8001/v1/;\n    }"
    )
    remedy = only("NGX005", but(nginx_config=nginx_config(wrong)), files={SITE_FILE: wrong.encode()})
    assert isinstance(remedy.action, EditNginx)
    assert b"proxy_pass http://127.0.0.1:8000/v1/;" in remedy.action.edits[0].after


def test_a_health_location_is_passed_on_only_at_a_risk() -> None:
    own = SITE.replace(
        "location = /health { proxy_pass http://gte_backend; }", "location = /health { return 200 OK; }"
    )
    remedy = only("NGX006", but(nginx_config=nginx_config(own)), files={SITE_FILE: own.encode()})
    assert remedy.safety == "risky"
    assert isinstance(remedy.action, EditNginx)
    assert remedy.action.edits[0].after.decode() == SITE


@pytest.mark.parametrize(
    "own",
    [
        "location = /health {\n        add_header Content-Type text/plain;\n        return 200 OK;\n    }",
        "location = /health { add_header Content-Type text/plain; return 200 OK; }",
    ],
)
def test_what_was_added_to_nginx_s_own_answer_goes_with_it(own: str) -> None:
    """Added to the service's answer it would be a second Content-Type."""
    site = SITE.replace("location = /health { proxy_pass http://gte_backend; }", own)
    remedy = only("NGX006", but(nginx_config=nginx_config(site)), files={SITE_FILE: site.encode()})
    assert isinstance(remedy.action, EditNginx)
    after = remedy.action.edits[0].after.decode()
    assert "add_header" not in after
    assert "".join(after.split()) == "".join(SITE.split())


# --- files ------------------------------------------------------------------------------------------------------------


def _key(mode: int) -> Snapshot:
    return but(certificates__key=msgspec.structs.replace(KEY_FILE, mode=mode))


def test_a_key_that_everybody_reads_is_closed() -> None:
    remedy = only("TLS010", _key(0o644), key_group_is_owners=True)
    assert remedy.safety == "safe"
    assert remedy.action == ChangeMode(KEY_FILE.resolved, 0o644, 0o600)


def test_what_a_group_may_do_is_taken_away_only_at_a_risk() -> None:
    safe, risky = planned("TLS010", _key(0o644))
    assert (safe.safety, safe.action) == ("safe", ChangeMode(KEY_FILE.resolved, 0o644, 0o640))
    assert (risky.safety, risky.action) == ("risky", ChangeMode(KEY_FILE.resolved, 0o640, 0o600))
    assert only("TLS010", _key(0o640)).safety == "risky"


def test_whoever_writes_to_a_rotated_log_is_told_by_its_master() -> None:
    stale = (OpenLog(pid=NGINX_WORKER, path=f"{NGINX_ACCESS_LOG}.1", deleted=False, size=9),)
    remedy = only("OPS002", but(open_logs=stale))
    assert remedy.safety == "safe"
    assert isinstance(remedy.action, ReopenLogs)
    assert [p.pid for p in remedy.action.masters] == [NGINX_MASTER]


@pytest.mark.parametrize(("present", "safety"), [(None, "safe"), ("/var/log/other.log {}\n", "risky")])
def test_our_rotation_rule_takes_nobody_elses_place_without_being_asked(
    present: str | None, safety: str
) -> None:
    rule = NewFile("/etc/logrotate.d/gte-api", "/var/log/gte*.log {}\n", 0o644, present)
    remedy = only("OPS001", rotation=(rule,))
    assert remedy.safety == safety
    assert remedy.action == InstallRotation((rule,))


def test_a_rule_that_is_in_place_already_is_no_remedy() -> None:
    rule = NewFile("/etc/logrotate.d/gte-api", "x\n", 0o644, "x\n")
    assert only("OPS001", rotation=(rule,)).action is None


def test_every_word_is_in_both_languages() -> None:
    for code in catalogue().codes:
        for remedy in planned(code):
            for words in (remedy.what, remedy.risk):
                assert words is None or (isinstance(words, Text) and words.en and words.zh)


def test_a_fix_of_commands_alone_takes_no_judgement() -> None:
    renewal = msgspec.structs.replace(cause("TLS001"), fix=(verbatim("certbot renew"), verbatim("true")))
    (remedy,) = plan((renewal,), HEALTHY, RepairContext())
    assert "run the commands" in remedy.what.en
    (advised,) = plan((cause("DNS001"),), HEALTHY, RepairContext())
    assert "person's judgement" in advised.what.en
