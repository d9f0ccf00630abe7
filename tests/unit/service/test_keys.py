"""API keys: kept as hashes, read again when the file changes, never fewer because a file is torn."""

import json
import logging
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.keys import __main__ as command
from service.keys.key_file import Key, KeyFileError, add, new_key, read, remove, write
from service.keys.keyring import Keyring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def put(path: Path, *names: str) -> dict[str, str]:
    """A new file of keys; name to key."""
    made = {name: new_key(name) for name in names}
    write(path, [stored_key for _, stored_key in made.values()])
    return {name: key for name, (key, _) in made.items()}


def test_the_file_is_its_owners_alone_and_holds_no_key(path: Path) -> None:
    keys = put(path, "a", "b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(key in path.read_text() or key[4:] in path.read_text() for key in keys.values())
    assert [key.name for key in read(path)] == ["a", "b"]
    assert list(path.parent.iterdir()) == [path]


def test_no_two_keys_are_alike_and_each_has_256_random_bits() -> None:
    keys = {new_key("a")[0] for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == len("gte_") + 43 for key in keys)  # 32 bytes in base64 without padding


@pytest.mark.parametrize("name", ["", " a", "a b", "-a", "a\n", "名", "a" * 65, "a\x1b[31m"])
def test_a_name_that_could_break_a_log_line_is_refused(name: str) -> None:
    with pytest.raises(KeyFileError, match="a name is"):
        new_key(name)


def test_a_ring_knows_its_keys_by_name_and_no_other(path: Path) -> None:
    keys = put(path, "a", "b")
    keyring = Keyring(path)
    assert {name: keyring.name_of(key) for name, key in keys.items()} == {"a": "a", "b": "b"}
    for wrong in (
        "",
        "gte_",
        keys["a"][:-1],
        keys["a"] + "x",
        keys["a"].upper(),
        read(path)[0].sha256,
        "\udc80",
    ):
        assert keyring.name_of(wrong) is None


def test_a_change_of_the_file_holds_from_the_next_request_on(path: Path) -> None:
    old = put(path, "a")
    keyring = Keyring(path)
    assert keyring.name_of(old["a"]) == "a"
    new = put(path, "b")
    assert (keyring.name_of(old["a"]), keyring.name_of(new["b"])) == (None, "b")
    write(path, [])
    assert keyring.name_of(new["b"]) is None


WHOLE = json.dumps({"keys": [{"name": "b", "sha256": "0" * 64, "created": "now"}]})
BROKEN = {
    "empty": "",
    "torn": WHOLE[:-10],
    "not JSON": "b:0000",
    "a list": "[]",
    "no keys": "{}",
    "keys of a wrong type": '{"keys": {}}',
    "an entry of a wrong type": '{"keys": ["b"]}',
    "a short hash": WHOLE.replace("0" * 64, "0" * 63),
    "a bad name": WHOLE.replace('"b"', r'"b\n"'),
    "a name twice": json.dumps({"keys": json.loads(WHOLE)["keys"] * 2}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_keeps_the_old_keys_and_says_so_once(
    path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = put(path, "a")["a"]
    keyring = Keyring(path)
    assert keyring.name_of(key) == "a"
    path.write_text(BROKEN[name])
    with caplog.at_level(logging.ERROR, "service"):
        assert [keyring.name_of(key) for _ in range(3)] == ["a"] * 3
    (message,) = caplog.messages
    assert "the 1 keys read before stay" in message
    assert key not in message
    put(path, "c")
    assert keyring.name_of(key) is None


def test_a_file_that_is_gone_keeps_the_old_keys_too(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = put(path, "a")["a"]
    keyring = Keyring(path)
    assert keyring.name_of(key) == "a"
    path.unlink()
    assert [keyring.name_of(key) for _ in range(3)] == ["a"] * 3
    assert len([message for message in caplog.messages if "stay" in message]) == 1


def test_where_no_file_was_ever_read_no_key_is_accepted(path: Path) -> None:
    keyring = Keyring(path)
    assert keyring.name_of("gte_x") is None
    key = put(path, "a")["a"]
    assert keyring.name_of(key) == "a"


def test_a_file_that_others_may_write_to_is_not_believed(path: Path) -> None:
    put(path, "a")
    path.chmod(0o620)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read(path)


def test_a_file_that_others_may_read_is_used_and_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = put(path, "a")["a"]
    path.chmod(0o644)
    assert Keyring(path).name_of(key) == "a"
    assert "mode 644; 600 is expected" in caplog.text


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        read(tmp_path)


def run(path: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of the command."""
    done = subprocess.run(
        [sys.executable, "-m", "service.keys", "--file", str(path), *arguments],
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_shows_a_key_once_lists_names_and_revokes(path: Path) -> None:
    invoke = CliRunner().invoke
    made = invoke(command.main, ["--file", str(path), "create", "mobile-app"])
    key = made.stdout.strip()
    assert made.exit_code == 0
    assert Keyring(path).name_of(key) == "mobile-app"
    listed = invoke(command.main, ["--file", str(path), "list"]).stdout
    assert listed.startswith("mobile-app\t2")
    assert key not in listed
    assert invoke(command.main, ["--file", str(path), "revoke", "mobile-app"]).exit_code == 0
    assert read(path) == ()


def test_its_errors_are_one_line_each(path: Path) -> None:
    put(path, "a")
    for change in (lambda: add(path, "a"), lambda: remove(path, "b"), lambda: add(path, "a b")):
        with pytest.raises(KeyFileError):
            change()
    code, output, complaint = run(path, "create", "a")
    assert (code, output, complaint.count("\n")) == (1, "", 1), complaint
    assert run(path, "nonsense")[0] == 3
    assert [key.name for key in read(path)] == ["a"]


def test_keys_made_side_by_side_are_all_kept(path: Path) -> None:
    def make(number: int) -> None:
        add(path, f"k{number}")

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(key.name for key in read(path)) == [f"k{number}" for number in range(8)]


def test_a_write_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, "a")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        write(path, [Key("b", "0" * 64, "")])
    assert [key.name for key in read(path)] == ["a"]
    assert list(path.parent.iterdir()) == [path]
