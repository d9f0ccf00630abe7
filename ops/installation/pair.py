"""Whether a certificate and a private key are a pair that nginx would load."""

from __future__ import annotations

from ops.collect.services.certificate_files import key_file, pem_file
from ops.facts.certificates import KeyFile, PemFile
from ops.text.language import Text
from ops.text.sanitize import safe_line


def pair_defect(certificate: str, key: str) -> Text | None:
    """Why nginx would not load this pair; None if it would."""
    leaf, private = pem_file(certificate), key_file(key)
    for path, file in ((certificate, leaf), (key, private)):
        if not isinstance(file, PemFile | KeyFile):
            words = safe_line(file.reason)
            return Text(en=f"{path}: {words}", zh=f"{path}：{words}")
        if file.problem is not None:
            words = safe_line(file.detail or str(file.problem))
            return Text(en=f"{path}: {words}", zh=f"{path}：{words}")
    if (
        isinstance(leaf, PemFile)
        and isinstance(private, KeyFile)
        and (not leaf.certificates or leaf.certificates[0].public_key != private.public_key)
    ):
        return Text(
            en=f"{key} does not belong to the certificate in {certificate}",
            zh=f"{key} 与 {certificate} 中的证书不匹配",
        )
    return None
