"""Moved to ops.files.nofollow."""

from ops.files.nofollow import *  # noqa: F403
from ops.files.ownership import *  # noqa: F403
