"""Certificate and key files as they lie about on hosts."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from ops.collect.services.certificate_files import certificate_files
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificates, KeyFile, PemFile
from ops.facts.target import Target
from tests.lab.authority import Authority, Issued, new_key

NAME = "gte.example"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue([NAME])


def look(certificate: Path | str | None, key: Path | str | None = None) -> Certificates:
    values: dict[str, Any] = dict.fromkeys(Target.__struct_fields__, None)
    values |= {"certificate": certificate and str(certificate), "private_key": key and str(key)}
    return certificate_files(Target(**values), NotSeen(reason="-"))


def leaf(path: Path | str) -> PemFile:
    found = look(path).leaf
    assert isinstance(found, PemFile), found
    return found


def key(path: Path | str) -> KeyFile:
    found = look(None, path).key
    assert isinstance(found, KeyFile), found
    return found


def written(directory: Path, content: bytes, name: str = "file.pem") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def test_a_certbot_lineage(issued: Issued, tmp_path: Path) -> None:
    archive = tmp_path / "archive" / NAME
    live = tmp_path / "live" / NAME
    archive.mkdir(parents=True)
    live.mkdir(parents=True)
    contents = {"cert": issued.pem, "chain": issued.chain_pem, "fullchain": issued.fullchain_pem}
    for name, content in (*contents.items(), ("privkey", issued.key_pem)):
        written(archive, content, f"{name}1.pem").chmod(0o600)
        (live / f"{name}.pem").symlink_to(f"../../archive/{NAME}/{name}1.pem")
    seen = look(live / "fullchain.pem", live / "privkey.pem")
    assert isinstance(seen.leaf, PemFile)
    assert isinstance(seen.key, KeyFile)
    assert (seen.leaf.problem, seen.key.problem) == (None, None)
    assert seen.leaf.resolved == os.path.realpath(archive / "fullchain1.pem")
    assert seen.leaf.certificates[0].names == (NAME,)
    assert len(seen.leaf.certificates) == 2
    assert seen.key.public_key == seen.leaf.certificates[0].public_key
    assert seen.key.mode == 0o600
    assert abs((seen.leaf.modified or 0) - time.time()) < 60
    assert [file.path for file in seen.nearby] == [str(live / "chain.pem")]


def test_nothing_of_the_key_is_kept(issued: Issued, tmp_path: Path) -> None:
    path = written(tmp_path, issued.key_pem)
    kept = msgspec.json.encode(look(path, path)).decode()
    for line in issued.key_pem.decode().splitlines()[1:-1]:
        assert line not in kept
    damaged = written(tmp_path, issued.key_pem.replace(b"\nM", b"\nA"), "damaged.pem")
    assert key(damaged).problem == "not_pem"
    for line in issued.key_pem.decode().splitlines()[1:-1]:
        assert line[5:] not in msgspec.json.encode(look(damaged, damaged)).decode()


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_a_key_belongs_to_its_certificate_and_to_no_other(
    authority: Authority, tmp_path: Path, kind: str
) -> None:
    certified, other = authority.issue([NAME], kind=kind), new_key("ecdsa")
    certificate = written(tmp_path, certified.pem, "cert.pem")
    public = leaf(certificate).certificates[0].public_key
    pkcs1 = certified.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for content in (
        certified.key_pem,
        pkcs1,
        parameters + pkcs1,
        certified.pem + certified.key_pem,
        b"Bag Attributes\r\n    friendlyName: x\r\n" + certified.key_pem.replace(b"\n", b"\r\n"),
    ):
        assert key(written(tmp_path, content, "key.pem")).public_key == public
    foreign = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert key(written(tmp_path, foreign, "other.pem")).public_key not in (public, None)


def test_an_ed25519_key(tmp_path: Path) -> None:
    content = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert len(key(written(tmp_path, content)).public_key or "") == 64


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_an_encrypted_key(tmp_path: Path, form: str) -> None:
    content = new_key().private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, form),
        serialization.BestAvailableEncryption(b"secret"),
    )
    found = key(written(tmp_path, content))
    assert (found.problem, found.public_key) == ("encrypted", None)


@pytest.mark.parametrize(
    ("content", "problem", "detail"),
    [
        (b"", "empty", "empty"),
        (b" \n\n", "empty", "empty"),
        (b"hello\n", "not_pem", "no PEM block"),
        ("-----BEGIN CERTIFICATE-----".encode("utf-16"), "not_pem", "UTF-16"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "not_pem", "not base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not_pem", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAAA\n-----END CERTIFICATE-----\n", "not_pem", "certificate 1"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
            "not_pem",
            "REQUEST",
        ),
        (b"x" * ((1 << 20) + 1), "not_pem", "larger than 1 MiB"),
    ],
)
def test_what_is_no_certificate_file(tmp_path: Path, content: bytes, problem: str, detail: str) -> None:
    found = leaf(written(tmp_path, content))
    assert (found.problem, found.certificates) == (problem, ())
    assert detail in found.detail


def test_a_file_cut_off_in_the_middle(issued: Issued, tmp_path: Path) -> None:
    found = leaf(written(tmp_path, issued.fullchain_pem[:-100]))
    assert found.problem == "not_pem"
    assert found.detail == "certificate 2 has no END line: the file is cut off"
    assert len(found.certificates) == 1


def test_der_is_told_from_pem(issued: Issued, tmp_path: Path) -> None:
    der = issued.certificate.public_bytes(serialization.Encoding.DER)
    assert "DER" in leaf(written(tmp_path, der)).detail
    assert "DER" in key(written(tmp_path, der)).detail


def test_a_certificate_where_the_key_should_be(issued: Issued, tmp_path: Path) -> None:
    swapped = look(written(tmp_path, issued.key_pem, "a.pem"), written(tmp_path, issued.pem, "b.pem"))
    assert isinstance(swapped.leaf, PemFile)
    assert isinstance(swapped.key, KeyFile)
    assert (swapped.leaf.problem, swapped.leaf.detail) == ("not_pem", "it holds PRIVATE KEY instead")
    assert (swapped.key.problem, swapped.key.detail) == ("not_pem", "it holds CERTIFICATE instead")


def test_missing_and_dangling_are_told_apart(tmp_path: Path) -> None:
    assert leaf(tmp_path / "no.pem").problem == "missing"
    assert leaf(tmp_path / "no" / "no.pem").problem == "missing"
    (tmp_path / "link.pem").symlink_to("gone.pem")
    (tmp_path / "live").symlink_to("archive")
    for path, link in ((tmp_path / "link.pem", "link.pem"), (tmp_path / "live" / "fullchain.pem", "live")):
        found = leaf(path)
        assert (found.problem, found.detail) == (
            "dangling",
            f"{tmp_path / link} is a symbolic link to something that does not exist",
        )
        assert key(path).problem == "dangling"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", tmp_path / "loop", tmp_path / ("x" * 300)):
        assert leaf(path).problem == "unreadable", path
        assert key(path).problem == "unreadable", path
    assert leaf("/etc/a\0b").problem == "unreadable"


@pytest.mark.parametrize("path", ["data:$cert", "engine:pkcs11:key", "/etc/ssl/$ssl_server_name.pem"])
def test_what_is_no_path_is_not_seen(path: str) -> None:
    seen = look(path, path)
    assert isinstance(seen.leaf, NotSeen)
    assert isinstance(seen.key, NotSeen)


def test_nothing_configured() -> None:
    seen = look(None)
    assert isinstance(seen.leaf, NotSeen)
    assert isinstance(seen.key, NotSeen)
    assert seen.nearby == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_this_user_may_not_read_is_not_called_missing(issued: Issued, tmp_path: Path) -> None:
    pair = written(tmp_path, issued.pem + issued.key_pem)
    pair.chmod(0o600)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            seen = look(pair, pair)
            if isinstance(seen.leaf, NotSeen) and seen.leaf.needs_root and isinstance(seen.key, KeyFile):
                status = 0 if (seen.key.problem, seen.key.mode) == ("unreadable", 0o600) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nearby_holds_authorities_only_and_not_for_ever(
    authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    certificate = written(tmp_path, issued.pem, "site.crt")
    written(tmp_path, authority.intermediate.pem, "intermediate.crt")
    written(tmp_path, authority.root.pem, "root.cer")
    written(tmp_path, issued.pem, "copy.pem")
    written(tmp_path, issued.key_pem, "key.pem")
    written(tmp_path, authority.root.pem, "readme.txt")
    os.mkfifo(tmp_path / "pipe.pem")
    names = [Path(file.path).name for file in look(certificate).nearby]
    assert names == ["intermediate.crt", "root.cer"]
    for number in range(40):
        written(tmp_path, authority.root.pem, f"a{number}.pem")
    assert len(look(certificate).nearby) <= 20


@pytest.mark.parametrize("command", [["openssl", "x509"], ["openssl", "x509", "-trustout"]])
def test_what_openssl_writes_is_read(issued: Issued, tmp_path: Path, command: list[str]) -> None:
    try:
        made = subprocess.run([*command, "-text"], input=issued.pem, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert leaf(written(tmp_path, made)).certificates[0].names == (NAME,)


def _variants(issued: Issued) -> dict[str, bytes]:
    """One certificate and its issuer's, written in many ways."""
    leaf, above = issued.pem, issued.chain_pem
    end = b"-----END CERTIFICATE-----"
    lines = leaf.splitlines(keepends=True)
    return {
        "plain": leaf + above,
        "joined": leaf.rstrip() + above,
        "byte-order mark": b"\xef\xbb\xbf" + leaf + above,
        "indented": b"".join(b"  " + line for line in lines) + above,
        "indented issuer": leaf + b" " + above,
        "text before": b"subject=/CN=x\n" + leaf + above,
        "text on the line": b"cert: " + leaf + above,
        "crlf": (leaf + above).replace(b"\n", b"\r\n"),
        "carriage returns": (leaf + above).replace(b"\n", b"\r"),
        "one line": leaf.replace(b"\n", b"") + b"\n" + above,
        "escaped": (leaf + above).replace(b"\n", rb"\n"),
        "no last END": leaf + above.replace(end, b""),
        "a line lost": b"".join(lines[:4] + lines[5:]) + above,
        "an issuer's line lost": leaf + b"".join(above.splitlines(keepends=True)[:4]) + end + b"\n",
        "not base64": leaf + above.replace(b"M", b"*", 1),
        "key first": issued.key_pem + leaf + above,
        "wrong order": above + leaf,
        "twice": leaf + leaf + above,
        "blank line": leaf.replace(b"\n", b"\n\n", 3) + above,
        "wrong END": leaf.replace(b"END CERTIFICATE", b"END PUBLIC KEY") + above,
        "END glued": leaf.replace(b"\n-----END", b"-----END") + above,
        "four dashes": leaf.replace(b"-----BEGIN", b"----BEGIN") + above,
        "commented": b"".join(b"# " + line for line in lines) + leaf + above,
    }


def test_a_file_is_called_sound_where_nginx_takes_it(issued: Issued, tmp_path: Path) -> None:
    """Both ways: what nginx refuses is named, and what it takes is not called broken."""
    private = written(tmp_path, issued.key_pem, "privkey.pem")
    conf = written(
        tmp_path,
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; server {{"
        f" listen 127.0.0.1:1 ssl; ssl_certificate {tmp_path}/site.pem; ssl_certificate_key {private}; }} }}".encode(),
        "nginx.conf",
    )
    wanted = key(private).public_key
    differing = []
    for name, content in _variants(issued).items():
        file = leaf(written(tmp_path, content, "site.pem"))
        is_sound = file.problem is None and file.certificates[0].public_key == wanted
        test = subprocess.run(
            ["nginx", "-t", "-q", "-p", tmp_path, "-c", conf], capture_output=True, check=False
        )
        if is_sound != (test.returncode == 0):
            differing.append((name, test.stderr.decode(), file.detail))
    assert differing == []
