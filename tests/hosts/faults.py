"""The faults natural to a host with systemd: each breaks a unit as people do, and names the cause to come first."""

from __future__ import annotations

from dataclasses import dataclass

SERVICE = "/etc/systemd/system/gte-api.service"
GUNICORN = "/opt/gte-api/venv/bin/gunicorn"
ARGUMENTS = "-c python:service.gunicorn_conf service.app:create_app()"


@dataclass(frozen=True)
class HostFault:
    """``script`` breaks the host; ``until`` is a shell condition that holds once it is broken. ``code``: the cause that
    must come first; ``says``: words of its summary, evidence or fix. ``users``: whether a client meets it, on the host
    or (``outside``) on another one. ``mended``: what is mended by hand before the fix's own commands are run; None
    where they are not run."""

    code: str
    name: str
    script: str
    until: str = "true"
    says: tuple[str, ...] = ()
    users: bool = True
    outside: bool = False
    severity: str = ""
    mended: str | None = None

    def __str__(self) -> str:
        return f"{self.code}-{self.name.replace(' ', '_')}"


def drop_in(*lines: str, unit: str = "gte-api.service", restart: bool = True) -> str:
    """A script that adds a drop-in with lines of [Service], has systemd read it, and restarts the unit."""
    directory = f"/etc/systemd/system/{unit}.d"
    text = "\n".join(("[Service]", *lines))
    script = (
        f"mkdir -p {directory}\ncat >{directory}/fault.conf <<'END'\n{text}\nEND\nsystemctl daemon-reload\n"
    )
    return script + (f"systemctl restart {unit} || true" if restart else "")


def changed(text: str, then: str = "systemctl restart gte-api || true") -> str:
    """A script that adds a drop-in of the service's unit with sections of its own, has systemd read it, and goes on."""
    directory = f"{SERVICE}.d"
    return f"mkdir -p {directory}\ncat >{directory}/fault.conf <<'END'\n{text}\nEND\nsystemctl daemon-reload\n{then}\n"


def other_unit(name: str, *lines: str) -> str:
    """A script that makes a unit beside the service's."""
    text = "\n".join(("[Service]", "Type=oneshot", *lines))
    return f"cat >/etc/systemd/system/{name} <<'END'\n{text}\nEND\n"


def shows(unit: str, condition: str) -> str:
    """A condition: `systemctl show` of the unit has a line that matches."""
    return f"systemctl show {unit} | grep -Eq '^({condition})$'"


FAILS = shows("gte-api", "SubState=(failed|auto-restart)")
LIMIT_OF_TWO = "[Unit]\nStartLimitIntervalSec=300\nStartLimitBurst=2"
UNDO = "rm -r /etc/systemd/system/gte-api.service.d"
TABLE = "nft add table inet f; nft add chain inet f input '{ type filter hook input priority 0; }'"
PACKAGED = f"mv {SERVICE} /usr/lib/systemd/system/; systemctl daemon-reload"

FAULTS = (
    # --- the service's unit -------------------------------------------------------------------------------------------
    HostFault(
        "GUN030", "the unit file is removed", f"systemctl stop gte-api; rm {SERVICE}; systemctl daemon-reload",
        says=("gte-api.service", "systemctl daemon-reload"),
    ),
    HostFault(
        "GUN030", "the unit is disabled and removed",
        f"systemctl disable --now gte-api; rm {SERVICE}; systemctl daemon-reload",
        says=("journalctl -u gte-api.service",),
    ),
    HostFault(
        "GUN030", "the unit has no ExecStart",
        f"systemctl stop gte-api; sed -i '/^ExecStart=/d' {SERVICE}; systemctl daemon-reload",
        says=("systemd-analyze verify",),
    ),
    HostFault(
        "GUN031", "the unit is masked", f"systemctl stop gte-api; {PACKAGED}; systemctl mask gte-api",
        says=("systemctl unmask gte-api.service",), mended="",
    ),
    HostFault(
        "GUN031", "the unit is masked until the next boot",
        f"systemctl stop gte-api; {PACKAGED}; systemctl mask --runtime gte-api",
        says=("systemctl unmask gte-api.service",),
    ),
    HostFault(
        "GUN032", "it failed too often and was mended since",
        drop_in("RestartSec=100ms", "ExecStart=", "ExecStart=/opt/none", LIMIT_OF_TWO)
        + f"\nuntil {shows('gte-api', 'ActiveState=failed')}; do sleep 0.1; done\n"
        + f"{UNDO}; systemctl daemon-reload",
        says=("systemctl reset-failed gte-api.service",), mended="",
    ),
    HostFault(
        "GUN033", "ExecStart names no file", drop_in("ExecStart=", f"ExecStart={GUNICORN}n {ARGUMENTS}"),
        FAILS, (f"{GUNICORN}n", "no such file or directory"), mended=f"{UNDO}; systemctl daemon-reload",
    ),
    HostFault(
        "GUN033", "the program is not executable", f"chmod 0644 {GUNICORN}; systemctl restart gte-api || true",
        FAILS, ("it is not executable",), mended=f"chmod 0755 {GUNICORN}",
    ),
    HostFault(
        "GUN033", "the environment's interpreter is gone",
        f"sed -i '1s|.*|#!/opt/none/bin/python3|' {GUNICORN}; systemctl restart gte-api || true",
        FAILS, ("interpreter",),
    ),
    HostFault(
        "GUN034", "no such working directory", drop_in("WorkingDirectory=/opt/gte"), FAILS,
        ("/opt/gte", "no such file or directory"), mended="mkdir -p /opt/gte",
    ),
    HostFault(
        "GUN034", "the user may not enter the directory",
        "mkdir -p /root/build\n" + drop_in("WorkingDirectory=/root/build", "ProtectHome=no"), FAILS, ("/root/build",),
    ),
    HostFault(
        "GUN035", "no such user", drop_in("User=gteapi"), FAILS, ("gteapi", "useradd --system"), mended="",
    ),
    HostFault("GUN035", "no such group", drop_in("Group=gteapi"), FAILS, ("no group gteapi",)),
    HostFault(
        "GUN036", "no such file of variables", drop_in("EnvironmentFile=/etc/gte-api/env"), FAILS,
        ("/etc/gte-api/env", "no such file or directory"), mended="touch /etc/gte-api/env",
    ),
    HostFault(
        "GUN037", "it ends without a word", drop_in("ExecStart=", "ExecStart=/bin/false"), FAILS,
        ("ExecMainStatus=1",), mended=f"{UNDO}; systemctl daemon-reload",
    ),
    HostFault(
        "GUN037", "it never says that it is ready",
        drop_in("ExecStart=", "ExecStart=/bin/sleep 600", "TimeoutStartSec=1", restart=False)
        + "systemctl restart --no-block gte-api",
        shows("gte-api", "NRestarts=[3-9]"), ("NRestarts=",),
    ),
    HostFault(
        "GUN038", "a limit was changed by hand", f"sed -i 's/^LimitNOFILE=.*/LimitNOFILE=4096/' {SERVICE}",
        says=("systemctl daemon-reload", SERVICE), users=False, mended="",
    ),
    HostFault(
        "GUN038", "the unit was mended and not read",
        drop_in("User=gteapi") + f"\nuntil {FAILS}; do sleep 0.1; done\n{UNDO}",
        says=("systemctl daemon-reload",), mended="",
    ),
    HostFault(
        "GUN050", "a condition is not met", changed("[Unit]\nConditionPathExists=/etc/gte-api/enabled"),
        "! systemctl -q is-active gte-api", ("ConditionPathExists=/etc/gte-api/enabled",),
        mended="touch /etc/gte-api/enabled",
    ),
    HostFault(
        "GUN050", "a unit that it requires fails",
        other_unit("data.service", "ExecStart=/bin/false")
        + changed("[Unit]\nRequires=data.service\nAfter=data.service"),
        "! systemctl -q is-active gte-api", ("data.service (failed)",),
        mended="sed -i s:/bin/false:/bin/true: /etc/systemd/system/data.service; systemctl daemon-reload",
    ),
    HostFault(
        "GUN050", "its start waits for a unit that hangs",
        other_unit("data.service", "TimeoutStartSec=infinity", "ExecStart=/bin/sleep 3600")
        + changed("[Unit]\nWants=data.service\nAfter=data.service", "systemctl restart --no-block gte-api"),
        "systemctl list-jobs | grep -q 'gte-api.* waiting'", ("data.service (start)",),
        mended="systemctl stop data.service",
    ),
    HostFault(
        "GUN051", "its sandbox names a directory that is gone", drop_in("ReadWritePaths=/srv/data"), FAILS,
        ("/srv/data",), mended="mkdir /srv/data",
    ),
    HostFault(
        "GUN051", "its sandbox forbids its log",
        drop_in("Environment=GTE_ERROR_LOG=/srv/logs/error.log", restart=False)
        + "install -d -o gte-api /srv/logs; systemctl restart gte-api",
        FAILS, ("/srv/logs/error.log", "ProtectSystem=strict"), mended="",
    ),
    HostFault(
        "GUN051", "its sandbox will forbid its log",
        drop_in("Environment=GTE_ERROR_LOG=/srv/logs/error.log", restart=False) + "install -d -o gte-api /srv/logs",
        users=False, says=("cannot be started again", "ReadWritePaths=-/srv/logs"), mended="",
    ),
    HostFault(
        "GUN051", "its sandbox forbids its records, whose directory is not there",
        drop_in("Environment=GTE_PROGRESS_DIR=/srv/records"), users=False,
        says=("leaves no records there", "/srv/records"), mended="",
    ),
    HostFault(
        "GUN051", "it has a network of its own", drop_in("PrivateNetwork=yes"), says=("PrivateNetwork=yes",),
        mended=f"{UNDO}",
    ),
    HostFault(
        "GUN039", "systemd's watchdog ends it", drop_in("WatchdogSec=20") + "\nsleep 72",
        shows("gte-api", "NRestarts=[3-9]") + " && systemctl -q is-active gte-api && sleep 2", ("WatchdogSec=20",),
        users=False, severity="fail", mended=f"sed -i s/^WatchdogSec/#WatchdogSec/ {SERVICE}.d/fault.conf",
    ),
    HostFault(
        "GUN001", "somebody stopped it", "systemctl stop gte-api",
        says=("it was stopped, it did not fail", "systemctl start gte-api.service"), mended="",
    ),
    HostFault(
        "GUN003", "the application is spelt wrong",
        drop_in("ExecStart=", f"ExecStart={GUNICORN} -c python:service.gunicorn_conf service.appp:create_app()"),
        "grep -q appp /var/log/gte-api/error.log", ("service.appp",),
    ),
    # --- nginx's unit -------------------------------------------------------------------------------------------------
    HostFault(
        "NGX052", "nginx is masked", "systemctl mask --now nginx",
        says=("systemctl unmask nginx.service", "systemctl enable --now nginx.service"), mended="",
    ),
    HostFault(
        "NGX052", "nginx failed too often and was mended since",
        "sed -i 's/^events/event/' /etc/nginx/nginx.conf; for i in 1 2 3 4 5 6 7; do systemctl restart nginx; done;"
        " sed -i 's/^event/events/' /etc/nginx/nginx.conf",
        "journalctl -u nginx | grep -q 'repeated too quickly'", ("systemctl reset-failed nginx.service",), mended="",
    ),
    HostFault(
        "NGX003", "nginx refuses its configuration",
        "sed -i 's/^events/event/' /etc/nginx/nginx.conf; systemctl restart nginx || true", says=("event",),
    ),
    # --- the safeguards' units ----------------------------------------------------------------------------------------
    HostFault(
        "OPS009", "the backup's timer is enabled and stopped", "systemctl stop gte-ops-backup.timer", users=False,
        says=("enabled, but stopped", "systemctl enable --now gte-ops-backup.timer"), mended="",
    ),
    HostFault(
        "OPS009", "the drill's timer is disabled", "systemctl disable --now gte-ops-drill.timer", users=False,
        says=("gte-ops-drill.timer",), mended="",
    ),
    HostFault(
        "OPS009", "the rotation's timer is masked", "systemctl mask --now logrotate.timer", users=False,
        says=("systemctl unmask logrotate.timer",), mended="",
    ),
    HostFault(
        "OPS009", "certbot's timer is stopped", "systemctl stop certbot.timer", users=False, says=("certbot.timer",),
        mended="",
    ),
    HostFault(
        "TLS011", "certbot's timer is disabled", "systemctl disable --now certbot.timer", users=False,
        says=("systemctl enable --now certbot.timer",),
    ),
    HostFault(
        "OPS010", "the backup fails",
        drop_in(
            "ExecStart=", "ExecStart=/opt/gte-api/venv/bin/gte-ops backup create --config /etc/gte-ops/none.toml",
            unit="gte-ops-backup.service",
        ),
        shows("gte-ops-backup", "ActiveState=failed"), ("none.toml", "journalctl -u gte-ops-backup.service"),
        users=False,
    ),
    HostFault(
        "OPS013", "the backup's sandbox forbids its directory",
        "install -d -m 0700 /srv/backups; printf '\\n[backup]\\ndir = \"/srv/backups\"\\n' >>/etc/gte-ops/gte-ops.toml;"
        "/opt/gte-api/venv/bin/gte-ops backup create",
        users=False, says=("/srv/backups", "ProtectSystem=strict"), mended="",
    ),
    HostFault(
        "OPS013", "a condition lets the drill never run",
        "mkdir -p /etc/systemd/system/gte-ops-drill.service.d;"
        "printf '[Unit]\\nConditionPathExists=/srv/drills\\n' >/etc/systemd/system/gte-ops-drill.service.d/x.conf;"
        "systemctl daemon-reload",
        users=False, says=("ConditionPathExists=/srv/drills",), mended="mkdir /srv/drills",
    ),
    HostFault(
        "OPS010", "the certificate check's user is gone", drop_in("User=nobody-there", unit="gte-ops-cert.service"),
        shows("gte-ops-cert", "ActiveState=failed"), ("gte-ops-cert.service", "no user nobody-there"), users=False,
    ),
    HostFault(
        "OPS010", "a rule of logrotate is wrong",
        "echo '/var/log/x/*.log { rotate }' >/etc/logrotate.d/x; systemctl start logrotate.service || true",
        shows("logrotate.service", "ActiveState=failed"), ("logrotate.service",), users=False,
    ),
    HostFault(
        "OPS011", "the watchdog's configuration is gone",
        drop_in(
            "ExecStart=", "ExecStart=/opt/gte-api/venv/bin/gte-ops watchdog --config /etc/gte-ops/none.toml",
            unit="gte-ops-watchdog.service",
        ),
        shows("gte-ops-watchdog", "SubState=auto-restart"), ("none.toml",), users=False,
    ),
    HostFault(
        "OPS011", "the watchdog is masked",
        "systemctl stop gte-ops-watchdog; mv /etc/systemd/system/gte-ops-watchdog.service /usr/lib/systemd/system/;"
        "systemctl daemon-reload; systemctl mask gte-ops-watchdog",
        says=("systemctl unmask gte-ops-watchdog.service",), users=False, mended="",
    ),
    HostFault(
        "OPS006", "the watchdog is stopped", "systemctl stop gte-ops-watchdog", users=False,
        says=("gte-ops-watchdog.service",),
    ),
    HostFault(
        "OPS012", "a drop-in of nginx is not read",
        "mkdir -p /etc/systemd/system/nginx.service.d;"
        "printf '[Service]\\nLimitNOFILE=9999\\n' >/etc/systemd/system/nginx.service.d/x.conf",
        users=False, says=("systemctl daemon-reload", "nginx.service"), mended="",
    ),
    # --- the packet filter --------------------------------------------------------------------------------------------
    HostFault(
        "NET030", "nftables drops port 443",
        f"{TABLE}; nft add rule inet f input tcp dport 443 drop", says=("dport 443 drop", "443"), outside=True,
    ),
    HostFault(
        "NET030", "nftables rejects all that nobody let in",
        f"{TABLE}; nft add rule inet f input iif lo accept; nft add rule inet f input ct state established accept;"
        "nft add rule inet f input tcp dport 22 accept; nft add rule inet f input reject",
        says=("reject",), outside=True,
    ),
    HostFault(
        "NET030", "nftables' policy is drop without an accept for 443",
        "nft add table inet f; nft add chain inet f input '{ type filter hook input priority 0; policy drop; }';"
        "nft add rule inet f input iif lo accept; nft add rule inet f input ct state established accept",
        says=("policy drop",), outside=True,
    ),
    HostFault(
        "NET030", "nftables drops the backend's port",
        f"{TABLE}; nft add rule inet f input iif lo tcp dport 8000 drop", says=("8000", "nginx"),
    ),
)  # fmt: skip
