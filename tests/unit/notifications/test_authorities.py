"""A file of roots is trusted as a whole or not at all: one damaged block would spoil the bundle of all destinations."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from ops.errors import SettingsError
from ops.notifications import sandbox
from ops.notifications.authorities import read_authorities, unusable_authorities

END = "-----END CERTIFICATE-----\n"
ROOTS = [f"{block}{END}" for block in Path(certifi.where()).read_text("utf-8").split(END)[:2]]
ROOT = ROOTS[0][ROOTS[0].index("-----BEGIN") :]
BAD = f"-----BEGIN CERTIFICATE-----\nnonsense\n{END}"


@pytest.mark.parametrize("text", [ROOT, "".join(ROOTS), ROOT.replace("\n", "\r\n"), f"# ours\n{ROOT}{ROOT}"])
def test_whole_blocks_are_taken_as_they_are(tmp_path: Path, text: str) -> None:
    path = tmp_path / "root.pem"
    path.write_bytes(text.encode())
    assert read_authorities(str(path)) == text.encode()
    assert unusable_authorities(str(path)) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "no certificate in PEM form"),
        (ssl.PEM_cert_to_DER_cert(ROOT), "no certificate in PEM form"),
        (ROOT.encode("utf-16"), "no certificate in PEM form"),
        (BAD.encode(), "damaged"),
        ((ROOT + BAD).encode(), "damaged"),
        ((BAD + ROOT).encode(), "damaged"),
        ((ROOT + ROOT.removesuffix(END)).encode(), "damaged"),
        ((ROOT + ROOT.removeprefix("-")).encode(), "damaged"),
        (b"\xef\xbb\xbf" + "".join((ROOT, ROOT)).encode(), "damaged"),
    ],
)
def test_a_file_of_no_use_is_named_and_spoils_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=why) as raised:
        read_authorities(str(path))
    words = raised.value.words
    assert str(path) in words.en
    assert "openssl x509" in words.en
    assert str(path) in words.to("zh")
    assert "不信任" in words.to("zh")
    monkeypatch.setattr(certifi, "where", certifi.where)
    environment: dict[str, str] = {}
    sandbox._take_up_authorities(environment, str(path))
    public = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    public.load_verify_locations(environment["REQUESTS_CA_BUNDLE"])
    assert len(public.get_ca_certs()) > 10


def test_no_file_is_no_trouble() -> None:
    assert unusable_authorities("") is None
