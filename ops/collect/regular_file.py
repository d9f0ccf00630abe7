"""Moved to ops.files.regular_file."""

from ops.files.regular_file import *  # noqa: F403
