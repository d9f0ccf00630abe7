"""Check a user's access to a step of a path, by owners and modes (path_resolution(7))."""

from __future__ import annotations

from ops.facts.files import AccessStep, Reader

SEARCH, WRITE, READ = 0o1, 0o2, 0o4


def may(reader: Reader, step: AccessStep, needed: int) -> bool | None:
    """Whether ``reader`` has every right in ``needed`` (the sum of `SEARCH`, `WRITE`, `READ`) at one step; None if an
    access control list decides (acl(5): the owner's entry is always the mode's)."""
    if reader.overrides:
        return True
    if reader.uid == step.uid:
        return step.mode >> 6 & needed == needed
    if step.has_acl:
        return None
    return step.mode >> (3 if step.gid in reader.gids else 0) & needed == needed
