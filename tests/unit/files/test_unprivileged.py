"""A program that reads foreign bytes has none of its caller's privileges."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.files import unprivileged
from ops.files.unprivileged import UnprivilegedAccount, drop_privileges, give, unprivileged_account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")


def run_dropped(*command: str, network: bool = False) -> str:
    account = unprivileged_account()
    return subprocess.run(
        command,
        preexec_fn=drop_privileges(account, network=network),
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout


@as_root
def test_root_becomes_a_user_who_owns_nothing_and_has_no_capability() -> None:
    account = unprivileged_account()
    assert account is not None
    assert account.uid >= 61184
    status = dict(
        line.split(":", 1) for line in run_dropped("cat", "/proc/self/status").splitlines() if ":" in line
    )
    assert len(set(status["Uid"].split())) == 1
    assert "0" not in status["Uid"].split() + status["Gid"].split() + status["Groups"].split()
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


@as_root
def test_without_network_there_is_a_loopback_of_its_own_and_nothing_else() -> None:
    ours = Path("/proc/self/net/dev").read_text()
    theirs = run_dropped("cat", "/proc/self/net/dev")
    assert [line.split(":")[0].strip() for line in theirs.splitlines()[2:]] == ["lo"]
    assert str(Path("/proc/self/ns/net").readlink()) != run_dropped("readlink", "/proc/self/ns/net").strip()
    assert (
        str(Path("/proc/self/ns/net").readlink())
        == run_dropped("readlink", "/proc/self/ns/net", network=True).strip()
    )
    assert "lo:" in ours


def test_a_user_id_in_use_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(unprivileged, "_users_of_processes", lambda: set(range(61184, 65520)))
    assert unprivileged_account() == UnprivilegedAccount(unprivileged.NOBODY, unprivileged.NOBODY)


def test_who_is_not_root_has_nothing_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged_account() is None


@as_root
@pytest.mark.parametrize("keeps", [True, False])
def test_the_power_to_read_every_file_is_passed_on_to_no_program(keeps: bool) -> None:
    """As in the units of the certificate check and the drill: an account of its own with CAP_DAC_READ_SEARCH."""
    call = "from ops.files.unprivileged import keep_capabilities; keep_capabilities(); " if keeps else ""
    program = f"{call}import subprocess; open('/etc/shadow').close(); subprocess.run(['head', '-c1', '/etc/shadow'])"
    one = "-all,+dac_read_search"
    account = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
    ran = subprocess.run(
        ["setpriv", *account, "--inh-caps", one, "--ambient-caps", one, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        timeout=20,
    )
    assert bool(ran.stdout) is not keeps, "without the call a program can read it: else this proves nothing"
    assert ("Permission denied" in ran.stderr) is keeps


@as_root
def test_a_tree_is_given_without_following_its_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("root's")
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "link").symlink_to(outside)
    give(tree, UnprivilegedAccount(61234, 61234))
    assert outside.stat().st_uid == 0
    assert {tree.stat().st_uid, (tree / "below").stat().st_uid, (tree / "below/link").lstat().st_uid} == {
        61234
    }
