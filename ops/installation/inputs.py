"""What an installation's plan must know: read from the settings, the host and the options."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from ops import __version__
from ops.collect.services.certificate_files import key_file, pem_file
from ops.deployment.examples import deployment_example
from ops.deployment.install import TEXTFILES, RefusedError
from ops.deployment.render import Deployment, RenderedFile
from ops.deployment.values import deployment_here, deployment_in_image
from ops.errors import UsageError
from ops.facts.certificates import KeyFile, PemFile
from ops.files.bounded_read import read_regular_file
from ops.installation.host import HostTree
from ops.installation.plan import SETTINGS_FILE, CertificateOrigin, InstallFacts, plan
from ops.installation.steps import Step
from ops.settings import MAX_FILE_BYTES, Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Programs that an installed host runs, and Debian's and Ubuntu's packages with them.
_NEEDED = {"nginx": "nginx", "logrotate": "logrotate"}
_RENEWALS = "etc/letsencrypt/renewal-hooks/deploy"


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """What was asked for. ``extras``: of the package gte-ops, None to leave the Python environment alone; ``wheels``: a
    directory with wheels in place of an index; ``ready_seconds``: how long the service may take to become ready."""

    certificate: CertificateOrigin = CertificateOrigin.EXISTING
    extras: str | None = None
    wheels: Path | None = None
    ready_seconds: float = 120.0


def steps_here(
    settings: Settings, settings_file: Path | None, options: InstallOptions, host: HostTree
) -> tuple[Step, ...]:
    """The steps for this configuration on ``host``. Raises UsageError, RefusedError."""
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
    certificate = _certificate(settings, deployment, options, host)
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
            textfiles=str(TEXTFILES) if host.place(str(TEXTFILES)).is_dir() else None,
            hook=deployment_example("certbot", "reload-nginx") if (host.root / _RENEWALS).is_dir() else None,
            ready_path=settings.target.ready_path,
            ready_seconds=options.ready_seconds,
        ),
    )


def _settings_copy(path: Path) -> RenderedFile:
    """The settings as they are, for their usual place; private there if they are private here."""
    content = read_regular_file(str(path), MAX_FILE_BYTES).content
    shared = stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH)
    return RenderedFile(SETTINGS_FILE, content.decode(), 0o644 if shared else 0o600)


def _refuse_missing_programs(host: HostTree, options: InstallOptions) -> None:
    packages = [package for program, package in _NEEDED.items() if not host.has_program(program)]
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


def _certificate(
    settings: Settings, deployment: Deployment, options: InstallOptions, host: HostTree
) -> tuple[RenderedFile, ...]:
    """The files of a certificate that is made now; none where there is a pair, which must fit."""
    site = deployment.site
    certificate, key = host.place(site.certificate), host.place(site.private_key)
    if os.path.lexists(certificate) or options.certificate is CertificateOrigin.EXISTING:
        if host.is_running and (why := _pair_defect(str(certificate), str(key))) is not None:
            raise RefusedError(
                Text(
                    en=f"{why.en}; nothing was changed: name a pair in tls.certificate and tls.private_key, or get one "
                    "first (docs/install.md)",
                    zh=f"{why.zh}；未作任何改动：请在 tls.certificate 和 tls.private_key 中写明一对证书和私钥，"
                    "或先取得证书（docs/install.zh-CN.md）",
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


def _pair_defect(certificate: str, key: str) -> Text | None:
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
