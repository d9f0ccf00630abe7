"""The user who runs this."""

from __future__ import annotations


def own_user_name() -> str:
    """The name of the user who runs this (LOGNAME, USER, else the account's); empty if there is none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
