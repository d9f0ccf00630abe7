"""A start command that root runs: nothing of it is another user's, whatever stands before it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import attacker
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.attacks.service import Service, answers, comes_back, look, supervised
from tests.lab.watched import HEALTHY

SCRIPT = "/srv/attacker/app/start.sh"
CODE = "open('/root/owned', 'a').write('python\\n')\n"
THEIRS = {
    "itself": [SCRIPT],
    "a shell": ["bash", SCRIPT],
    "a shell's words": ["sh", "-c", SCRIPT],
    "words in a shell's words": ["sh", "-ec", f"cd / && exec bash -c 'exec {SCRIPT}'"],
    "a directory of a shell's": ["sh", "-c", "cd /srv/attacker/app && ./start.sh"],
    "a variable of a shell's": ["sh", "-c", "where=/srv/attacker/app; . $where/start.sh"],
    "env": ["/usr/bin/env", SCRIPT],
    "env with one word": ["env", "-S", f"bash {SCRIPT}"],
    "nohup and nice": ["nohup", "nice", "-n", "5", "bash", SCRIPT],
    "a link of root's": ["bash", "/root/start.sh"],
    "what bash reads first": ["env", f"BASH_ENV={SCRIPT}", "bash", "-c", "true"],
    "where python looks first": ["env", "PYTHONPATH=/srv/attacker/app", "python3", "-c", "import theirs"],
    "gunicorn's file": ["GUNICORN", "-c", "/srv/attacker/app/gunicorn.conf.py", "app:app"],
    "gunicorn's file, joined": ["GUNICORN", "--config=/srv/attacker/app/gunicorn.conf.py", "app:app"],
    "gunicorn's directory": ["GUNICORN", "--chdir", "/srv/attacker/app", "theirs:app"],
    "no other user": ["setpriv", "--reuid=0", "--clear-groups", "bash", SCRIPT],
}  # fmt: skip
SAMPLE = ("a shell", "a shell's words", "env", "nohup and nice", "gunicorn's directory")


def lay_out(service: Service, command: list[str]) -> None:
    """The attacker's files, and a start command that names them."""
    app = attacker.place("app")
    attacker.write(Path(SCRIPT), "#!/bin/bash\necho script >> /root/owned\n", mode=0o755)
    attacker.write(app / "theirs.py", CODE)
    attacker.write(app / "gunicorn.conf.py", CODE)
    Path("/root/start.sh").symlink_to(SCRIPT)
    gunicorn = service.gunicorn_command()[: service.gunicorn_command().index("-c")]
    words = [part for word in command for part in (gunicorn if word == "GUNICORN" else [word])]
    service.config["gunicorn"]["start_command"] = words
    service.write_config()


def rounds_without_it(service: Service, **options: Any) -> str:
    """What three rounds say after the service has ended."""
    service.kill_gunicorn()
    attacker.owned()
    return "\n".join(look(service, **options).stdout for _ in range(3))


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=() if how in SAMPLE else pytest.mark.long) for how in THEIRS]
)
@on_a_host_of_its_own
def test_root_starts_nothing_of_another_users(how: str) -> None:
    with supervised() as service:
        lay_out(service, THEIRS[how])
        said = rounds_without_it(service)
        assert attacker.owned() == [], said
        assert "root does not run " in said
        assert not answers(service)


APP = "/srv/attacker/app"
# What root once had in the shell that it started the service from, and what is started now.
SHELLS = {
    "PYTHONPATH": (APP, ["GUNICORN", "-c", "CONFIG", "app:app"]),
    "BASH_ENV": (SCRIPT, ["/bin/bash", "-c", "exec GUNICORN -c CONFIG app:app"]),
    "LD_PRELOAD": (f"{APP}/evil.so", ["/bin/sleep", "0"]),
    "GUNICORN_CMD_ARGS": (f"--config {APP}/gunicorn.conf.py", ["GUNICORN", "app:app"]),
    "PATH": (f"{APP}:/usr/bin:/bin", ["/bin/bash", "-c", "env true; exec GUNICORN -c CONFIG app:app"]),
    "HOME": (APP, ["/bin/bash", "-lc", "exec GUNICORN -c CONFIG app:app"]),
}


@pytest.mark.parametrize("name", SHELLS)
@on_a_host_of_its_own
def test_no_environment_has_root_run_another_users_files(name: str) -> None:
    """What is remembered of root's own service names a user's directory."""
    value, command = SHELLS[name]
    with Service() as service:
        cron = service.environment()
        service.set_service_environment(**{name: value})
        service.restart_gunicorn()
        assert look(service, environment=cron).exit_code == HEALTHY
        gunicorn = " ".join(service.gunicorn_command()[: service.gunicorn_command().index("-c")])
        config = str(service.gunicorn_conf)
        lay_out(service, [word.replace("GUNICORN", gunicorn).replace("CONFIG", config) for word in command])
        attacker.module(Path(f"{APP}/evil.so"))
        attacker.write(Path(f"{APP}/sitecustomize.py"), CODE)
        for program in (".bash_profile", "env"):
            attacker.write(Path(f"{APP}/{program}"), f"#!/bin/bash\n. {SCRIPT}\n", mode=0o755)
        said = rounds_without_it(service, environment=cron)
        assert attacker.owned() == [], said
        # What may be left out is: of $PATH and $HOME there are root's own.
        assert answers(service) == (name in ("PATH", "HOME")), said


OWN = {
    "a script of root's": ["bash", "/root/build/start-prod.sh"],
    "behind nohup": ["nohup", "nice", "-n", "1", "bash", "/root/build/start-prod.sh"],
    "from a shell's words": ["sh", "-c", "cd /root/build && exec ./start-prod.sh > /tmp/start.log 2>&1"],
}


@pytest.mark.parametrize("how", OWN)
@on_a_host_of_its_own
def test_what_is_roots_own_is_started(how: str) -> None:
    with supervised() as service:
        script = Path("/root/build/start-prod.sh")
        script.parent.mkdir(parents=True, exist_ok=True)
        words = " ".join(service.gunicorn_command())
        script.write_text(f"#!/bin/bash\ncd {service.app_dir} && exec {words}\n")
        script.chmod(0o755)
        service.config["gunicorn"]["start_command"] = OWN[how]
        service.write_config()
        service.kill_gunicorn()
        comes_back(service)
        assert service.gunicorn_master is not None
        assert service.gunicorn_master.uids().real == 0


@pytest.mark.parametrize("how", ["remembered", "setpriv", "a shell", "a hardened host"])
@on_a_host_of_its_own
def test_a_users_service_is_started_as_that_user(how: str) -> None:
    """Its own files are its to run: as itself."""
    with Service(attacker.UID) as service:
        gunicorn = service.gunicorn_command()[len(service.launcher) :]
        change = " ".join(service.launcher)
        commands = {
            "remembered": gunicorn,
            "a hardened host": gunicorn,
            "setpriv": [*service.launcher, *gunicorn],
            "a shell": ["sh", "-c", f"cd {service.app_dir} && exec {change} {' '.join(gunicorn)}"],
        }
        if how == "a hardened host":
            for path in (service.app_dir, *service.app_dir.rglob("*")):
                os.chown(path, 0, 0)
        if how in ("remembered", "a hardened host"):
            look(service)
        service.config["gunicorn"]["start_command"] = commands[how]
        service.write_config()
        service.kill_gunicorn()
        comes_back(service)
        assert service.gunicorn_master is not None
        assert service.gunicorn_master.uids().real == attacker.UID
