"""Certificates of all forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.lab.authority import Issued
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import meets
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack


def _www(stack: Stack) -> str:
    return f"www.{stack.domain}"


def _reissue_for_both(stack: Stack) -> None:
    stack.replace_certificate(names=[stack.domain, _www(stack)])


@report(
    Kind.CERTIFICATE,
    "certbot/certbot#3660",
    sees=lambda stack: "mismatch" in (stack.predict(host=_www(stack)).error or ""),
    repair=_reissue_for_both,
    codes=("TLS004", "TLS025"),
    says=("www.gte.lab.example", "server_name", "-d www.gte.lab.example"),
    app=PLAIN_APP,
    layout="guide",
)
def second_name_of_the_site_is_not_in_the_certificate(stack: Stack) -> None:
    """landchad#139, BetterFleet#849: the site answers to two names, and the certificate was issued for one."""
    stack.edit(stack.site_file, f"server_name {stack.domain};", f"server_name {stack.domain} {_www(stack)};")


PROTOCOLS = "ssl_protocols TLSv1.2 TLSv1.3;"
FOR_RSA = "ssl_protocols TLSv1.2;\n    ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384;"


@report(
    Kind.CERTIFICATE,
    "webdevops/Dockerfile#475",
    sees=meets("tls:"),
    repair=lambda stack: stack.edit(stack.site_file, FOR_RSA, PROTOCOLS),
    codes=(),
    says=("ssl_ciphers", "ECDSA", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def ciphers_are_for_another_kind_of_key(stack: Stack) -> None:
    """https-portal#328: certbot's default became ECDSA, and the list of ciphers has RSA alone."""
    stack.edit(stack.site_file, PROTOCOLS, FOR_RSA)


def _larger_key(stack: Stack) -> None:
    stack.replace_certificate(reload=False)
    stack.start_nginx()


@report(
    Kind.CERTIFICATE,
    "wmnnd/nginx-certbot#86",
    sees=meets("refused"),
    repair=_larger_key,
    codes=("NGX002", "NGX003", "TLS012", "TLS021"),
    says=("key too small", "2048", "fullchain.pem"),
    app=PLAIN_APP,
    layout="guide",
)
def key_is_too_small_for_this_openssl(stack: Stack) -> None:
    """docs-apim#8484, lua-nginx-module#1998: OpenSSL was upgraded, and takes 1024 bits no more."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    issued = stack.authority.issue([stack.domain], key=key)
    stack.replace_certificate(issued, reload=False)
    stack.stop_nginx()
    stack.try_to_start_nginx()


def _with_old_intermediate(stack: Stack) -> Issued:
    """A leaf whose intermediate, as it is sent, ended yesterday; the authority has long issued it anew."""
    issued = stack.authority.issue([stack.domain])
    intermediate, root = stack.authority.intermediate, stack.authority.root
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(intermediate.certificate.subject)
        .issuer_name(root.certificate.subject)
        .public_key(intermediate.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=900))
        .not_valid_after(now - timedelta(days=1))
    )
    for extension in intermediate.certificate.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    old = builder.sign(root.key, hashes.SHA256())
    return Issued(issued.certificate, issued.key, (old,))


def _renew(stack: Stack) -> None:
    stack.replace_certificate()


@report(
    Kind.CERTIFICATE,
    "testssl/testssl.sh#1683",
    sees=meets("expired"),
    repair=_renew,
    codes=("TLS001", "TLS006", "TLS020"),
    says=("intermediate", "GTE Lab Intermediate", "expired", "fullchain.pem"),
    app=PLAIN_APP,
    layout="guide",
)
def intermediate_has_expired_and_the_certificate_has_not(stack: Stack) -> None:
    """acme.sh#3723, acme-companion#883: AddTrust in 2020, DST Root X3 in 2021."""
    stack.replace_certificate(_with_old_intermediate(stack))


def _request(stack: Stack) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stack.domain)])
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(name).sign(stack.issued.key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


@report(
    Kind.CERTIFICATE,
    "acmesh-official/acme.sh#4761",
    sees=meets("refused"),
    repair=_larger_key,
    codes=("TLS012", "TLS021"),
    says=("CERTIFICATE REQUEST", "fullchain.pem"),
    app=PLAIN_APP,
    layout="guide",
)
def request_lies_where_the_certificate_should(stack: Stack) -> None:
    """The .csr was configured in place of what came back for it."""
    stack.certificate.resolve().write_bytes(_request(stack))
    stack.stop_nginx()
    stack.try_to_start_nginx()


REJECTING = "server {{ listen {0}:{1} ssl default_server; ssl_reject_handshake on; }}\n"


@report(
    Kind.CERTIFICATE,
    "nginx-proxy/nginx-proxy#2572",
    sees=meets("tls:"),
    repair=lambda stack: stack.edit(stack.site_file, "gte.lab.exmaple", stack.domain),
    codes=("NGX011", "TLS027"),
    says=("ssl_reject_handshake", "000-default.conf:", "gte.lab.exmaple"),
    app=PLAIN_APP,
    layout="guide",
)
def name_is_misspelt_and_strangers_are_rejected(stack: Stack) -> None:
    """nginx-proxy-manager#4457: no server block has the name, and the default one refuses the handshake."""
    stack.edit(stack.site_file, f"server_name {stack.domain};", "server_name gte.lab.exmaple;", apply=False)
    (stack.nginx_dir / "conf.d" / "000-default.conf").write_text(
        REJECTING.format(stack.address, stack.ports["https"])
    )
    stack.reload_nginx()
