"""Signed archives, with the real ssh-keygen; and the question before one of unknown origin is restored."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.backups.made_here import LIST_NAME
from ops.backups.signature import check_signature, sign
from ops.files.nofollow import reason_not_to_trust
from tests.system.backup_host import REPOSITORY, Host, lay_out

WHO = "backup@web1"


class Key:
    """An SSH key of the operator's, and the file that allows its signatures."""

    def __init__(self, place: Path, kind: str = "ed25519") -> None:
        place.mkdir(mode=0o700)
        self.private = place / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(self.private)], check=True
        )
        self.public = place / "key.pub"
        self.signers = place / "allowed_signers"
        self.signers.write_text(f'{WHO} namespaces="gte-ops-backup" {self.public.read_text()}')


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return lay_out(tmp_path / "host")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path / "key")


@pytest.fixture
def signed(host: Host, key: Key) -> Path:
    """A signed backup of a host that asks for signatures."""
    host.configure(signing_key=str(key.private), allowed_signers=str(key.signers))
    done = host.run("create")
    assert (done.returncode, done.stderr) == (0, "")
    return host.archives()[0]


def signature(archive: Path) -> Path:
    return archive.with_name(archive.name + ".sig")


def forge(archive: Path) -> None:
    """Another archive in its place, as whole as the first, with the checksum that belongs to it."""
    import hashlib

    import zstandard

    content = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes())
    forged = zstandard.ZstdCompressor(level=7).compress(content)
    archive.write_bytes(forged)
    archive.with_name(archive.name + ".sha256").write_text(
        f"{hashlib.sha256(forged).hexdigest()}  {archive.name}\n"
    )


# --- signing ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_signed_and_anybody_can_check_it_with_openssh_alone(signed: Path, key: Key) -> None:
    assert signature(signed).stat().st_mode & 0o777 == 0o600
    with signed.open("rb") as content:
        subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", key.signers, "-I", WHO, "-n", "gte-ops-backup",
             "-s", signature(signed)],
            stdin=content, check=True,
        )  # fmt: skip


@pytest.mark.usefixtures("signed")
def test_verify_list_and_restore_say_that_the_signature_is_good(host: Host) -> None:
    verified = host.document("verify")
    assert (verified["good"], verified["signature"]) == (True, "good")
    assert f"signature of {WHO}" in verified["checked"]
    assert [each["signature"] for each in host.document("list")["backups"]] == ["good"]
    assert host.run("restore", "--yes", "--root", f"{host.root}/new").returncode == 0


def test_without_allowed_signers_nothing_is_said_of_signatures(host: Host) -> None:
    host.run("create")
    assert host.document("verify")["signature"] is None
    assert [each["signature"] for each in host.document("list")["backups"]] == [None]


@pytest.mark.parametrize("kind", ["forged", "of another", "no signature", "another namespace"])
def test_a_bad_signature_is_refused_everywhere(
    host: Host, signed: Path, key: Key, tmp_path: Path, kind: str
) -> None:
    if kind == "forged":
        forge(signed)
    elif kind == "of another":
        signature(signed).write_bytes(sign(signed, str(Key(tmp_path / "other").private)))
    elif kind == "no signature":
        signature(signed).write_bytes(b"nonsense\x1b[2J")
    else:
        signature(signed).unlink()
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", key.private, "-n", "file", signed], check=True
        )
    verified = host.document("verify", str(signed))
    assert (verified["good"], verified["signature"]) == (False, "bad")
    assert any(each.startswith("its signature is bad: ") for each in verified["problems"])
    assert [each["signature"] for each in host.document("list")["backups"]] == ["bad"]
    new = host.root / "new"
    for arguments in (
        ["drill"],
        ["restore", "--yes", "--unsigned"],
        ["restore", "--yes", "--root", str(new)],
    ):
        done = host.run(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
        assert "its signature is bad" in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
    assert not [each for each in new.rglob("*") if each.is_file()]


def test_a_missing_signature_is_refused_unless_said_otherwise(host: Host, signed: Path) -> None:
    signature(signed).unlink()
    verified = host.run("verify")
    assert verified.returncode == 2
    assert "it is not signed" in verified.stdout
    assert host.run("verify", "--unsigned").returncode == 0
    assert [each["signature"] for each in host.document("list")["backups"]] == ["missing"]
    refused = host.run("drill")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "not signed" not in host.run("drill", "--unsigned").stderr
    new = ["--yes", "--root", f"{host.root}/new"]
    refused = host.run("restore", *new)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--unsigned" in refused.stderr
    assert host.run("restore", *new, "--unsigned").returncode == 0


def test_an_encrypted_backup_is_checked_without_its_identity(host: Host, key: Key) -> None:
    import pyrage

    host.configure(
        recipients=[str(pyrage.x25519.Identity.generate().to_public())],
        signing_key=str(key.private), allowed_signers=str(key.signers),
    )  # fmt: skip
    assert host.run("create").returncode == 0
    assert host.document("verify")["signature"] == "good"


def test_a_key_that_others_may_read_is_refused_before_anything_is_done(host: Host, key: Key) -> None:
    key.private.chmod(0o640)
    host.configure(signing_key=str(key.private))
    done = host.run("create")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert f"{key.private}: others than its owner may use this key" in done.stderr
    assert "(mode 0640)" in done.stderr
    assert not host.backups.exists()


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("setting", ["signing_key", "allowed_signers"])
def test_a_file_that_others_may_write_is_refused(host: Host, key: Key, setting: str) -> None:
    files = {"signing_key": key.public, "allowed_signers": key.signers}
    host.configure(**{setting: str(files[setting])})
    files[setting].chmod(0o666)
    done = host.run("create" if setting == "signing_key" else "verify")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert f"{files[setting]}, of backup.{setting}, is not used: everybody may write" in done.stderr


@pytest.mark.parametrize("content", ["", "nonsense", "[backup]\n"])
def test_what_is_no_key_is_said_in_one_line(host: Host, tmp_path: Path, content: str) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(content)
    wrong.chmod(0o600)
    host.configure(signing_key=str(wrong))
    done = host.run("create")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "is neither an SSH private key nor a public one" in done.stderr


def test_a_backup_that_cannot_be_signed_is_made_and_said(host: Host, key: Key) -> None:
    """A public key whose agent is not there: an unsigned backup is better than none."""
    key.private.unlink()
    host.configure(signing_key=str(key.public))
    done = host.run("create", env={"SSH_AUTH_SOCK": "/nonexistent"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "not signed" in done.stderr
    assert len(host.archives()) == 1
    assert not signature(host.archives()[0]).exists()


def test_a_key_with_a_passphrase_asks_nobody(host: Host, key: Key) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key.private)], check=True)
    host.configure(signing_key=str(key.private))
    done = host.run("create", env={"SSH_AUTH_SOCK": "/nonexistent"})
    assert done.returncode == 1
    assert "not signed" in done.stderr


def test_an_agent_signs(host: Host, key: Key, tmp_path: Path) -> None:
    """The key itself may lie elsewhere: the settings name its public half."""
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        environment = {"SSH_AUTH_SOCK": str(socket)}
        add = ["ssh-add", "-q", str(key.private)]
        while subprocess.run(
            add, env=os.environ | environment, check=False, stderr=subprocess.DEVNULL
        ).returncode:
            assert agent.poll() is None
        key.private.unlink()
        host.configure(signing_key=str(key.public), allowed_signers=str(key.signers))
        done = host.run("create", env=environment)
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        agent.terminate()
        agent.wait()
    assert host.document("verify")["signature"] == "good"


@pytest.mark.usefixtures("signed")
def test_the_signature_goes_where_the_archive_goes(host: Host) -> None:
    for _ in range(6):
        assert host.run("create").returncode == 0
    host.configure(keep={"last": 0, "daily": 1, "weekly": 0, "monthly": 0})
    assert host.run("prune").returncode == 0
    (left,) = host.archives()
    assert {each.name for each in host.backups.glob("*.sig")} == {signature(left).name}
    left.unlink()
    assert host.run("prune").returncode == 0
    assert not list(host.backups.glob("gte-ops-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
def test_a_signature_is_read_without_privileges(
    signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = subprocess.run

    def watched(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        preexec = options.pop("preexec_fn")
        told = real(["id", "-u"], **{**options, "stdin": subprocess.DEVNULL, "preexec_fn": preexec})  # type: ignore[call-overload]
        seen.append(int(told.stdout))
        done: subprocess.CompletedProcess[bytes] = real(command, **options, preexec_fn=preexec)  # type: ignore[call-overload]
        return done

    monkeypatch.setattr(subprocess, "run", watched)
    assert check_signature(signed, str(key.signers)).state == "good"
    assert seen
    assert 0 not in seen


# --- the question -----------------------------------------------------------------------------------------------------


@pytest.fixture
def made_here(host: Host) -> Path:
    """A backup that this host made, of a file whose content changed since."""
    host.run("create")
    (host.root / "cron.d/gte-ops").write_text("# changed\n")
    return host.archives()[0]


def changed(host: Host) -> bool:
    return (host.root / "cron.d/gte-ops").read_text() == "# changed\n"


def restore(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    return host.run("restore", *arguments, f"{host.root}/cron.d")


@pytest.mark.usefixtures("made_here")
def test_what_this_host_made_is_restored_without_a_question(host: Host) -> None:
    done = restore(host, "--yes")
    assert done.returncode == 0, done.stderr
    assert not changed(host)


def foreign(host: Host, made_here: Path) -> Path:
    """The same archive on a host that did not make it."""
    (host.backups / LIST_NAME).unlink()
    return made_here


def test_yes_alone_does_not_vouch_for_an_archive_from_elsewhere(host: Host, made_here: Path) -> None:
    archive = foreign(host, made_here)
    done = restore(host, "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{archive}: it is not signed, and was not made on this host" in done.stderr
    assert "--unsigned" in done.stderr
    assert changed(host)
    assert restore(host, "--yes", "--unsigned").returncode == 0
    assert not changed(host)


def test_looking_and_restoring_elsewhere_asks_nothing(host: Host, made_here: Path) -> None:
    foreign(host, made_here)
    assert host.run("restore", "--dry-run").returncode == 0
    assert host.run("restore", "--yes", "--root", f"{host.root}/new").returncode == 0


@pytest.mark.parametrize(
    "change", ["another archive", "another machine's list", "a list that others may write"]
)
def test_what_an_archive_or_another_host_says_of_its_origin_counts_for_nothing(
    host: Host, made_here: Path, change: str
) -> None:
    list_file = host.backups / LIST_NAME
    if change == "another archive":
        forge(made_here)
    elif change == "another machine's list":
        list_file.write_text(list_file.read_text().replace("machine ", "machine f"))
    else:
        list_file.chmod(0o666)
    assert restore(host, "--yes").returncode == 2
    assert changed(host)


def test_an_archive_that_others_can_change_meanwhile_is_asked_about(
    host: Host, made_here: Path, tmp_path: Path
) -> None:
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    copy = shutil.copy(made_here, place)
    done = restore(host, "--yes", str(copy))
    assert done.returncode == 2
    assert "others may change it while it is read" in done.stderr
    assert changed(host)


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_on_a_terminal_it_asks_though_yes_was_given(
    host: Host, made_here: Path, answer: str, code: int
) -> None:
    foreign(host, made_here)
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "ops.cli",
        "backup",
        "restore",
        "--yes",
        "--config",
        str(host.config),
        made_here.name,
    ]
    process = subprocess.Popen(
        [*command, f"{host.root}/cron.d"], stdin=theirs, stdout=theirs, stderr=theirs, cwd="/",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # the other end is closed: Linux says EIO
        pass
    os.close(ours)
    assert process.wait(60) == code, said
    assert b"Use it all the same?" in said
    assert changed(host) is (answer == "n")


def test_the_list_of_what_was_made_here_is_roots_alone(host: Host, made_here: Path) -> None:
    list_file = host.backups / LIST_NAME
    assert list_file.stat().st_mode & 0o777 == 0o600
    assert reason_not_to_trust(str(list_file)) is None
    assert made_here.name in list_file.read_text()


@pytest.mark.usefixtures("made_here")
def test_what_a_restore_replaced_can_be_restored_without_a_question(host: Host) -> None:
    done = json.loads(restore(host, "--yes", "--format", "json").stdout)
    assert not changed(host)
    again = restore(host, "--yes", done["safety_backup"])
    assert again.returncode == 0, again.stderr
    assert changed(host)
