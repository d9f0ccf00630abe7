"""`gte-ops backup create`, `list`, `verify` and `prune` on real files, with real tar, age, rclone, restic and nginx."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pyrage
import pytest

from tests.lab.authority import Authority, write_lineage
from tests.lab.waiting import wait_for
from tests.system.backup_host import DOMAIN, Host, lay_out


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return lay_out(tmp_path / "host")


def names_in(archive: Path) -> set[str]:
    listed = subprocess.run(["tar", "-tf", str(archive)], capture_output=True, text=True, check=True)
    return {"/" + name.rstrip("/") for name in listed.stdout.splitlines()}


def test_everything_a_host_needs_to_serve_and_to_renew_is_in_it(host: Host) -> None:
    done = host.run("create")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    (archive,) = host.archives()
    assert str(archive) in done.stdout
    names = names_in(archive)
    root = host.root
    for name in (
        "nginx/nginx.conf",
        "nginx/mime.types",
        "nginx/sites/site.conf",
        "auth/htpasswd",
        "dh/dhparam.pem",
        *(
            f"letsencrypt/archive/{DOMAIN}/{s}{v}.pem"
            for s in ("cert", "chain", "fullchain", "privkey")
            for v in (1, 2)
        ),
        *(f"letsencrypt/live/{DOMAIN}/{s}.pem" for s in ("cert", "chain", "fullchain", "privkey")),
        f"letsencrypt/renewal/{DOMAIN}.conf",
        "letsencrypt/cli.ini",
        "letsencrypt/accounts/acme.invalid/directory/abc/private_key.json",
        "letsencrypt/renewal-hooks/deploy/reload.sh",
        "letsencrypt/options-ssl-nginx.conf",
        "letsencrypt/.updated-options-ssl-nginx-conf-digest.txt",
        "secrets/dns.ini",
        "hooks/reload nginx.sh",
        "app/gunicorn.conf.py",
        "logrotate",
        "cron.d/gte-ops",
        "units/gte-api.service",
        "units/gte-api.service.d/limits.conf",
        "environment",
        "gte-ops.toml",
    ):
        assert f"{root}/{name}" in names, name
    # what nobody uses, the backups themselves and certbot's lock are not
    assert not [n for n in names if "unused" in n or "/backups" in n or n.endswith(".lock")]


def test_plain_tar_puts_it_back_with_owner_mode_and_links(host: Host, tmp_path: Path) -> None:
    host.run("create")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-C", str(out), "-xpf", str(host.archives()[0])], check=True)
    back = out / str(host.root)[1:]
    link = back / "letsencrypt" / "live" / DOMAIN / "privkey.pem"
    assert str(link.readlink()) == f"../../archive/{DOMAIN}/privkey2.pem"
    assert link.read_bytes() == (host.letsencrypt / "live" / DOMAIN / "privkey.pem").read_bytes()
    for name in ("letsencrypt/archive", "secrets/dns.ini", "nginx/nginx.conf"):
        assert (back / name).stat().st_mode == (host.root / name).stat().st_mode
        assert int((back / name).stat().st_mtime) == int((host.root / name).stat().st_mtime)


def test_nobody_else_can_read_it(host: Host) -> None:
    old = os.umask(0)
    try:
        host.run("create")
    finally:
        os.umask(old)
    assert host.backups.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in host.backups.iterdir()} == {0o600}


def test_a_directory_others_may_look_into_is_closed_and_a_shared_one_refused(
    host: Host, tmp_path: Path
) -> None:
    host.backups.mkdir(mode=0o755)
    assert host.run("create").returncode == 0
    assert host.backups.stat().st_mode & 0o777 == 0o700
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    host.configure(dir=str(shared))
    done = host.run("create")
    assert done.returncode == 2
    assert "a directory of its own" in done.stderr
    assert not list(shared.iterdir())


def test_encrypted_it_opens_with_age_and_tar(host: Host, tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "key.txt"
    key.write_text(f"# comment\n{identity}\n")
    key.chmod(0o600)
    host.configure(recipients=[str(identity.to_public())])
    assert host.run("create").returncode == 0
    (archive,) = host.archives()
    assert archive.name.endswith(".tar.zst.age")
    by_hand = f"age -d -i {key} {archive} | zstd -d | tar -t"
    done = subprocess.run(["sh", "-c", by_hand], capture_output=True, text=True, check=True)
    assert f"letsencrypt/archive/{DOMAIN}/privkey2.pem" in done.stdout

    unopened = host.document("verify")
    assert (unopened["good"], unopened["opened"], unopened["encrypted"]) == (True, False, True)
    assert "nothing more than its SHA-256" in unopened["notes"][0]
    opened = host.document("verify", "--identity", str(key))
    assert (opened["good"], opened["opened"]) == (True, True)
    assert any("nginx -t" in each for each in opened["checked"])
    key.chmod(0o640)
    refused = host.run("verify", "--identity", str(key))
    assert refused.returncode == 3
    assert "chmod 600" in refused.stderr
    listed = host.document("list")["backups"][0]
    assert (listed["encrypted"], listed["good"]) == (True, True)


def test_the_list_is_as_the_contract_says(host: Host) -> None:
    assert host.document("list") == {"schema_version": 1, "status": "ok", "backups": []}
    host.run("create")
    host.configure(compression="gz")
    host.run()
    listed = host.document("list")["backups"]
    assert len(listed) == 2
    assert listed[0].keys() == {
        "path", "created_at", "bytes", "encrypted", "good", "reason", "signature", "host", "label", "pinned",
    }  # fmt: skip
    assert [each["good"] for each in listed] == [True, True]
    assert listed[0]["path"].endswith(".tar.gz")
    broken = Path(listed[0]["path"])
    broken.write_bytes(broken.read_bytes()[:-1])
    assert [each["good"] for each in host.document("list")["backups"]] == [False, True]
    verified = host.run("verify")
    assert verified.returncode == 0
    assert "passed over" in verified.stdout
    named = host.run("verify", str(broken))
    assert named.returncode == 2
    assert "damaged" in named.stdout


def test_verify_lets_nginx_test_the_tree(host: Host) -> None:
    site = host.root / "nginx" / "sites" / "site.conf"
    site.write_text(site.read_text().replace("auth_basic realm;", "no_such_directive on;"))
    host.run("create")
    done = host.run("verify")
    assert done.returncode == 2
    assert "no_such_directive" in done.stdout


def test_the_dry_run_writes_nothing(host: Host) -> None:
    done = host.run("create", "--dry-run")
    assert done.returncode == 0
    assert "privkey2.pem" in done.stdout
    assert not host.backups.exists()


def test_what_was_named_and_is_not_there_is_told(host: Host) -> None:
    host.configure(include=[f"{host.root}/nowhere", f"{host.root}/app", f"{host.root}/*.pattern"])
    (host.root / "auth" / "htpasswd").unlink()
    done = host.run("create")
    assert done.returncode == 1
    assert "nowhere: no such file" in done.stderr
    assert "*.pattern: no such file" in done.stderr
    assert "auth/htpasswd: no such file" in done.stderr
    assert len(host.archives()) == 1


def test_it_waits_for_certbot(host: Host) -> None:
    lock = host.letsencrypt / ".certbot.lock"
    with lock.open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done: list[subprocess.CompletedProcess[str]] = []
        runner = threading.Thread(target=lambda: done.append(host.run("create")))
        runner.start()
        wait_for(lambda: (host.backups / ".gte-ops-backup.lock").exists(), "the run to begin", within=20)
        runner.join(1.0)
        assert not done
        assert not host.archives()
        lock.unlink()
    runner.join(30)
    assert done[0].returncode == 0
    assert not lock.exists()
    assert len(host.archives()) == 1


def test_a_renewal_under_way_is_waited_for(host: Host) -> None:
    """The certificate has moved on and the key not yet: no backup is made of that."""
    live = host.letsencrypt / "live" / DOMAIN
    (live / "privkey.pem").unlink()
    (live / "privkey.pem").symlink_to(f"../../archive/{DOMAIN}/privkey1.pem")
    done: list[subprocess.CompletedProcess[str]] = []
    runner = threading.Thread(target=lambda: done.append(host.run("create")))
    runner.start()
    wait_for(lambda: (host.backups / ".gte-ops-backup.lock").exists(), "the run to begin", within=20)
    runner.join(1.5)
    assert not done
    assert not host.archives()
    write_lineage(host.letsencrypt, DOMAIN, Authority().issue([DOMAIN]), version=3)
    runner.join(30)
    assert done[0].returncode == 0, done[0].stderr
    assert any(each.startswith("2 certificates") for each in host.document("verify")["checked"])


@pytest.mark.long
def test_a_key_that_never_fits_is_refused(host: Host) -> None:
    live = host.letsencrypt / "live" / DOMAIN
    (live / "privkey.pem").unlink()
    (live / "privkey.pem").symlink_to(f"../../archive/{DOMAIN}/privkey1.pem")
    done = host.run("create")
    assert done.returncode == 2
    assert "do not belong together" in done.stderr
    assert sorted(p.name for p in host.backups.iterdir()) == [".gte-ops-backup.lock"]


def test_a_file_that_keeps_changing_is_left_out_and_told(host: Host) -> None:
    restless = host.root / "restless"
    restless.write_bytes(b"x")
    host.configure(include=[str(restless)])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with restless.open("ab") as file:
                file.write(b"x")
            time.sleep(0.0005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = host.run("create")
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 1
    assert "restless" in done.stderr
    assert host.document("verify")["good"] is True


def test_two_runs_at_once_both_make_a_backup(host: Host) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    runs = [threading.Thread(target=lambda: done.append(host.run("create"))) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [each.returncode for each in done] == [0, 0, 0]
    assert [each["good"] for each in host.document("list")["backups"]] == [True, True, True]


def test_left_overs_are_removed_by_the_next_run_and_nothing_else(host: Host) -> None:
    host.backups.mkdir(mode=0o700)
    name = "gte-ops-a-20260101T000000Z.tar.zst"
    for left in (f"{name}.partial", f"{name}.sha256.partial", f"{name}.sha256", "mine.partial", "mine.tgz"):
        (host.backups / left).write_bytes(b"half")
    assert host.document("list") == {"schema_version": 1, "status": "ok", "backups": []}
    assert host.run("create").returncode == 0
    names = {p.name for p in host.backups.iterdir()}
    assert {"mine.partial", "mine.tgz"} <= names
    assert not [each for each in names if name in each]


def test_prune_keeps_the_policy_and_says_what_it_would_do(host: Host) -> None:
    host.run("create")
    (newest,) = host.archives()
    for day in range(1, 29):
        name = f"gte-ops-{newest.name.split('-')[2]}-202601{day:02}T000000Z.tar.zst"
        shutil.copy(newest, host.backups / name)
        digest = newest.with_name(newest.name + ".sha256").read_text().split()[0]
        (host.backups / f"{name}.sha256").write_text(f"{digest}  {name}\n")
    host.configure(keep={"last": 1, "daily": 3, "weekly": 0, "monthly": 0})
    would = host.document("prune", "--dry-run")
    assert len(would["removed"]) == 26
    assert len(host.archives()) == 29
    assert host.document("prune")["removed"] == would["removed"]
    assert len(host.archives()) == 3
    assert newest in host.archives()
    assert not [p for p in host.backups.glob("*.sha256") if not Path(str(p)[:-7]).exists()]
    host.configure(keep={"last": 0, "daily": 0, "weekly": 0, "monthly": 0})
    for command in (["prune"], ["create"]):
        refused = host.run(*command)
        assert refused.returncode == 3
        assert "keep no backup" in refused.stderr
    assert len(host.archives()) == 3


def renamed(archive: Path, hostname: str, moment: str) -> Path:
    """A copy of the archive under the name of another host, or of another time."""
    copy = archive.with_name(f"gte-ops-{hostname}-{moment}.tar.zst")
    shutil.copy(archive, copy)
    digest = archive.with_name(archive.name + ".sha256").read_text().split()[0]
    copy.with_name(copy.name + ".sha256").write_text(f"{digest}  {copy.name}\n")
    return copy


def test_one_made_by_hand_outlives_the_next_with_its_label_and_a_pinned_one_every_policy(host: Host) -> None:
    host.configure(keep={"daily": 1, "weekly": 0, "monthly": 0})
    assert host.run("create", "--label", "before 升级").returncode == 0
    (by_hand,) = host.archives()
    host.run("create")
    assert by_hand in host.archives()
    assert [each["label"] for each in host.document("list")["backups"]] == [None, "before 升级"]
    assert "before 升级" in host.run("list").stdout
    host.configure(keep={"last": 1, "daily": 1, "weekly": 0, "monthly": 0})
    assert host.document("pin", by_hand.name)["changed"] is True
    assert host.document("prune")["removed"] == []
    assert host.document("unpin", str(by_hand))["changed"] is True
    assert host.document("prune")["removed"] == [str(by_hand)]
    assert not list(host.backups.glob(f"{by_hand.name}*"))
    assert host.run("create", "--label", "two\nlines").returncode == 3
    assert host.run("pin", "gte-ops.toml").returncode == 3


def test_the_newest_is_of_this_host_and_of_a_time_that_can_be(host: Host) -> None:
    """restic#1658: two hosts, one directory; a clock that was wrong."""
    host.run("create")
    (own,) = host.archives()
    other = renamed(own, "web2", "20991231T000000Z")
    ahead = renamed(own, platform.node(), "20991231T000000Z")
    verified = host.run("verify")
    assert verified.stdout.startswith(f"{own}: good")
    assert f"{ahead.name} is newer and was passed over: its time is in the future" in verified.stdout
    for path in (own, ahead):
        path.unlink()
    refused = host.run("restore", "--yes")
    assert refused.returncode == 2
    assert f"of web2 are used only by name, for example {other.name}" in refused.stderr
    assert host.run("verify", str(other)).returncode == 0


def test_a_name_that_is_no_utf_8_is_named_and_the_drill_fails(host: Host) -> None:
    """gsutil#1625: it was left out without a word, exit code 0, and the drill said OK."""
    odd = os.fsencode(host.letsencrypt / "renewal-hooks") + b"/\xff.sh"
    Path(os.fsdecode(odd)).write_text("# named by nobody\n")
    assert host.run("create", "--dry-run").returncode == 1
    done = host.run("create")
    assert done.returncode == 1
    assert "its name is not UTF-8" in done.stderr
    drilled = host.document("drill")
    complete = next(check for check in drilled["checks"] if check["name"] == "complete")
    assert complete["status"] == "fail"
    assert "its name is not UTF-8" in complete["detail"]


def test_a_drill_proves_that_the_archive_is_whole(host: Host) -> None:
    """What nginx -t does not open: a password file. The rest of the archive serves."""
    host.run("create")
    whole = {check["name"]: check["status"] for check in host.document("drill")["checks"]}
    assert whole["complete"] == "ok"
    (host.root / "auth" / "htpasswd").unlink()
    host.run("create")
    checks = {check["name"]: check for check in host.document("drill")["checks"]}
    assert checks["nginx_test"]["status"] == "ok"
    assert checks["complete"]["status"] == "fail"
    assert f"{host.root}/nginx/../auth/htpasswd" in checks["complete"]["detail"]


# --- off the host ------------------------------------------------------------------------------------------------


def test_a_tool_that_is_not_installed_is_said_before_anything_is_made(host: Host, tmp_path: Path) -> None:
    done = host.run("create", "--to", "rclone:x:y", env={"PATH": str(tmp_path)})
    assert done.returncode == 3
    assert "rclone is not installed" in done.stderr
    assert not host.backups.exists()


@pytest.mark.parametrize("written", ["nowhere", "ftp:x", "ssh:-oProxyCommand=x:dir", "ssh:host", "rclone:-x"])
def test_a_destination_that_is_none_is_refused(host: Host, written: str) -> None:
    done = host.run("create", "--to", written)
    assert done.returncode == 3
    assert "no destination" in done.stderr
    assert not host.backups.exists()


def test_a_copy_by_rclone_is_compared(host: Host, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert host.run("create", "--to", f"rclone:{there}").returncode == 0
    (archive,) = host.archives()
    assert (there / archive.name).read_bytes() == archive.read_bytes()
    assert (there / f"{archive.name}.sha256").exists()
    there.joinpath("file").write_text("")
    failed = host.run("create", "--to", f"rclone:{there}/file/below")
    assert failed.returncode == 2
    assert "not copied: rclone:" in failed.stderr
    assert len(host.archives()) == 2


def test_a_copy_by_restic_is_compared(host: Host, tmp_path: Path) -> None:
    environment = {"RESTIC_PASSWORD": "lab", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    repository = tmp_path / "repository"
    subprocess.run(
        ["restic", "-r", str(repository), "init"],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
    done = host.run("create", "--to", f"restic:{repository}", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = host.run(
        "create", "--to", f"restic:{repository}", env={**environment, "RESTIC_PASSWORD": "wrong"}
    )
    assert wrong.returncode == 2
    assert "not copied: restic:" in wrong.stderr


FAKE_SSH = """#!/bin/sh
# What sshd does: hands the words behind the host to a shell.
while [ "$1" != -- ]; do shift; done
shift 2
printf '%s\\n' "$*" >>"$SSH_LOG"
{tamper}
exec sh -c "$*"
"""


@pytest.mark.parametrize("tampered", [False, True])
def test_a_copy_by_ssh_is_compared(host: Host, tmp_path: Path, tampered: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    ssh = programs / "ssh"
    tamper = 'case $* in sha256sum*) printf x >>"$(ls "$THERE"/*.zst.partial)";; esac' if tampered else ""
    ssh.write_text(FAKE_SSH.format(tamper=tamper))
    ssh.chmod(0o755)
    there = tmp_path / "it's there"
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SSH_LOG": str(tmp_path / "log"),
        "THERE": str(there),
    }
    done = host.run("create", "--to", f"ssh:backup@host:{there}", env=environment)
    (archive,) = host.archives()
    if tampered:
        assert done.returncode == 2
        assert "its SHA-256 differs" in done.stderr
        assert not (there / archive.name).exists()
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert (there / archive.name).read_bytes() == archive.read_bytes()
        assert not list(there.glob("*.partial"))
        assert there.stat().st_mode & 0o777 == 0o700
