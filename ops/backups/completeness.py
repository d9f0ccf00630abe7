"""Whether a backup holds everything that the host's own configuration named: nginx, gunicorn, units, renewals. Pure; a
drill can prove of the rest only that what is in it works."""

from __future__ import annotations

from ops.archive.manifest import Manifest, resolve

# What no archive can hold, and no restore misses (`ops.backups.scan`).
_NO_LOSS = ("it is a ", "its name is the manifest's")
_LINK = " is a link of user "


def lacking(manifest: Manifest) -> dict[str, str]:
    """The paths that were wanted and are not in the archive, each with the reason."""
    by_path = {entry.path: entry for entry in manifest.entries}
    paths: dict[str, str] = {}
    for asked in manifest.asked:
        if asked.missing:
            paths[asked.path] = asked.missing
        elif (place := resolve(asked.path.strip("/"), by_path)) is None or (place and place not in by_path):
            paths[asked.path] = "it is not in the archive"
    for path, reason in manifest.left_out.items():
        if not reason.startswith(_NO_LOSS) and _LINK not in reason:
            paths.setdefault(path, reason)
    return paths
