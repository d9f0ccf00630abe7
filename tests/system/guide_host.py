"""A host laid out by the deployment guide, at the guide's own paths and ports, and the doctor run on it without any
configuration. Run as a program inside fresh namespaces (see test_guide_host.py); prints one JSON object.

    unshare --mount --net --pid --fork --mount-proc python -m tests.system.guide_host clean|as_written
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops.deployment.render import NginxSite
from tests.lab.authority import Authority, write_lineage
from tests.lab.client import Client
from tests.lab.guide import TRAPS, guide_gunicorn_conf, guide_site
from tests.lab.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
DOMAIN = "gte-api.example.com"
BUILD = Path("/root/build")
PIDFILE = Path("/var/run/gte-gunicorn.pid")
START_SCRIPT = """#!/bin/bash
cd /root/build
source venv/bin/activate
if [ -f "/var/run/gte-gunicorn.pid" ]; then
    kill $(cat /var/run/gte-gunicorn.pid)
    rm -f /var/run/gte-gunicorn.pid
fi
gunicorn -c gunicorn.conf.py app:app
"""
# nginx refuses to load a file with it, so a host as the guide writes it never gets that far.
WRITTEN = [trap for trap in TRAPS if trap != "limit_req_zone in server"]


def overlay(*places: str) -> None:
    """Makes these directories private to this namespace: what is written there stays in memory.

    Raises AssertionError in the machine's own mount namespace: it would befall the machine."""
    first = Path("/proc/1/ns/mnt")
    if os.getpid() != 1 and first.readlink() == Path("/proc/self/ns/mnt").readlink():
        raise AssertionError("not in a mount namespace of its own: this is started by unshare alone")
    scratch = Path("/mnt")
    run("mount", "-t", "tmpfs", "tmpfs", str(scratch))
    for place in places:
        upper, work = scratch / place.strip("/") / "upper", scratch / place.strip("/") / "work"
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        run(
            "mount",
            "-t",
            "overlay",
            "overlay",
            "-o",
            f"lowerdir={place},upperdir={upper},workdir={work}",
            place,
        )
    run("mount", "-t", "tmpfs", "tmpfs", "/run")


def run(*command: str, **options: Any) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def lay_out(traps: list[str]) -> Path:
    """Every file the guide has one make, at its place. Returns the authority's root certificate."""
    os.environ["LC_ALL"] = "C.UTF-8"
    for place in (
        "/var/lib/gte-ops",
        "/var/backups/gte-ops",
    ):  # this machine's own are no part of the guide's host
        shutil.rmtree(place, ignore_errors=True)
    run("ip", "link", "set", "lo", "up")
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(f"\n127.0.0.1 {DOMAIN}\n")
    authority = Authority()
    root = Path("/etc/ssl/guide-root.pem")
    root.write_bytes(authority.root.pem)
    with Path("/etc/ssl/certs/ca-certificates.crt").open("ab") as bundle:
        bundle.write(authority.root.pem)
    write_lineage(Path("/etc/letsencrypt"), DOMAIN, authority.issue([DOMAIN]))
    for place in ("/etc/letsencrypt/live", "/etc/letsencrypt/archive"):
        Path(place).chmod(0o700)
    site = Path("/etc/nginx/conf.d/gte-api.conf")
    site.parent.mkdir(exist_ok=True)
    site.write_text(guide_site(NginxSite(read_timeout="30s", max_body="50M"), traps))  # type: ignore[arg-type]
    model = BUILD / "iic" / "nlp_gte_sentence-embedding_chinese-large"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (BUILD / "venv" / "bin").mkdir(parents=True)
    programs = Path(sys.executable).parent
    for name in ("python", "gunicorn"):
        (BUILD / "venv" / "bin" / name).symlink_to(programs / name)
    (BUILD / "venv" / "bin" / "activate").write_text(f"PATH={programs}:$PATH\n")
    (BUILD / "app.py").write_text("from service.app import create_app\n\napp = create_app()\n")
    (BUILD / "gunicorn.conf.py").write_text(
        'bind = "127.0.0.1:8000"\nworkers = 2\nworker_class = "sync"\ntimeout = 30\n'
        f'pidfile = "{PIDFILE}"\naccesslog = "/var/log/gte-gunicorn-access.log"\n'
        'errorlog = "/var/log/gte-gunicorn-error.log"\n' + guide_gunicorn_conf(traps)  # type: ignore[arg-type]
    )
    (BUILD / "start-prod.sh").write_text(START_SCRIPT)
    return root


def doctor(*arguments: str, user: str | None = None) -> dict[str, Any]:
    """One run of the doctor without a configuration file, as root or another user."""
    entry = pwd.getpwnam(user) if user else None
    ran = subprocess.run(
        [sys.executable, "-m", "ops.cli", "doctor", "--format", "json", *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=entry.pw_uid if entry else None,
        group=entry.pw_gid if entry else None,
        extra_groups=[] if entry else None,
    )
    report = json.loads(ran.stdout) if ran.stdout.startswith("{") else {}
    return {"report": report, "exit_code": ran.returncode, "stderr": ran.stderr}


def are_reaped(processes: set[int]) -> bool:
    """Whether those are out of the process table. This program is process 1 of its namespace and does what a host's
    init does: zombies that nobody reaps would be another fault, beside which gunicorn refuses to start."""
    for pid in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return not any(Path(f"/proc/{pid}").exists() for pid in processes)


def main(traps: list[str]) -> dict[str, Any]:
    """Bring the host up, look at it well, look at it as nobody, break it, look again."""
    overlay("/etc", "/root", "/var")
    root = lay_out(traps)
    client = Client(DOMAIN, str(root))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GTE_ENGINE": "embedded"}
    environment["GTE_PROGRESS_DIR"] = "/run/progress"
    run("bash", str(BUILD / "start-prod.sh"), env=environment)
    run("nginx")
    body = {"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}
    wait_for(
        lambda: (
            client.request(("127.0.0.1", 443), "POST", "/predict", tls=True, json_body=body).status == 200
        ),
        "the guide's host to predict",
        within=30,
        every=0.2,
    )
    files_before = set(Path("/run").iterdir()) | set(Path("/var/log/nginx").iterdir())
    told = {"well": doctor()}
    told["left behind"] = {
        "files": sorted(
            str(path)
            for path in (set(Path("/run").iterdir()) | set(Path("/var/log/nginx").iterdir())) - files_before
        )
    }
    told["as nobody"] = doctor(user="nobody")
    killed = {int(PIDFILE.read_text())}
    os.kill(int(PIDFILE.read_text()), signal.SIGKILL)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words = entry.read_bytes()
        if b"gunicorn" in words and b"-c" in words:
            killed.add(int(entry.parent.name))
            os.kill(int(entry.parent.name), signal.SIGKILL)
    wait_for(lambda: are_reaped(killed), "gunicorn's processes to be gone")
    wait_for(lambda: client.request(("127.0.0.1", 443), "GET", "/predict", tls=True).status == 502, "a 502")
    told["gunicorn killed"] = doctor()
    return told


if __name__ == "__main__":
    print(json.dumps(main([] if sys.argv[1] == "clean" else list(WRITTEN))))  # noqa: T201
