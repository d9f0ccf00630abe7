"""What can go wrong in the toolkit itself. Every message says what failed, on what, and the next step."""


class OpsError(Exception):
    """The toolkit could not do what was asked. ``exit_code`` is what the command ends with."""

    exit_code = 3


class SettingsError(OpsError):
    """gte-ops.toml cannot be used as it stands."""


class UsageError(OpsError):
    """An option's value makes no sense."""
