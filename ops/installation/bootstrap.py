"""`gte-ops backup restore --bootstrap`: a fresh host from one archive.

First the accounts, then the archive's files, then what no archive holds: directories, the Python environment, and units
that run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.archive.encryption import Identity, read_identities
from ops.archive.error import ArchiveError
from ops.archive.manifest import Manifest
from ops.archive.reading import open_archive
from ops.backups.restore.plan import LackingAccount
from ops.backups.restore.run import HOST, DeclinedError, Preview, RestoreOutcome, check_authenticity, restore
from ops.deployment.install import RefusedError
from ops.deployment.render import account_command
from ops.errors import OpsError
from ops.installation.host import HostTree, StepError
from ops.installation.inputs import InstallOptions, steps_here
from ops.installation.run import InstallResult, install
from ops.installation.steps import FileStep, Step
from ops.installation.store import InstallStore
from ops.settings import MAX_FILE_BYTES, Settings, parse_settings
from ops.text.language import Text

# Programs that the archive's parts need, with their packages on Debian and Ubuntu.
_NEEDED = {"nginx": "nginx", "logrotate": "logrotate"}


@dataclass(frozen=True)
class BootstrapResult:
    """What was done. ``accounts``: those that were made; ``installed`` is None if nothing was restored."""

    restored: RestoreOutcome
    accounts: tuple[str, ...]
    installed: InstallResult | None
    seconds: float


def bootstrap(
    archive: Path,
    options: InstallOptions,
    *,
    identity: str | None,
    vouch: Callable[[Text], bool] | None,
    ask: Callable[[Preview], bool],
) -> BootstrapResult:
    """Restore all of ``archive`` on this fresh host, and set up what its gte-ops.toml asks for.

    The archive names its own signers, so its signature proves nothing here: ``vouch`` is asked, unless the archive was
    made on this host. Raises OpsError; a second run goes on where the first one failed."""
    started = time.monotonic()
    host = HostTree()
    identities = read_identities(Path(identity)) if identity else []
    manifest, settings_file, settings = _described(archive, identities)
    _refuse_missing_programs(manifest, host)
    check_authenticity(settings, archive, vouch, on_host=True, dry_run=False)

    def run(*, dry_run: bool, answer: Callable[[Preview], bool]) -> RestoreOutcome:
        return restore(
            settings,
            str(archive),
            (),
            root=HOST,
            dry_run=dry_run,
            identity=identity,
            vouch=lambda _: True,
            ask=answer,
        )

    planned = run(dry_run=True, answer=lambda _: False)
    if not planned.preview.is_empty and not ask(planned.preview):
        raise DeclinedError(Text(en="nothing was restored", zh="未恢复任何内容"))
    accounts = _make_accounts(planned.preview.lacking_accounts, host)
    restored = run(dry_run=False, answer=lambda _: True)
    # The other notes advise the operator of a host that runs; this one is started next.
    restored.notes = [account.words for account in restored.preview.lacking_accounts]
    installed = _installed(manifest, settings, settings_file, options, host)
    return BootstrapResult(restored, accounts, installed, time.monotonic() - started)


def _described(archive: Path, identities: Sequence[Identity]) -> tuple[Manifest, Path, Settings]:
    """The archive's manifest, and the host's gte-ops.toml in it. Raises ArchiveError, SettingsError."""
    with open_archive(archive, identities) as reader:
        manifest = reader.manifest
        path = next(
            (asked.path for asked in manifest.asked if asked.path.endswith(".toml") and not asked.missing), ""
        )
        for member in reader.members():
            if path and member.entry.path == path.lstrip("/"):
                # The archive is not yet vouched for: it does not decide how much memory is taken.
                if member.entry.size > MAX_FILE_BYTES:
                    raise ArchiveError(
                        archive, f"{path} in it is larger than 1 MiB; this is not a gte-ops.toml"
                    )
                content = b"".join(member.chunks())
                settings = parse_settings(content, f"{archive.name}: {path}")
                # Files that are not on this host yet, and signers that the archive names itself.
                own = msgspec.structs.replace(settings.backup, allowed_signers="", signing_key="")
                return manifest, Path(path), msgspec.structs.replace(settings, backup=own)
    raise ArchiveError(archive, "there is no gte-ops.toml in it: it cannot set up a host")


def _refuse_missing_programs(manifest: Manifest, host: HostTree) -> None:
    needed = dict(_NEEDED)
    renewals = f"{manifest.letsencrypt_dir.strip('/')}/renewal/"
    if any(entry.path.startswith(renewals) for entry in manifest.entries):
        needed["certbot"] = "certbot"
    packages = " ".join(package for program, package in needed.items() if not host.has_program(program))
    if packages:
        raise RefusedError(
            Text(
                en=f"not installed here: {packages}; nothing was changed: apt-get install -y {packages}, then again",
                zh=f"本机未安装：{packages}；未作任何改动：请先 apt-get install -y {packages}，然后重新运行",
            )
        )


def _make_accounts(lacking: Sequence[LackingAccount], host: HostTree) -> tuple[str, ...]:
    """Make the accounts that own the archive's files. A user's own group comes with it."""
    users = [account.name for account in lacking if not account.is_group]
    groups = [account.name for account in lacking if account.is_group and account.name not in users]
    for name in groups:
        host.run("groupadd", "--system", name)
    for name in users:
        host.run(*account_command(name))
    return (*users, *groups)


def _installed(
    manifest: Manifest, settings: Settings, settings_file: Path, options: InstallOptions, host: HostTree
) -> InstallResult:
    """Install what the archive does not hold; a file of the archive stays as it was on the old host."""
    paths = {f"/{entry.path}" for entry in manifest.entries}

    def plan() -> Sequence[Step]:
        steps = steps_here(settings, settings_file, options, host)
        return [step for step in steps if not (isinstance(step, FileStep) and step.file.path in paths)]

    try:
        if host.has_systemd:
            host.run("systemctl", "daemon-reload")
        return install(plan, host, InstallStore(host.root))
    except OpsError as error:
        words = error.words
        raise StepError(
            Text(
                en=f"the files are restored, the service is not set up: {words.en}; fix it, then run it again",
                zh=f"文件已恢复，服务未能装好：{words.zh}；请修正后重新运行同一命令",
            )
        ) from None
