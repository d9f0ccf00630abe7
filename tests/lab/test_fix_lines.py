"""Each printed fix line runs as it stands, in order, without thought; a client is asked afterwards.

The share that mends the fault so is measured by `python -m benchmarks.fix_lines` and stands in docs/accuracy.md.
"""

from __future__ import annotations

import pytest

from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.fix_trial import Line, try_fix

# Faults whose lines alone mend them: in CI a sample, the others with scripts/test --long.
_SAMPLE = ("gunicorn_is_killed", "nginx_is_killed", "mended_file_was_never_loaded", "everything_is_stopped")
_MENDED_BY_THEIR_LINES = (
    *_SAMPLE,
    "gunicorn_is_stopped",
    "gunicorn_on_a_socket_is_killed",
    "nginx_is_stopped",
    "master_is_stopped",
    "renewed_certificate_is_not_served",
    "key_is_readable_by_everybody",
    "nobody_makes_backups",
    "one_worker_waits_for_a_lock",
    # A line of a file is changed in its place.
    "slash_behind_proxy_pass_replaces_the_path",
    "restart_sets_the_only_live_server_aside",
    "ssl_is_missing_on_the_listen_directive",
    "error_answers_are_replaced_by_a_page",
    "only_a_path_below_is_proxied",
    "https_redirects_to_itself",
    "nginx_gives_up_before_the_backend_answers",
    "headers_have_one_second_to_arrive",
    "tls_1_1_is_allowed_by_the_configuration",
    "reloader_is_on_by_the_file",
    "workers_are_never_recycled",
    "tls_1_0_is_accepted",
    # A line is added beside the one that the report names.
    "nginx_listens_on_another_port",
    "plain_http_is_served",
    "another_server_block_answers_over_ipv6",
    # A file is corrected before it is loaded, or a name or a sign in it.
    "predictions_pass_though_the_file_sends_them_nowhere",
    "another_site_answers_for_the_name",
    "rewrite_ends_with_a_question_mark",
    "default_server_rejects_what_the_site_listens_elsewhere_for",
    # The repair does what the steps by hand leave to a person.
    "user_agent_filter_blocks_curl",
    "intermediate_is_not_sent",
    "bundle_is_cut_off",
    "key_belongs_to_another_certificate",
)
_NAMED = {case.name: case for case in CASES}


def _each(name: str) -> object:
    return pytest.param(_NAMED[name], id=name, marks=() if name in _SAMPLE else (pytest.mark.long,))


@pytest.mark.parametrize("case", [_each(name) for name in _MENDED_BY_THEIR_LINES])
def test_the_lines_of_a_fix_mend_the_fault_as_they_stand(case: Case) -> None:
    trial = try_fix(case)
    assert trial.lines, "nothing to type"
    assert [line for line in trial.lines if line.has_failed or line.exit_code is None] == []
    assert trial.is_mended, trial.lines
    assert trial.confirmed in (0, 1), "the last line says that it worked"
    assert trial.dry_run_helps, trial.dry_run_end


@pytest.mark.long
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.code}-{case.name}") for case in CASES])
def test_every_line_that_is_printed_is_a_command_that_ends(case: Case) -> None:
    if reason := case.impossible():
        pytest.skip(reason)
    try:
        trial = try_fix(case)
    except NotHereError as reason:
        pytest.skip(str(reason))
    assert not [line for line in trial.lines if _is_no_command(line)]
    assert trial.dry_run_helps, f"a dry run ends with the command that helps users, not: {trial.dry_run_end}"
    if trial.is_mended:
        assert trial.confirmed in (0, 1), "the last line says that it worked"


def _is_no_command(line: Line) -> bool:
    """A line that no shell can run (127, 126), or that does not end by itself (124)."""
    return line.exit_code in (124, 126, 127)
