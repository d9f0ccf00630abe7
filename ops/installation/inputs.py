"""What an installation's plan must know: read from the settings, the host and the options."""

from __future__ import annotations

import os
import shlex
import stat
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from ops import __version__
from ops.collect.surroundings import look_around
from ops.deployment.examples import deployment_example
from ops.deployment.install import TEXTFILES, RefusedError
from ops.deployment.render import Deployment, RenderedFile, is_plain_argument
from ops.deployment.values import LOOK_SECONDS, deployment_from, deployment_here, deployment_in_image
from ops.errors import UsageError
from ops.files.bounded_read import read_regular_file
from ops.installation.host import HostTree
from ops.installation.issuance import (
    ACME_CLIENTS,
    ACME_SH_PLACES,
    AcmeAuthority,
    CertificateOrigin,
    acme_sh_step,
    certbot_step,
    drop_in,
)
from ops.installation.obstacles import refuse_obstacles
from ops.installation.pair import pair_defect
from ops.installation.plan import SETTINGS_FILE, InstallFacts, plan
from ops.installation.steps import CertificateStep, Record, Step
from ops.settings import MAX_FILE_BYTES, Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Programs that an installed host runs, and Debian's and Ubuntu's packages with them.
_NEEDED = {"nginx": "nginx", "logrotate": "logrotate"}
_RENEWALS = "etc/letsencrypt/renewal-hooks/deploy"


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """What was asked for. ``authority``: whom an ACME client asks; ``extras``: of gte-ops, None to leave the
    Python environment alone; ``wheels``: a directory with wheels in place of an index; ``ready_seconds``: how long the
    service may take to become ready; ``keeps_running``: it is not restarted for a changed unit."""

    certificate: CertificateOrigin = CertificateOrigin.EXISTING
    authority: AcmeAuthority = field(default_factory=AcmeAuthority)
    extras: str | None = None
    wheels: Path | None = None
    ready_seconds: float = 120.0
    keeps_running: bool = False


def plain_argument(option: str, value: str | None) -> str | None:
    """``value``, if a unit file and a program's arguments read it as one plain word. Raises UsageError."""
    if value is None or (is_plain_argument(value) and not value.startswith("-")):
        return value
    raise UsageError(
        Text(
            en=f"{option}: {safe_line(value)!r} has characters that a shell or systemd gives a meaning; use plain ones",
            zh=f"{option}：{safe_line(value)!r} 含有对 shell 或 systemd 有特殊含义的字符；请只用普通字符",
        )
    )


def steps_here(
    settings: Settings,
    settings_file: Path | None,
    options: InstallOptions,
    host: HostTree,
    deployment: Deployment | None = None,
) -> tuple[Step, ...]:
    """The steps for this configuration on ``host``. ``deployment``: its values, if the host does not tell them.

    Raises UsageError, RefusedError."""
    if deployment is None:
        deployment = (
            deployment_here(settings, settings_file)
            if host.is_running
            else deployment_in_image(settings, settings_file, host.root)
        )
    copy = None
    if settings_file is not None and (
        host.root != Path("/") or settings_file.resolve() != Path(SETTINGS_FILE)
    ):
        copy = _settings_copy(settings_file)
    deployment = replace(deployment, settings_file=SETTINGS_FILE)
    if host.is_running:
        _refuse_missing_programs(host, options)
        if not deployment.test_nginx:
            raise RefusedError(
                Text(
                    en="nginx -t is not run as root on what others may change (gte-ops doctor says what: NGX022), and "
                    "without that test nothing is installed; nothing was changed",
                    zh="他人可改动的内容不会以 root 执行 nginx -t（gte-ops doctor 会指出：NGX022），"
                    "未经该测试则不安装；未作任何改动",
                )
            )
    issuance = _issuance(settings, deployment, options, host)
    certificate = () if issuance else _certificate(settings, deployment, options, host)
    by_certbot = options.certificate is CertificateOrigin.CERTBOT
    bundle = options.authority.ca_bundle if by_certbot and host.has_systemd else None
    requirement = f"gte-ops[{options.extras}]=={__version__}" if options.extras else None
    return plan(
        deployment,
        InstallFacts(
            is_running=host.is_running,
            has_systemd=host.has_systemd or not host.is_running,
            has_sysusers=host.is_running and host.has_program("systemd-sysusers"),
            has_prometheus=host.place("/etc/prometheus").is_dir(),
            settings=copy,
            requirement=requirement,
            wheels=str(options.wheels.resolve()) if options.wheels else None,
            certificate=certificate,
            issuance=issuance,
            certbot_drop_in=drop_in(deployment.unit_dir, bundle) if bundle else None,
            textfiles=str(TEXTFILES) if host.place(str(TEXTFILES)).is_dir() else None,
            hook=deployment_example("certbot", "reload-nginx")
            if by_certbot or (host.root / _RENEWALS).is_dir()
            else None,
            ready_path=settings.target.ready_path,
            ready_seconds=options.ready_seconds,
            keeps_running=options.keeps_running,
            # The identity that opens an encrypted archive is kept elsewhere.
            can_drill=not settings.backup.recipients,
        ),
    )


def steps_where_nothing_is_in_the_way(
    settings: Settings,
    settings_file: Path | None,
    options: InstallOptions,
    host: HostTree,
    record: Record | None,
) -> tuple[Step, ...]:
    """`steps_here`, once nothing on the host would keep them from serving. ``record``: what is installed.

    Raises UsageError, RefusedError."""
    if not host.is_running:
        return steps_here(settings, settings_file, options, host)
    around = look_around(settings, time.monotonic() + LOOK_SECONDS)
    deployment = deployment_from(settings, settings_file, around)
    refuse_obstacles(settings, deployment, around, record, has_systemd=host.has_systemd)
    return steps_here(settings, settings_file, options, host, deployment)


def _settings_copy(path: Path) -> RenderedFile:
    """The settings as they are, for their usual place; nobody reads them there who may not read them here."""
    content = read_regular_file(str(path), MAX_FILE_BYTES).content
    shared = stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH)
    return RenderedFile(SETTINGS_FILE, content.decode(), 0o600 | shared)


def _refuse_missing_programs(host: HostTree, options: InstallOptions) -> None:
    needed = _NEEDED | ({"certbot": "certbot"} if options.certificate is CertificateOrigin.CERTBOT else {})
    packages = [package for program, package in needed.items() if not host.has_program(program)]
    if options.extras and not Path("/usr/lib/python3").is_dir() and not host.has_program("python3"):
        packages.append("python3-venv")
    if packages:
        words = " ".join(packages)
        raise RefusedError(
            Text(
                en=f"not installed here: {words}; nothing was changed: apt-get install -y {words}, then again",
                zh=f"本机未安装：{words}；未作任何改动：请先 apt-get install -y {words}，然后重新运行",
            )
        )


def _issuance(
    settings: Settings, deployment: Deployment, options: InstallOptions, host: HostTree
) -> CertificateStep | None:
    """How the certificate is obtained; None if a pair is there, or it comes from elsewhere."""
    site = deployment.site
    if options.certificate not in ACME_CLIENTS:
        return None
    if not host.is_running:
        raise UsageError(
            Text(
                en=f"--certificate {options.certificate} asks an authority about this host: not with --root",
                zh=f"--certificate {options.certificate} 要向 CA 为本机申请证书：不能与 --root 合用",
            )
        )
    if os.path.lexists(host.place(site.certificate)) and os.path.lexists(host.place(site.private_key)):
        return None
    letsencrypt = deployment.letsencrypt_dir
    test, reload = deployment.test_nginx, tuple(shlex.split(deployment.reload_nginx))
    if options.certificate is CertificateOrigin.CERTBOT:
        lineage = f"{letsencrypt}/live/{site.domain}"
        if (site.certificate, site.private_key) != (f"{lineage}/fullchain.pem", f"{lineage}/privkey.pem"):
            raise UsageError(
                Text(
                    en=f"certbot puts its pair into {lineage}: leave tls.certificate and tls.private_key out",
                    zh=f"certbot 的证书与私钥位于 {lineage}：请不要设置 tls.certificate 和 tls.private_key",
                )
            )
        step = certbot_step(
            site,
            options.authority,
            letsencrypt=letsencrypt,
            site_file=deployment.site_file,
            test=test,
            reload=reload,
        )
        _refuse_remains(step, host)
        return step
    if not settings.tls.certificate or not settings.tls.private_key:
        raise UsageError(
            Text(
                en="--certificate acme.sh needs tls.certificate and tls.private_key: where it puts the pair",
                zh="--certificate acme.sh 需要 tls.certificate 和 tls.private_key，以确定证书与私钥的位置",
            )
        )
    program = next((place for place in ACME_SH_PLACES if host.has_program(place)), None)
    if program is None:
        raise RefusedError(
            Text(
                en=f"acme.sh is not in {', '.join(ACME_SH_PLACES)}; nothing was changed: install it, or take certbot",
                zh=f"{'、'.join(ACME_SH_PLACES)} 处都没有 acme.sh；未作任何改动：请安装它，或使用 certbot",
            )
        )
    return acme_sh_step(
        site, options.authority, program=program, site_file=deployment.site_file, test=test, reload=reload
    )


def _refuse_remains(step: CertificateStep, host: HostTree) -> None:
    """certbot would give a second lineage of the name another directory."""
    remains = next((p for p in map(host.place, step.own[:3]) if os.path.lexists(p)), None)
    if remains is not None:
        raise RefusedError(
            Text(
                en=f"{remains}: of a former certificate, whose pair is not there; nothing was changed: certbot"
                f" certificates shows it, certbot delete --cert-name {step.domain} removes it",
                zh=f"{remains}：属于以前的证书，其证书与私钥已不在；未作任何改动：certbot certificates 可查看，"
                f"certbot delete --cert-name {step.domain} 可删除",
            )
        )


def _certificate(
    settings: Settings, deployment: Deployment, options: InstallOptions, host: HostTree
) -> tuple[RenderedFile, ...]:
    """The files of a certificate that is made now; none where there is a pair, which must fit."""
    site = deployment.site
    certificate, key = host.place(site.certificate), host.place(site.private_key)
    if os.path.lexists(certificate) or options.certificate is CertificateOrigin.EXISTING:
        if host.is_running and (why := pair_defect(str(certificate), str(key))) is not None:
            raise RefusedError(
                Text(
                    en=f"{why.en}; nothing was changed: name a pair in tls.certificate and tls.private_key, or "
                    "have one obtained: --certificate certbot (docs/install.md)",
                    zh=f"{why.zh}；未作任何改动：请在 tls.certificate 和 tls.private_key 中写明一对证书和私钥，"
                    "或用 --certificate certbot 申请（docs/install.zh-CN.md）",
                )
            )
        return ()
    if not settings.tls.certificate or not settings.tls.private_key or not settings.tls.ca_file:
        raise UsageError(
            Text(
                en="--certificate throwaway needs tls.certificate, tls.private_key and tls.ca_file: where the files go",
                zh="--certificate throwaway 需要 tls.certificate、tls.private_key 和 tls.ca_file，"
                "以确定文件的位置",
            )
        )
    from ops.installation.throwaway import throwaway_pair

    pair = throwaway_pair(site.domain)
    return (
        RenderedFile(settings.tls.ca_file, pair.authority),
        RenderedFile(site.certificate, pair.chain),
        RenderedFile(site.private_key, pair.key, 0o600),
    )
