"""Two independent faults at once: neither follows from the other, and neither hides the other's proof.

The second of a pair is the one after which a client may get no answer at all."""

from __future__ import annotations

from tests.lab.faults import CASES
from tests.lab.faults.case import Case

_BY_NAME = {case.name: case for case in CASES}

PAIRS: tuple[tuple[Case, Case], ...] = tuple(
    (_BY_NAME[one], _BY_NAME[other])
    for one, other in (
        ("certificate_expires_soon", "gunicorn_is_killed"),
        ("pidfile_names_a_process_that_is_gone", "certificate_expired"),
        ("name_does_not_exist", "gunicorn_is_killed"),
        ("backups_have_stopped", "everything_is_stopped"),
        ("proxy_pass_names_the_wrong_port", "certificate_expired"),
        ("gunicorn_is_killed", "certificate_is_for_another_name"),
        ("application_does_not_import", "certificate_is_self_signed"),
        ("nginx_redirects_the_prediction", "intermediate_is_not_sent"),
        ("certificate_expires_today", "another_program_holds_the_port"),
        ("key_is_readable_by_everybody", "master_is_stopped"),
        ("newest_backup_has_a_flipped_bit", "gunicorn_is_killed"),
        ("weights_are_truncated", "certificate_expired"),
        ("rule_for_nginx_alone", "nothing_is_scheduled"),
        ("key_is_readable_by_everybody", "log_was_renamed_and_nobody_told"),
        ("modelscope_is_too_old", "nothing_runs_the_watchdog"),
        ("nothing_is_scheduled", "model_does_not_load"),
        ("backups_have_stopped", "nginx_is_killed"),
        ("nobody_makes_backups", "proxy_pass_leads_to_another_program"),
    )
)
