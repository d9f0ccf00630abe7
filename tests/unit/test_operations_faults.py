"""Faults of certificates, backups and rotation that people reported, and the test that each has here.

A row is a mechanism, not one host: the report behind it is named where it is public."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

# Mechanism: the module and the test, or (for cases in a table) a string in the module.
ROWS = {
    "a proxy is set, the webhook is on this host (localstack#244)": (
        "system/test_notify_proxies.py",
        "test_no_robot_on_this_host_is_reached_through_a_proxy",
    ),
    "a file name that is no UTF-8 (gsutil#1625)": (
        "system/test_backup.py",
        "test_a_name_that_is_no_utf_8_is_named_and_the_drill_fails",
    ),
    "a drill where a file is lacking that nginx -t does not open": (
        "system/test_backup.py",
        "test_a_drill_proves_that_the_archive_is_whole",
    ),
    "a certificate by a map, or by the name asked for (acme.sh#4305)": (
        "system/test_certificates_elsewhere.py",
        "test_a_certificate_by_a_map_is_found_judged_and_saved",
    ),
    "acme.sh, lego, dehydrated, getssl: who renews, saved whole (acme.sh#2035)": (
        "system/test_certificates_elsewhere.py",
        "test_who_renews_is_named_and_saved_whole",
    ),
    "acme.sh installs to another place": (
        "system/test_certificates_elsewhere.py",
        "test_where_acme_sh_installs_to_is_its_own_word",
    ),
    "several certificates, one of them stale": (
        "system/test_certificates_elsewhere.py",
        "test_each_of_several_certificates_is_asked_for",
    ),
    "proxy_protocol; ssl_verify_client; IPv6 alone": (
        "system/test_certificates_elsewhere.py",
        "test_behind_a_balancer_and_with_client_certificates_a_healthy_host_is_fine",
    ),
    "a catch-all server of our own": (
        "system/test_cert_check.py",
        "test_a_server_for_unknown_names_is_no_fault",
    ),
    "the application insists on HTTPS and on its name (wemake-django#1023)": (
        "lab/test_watchdog.py",
        "test_a_service_that_insists_on_its_name_and_on_https_is_healthy",
    ),
    "the pidfile names another service (WGDashboard#723)": (
        "attacks/test_pidfiles.py",
        "test_a_pidfile_that_names_another_service_neither_hides_the_failure_nor_harms_it",
    ),
    "two hosts, one directory of backups; a time in the future (restic#1658)": (
        "system/test_backup.py",
        "test_the_newest_is_of_this_host_and_of_a_time_that_can_be",
    ),
    "a backup by hand before a change, and the next one; labels; pins": (
        "system/test_backup.py",
        "test_one_made_by_hand_outlives_the_next_with_its_label_and_a_pinned_one_every_policy",
    ),
    "an unwritable path (certbot#8897)": (
        "system/test_restoration.py",
        "test_what_cannot_be_written_is_left_and_named_and_the_rest_is_restored",
    ),
    "a file of a package": (
        "system/test_restoration.py",
        "test_a_file_of_a_package_is_not_restored_over",
    ),
    "owners that the new host lacks": (
        "system/test_restoration.py",
        "test_an_owner_that_this_host_lacks_is_named_and_nobody_elses_number_gets_its_files",
    ),
    "a rule that never rotated": (
        "unit/diagnosis/checks/test_safeguards.py",
        "a daily rule, and the first line is 40 days old",
    ),
    "a directory that logrotate refuses": (
        "unit/diagnosis/checks/test_safeguards.py",
        "a directory that a group may write, and no su: logrotate refuses it",
    ),
    "a timer whose service fails": ("unit/diagnosis/checks/test_safeguards_units.py", "the backup fails"),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_reported_fault_has_its_test(row: str) -> None:
    module, name = ROWS[row]
    tree = ast.parse((TESTS / module).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert name in names | words
