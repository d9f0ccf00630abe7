"""The printed fix of a cause that `doctor --fix` repairs."""

from __future__ import annotations

from dataclasses import replace

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.finding import quote
from ops.diagnosis.model import Cause
from ops.repair.model import ChangeMode, EndWorker, Remedy, Safety
from ops.repair.offer import leaves_it_to_a_person, offered
from ops.text.language import Text, verbatim
from tests.unit.made_snapshot import TARGET
from tests.unit.repair.test_without_past import LOCATION, SITE, planned

CONFIRM = "gte-ops doctor --wait-ok 2m"
ADVICE = Text(en="Correct the file.", zh="改正文件。")


def cause_with(*steps: Text | str) -> Cause:
    entry = catalogue().entry("NGX010")
    fix = tuple(verbatim(step) if isinstance(step, str) else step for step in (*steps, CONFIRM))
    return Cause(
        "NGX010", entry.severity, entry.title, entry.summary, (), (quote("a", "b"),), verbatim("true"), fix
    )


def test_advice_and_a_reload_leave_the_change_to_a_person() -> None:
    assert leaves_it_to_a_person(cause_with(ADVICE, TARGET.test_nginx, TARGET.reload_nginx), TARGET)
    assert leaves_it_to_a_person(cause_with("ls -l /etc/nginx", ADVICE, TARGET.test_nginx), TARGET)


def test_a_command_that_changes_something_does_not() -> None:
    assert not leaves_it_to_a_person(cause_with(ADVICE, "chmod 600 /etc/key", TARGET.reload_nginx), TARGET)
    assert not leaves_it_to_a_person(cause_with(TARGET.reload_nginx), TARGET)


def test_the_repair_s_command_is_printed_and_the_steps_by_hand_remain() -> None:
    filter_ = "if ($http_user_agent ~* (sqlmap|curl|python-requests)) { return 403; }"
    remedy = planned("NGX010", SITE.replace(LOCATION, f"    {filter_}\n{LOCATION}", 1))
    cause = cause_with(ADVICE, TARGET.test_nginx, TARGET.reload_nginx)
    (printed,) = offered([cause], [replace(remedy, cause=cause)], "/etc/gte ops.toml")
    what, command, by_hand, confirm = printed.fix
    assert "somebody wrote the filter on purpose" in what.en
    assert "undone if that does not help" in what.en
    assert command == verbatim("gte-ops doctor --config '/etc/gte ops.toml' --only NGX010 --fix=risky --yes")
    assert by_hand.en == f"Or by hand: Correct the file; then {TARGET.test_nginx} && {TARGET.reload_nginx}"
    assert by_hand.to("zh") == f"或者手动：改正文件；然后 {TARGET.test_nginx} && {TARGET.reload_nginx}"
    assert confirm.en == CONFIRM


def test_a_safe_repair_needs_no_word_of_risk() -> None:
    cause = cause_with(ADVICE)
    remedy = Remedy(cause, Safety.SAFE, Text(en="close it", zh="关闭"), ChangeMode("/etc/key", 0o644, 0o600))
    (printed,) = offered([cause], [remedy], None)
    assert [step.en for step in printed.fix[:2]] == [
        "gte-ops does it: close it",
        "gte-ops doctor --only NGX010 --fix --yes",
    ]


def test_a_remedy_that_changes_no_file_leaves_the_printed_steps() -> None:
    cause = cause_with(ADVICE, TARGET.restart_command)
    restart = Remedy(cause, Safety.SAFE, Text(en="restart", zh="重启"), None)
    assert offered([cause], [restart], None) == (cause,)


def test_what_an_authority_elsewhere_may_refuse_leaves_the_change_to_a_person() -> None:
    renewal = "certbot renew --force-renewal --cert-name x"
    assert leaves_it_to_a_person(cause_with(ADVICE, renewal, TARGET.test_nginx, TARGET.reload_nginx), TARGET)


def test_a_stuck_worker_is_ended_by_the_repair_which_records_that_it_was_meant() -> None:
    cause = cause_with("py-spy dump --nonblocking --pid 7", ADVICE, "kill -9 7")
    assert leaves_it_to_a_person(cause, TARGET)
    end = Remedy(cause, Safety.RISKY, Text(en="end it", zh="结束它"), EndWorker(7))
    (printed,) = offered([cause], [end], None)
    assert printed.fix[1].en == "gte-ops doctor --only NGX010 --fix=risky --yes"
    assert "kill -9 7" in printed.fix[2].en
