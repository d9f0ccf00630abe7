"""Certificates, served and on disk."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.lab.authority import Authority, Issued, new_key, self_signed, write_lineage
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Sees, answers, fault, meets
from tests.lab.stack import Stack

NOW = datetime.now(UTC)


def in_days(days: float) -> datetime:
    """So many days from now."""
    return NOW + timedelta(days=days)


def served_until(stack: Stack) -> datetime:
    """notAfter of what the front door presents."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        socket.create_connection(stack.https, 2) as raw,
        context.wrap_socket(raw, server_hostname=stack.domain) as tls,
    ):
        certificate = tls.getpeercert()
    assert certificate is not None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


@fault("TLS001", sees=meets("expired"))
def certificate_expired(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))


@fault("TLS001", sees=meets("expired"), layout="guide")
def certificate_expired_seconds_ago(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-90), not_after=datetime.now(UTC) - timedelta(seconds=5))


@fault("TLS002", sees=lambda stack: served_until(stack) < in_days(16), severity="warn")
def certificate_expires_soon(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-75), not_after=in_days(15))


@fault("TLS002", sees=lambda stack: served_until(stack) < in_days(1))
def certificate_expires_today(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-89), not_after=in_days(0.5))


@fault("TLS002", sees=lambda stack: served_until(stack) < in_days(2.5), severity="warn")
def six_day_certificate_is_not_renewed(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-4), not_after=in_days(2))


@fault("TLS003", sees=meets("not yet valid"))
def certificate_is_not_valid_yet(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(2))


@fault("TLS004", sees=meets("Hostname mismatch"))
def certificate_is_for_another_name(stack: Stack) -> None:
    stack.replace_certificate(names=["other.lab.example"])


@fault("TLS004", sees=meets("Hostname mismatch"))
def wildcard_is_one_label_short(stack: Stack) -> None:
    stack.replace_certificate(names=["*.example"])


@fault("TLS005", sees=meets("self-signed"))
def certificate_is_self_signed(stack: Stack) -> None:
    stack.replace_certificate(self_signed([stack.domain]))


@fault("TLS005", sees=meets("unable to get"))
def authority_is_unknown(stack: Stack) -> None:
    stack.replace_certificate(Authority("Elsewhere").issue([stack.domain]))


@fault("TLS006", sees=meets("unable to get"))
def intermediate_is_not_sent(stack: Stack) -> None:
    # The guide's own slip: cert.pem in place of fullchain.pem; chain.pem lies beside it.
    stack.edit(stack.site_file, "fullchain.pem", "cert.pem")


@fault("TLS006", sees=meets("unable to get"))
def intermediate_is_not_in_the_file(stack: Stack) -> None:
    issued = stack.authority.issue([stack.domain])
    stack.replace_certificate(issued, reload=False)
    stack.certificate.resolve().write_bytes(issued.pem)
    stack.reload_nginx()


def _rewrite(stack: Stack, content: bytes) -> None:
    """Puts ``content`` into the certificate's file, below the link."""
    stack.certificate.resolve().write_bytes(content)


def _refused(stack: Stack, content: bytes) -> None:
    """The same, and nginx, which was stopped, does not start with it."""
    _rewrite(stack, content)
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS020", sees=meets("unable to get"))
def intermediate_is_another_year_s(stack: Stack) -> None:
    """lecm#62: the intermediate of one name and another key, chain.pem with the right one beside it."""
    _rewrite(stack, stack.issued.pem + Authority().intermediate.pem)
    stack.reload_nginx()


@fault("TLS020", sees=meets("unable to get"))
def intermediate_is_another_authority_s(stack: Stack) -> None:
    """The right one is nowhere on this host."""
    other = Authority("Elsewhere").intermediate
    stack.replace_certificate(dataclasses.replace(stack.issued, chain=(other.certificate,)))


@fault("TLS020", sees=meets("unable to get"))
def root_is_sent_beside_a_wrong_intermediate(stack: Stack) -> None:
    _rewrite(stack, stack.issued.pem + Authority().intermediate.pem + stack.authority.root.pem)
    stack.reload_nginx()


@fault("TLS006", sees=meets("unable to get"))
def root_is_sent_in_place_of_the_intermediate(stack: Stack) -> None:
    _rewrite(stack, stack.issued.pem + stack.authority.root.pem)
    stack.reload_nginx()


@fault("TLS021", sees=meets("refused"), explains=("NGX003",))
def two_blocks_are_joined_without_a_newline(stack: Stack) -> None:
    """keybase-issues#1283: cat of files whose last line does not end."""
    _refused(stack, stack.issued.pem.rstrip() + stack.issued.chain_pem)


@fault("TLS021", sees=meets("refused"), explains=("NGX003",))
def bundle_is_cut_off(stack: Stack) -> None:
    _refused(stack, stack.issued.fullchain_pem[:-150])


@fault("TLS021", sees=meets("refused"), explains=("NGX003",))
def a_line_of_the_certificate_is_lost(stack: Stack) -> None:
    lines = stack.issued.fullchain_pem.splitlines(keepends=True)
    _refused(stack, b"".join(lines[:4] + lines[5:]))


@fault("TLS021", sees=meets("refused"), explains=("NGX003",))
def certificate_is_der(stack: Stack) -> None:
    _refused(stack, ssl.PEM_cert_to_DER_cert(stack.issued.pem.decode()))


@fault("TLS021", sees=meets("refused"), explains=("NGX003",))
def certificate_has_its_newlines_written_out(stack: Stack) -> None:
    """As it comes out of an environment variable."""
    _refused(stack, stack.issued.fullchain_pem.replace(b"\n", rb"\n"))


@fault("TLS021", sees=meets("refused"), explains=("NGX003",))
def key_is_indented(stack: Stack) -> None:
    """As it is copied from YAML."""
    key = stack.private_key.resolve()
    key.write_bytes(b"".join(b"  " + line for line in key.read_bytes().splitlines(keepends=True)))
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS021", sees=meets("unable to get"), explains=("TLS006",))
def intermediate_is_indented(stack: Stack) -> None:
    """nginx starts, and sends the leaf alone."""
    _rewrite(stack, stack.issued.pem + b"  " + stack.issued.chain_pem)
    stack.restart_nginx()


@fault("TLS021", sees=meets("unable to get"), explains=("TLS006",))
def end_of_the_leaf_is_lost(stack: Stack) -> None:
    """nginx starts: OpenSSL reads through the second block for the end of the first."""
    _rewrite(stack, stack.issued.pem.replace(b"-----END CERTIFICATE-----\n", b"") + stack.issued.chain_pem)
    stack.restart_nginx()


@fault("TLS022", sees=meets("refused"), explains=("NGX003",))
def intermediate_stands_first(stack: Stack) -> None:
    _refused(stack, stack.issued.chain_pem + stack.issued.pem)


@fault("TLS023", sees=meets("expired"), explains=("TLS001",))
def links_stayed_at_the_old_version(stack: Stack) -> None:
    """certbot#10655: the renewal is in archive/, live/ was not moved on."""
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    before = {link: link.readlink() for link in stack.certificate.parent.glob("*.pem")}
    stack.replace_certificate(reload=False)
    for link, leads_to in before.items():
        link.unlink()
        link.symlink_to(leads_to)


@fault("TLS007", sees=meets("refused"), explains=("NGX003",))
def key_link_stayed_at_the_old_version(stack: Stack) -> None:
    old = stack.private_key.readlink()
    stack.replace_certificate(reload=False)
    stack.private_key.unlink()
    stack.private_key.symlink_to(old)
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS007", sees=meets("refused"), explains=("NGX003",))
def key_belongs_to_another_certificate(stack: Stack) -> None:
    issued = stack.authority.issue([stack.domain])
    stack.replace_certificate(dataclasses.replace(issued, key=new_key()), reload=False)
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS007", sees=lambda stack: stack.predict().status == 200, severity="warn", explains=("NGX003",))
def key_was_exchanged_under_a_running_nginx(stack: Stack) -> None:
    other = dataclasses.replace(stack.issued, key=new_key())
    stack.private_key.resolve().write_bytes(other.key_pem)


@fault("TLS008", sees=meets("expired"), explains=("TLS001",))
def renewed_certificate_is_not_served(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    stack.replace_certificate(reload=False)


@fault("TLS008", sees=lambda stack: served_until(stack) < in_days(21), severity="warn", explains=("TLS002",))
def renewed_certificate_is_not_served_yet(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-70), not_after=in_days(20))
    stack.replace_certificate(reload=False)
    # A quarter of an hour ago: the hook's ten minutes are over.
    long_ago = NOW.timestamp() - 900
    os.utime(stack.certificate, (long_ago, long_ago))


def accepts(version: ssl.TLSVersion) -> Sees:
    """The front door shakes hands with ``version`` and no later one."""

    def sees(stack: Stack) -> bool:
        context = ssl.create_default_context(cafile=str(stack.ca_file))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection(stack.https, 2) as raw,
            context.wrap_socket(raw, server_hostname=stack.domain) as tls,
        ):
            return tls.version() is not None

    return sees


@fault("TLS009", sees=accepts(ssl.TLSVersion.TLSv1), severity="warn", layout="guide")
def tls_1_0_is_accepted(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers DEFAULT:@SECLEVEL=0;",
    )


@fault("TLS009", sees=answers(200), severity="warn", layout="guide")
def tls_1_1_is_allowed_by_the_configuration(stack: Stack) -> None:
    """nginx's OpenSSL would not take it at its level of security; the next one may."""
    stack.edit(stack.site_file, "ssl_protocols TLSv1.2 TLSv1.3;", "ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3;")


@fault("TLS010", sees=lambda stack: stack.private_key.stat().st_mode & 0o004, severity="warn")
def key_is_readable_by_everybody(stack: Stack) -> None:
    stack.private_key.resolve().chmod(0o644)


@fault("TLS011", sees=answers(200), severity="warn")
def nothing_is_scheduled(stack: Stack) -> None:
    (stack.cron / "certbot").unlink()


@fault("TLS011", sees=answers(200), severity="warn")
def timer_is_not_enabled(stack: Stack) -> None:
    (stack.cron / "certbot").unlink()
    (stack.systemd / "certbot.timer").write_text("[Timer]\nOnCalendar=*-*-* 00,12:00:00\n")
    (stack.systemd / "certbot.service").write_text("[Service]\nExecStart=/usr/bin/certbot -q renew\n")


@fault("TLS011", sees=answers(200), severity="warn")
def renewal_configuration_is_lost(stack: Stack) -> None:
    (stack.letsencrypt / "renewal" / f"{stack.domain}.conf").unlink()


@fault("TLS012", sees=meets("refused"), explains=("NGX003",))
def certificate_link_dangles(stack: Stack) -> None:
    stack.certificate.resolve().unlink()
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS012", sees=meets("refused"), explains=("NGX003",))
def key_is_missing(stack: Stack) -> None:
    stack.private_key.unlink()
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS012", sees=meets("refused"), explains=("NGX003",))
def certificate_file_is_junk(stack: Stack) -> None:
    stack.certificate.resolve().write_bytes(b"\x1b[31mnot a certificate\x00\xff" * 50)
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("TLS024", sees=meets("expired"), explains=("TLS001",), layout="guide")
def challenge_is_handed_to_the_application(stack: Stack) -> None:
    """The redirect leads it to HTTPS, where every path is the application's."""
    renewal = stack.letsencrypt / "renewal" / f"{stack.domain}.conf"
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    renewal.write_text(renewal.read_text() + f"webroot_path = {stack.challenges},\n")


@fault("TLS024", sees=meets("expired"), explains=("TLS001",), layout="guide")
def challenge_is_redirected_for_ever(stack: Stack) -> None:
    redirect = f"return 301 {stack.url}$request_uri;"
    stack.edit(
        stack.site_file,
        redirect,
        f"location /.well-known/ {{ return 301 http://$host$request_uri; }} location / {{ {redirect} }}",
    )
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))


def rsa_clients_meet_an_expired_one(stack: Stack) -> bool:
    """A client that takes RSA alone."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aRSA")
    try:
        with (
            socket.create_connection(stack.https, 2) as raw,
            context.wrap_socket(raw, server_hostname=stack.domain),
        ):
            return False
    except ssl.SSLCertVerificationError as error:
        return "expired" in str(error)


def second_pair(stack: Stack, kind: str, **arguments: Any) -> None:
    """A second certificate of another kind of key beside the first."""
    issued = stack.authority.issue([stack.domain], kind=kind, **arguments)
    certificate, key = stack.directory / "second.pem", stack.directory / "second.key"
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem)
    certificate.write_bytes(issued.fullchain_pem)
    name = f"server_name {stack.domain};"
    text = stack.site_file.read_text()
    at = text.index(name, text.index(" ssl;")) + len(name)
    more = f"\n    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_ciphers DEFAULT;"
    stack.site_file.write_text(text[:at] + more + text[at:])
    stack.reload_nginx()


@fault("TLS025", sees=rsa_clients_meet_an_expired_one, layout="guide")
def certificate_for_rsa_has_expired_beside_the_one_for_ecdsa(stack: Stack) -> None:
    second_pair(stack, "rsa", not_before=in_days(-91), not_after=in_days(-1))


def ipv6_meets_another_certificate(stack: Stack) -> bool:
    """A client that takes the name's IPv6 address."""
    answer = stack.client.request(("::1", stack.ports["https"]), "GET", "/health", tls=True)
    return "mismatch" in (answer.error or "")


@fault("TLS025", sees=ipv6_meets_another_certificate, layout="guide")
def another_server_block_answers_over_ipv6(stack: Stack) -> None:
    issued = stack.authority.issue(["other.lab.example"])
    certificate, key = stack.directory / "other.pem", stack.directory / "other.key"
    certificate.write_bytes(issued.fullchain_pem)
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem)
    (stack.nginx_dir / "conf.d" / "other.conf").write_text(
        f"server {{ listen [::1]:{stack.ports['https']} ssl; server_name other.lab.example;\n"
        f"ssl_certificate {certificate}; ssl_certificate_key {key}; return 404; }}\n"
    )
    stack.resolver.answer(stack.domain, stack.address, "::1")
    stack.reload_nginx()


@fault("TLS026", sees=meets("tls: "), layout="guide", key="rsa")
def ciphers_are_for_ecdsa_keys_alone(stack: Stack) -> None:
    """The key is RSA, and TLS 1.2 the newest version."""
    stack.edit(
        stack.site_file,
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;",
    )


@fault("TLS027", sees=meets("tls: "), layout="guide")
def default_server_rejects_what_the_site_listens_elsewhere_for(stack: Stack) -> None:
    """The site was moved to another port, and the default server stayed."""
    listen = f"listen {stack.address}:{stack.ports['https']} ssl"
    stack.edit(stack.site_file, f"{listen};", f"listen {stack.address}:{stack.free_port()} ssl;", apply=False)
    (stack.nginx_dir / "conf.d" / "default.conf").write_text(
        f"server {{ {listen} default_server; ssl_reject_handshake on; }}\n"
    )
    stack.reload_nginx()


@fault("TLS028", sees=meets("purpose"), layout="guide", says=("serverAuth",))
def certificate_is_a_client_s(stack: Stack) -> None:
    """The private authority has a profile for servers and one for clients."""
    issued = stack.authority.issue([stack.domain], client=True)
    write_lineage(stack.letsencrypt, stack.domain, issued, version=2)
    stack.reload_nginx()


def _browser_is_refused(stack: Stack) -> bool:
    """Whether a client that knows P-256 alone is refused."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.set_ecdh_curve("prime256v1")
    with socket.create_connection(stack.https, 5) as raw:
        try:
            context.wrap_socket(raw, server_hostname=stack.domain).close()
        except ssl.SSLError:
            return True
    return False


@fault("TLS031", sees=_browser_is_refused, severity="warn")
def only_curve_is_a_rare_one(stack: Stack) -> None:
    """The strongest curve alone; Chrome does not offer it."""
    line = "    ssl_protocols "
    stack.edit(stack.site_file, line, f"    ssl_ecdh_curve secp521r1;\n{line}")


def must_staple(stack: Stack) -> Issued:
    """The stack's certificate once more, with the demand for a stapled answer."""
    plain = stack.issued.certificate
    builder = x509.CertificateBuilder(
        plain.issuer,
        plain.subject,
        plain.public_key(),
        x509.random_serial_number(),
        plain.not_valid_before_utc,
        plain.not_valid_after_utc,
        list(plain.extensions),
    ).add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    signed = builder.sign(stack.authority.intermediate.key, hashes.SHA256())
    return Issued(signed, stack.issued.key, stack.issued.chain)


def demands_and_gets_nothing(stack: Stack) -> bool:
    """What Firefox sees: a certificate that demands a stapled answer, and none beside it."""
    host, port = stack.https
    argv = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", stack.domain, "-status"]
    said = subprocess.run(argv, input="", capture_output=True, text=True, timeout=10, check=False).stdout
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    served = x509.load_pem_x509_certificate(
        f"{begin}{said.partition(begin)[2].partition(end)[0]}{end}\n".encode()
    )
    demands = any(isinstance(extension.value, x509.TLSFeature) for extension in served.extensions)
    return demands and "no response sent" in said


@fault("TLS029", sees=demands_and_gets_nothing, layout="guide", says=("ssl_stapling",))
def certificate_wants_to_be_stapled(stack: Stack) -> None:
    """acme.sh --ocsp, and nothing in nginx."""
    write_lineage(stack.letsencrypt, stack.domain, must_staple(stack), version=2)
    stack.reload_nginx()


def _revoked(authority: Issued, days: float) -> bytes:
    """A list of nothing, by that authority, good for so many days from now."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - timedelta(days=30))
        .next_update(now + timedelta(days=days))
    )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _write_lists(stack: Stack, authority: Authority) -> None:
    """The list that has run out, and beside it the next one."""
    roots = _revoked(authority.root, 300)
    (stack.directory / "clients.crl.pem").write_bytes(_revoked(authority.intermediate, -2) + roots)
    (stack.directory / "clients.crl.next").write_bytes(_revoked(authority.intermediate, 30) + roots)


def member_is_refused(stack: Stack) -> bool:
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.load_cert_chain(stack.directory / "member.pem")
    statuses = set()
    for _ in range(4):
        with (
            socket.create_connection(stack.https, 5) as raw,
            context.wrap_socket(raw, server_hostname=stack.domain) as client,
        ):
            client.sendall(f"GET /health HTTP/1.1\r\nHost: {stack.domain}\r\n\r\n".encode())
            statuses.add(client.recv(4096).split()[1])
    return statuses == {b"400"}


def want_listed_clients(stack: Stack) -> None:
    """Clients show certificates (``member.pem``), and the list of the revoked has run out."""
    authority = Authority("Clients")
    (stack.directory / "clients.pem").write_bytes(authority.intermediate.pem + authority.root.pem)
    member = authority.issue(["member"], client=True)
    (stack.directory / "member.pem").write_bytes(member.fullchain_pem + member.key_pem)
    _write_lists(stack, authority)
    place = "    location / {\n        limit_req"
    lines = (
        f"    ssl_client_certificate {stack.directory}/clients.pem;\n    ssl_verify_depth 3;\n"
        f"    ssl_verify_client on;\n    ssl_crl {stack.directory}/clients.crl.pem;\n"
    )
    stack.edit(stack.site_file, place, f"{lines}{place}")


@fault("TLS030", sees=member_is_refused, app=PLAIN_APP, layout="guide", says=("clients.crl.pem",))
def nobody_publishes_the_list_of_revoked_certificates(stack: Stack) -> None:
    """The job that published it was on the old host."""
    want_listed_clients(stack)
