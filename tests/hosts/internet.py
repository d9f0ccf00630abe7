"""What docs/quickstart.md takes for granted beyond the host, on one host of its own: Let's Encrypt, played by pebble,
a chat robot, and a place for backups. Their names are the page's, so that its commands run as they stand."""

from __future__ import annotations

from tests.hosts.acme import start_pebble
from tests.hosts.machine import Machine
from tests.lab.authority import Authority

AUTHORITIES = ("acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org")
ROBOT = "oapi.dingtalk.com"
BACKUPS = "backup.example.org"
_TRUST = "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"
_SITE = """\
server {{
    listen 443 ssl;
    server_name {authorities};
    ssl_certificate /etc/nginx/internet.pem;
    ssl_certificate_key /etc/nginx/internet.key;
    location = /directory {{ proxy_pass https://127.0.0.1:14000/dir; proxy_set_header Host $host; }}
    location / {{ proxy_pass https://127.0.0.1:14000; proxy_set_header Host $host; }}
}}
log_format posted escape=json '$request_body';
server {{
    listen 443 ssl;
    server_name {robot};
    ssl_certificate /etc/nginx/internet.pem;
    ssl_certificate_key /etc/nginx/internet.key;
    access_log /var/log/nginx/robot.log posted;
    location / {{
        default_type application/json;
        proxy_pass http://127.0.0.1:8081; # a body is read only to be passed on
    }}
}}
server {{
    listen 127.0.0.1:8081;
    access_log off;
    default_type application/json;
    return 200 '{{"errcode": 0, "errmsg": "ok"}}';
}}
"""


def start_internet(machine: Machine) -> None:
    """Start Let's Encrypt and the robot there."""
    authority = Authority()
    issued = authority.issue([*AUTHORITIES, ROBOT])
    _, root = start_pebble(machine, {})
    machine.write("/etc/nginx/internet.pem", issued.fullchain_pem.decode())
    machine.write("/etc/nginx/internet.key", issued.key_pem.decode())
    machine.write(
        "/etc/nginx/conf.d/internet.conf", _SITE.format(authorities=" ".join(AUTHORITIES), robot=ROBOT)
    )
    machine.write("/root/roots.pem", authority.root.pem.decode() + root)
    machine.sh("nginx -t && systemctl reload nginx")


def join_internet(machine: Machine, internet: Machine, name: str) -> None:
    """Have a host find these names there, and trust their certificates as it trusts public ones; Let's Encrypt finds
    ``name`` at the host, and no longer elsewhere."""
    internet.sh(
        f"(grep -v ' {name}$' /etc/hosts; echo '{machine.address} {name}') >/root/hosts; cat /root/hosts >/etc/hosts"
    )
    names = " ".join((*AUTHORITIES, ROBOT, BACKUPS))
    machine.sh(f"echo '{internet.address} {names}' >>/etc/hosts")
    roots = internet.sh("cat /root/roots.pem").split("-----END CERTIFICATE-----\n")
    for number, root in enumerate(root for root in roots if root.strip()):
        path = f"/usr/local/share/ca-certificates/internet{number}.crt"
        machine.write(path, f"{root}-----END CERTIFICATE-----\n")
    machine.run("update-ca-certificates")
    # pip's packages bring roots of their own, which are the public ones.
    machine.write("/etc/profile.d/internet.sh", f"export {_TRUST}\n")
    machine.write("/etc/systemd/system.conf.d/internet.conf", f"[Manager]\nDefaultEnvironment={_TRUST}\n")
    machine.run("systemctl", "daemon-reexec")


def admit_backups(machine: Machine, internet: Machine) -> None:
    """Let root of a host copy into the directory ``gte-ops`` of the account ``backup`` there, over SSH."""
    machine.sh(
        "mkdir -p -m 0700 /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519;"
        f" ssh-keyscan {BACKUPS} >>/root/.ssh/known_hosts"
    )
    internet.write("/var/backups/.ssh/authorized_keys", machine.sh("cat /root/.ssh/id_ed25519.pub"))
    internet.sh(
        "usermod --shell /bin/sh backup; install -d -o backup -m 0700 /var/backups/gte-ops;"
        " chown -R backup: /var/backups/.ssh /var/backups; chmod 0700 /var/backups/.ssh"
    )


def messages(internet: Machine) -> list[str]:
    """What the robot was sent, one message a line."""
    return internet.sh("cat /var/log/nginx/robot.log").splitlines()
