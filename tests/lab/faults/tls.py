"""Certificates, served and on disk."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta

from tests.lab.authority import Authority, new_key, self_signed
from tests.lab.faults.case import Sees, answers, fault, meets
from tests.lab.stack import Stack

NOW = datetime.now(UTC)


def _days(days: float) -> datetime:
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
    stack.replace_certificate(not_before=_days(-91), not_after=_days(-1))


@fault("TLS001", sees=meets("expired"), layout="guide")
def certificate_expired_seconds_ago(stack: Stack) -> None:
    stack.replace_certificate(not_before=_days(-90), not_after=datetime.now(UTC) - timedelta(seconds=5))


@fault("TLS002", sees=lambda stack: served_until(stack) < _days(16), severity="warn")
def certificate_expires_soon(stack: Stack) -> None:
    stack.replace_certificate(not_before=_days(-75), not_after=_days(15))


@fault("TLS002", sees=lambda stack: served_until(stack) < _days(1))
def certificate_expires_today(stack: Stack) -> None:
    stack.replace_certificate(not_before=_days(-89), not_after=_days(0.5))


@fault("TLS002", sees=lambda stack: served_until(stack) < _days(2.5), severity="warn")
def six_day_certificate_is_not_renewed(stack: Stack) -> None:
    stack.replace_certificate(not_before=_days(-4), not_after=_days(2))


@fault("TLS003", sees=meets("not yet valid"))
def certificate_is_not_valid_yet(stack: Stack) -> None:
    stack.replace_certificate(not_before=_days(2))


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
    stack.replace_certificate(not_before=_days(-91), not_after=_days(-1))
    stack.replace_certificate(reload=False)


@fault("TLS008", sees=lambda stack: served_until(stack) < _days(21), severity="warn", explains=("TLS002",))
def renewed_certificate_is_not_served_yet(stack: Stack) -> None:
    stack.replace_certificate(not_before=_days(-70), not_after=_days(20))
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
