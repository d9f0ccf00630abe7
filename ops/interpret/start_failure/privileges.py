"""Calls that the kernel refuses whoever owns the files: what was called, and the capability that it takes."""

from __future__ import annotations

import re

from ops.interpret.start_failure.words import Trace

# capabilities(7).
_CAPABILITIES = {
    "setuid": "CAP_SETUID", "seteuid": "CAP_SETUID", "setreuid": "CAP_SETUID", "setresuid": "CAP_SETUID",
    "setgid": "CAP_SETGID", "setegid": "CAP_SETGID", "setregid": "CAP_SETGID", "setresgid": "CAP_SETGID",
    "setgroups": "CAP_SETGID", "initgroups": "CAP_SETGID",
    "chown": "CAP_CHOWN", "fchown": "CAP_CHOWN", "lchown": "CAP_CHOWN",
    "chmod": "CAP_FOWNER", "fchmod": "CAP_FOWNER", "utime": "CAP_FOWNER",
    "chroot": "CAP_SYS_CHROOT",
    "nice": "CAP_SYS_NICE", "setpriority": "CAP_SYS_NICE", "sched_setaffinity": "CAP_SYS_NICE",
    "sched_setscheduler": "CAP_SYS_NICE", "sched_setparam": "CAP_SYS_NICE", "cpu_affinity": "CAP_SYS_NICE",
    "ionice": "CAP_SYS_NICE",
    "setrlimit": "CAP_SYS_RESOURCE", "prlimit": "CAP_SYS_RESOURCE",
    "mlock": "CAP_IPC_LOCK", "mlockall": "CAP_IPC_LOCK",
    "bind": "CAP_NET_BIND_SERVICE",
    "socket": "CAP_NET_RAW",
    "setsockopt": "CAP_NET_ADMIN",
    "kill": "CAP_KILL", "killpg": "CAP_KILL",
    "sethostname": "CAP_SYS_ADMIN", "mount": "CAP_SYS_ADMIN", "unshare": "CAP_SYS_ADMIN", "setns": "CAP_SYS_ADMIN",
}  # fmt: skip
_CALL = re.compile(rf"\b({'|'.join(_CAPABILITIES)})\(")
_FUNCTION = re.compile(r"([A-Za-z_][\w.]{0,79})\(")
_REFUSED = re.compile(r"^\[Errno (?:1|13)\] [^:']*$")
# It names the directory, and no owner or mode of it would help.
_CHROOT = re.compile(r"^\[Errno 1\] .*: '")
_TO_BECOME = ("CAP_SETUID", "CAP_SETGID")


def forbidden_call(trace: Trace, name: str, message: str) -> dict[str, str] | None:
    """The call that was refused without a file being named, and its capability; None if it was not that.

    resource.setrlimit raises a ValueError in place of an OSError."""
    is_limit = name == "ValueError" and message == "not allowed to raise maximum limit"
    statement = trace.statements[-1] if trace.statements else ""
    if name == "PermissionError" and _CHROOT.match(message) and "chroot(" in statement:
        return {"call": "chroot()", "capability": _CAPABILITIES["chroot"]}
    if not is_limit and not (name in ("PermissionError", "OSError") and _REFUSED.match(message)):
        return None
    for statement in reversed(trace.statements[-2:]):
        if match := _CALL.search(statement):
            capability = _CAPABILITIES[match[1]]
            become = {"becomes": "yes"} if capability in _TO_BECOME else {}
            return {"call": f"{match[1]}()", "capability": capability, **become}
    if is_limit:
        return {"call": "setrlimit()", "capability": "CAP_SYS_RESOURCE"}
    if match := _FUNCTION.search(statement):
        return {"call": f"{match[1]}()"}
    return {}
