"""From an access log: who sent the requests that were answered, and whom a proxy names behind an address."""

from __future__ import annotations

from pathlib import Path

from ops.collect.logs.access_log import MAX_VALUES
from ops.collect.logs.senders import MAX_SENDERS
from ops.facts.traffic import Sender
from tests.unit.collect.test_access_log import NOW, read, stamp, traffic

# nginx.org's packaged nginx.conf has this one.
MAIN = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for"'
)


def line(
    client: str = "127.0.0.1",
    forwarded: str = "-",
    *,
    request: str = "POST /predict",
    status: int = 200,
    agent: str = "okhttp/4.12.0",
    ago: float = 9,
) -> str:
    return f'{client} - - [{stamp(NOW - ago)}] "{request} HTTP/1.1" {status} 5 "-" "{agent}" "{forwarded}"\n'


def senders(tmp_path: Path, *lines: str, written: str = MAIN) -> tuple[Sender, ...]:
    return traffic(read(tmp_path / "log", "".join(lines), written)).senders


def test_different_visitors_behind_one_address(tmp_path: Path) -> None:
    (sender,) = senders(
        tmp_path,
        line(forwarded="203.0.113.1"),
        line(
            forwarded="203.0.113.1, 10.0.0.7", agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"
        ),
        line(forwarded="2001:db8::7"),
        line(forwarded="unknown"),
    )
    assert sender == Sender(address="127.0.0.1", requests=4, agents=("iPhone", "okhttp"), visitors=2)


def test_the_standard_header_is_read(tmp_path: Path) -> None:
    written = MAIN.replace("http_x_forwarded_for", "http_forwarded")
    (sender,) = senders(
        tmp_path,
        line(forwarded="for=203.0.113.1;proto=https"),
        line(forwarded="For=\\x22[2001:db8::7]:4711\\x22"),
        line(forwarded="for=203.0.113.2"),
        written=written,
    )
    assert sender.visitors >= 2


def test_what_was_refused_and_monitoring_do_not_count(tmp_path: Path) -> None:
    kept = senders(
        tmp_path,
        line("198.51.100.1", status=404, request="GET /.env"),
        line("198.51.100.2", status=308),
        line("198.51.100.3", status=499),
        line("198.51.100.4", request="GET /health"),
        line("198.51.100.5", request="GET /api/ready?x=1"),
        line("198.51.100.6", request="GET /", agent="kube-probe/1.31"),
        line("198.51.100.7", agent="gte-ops-doctor/0.3.0"),
        line("198.51.100.8", status=429),
        line("198.51.100.9", status=502),
    )
    assert sorted(sender.address for sender in kept) == ["198.51.100.8", "198.51.100.9"]


def test_further_addresses_are_counted_together(tmp_path: Path) -> None:
    counts = traffic(
        read(tmp_path / "log", "".join(line(f"198.51.100.{n}") for n in range(MAX_SENDERS + 5)), MAIN)
    )
    assert len(counts.senders) == MAX_SENDERS
    assert counts.more_senders == 5


def test_of_requests_of_one_kind_the_newest_are_read(tmp_path: Path) -> None:
    (sender,) = senders(tmp_path, *(line(ago=200 - n / 10, forwarded=f"10.0.0.{n % 9}") for n in range(1000)))
    assert MAX_VALUES <= sender.requests <= 1000
    assert sender.visitors == 9


def test_a_format_without_the_header_names_no_visitors(tmp_path: Path) -> None:
    (sender,) = senders(
        tmp_path, line(forwarded="10.0.0.1"), written=MAIN.replace(' "$http_x_forwarded_for"', "")
    )
    assert (sender.requests, sender.visitors) == (1, 0)
