"""logrotate's configuration, read as logrotate(8) says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ops.collect.services.logrotate import rules_of
from ops.interpret.logrotate import covers, oldest_line_days, parse
from tests.unit.made_snapshot import rotation_rule

TEXT = """\
# a comment { that opens nothing
weekly
compress
include /etc/logrotate.d

/var/log/nginx/*.log "/srv/with blank/a.log"
/var/log/other.log {
    size=10M
    nocompress
    postrotate
        # } closes nothing here
        kill -USR1 1
    endscript
    rotate 3
}
/var/log/single.log { daily }
/var/log/open.log
{
    missingok
"""


def test_patterns_options_and_scripts_of_each_block() -> None:
    result = parse(TEXT, "/etc/logrotate.conf", {"rotate": "4"})
    first, second, third = result.rules
    assert first.patterns == ("/var/log/nginx/*.log", "/srv/with blank/a.log", "/var/log/other.log")
    assert first.line == 7
    assert first.options == {"rotate": "3", "size": "10M"}
    assert first.scripts == {"postrotate": "kill -USR1 1"}
    assert second.patterns == ("/var/log/single.log",)
    assert second.options["daily"] == ""
    assert third.options.keys() == {"rotate", "weekly", "compress", "missingok"}
    assert result.includes == ["/etc/logrotate.d"]


@pytest.mark.parametrize(
    ("inherited", "own", "days"),
    [
        ("weekly", "monthly", 95),
        ("monthly", "weekly", 23),
        ("daily", "size 1M", None),
        ("size 1M", "daily", 5),
    ],
)
def test_a_rules_own_period_replaces_the_inherited_one(inherited: str, own: str, days: int | None) -> None:
    (rule,) = parse(f"{inherited}\n/a.log {{\n{own}\n}}\n", "x", {}).rules
    assert oldest_line_days(rule) == days


def test_a_rule_is_as_old_as_its_file_here_not_as_in_its_package(tmp_path: Path) -> None:
    file = tmp_path / "rule"
    file.write_text("/a.log { daily }\n")
    os.utime(file, (1, 1))
    (rule,) = rules_of([str(file)])
    assert rule.file_changed == pytest.approx(time.time(), abs=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_holds_no_rule_because_logrotate_passes_over_it(tmp_path: Path) -> None:
    file = tmp_path / "rule"
    file.write_text("/a.log { daily }\n")
    os.chown(file, 65534, 0)
    assert rules_of([str(file)]) == ()


@pytest.mark.parametrize("text", ["}", "{", "postrotate", "/a {", '"', "include", "/a {\npostrotate\nkill"])
def test_what_is_broken_is_passed_over(text: str) -> None:
    parse(text, "x", {})


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/var/log/*.log", "/var/log/a.log", True),
        ("/var/log/*.log", "/var/log/nginx/a.log", False),
        ("/var/log/*/a.log", "/var/log/nginx/a.log", True),
        ("/var/log/*", "/var/log/.hidden", False),
        ("/var/log/a.log", "/var/log/A.log", False),
        ("/var/log/a[12].log", "/var/log/a2.log", True),
    ],
)
def test_patterns_match_part_by_part(pattern: str, path: str, *, matches: bool) -> None:
    assert covers(rotation_rule(pattern), path) is matches
