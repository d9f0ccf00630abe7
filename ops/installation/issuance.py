"""How a certificate is obtained from an ACME authority (RFC 8555): the client's commands, and nginx's part. No I/O."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from ops.deployment.render import NginxSite, RenderedFile
from ops.installation.steps import CertificateStep

# nginx reads a directory in the order of names, and of two servers with one name the first one answers.
CHALLENGE_FILE = "00-gte-ops-challenge.conf"
CHALLENGE_PATH = "/.well-known/acme-challenge"
CERTBOT_DROP_IN = "certbot.service.d/gte-ops.conf"
_LETSENCRYPT = "/etc/letsencrypt"


class CertificateOrigin(StrEnum):
    """Where the certificate comes from."""

    EXISTING = "existing"
    CERTBOT = "certbot"
    ACME_SH = "acme.sh"
    THROWAWAY = "throwaway"


ACME_CLIENTS = (CertificateOrigin.CERTBOT, CertificateOrigin.ACME_SH)
# acme.sh installs itself below its user's home, and is on nobody's path.
ACME_SH_PLACES = ("/root/.acme.sh/acme.sh", "/usr/local/bin/acme.sh", "/usr/bin/acme.sh")


@dataclass(frozen=True, kw_only=True)
class AcmeAuthority:
    """``server``: the authority's directory, None for the client's own; ``ca_bundle``: who signed the certificate of
    that server itself, None for the system's store; ``email``: where the authority may write to."""

    server: str | None = None
    ca_bundle: str | None = None
    email: str | None = None


def certbot_step(
    site: NginxSite,
    authority: AcmeAuthority,
    *,
    letsencrypt: str,
    site_file: str,
    test: tuple[str, ...],
    reload: tuple[str, ...],
) -> CertificateStep:
    """certbot answers the challenge by files that nginx serves (webroot), now and at each renewal."""
    command = [
        *("certbot", "certonly", "--non-interactive", "--webroot", "--webroot-path", site.challenge_root),
        *("--domain", site.domain, "--cert-name", site.domain, "--agree-tos"),
        *(("--email", authority.email) if authority.email else ("--register-unsafely-without-email",)),
        *(("--server", authority.server) if authority.server else ()),
        *(("--config-dir", letsencrypt) if letsencrypt != _LETSENCRYPT else ()),
    ]
    bundle = authority.ca_bundle
    return CertificateStep(
        domain=site.domain,
        certificate=site.certificate,
        private_key=site.private_key,
        challenge=challenge_site(site, site_file),
        challenge_root=site.challenge_root,
        address=_address(site.http),
        commands=(tuple(command),),
        environment=(("REQUESTS_CA_BUNDLE", bundle),) if bundle else (),
        own=(
            f"{letsencrypt}/live/{site.domain}",
            f"{letsencrypt}/archive/{site.domain}",
            f"{letsencrypt}/renewal/{site.domain}.conf",
            f"{site.challenge_root}/.well-known",
        ),
        # certbot's account and directories; kept if they hold another certificate by then.
        shared=(
            *(f"{letsencrypt}/{name}" for name in ("live", "archive", "renewal", "accounts", "csr", "keys")),
            f"{letsencrypt}/renewal-hooks",
            "/var/lib/letsencrypt",
            "/var/log/letsencrypt",
        ),
        others=f"{letsencrypt}/renewal/*.conf",
        test=test,
        reload=reload,
    )


def acme_sh_step(
    site: NginxSite,
    authority: AcmeAuthority,
    *,
    program: str,
    site_file: str,
    test: tuple[str, ...],
    reload: tuple[str, ...],
) -> CertificateStep:
    """acme.sh issues, and copies the pair to where nginx reads it, now and at each renewal by its own cron job.

    Its ``--issue`` ends with 2 if its certificate is not due yet: that is no failure, and installing goes on."""
    home = "/root/.acme.sh"
    server = ("--server", authority.server) if authority.server else ()
    bundle = ("--ca-bundle", authority.ca_bundle) if authority.ca_bundle else ()
    email = ("--accountemail", authority.email) if authority.email else ()
    directories = dict.fromkeys(str(PurePosixPath(p).parent) for p in (site.certificate, site.private_key))
    return CertificateStep(
        domain=site.domain,
        certificate=site.certificate,
        private_key=site.private_key,
        challenge=challenge_site(site, site_file),
        challenge_root=site.challenge_root,
        address=_address(site.http),
        commands=(
            (
                program,
                "--issue",
                "--domain",
                site.domain,
                "--webroot",
                site.challenge_root,
                *server,
                *bundle,
                *email,
            ),
            ("mkdir", "-p", *directories),
            (
                *(program, "--install-cert", "--domain", site.domain),
                *("--fullchain-file", site.certificate, "--key-file", site.private_key),
                *("--reloadcmd", shlex.join(reload)),
            ),
        ),
        environment=(("HOME", "/root"),),
        own=(
            site.certificate,
            site.private_key,
            f"{home}/{site.domain}",
            f"{home}/{site.domain}_ecc",
            f"{site.challenge_root}/.well-known",
        ),
        test=test,
        reload=reload,
    )


def challenge_site(site: NginxSite, site_file: str) -> RenderedFile:
    """nginx's site while the certificate is obtained: plain HTTP, the challenge alone."""
    text = (
        "# Of gte-ops install: answers the challenge while the certificate is obtained, then it is removed.\n"
        "server {\n"
        f"    listen {site.http};\n"
        f"    server_name {site.domain};\n"
        "    server_tokens off;\n"
        f"    location {CHALLENGE_PATH}/ {{\n"
        f"        root         {site.challenge_root};\n"
        "        default_type text/plain;\n"
        "    }\n"
        "    location / { return 404; }\n"
        "}\n"
    )
    return RenderedFile(f"{PurePosixPath(site_file).parent}/{CHALLENGE_FILE}", text)


def drop_in(unit_dir: str, bundle: str) -> RenderedFile:
    """certbot's timer trusts the authority's server at a renewal, too: certbot itself remembers no bundle."""
    return RenderedFile(
        f"{unit_dir}/{CERTBOT_DROP_IN}",
        "# Of gte-ops install: the authority's server is signed by one of these.\n"
        f"[Service]\nEnvironment=REQUESTS_CA_BUNDLE={bundle}\n",
    )


def _address(listen: str) -> str:
    return listen if ":" in listen else f"127.0.0.1:{listen}"
