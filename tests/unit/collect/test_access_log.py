"""What users asked and were answered, counted from real lines."""

from __future__ import annotations

import time
from pathlib import Path

from ops.collect.logs.access_log import MAX_COUNTED, MAX_KEPT, count_requests
from ops.collect.logs.tail import LogTail
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers, Attempts, Spread, Traffic
from ops.interpret.log_format import COMBINED
from ops.interpret.traffic import AccessLogSource, nginx_access_logs
from tests.unit.made_snapshot import DOMAIN, SITE, TARGET, nginx_config

NOW = 1_795_309_200.0
SINCE = NOW - 900
TIMED = '$remote_addr [$time_local] "$request" $status $request_length $request_time $upstream_addr $upstream_status'


def stamp(at: float) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(at))


def combined(ago: float, request: str, status: int, agent: str = "curl") -> str:
    return f'10.0.0.7 - - [{stamp(NOW - ago)}] "{request} HTTP/1.1" {status} 5 "-" "{agent}"\n'


def read(
    path: Path,
    text: str,
    log_format: str | None = COMBINED,
    *,
    counted_since: float = 0.0,
    of_nginx: bool = True,
) -> AccessLog:
    path.write_text(text)
    tail = LogTail(str(path), SINCE, 4 << 20)
    source = AccessLogSource(str(path), log_format)
    log = count_requests(tail, source, SINCE, counted_since, "/predict", of_nginx=of_nginx)
    assert isinstance(log, AccessLog), log
    return log


def traffic(log: AccessLog) -> Traffic:
    assert log.traffic is not None
    return log.traffic


def test_by_path_and_status_without_queries(tmp_path: Path) -> None:
    counts = traffic(
        read(
            tmp_path / "log",
            combined(1000, "GET /old", 500)
            + combined(80, "POST /predict?text=mine", 200)
            + combined(70, "POST /predict?text=yours", 500)
            + combined(60, "POST /predict", 200),
        )
    )
    failed, served = counts.answers
    assert (served.method, served.path, served.status, served.count) == ("POST", "/predict", "200", 2)
    assert (served.first, served.last) == (NOW - 80, NOW - 60)
    assert served.newest == ()
    assert (failed.status, failed.count, failed.last) == ("500", 1, NOW - 70)
    (line,) = failed.newest
    assert '"POST /predict?… HTTP/1.1" 500 5' in line
    assert "yours" not in line


def test_the_time_between_the_websockets_of_one_client(tmp_path: Path) -> None:
    lines = (combined(ago, "GET /ws", 101) for ago in (60, 55, 49))
    (opened,) = traffic(read(tmp_path / "log", "".join(lines))).answers
    assert opened.gaps == Spread(least=5, median=6, most=6)
    (other,) = traffic(
        read(tmp_path / "log", combined(9, "GET /a", 200) + combined(4, "GET /a", 200))
    ).answers
    assert other.gaps is None


def test_sizes_times_and_addresses(tmp_path: Path) -> None:
    lines = [
        f'10.0.0.7 [{stamp(NOW - 9)}] "POST /predict HTTP/1.1" 200 {size} {took} 127.0.0.1:1, 127.0.0.1:2 502, 200\n'
        for size, took in ((100, "0.100"), (300, "0.300"), (200, "2.000"))
    ]
    counts = traffic(read(tmp_path / "log", "".join(lines), TIMED))
    (answers,) = counts.answers
    assert answers.lengths == Spread(least=100, median=200, most=300)
    assert answers.seconds == Spread(least=0.1, median=0.3, most=2.0)
    assert answers.upstreams == {"127.0.0.1:2": 3}
    assert counts.attempts == (
        Attempts(address="127.0.0.1:1", statuses={"502": 3}, last=NOW - 9),
        Attempts(address="127.0.0.1:2", statuses={"200": 3}, last=NOW - 9),
    )
    assert set(counts.tells) >= {"length", "seconds", "upstream", "upstream_status"}


def test_its_own_requests_are_apart(tmp_path: Path) -> None:
    log = read(
        tmp_path / "log",
        combined(9, "POST /predict", 500, "gte-ops-doctor/0.2.0") + combined(8, "GET /", 200, "not gte-ops"),
    )
    assert [answers.path for answers in traffic(log).answers] == ["/"]
    (probe,) = traffic(log).probes
    assert (probe.method, probe.path, probe.status, probe.time, probe.client) == (
        "POST",
        "/predict",
        "500",
        NOW - 9,
        "10.0.0.7",
    )
    assert log.requests == 2


def test_without_agents_in_the_format_the_probes_are_known_by_their_time(tmp_path: Path) -> None:
    def line(ago: float, client: str) -> str:
        return f'{client} [{stamp(NOW - ago)}] "GET /health HTTP/1.1" 200 9 0.001 - -\n'

    path = tmp_path / "log"
    path.write_text(line(60, "127.0.0.1") + line(0, "10.0.0.7") + line(0, "127.0.0.1"))
    tail = LogTail(str(path), SINCE, 4 << 20)
    source = AccessLogSource(str(path), TIMED)
    log = count_requests(tail, source, SINCE, 0.0, "/predict", of_nginx=True, probed_since=NOW + 0.5)
    assert isinstance(log, AccessLog)
    assert [probe.time for probe in traffic(log).probes] == [NOW]
    assert [answers.count for answers in traffic(log).answers] == [2]


def test_of_the_probes_only_this_run_s_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        combined(60, "GET /health", 200, "gte-ops-doctor/0.2.0")
        + combined(0, "GET /ready", 200, "gte-ops-doctor/0.2.0")
    )
    tail = LogTail(str(path), SINCE, 4 << 20)
    source = AccessLogSource(str(path), COMBINED)
    log = count_requests(tail, source, SINCE, 0.0, "/predict", of_nginx=True, probed_since=NOW + 0.5)
    assert isinstance(log, AccessLog)
    earlier, own = traffic(log).probes
    assert (earlier.path, earlier.time, earlier.line) == ("/health", NOW - 60, "")
    assert "GET /ready" in own.line


def test_what_processes_answered_that_are_gone_does_not_count(tmp_path: Path) -> None:
    text = combined(100, "GET /", 500) + combined(50, "GET /", 200)
    log = read(tmp_path / "log", text, counted_since=NOW - 60)
    assert [(a.status, a.count) for a in traffic(log).answers] == [("200", 1)]
    assert log.statuses == {"200": 1, "500": 1}
    assert traffic(log).since == NOW - 60


def test_a_line_of_another_format_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    for log_format in (TIMED, None):
        (answers,) = traffic(read(tmp_path / "log", combined(9, "PUT /a", 404), log_format)).answers
        assert (answers.method, answers.path, answers.status) == ("PUT", "/a", "404")


def test_json_lines_without_a_known_format(tmp_path: Path) -> None:
    line = '{"time": "2026-11-22T00:59:00Z", "method": "POST", "url": "/x?y", "status": 500, "user_agent": "curl"}\n'
    (answers,) = traffic(read(tmp_path / "log", line, None, of_nginx=False)).answers
    assert (answers.method, answers.path, answers.status) == ("POST", "/x", "500")


def test_the_logs_own_service_writes(tmp_path: Path) -> None:
    line = f'127.0.0.1 [{stamp(NOW - 9)}] "POST /predict HTTP/1.1" 413 99 1200us req-1 "curl/8" -\n'
    (answers,) = traffic(read(tmp_path / "log", line, None, of_nginx=False)).answers
    assert (answers.path, answers.status, answers.sent) == (
        "/predict",
        "413",
        Spread(least=99, median=99, most=99),
    )


def test_the_many_are_counted_as_the_few(tmp_path: Path) -> None:
    """Once enough of a kind were read whole, the others are counted by request and status alone."""
    timed = TIMED.replace('"$request"', '"$request" "$http_user_agent"')

    def line(number: int) -> str:
        request, status = (("POST /predict", 200), ("GET /a", 404))[number % 2]
        agent = "gte-ops-doctor/1" if number % 100 == 50 else "curl"
        at = stamp(NOW - 800 + number / 10)
        return f'10.0.0.7 [{at}] "{request} HTTP/1.1" "{agent}" {status} 9 0.100 127.0.0.1:{number % 3} {status}\n'

    log = read(tmp_path / "log", "".join(map(line, range(3000))), timed, counted_since=NOW - 780)
    assert log.requests == 3000
    assert log.statuses == {"200": 1500, "404": 1500}
    assert log.last == NOW - 800 + 299
    assert (log.first_prediction, log.last_prediction) == (NOW - 800, NOW - 800 + 299)
    counts = traffic(log)
    by_path = {answers.path: answers for answers in counts.answers}
    assert by_path["/predict"].count == 1400 - 28, "without the probes, and what is older"
    assert by_path["/a"].count == 1400
    assert (by_path["/a"].first, by_path["/a"].last) == (NOW - 780, NOW - 800 + 299)
    assert sum(by_path["/a"].upstreams.values()) == 1400
    assert sum(sum(one.statuses.values()) for one in counts.attempts) == 2800 - 28


def test_many_paths_are_bounded_and_failures_kept(tmp_path: Path) -> None:
    paths = [f"/{chr(97 + n % 26)}{'x' * (n // 26)}" for n in range(MAX_COUNTED)]
    text = combined(100, "GET /broken", 502) + "".join(combined(90, f"GET {path}", 404) for path in paths)
    counts = traffic(read(tmp_path / "log", text + combined(80, "GET /broken", 502)))
    assert len(counts.answers) == MAX_KEPT
    assert counts.answers[0].path == "/broken"
    assert sum(answers.count for answers in counts.answers) + counts.omitted == MAX_COUNTED + 2


def test_secrets_and_control_characters_are_not_kept(tmp_path: Path) -> None:
    text = combined(
        9, "GET /a/\x1b[31m?password=hunter2", 500, "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2lnbmF0dXJl"
    )
    (answers,) = traffic(read(tmp_path / "log", text)).answers
    assert isinstance(answers, Answers)
    words = " ".join((answers.path, *answers.newest))
    assert "hunter2" not in words
    assert "c2lnbmF0dXJl" not in words
    assert words.isprintable()


def test_of_failures_how_many_requests_were_answered_before_and_since(tmp_path: Path) -> None:
    lines = [
        (200, 90),
        (200, 80),
        (502, 70),
        (404, 60),
        (502, 50),
        (499, 45),
        (200, 40),
        (200, 30),
        (200, 20),
    ]
    counts = traffic(
        read(
            tmp_path / "log",
            "".join(combined(ago, "POST /predict", status) for status, ago in lines)
            + combined(10, "GET /predict", 200),
        )
    )
    failed = counts.answers[0]
    assert (failed.status, failed.count, failed.preceded, failed.followed) == ("502", 2, 2, 3)


def test_so_in_a_busy_log_whose_lines_are_counted_by_their_like(tmp_path: Path) -> None:
    many = 300
    counts = traffic(
        read(
            tmp_path / "log",
            combined(90, "POST /predict", 200) * many
            + (combined(60, "POST /predict", 500) + combined(60, "POST /predict", 200)) * many
            + combined(30, "POST /predict", 200) * many,
        )
    )
    failed = counts.answers[0]
    assert (failed.count, failed.followed) == (many, many + 1)
    assert failed.preceded == many


OF_TWO_SITES = 'log_format two \'$host [$time_local] "$request" $status "$http_user_agent"\';'
LOGGED = "access_log /var/log/nginx/gte-access.log"


def of_two_sites(tmp_path: Path, lines: str, log_format: str = "") -> AccessLog:
    ours = SITE.replace(LOGGED, f"{LOGGED} {log_format}")
    passed = "location / { proxy_pass http://127.0.0.1:9; }"
    other = f"server {{ server_name shop.example; {LOGGED} {log_format}; {passed} }}"
    source, _ = nginx_access_logs(nginx_config(f"{OF_TWO_SITES}\n{ours}\n{other}"), TARGET)
    assert source is not None
    path = tmp_path / "log"
    path.write_text(lines)
    log = count_requests(LogTail(str(path), SINCE, 4 << 20), source, SINCE, 0.0, "/predict", of_nginx=True)
    assert isinstance(log, AccessLog), log
    return log


def test_of_a_log_that_two_sites_write_the_lines_that_name_this_one_count(tmp_path: Path) -> None:
    def line(host: str, status: int, ago: float) -> str:
        return f'{host} [{stamp(NOW - ago)}] "POST /predict HTTP/1.1" {status} "curl"\n'

    lines = "".join(line("shop.example", 502, 300) + line(DOMAIN, 200, 299) for _ in range(500))
    log = of_two_sites(tmp_path, lines, "two")
    assert [(item.status, item.count) for item in traffic(log).answers] == [("200", 500)]
    assert (log.requests, log.statuses) == (500, {"200": 500})
    assert (traffic(log).unclear, traffic(log).is_conditional) == (0, False)


def test_lines_of_which_nobody_knows_the_site_are_no_evidence(tmp_path: Path) -> None:
    log = of_two_sites(tmp_path, "".join(combined(300, "POST /predict", 502) for _ in range(500)))
    assert traffic(log).answers == ()
    assert (traffic(log).unclear, traffic(log).is_conditional) == (500, True)
