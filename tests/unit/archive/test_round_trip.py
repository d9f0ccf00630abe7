"""What was written is what is read, by this program and by plain tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyrage
import pytest
import zstandard

from ops.archive import manifest as manifests
from ops.archive.encryption import encrypt
from ops.archive.error import LockedArchiveError
from ops.archive.reading import open_archive
from ops.archive.writing import compressed, tar_stream
from tests.unit.archive.made_archive import CONTENTS, packed, read, sample


@pytest.mark.parametrize("compression", ["zst", "gz"])
def test_every_file_comes_back_as_it_was(tmp_path: Path, compression: str) -> None:
    path = packed(tmp_path / "a", sample(), compression=compression)
    assert read(path) == CONTENTS
    with open_archive(path) as archive:
        assert archive.manifest == sample()
        assert [m.entry for m in archive.members()] == list(sample().entries)


def test_plain_tar_opens_it(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.zst", sample())
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        names = tar.getnames()
        assert names[0] == manifests.MANIFEST_NAME
        assert names[1:] == [entry.path for entry in sample().entries]
        assert tar.getmember("etc/letsencrypt/archive/a/privkey1.pem").mode == 0o600
        assert tar.getmember("etc/letsencrypt/live/a/privkey.pem").linkname == "../../archive/a/privkey1.pem"
        extracted = tar.extractfile("etc/nginx/说明.txt")
        assert extracted is not None
        assert extracted.read() == CONTENTS["etc/nginx/说明.txt"]


def test_encrypted_it_opens_with_the_identity_alone(tmp_path: Path) -> None:
    identity, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    path = tmp_path / "a.tar.zst.age"
    chunks = compressed(tar_stream(sample(), lambda entry: [CONTENTS[entry.path]]), "zst")
    with path.open("wb") as file:
        encrypt(chunks, file, [identity.to_public()])
    assert read(path, (identity,)) == CONTENTS
    with pytest.raises(LockedArchiveError, match="not to any of the identities"):
        read(path, (other,))
    with pytest.raises(LockedArchiveError, match="--identity"):
        read(path)
    plain = pyrage.decrypt(path.read_bytes(), [identity])
    assert plain.startswith(b"\x28\xb5\x2f\xfd")


def test_what_making_the_content_raised_is_what_the_caller_sees(tmp_path: Path) -> None:
    def failing(_entry: object) -> list[bytes]:
        raise FileNotFoundError(2, "gone")

    with (tmp_path / "a").open("wb") as file, pytest.raises(FileNotFoundError):
        encrypt(
            compressed(tar_stream(sample(), failing), "zst"),
            file,
            [pyrage.x25519.Identity.generate().to_public()],
        )
