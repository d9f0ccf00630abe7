"""Scenarios of change: a guilty change is made first, then five innocent ones, then everything is loaded and breaks.

A new one is a function that makes the guilty change, declared with what loads it and what a client meets then:

    @scenario("NGX005", guilty=("gte-api.conf",), load=nginx, sees=answers(502))
    def upstream_has_another_port(stack: Stack) -> None:
        stack.edit(stack.site_file, f"server {stack.bind};", ..., apply=False)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.changed import ChangeReport, keep_baseline, touch
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Sees, answers, meets
from tests.lab.faults.routing import put_before
from tests.lab.faults.start import fails_to_start
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

Step = Callable[[Stack], object]
INNOCENT_CHANGES = 5
# The service's unit of the lab. No systemd runs there: the doctor reads the file, and the stack starts the service.
UNIT = "gte-api.service"


@dataclass(frozen=True)
class Scenario:
    """One outage. ``code``: the cause; ``guilty``: ends of the paths that belong to its proof, or names; ``prepare``:
    before the baseline; ``change``: the guilty change; ``load``: what takes it up; ``unchanged``: ends of paths that
    were written in between and are as they were, which must not be listed."""

    name: str
    code: str
    guilty: tuple[str, ...]
    change: Step
    load: Step
    sees: Sees
    prepare: Step
    unchanged: tuple[str, ...] = ()
    stack: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScenarioResult:
    """What the doctor said. ``missing``: guilty changes that are not in the proof; ``wrong``: others that are, or that
    are listed as changes and are none; ``codes``: the causes that it named."""

    name: str
    code: str
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    codes: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """The cause and every guilty change are named, and nothing else is blamed."""
        return self.code in self.codes and not self.missing and not self.wrong


SCENARIOS: list[Scenario] = []


def nothing(_stack: Stack) -> None:
    """No step."""


def nginx(stack: Stack) -> None:
    """Both take it up, nginx last."""
    stack.restart_gunicorn()
    stack.reload_nginx()


def nginx_fails(stack: Stack) -> None:
    """Both are restarted, and nginx refuses."""
    stack.restart_gunicorn()
    stack.stop_nginx()
    stack.try_to_start_nginx()


def gunicorn(stack: Stack) -> None:
    """Both take it up, gunicorn last."""
    stack.reload_nginx()
    stack.restart_gunicorn()


def elsewhere(stack: Stack) -> None:
    """Both take it up, and gunicorn is not where it was."""
    stack.reload_nginx()
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="nothing")


def failing_start(stack: Stack) -> None:
    """Both are restarted, and gunicorn gives up."""
    stack.reload_nginx()
    stack.stop_gunicorn()
    fails_to_start(stack)


def killed(stack: Stack) -> None:
    """Both take it up and serve; later the service dies by itself, and no change has to do with it."""
    gunicorn(stack)
    # Logs have whole seconds: an answer of a later one is of the new process.
    later = time.time() + 2
    wait_for(lambda: stack.predict().status == 200 and time.time() > later, "clients to be served", within=20)
    stack.kill_gunicorn()


def scenario(
    code: str,
    *,
    guilty: tuple[str, ...],
    load: Step,
    sees: Sees,
    prepare: Step = nothing,
    unchanged: tuple[str, ...] = (),
    **stack: Any,
) -> Callable[[Step], Scenario]:
    """Declare a scenario."""

    def declare(change: Step) -> Scenario:
        name = change.__name__
        made = Scenario(name, code, guilty, change, load, sees, prepare, unchanged, stack)
        SCENARIOS.append(made)
        return made

    return declare


# --- innocent changes -------------------------------------------------------------------------------------------------


def _other_site(stack: Stack) -> Path:
    path = stack.nginx_dir / "conf.d" / "zz-other.conf"
    listen = f"{stack.address}:{stack.free_port()}"
    path.write_text(f"server {{\n    listen {listen};\n    server_name other.example;\n    return 204;\n}}\n")
    return path


def _log_format(stack: Stack) -> Path:
    path = stack.nginx_dir / "conf.d" / "00-format.conf"
    path.write_text("log_format short '$remote_addr $status';\ngzip_min_length 2k;\n")
    return path


def _script(stack: Stack) -> Path:
    path = stack.app_dir / "tools" / "report.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("print('weekly report')\n")
    return path


def _page(stack: Stack) -> Path:
    path = stack.app_dir / "templates" / "imprint.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text("<p>Imprint</p>\n")
    return path


def _rotation(stack: Stack) -> Path:
    path = stack.logrotate / "gte-api"
    path.write_text(path.read_text().replace("rotate 14", "rotate 30"))
    return path


def _cron(stack: Stack) -> Path:
    path = stack.cron / "gte-ops"
    path.write_text(path.read_text().replace("* * * * *", "*/2 * * * *"))
    return path


def _settings(stack: Stack) -> Path:
    path = stack.config_file
    path.write_text(path.read_text() + '\n[doctor]\nsince = "20m"\n')
    return path


def _drop_in(stack: Stack) -> Path:
    path = stack.systemd / f"{UNIT}.d" / "nice.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text("[Service]\nNice=5\n")
    return path


def _variable(stack: Stack) -> Path:
    path = stack.directory / "gte.env"
    path.write_text(path.read_text() + "LOG_COLOUR=1\n")
    return path


def _renewal(stack: Stack) -> Path:
    path = stack.letsencrypt / "cli.ini"
    path.write_text("max-log-backups = 12\n")
    return path


def _keepalive(stack: Stack) -> Path:
    path = stack.gunicorn_conf
    path.write_text(path.read_text() + "keepalive = 5\n")
    return path


INNOCENT = (
    _other_site,
    _log_format,
    _script,
    _page,
    _rotation,
    _cron,
    _settings,
    _drop_in,
    _variable,
    _renewal,
    _keepalive,
)


def innocent_changes(stack: Stack, chosen: Scenario) -> frozenset[str]:
    """Makes five innocent changes in other files than the guilty one, other ones for each scenario; their paths."""
    begin = SCENARIOS.index(chosen) * 3
    paths: list[str] = []
    for number in range(len(INNOCENT)):
        make = INNOCENT[(begin + number) % len(INNOCENT)]
        clashes = {_keepalive: "gunicorn.conf.py", _variable: "gte.env", _rotation: "logrotate.d/gte-api"}
        if clashes.get(make, "-") in (*chosen.guilty, *chosen.unchanged):
            continue
        paths.append(str(make(stack)))
        if len(paths) == INNOCENT_CHANGES:
            break
    return frozenset(paths)


# --- running one ------------------------------------------------------------------------------------------------------


def with_unit(stack: Stack) -> None:
    """A unit and an environment file, as on a host with systemd."""
    environment = stack.directory / "gte.env"
    environment.write_text("LANG=C.UTF-8\n")
    (stack.systemd / UNIT).write_text(
        f"[Service]\nEnvironmentFile={environment}\nExecStart={' '.join(stack.gunicorn_command())}\n"
    )
    stack.config["gunicorn"]["unit"] = UNIT
    stack.write_config()
    # As systemd gives a service the variables of its EnvironmentFile=.
    stack.launcher = ["sh", "-c", 'set -a; . "$1"; shift; exec "$@"', "sh", str(environment)]


def install_package(site_packages: Path, name: str, version: str, source: str) -> None:
    """What pip leaves of a small package of one module."""
    for old in site_packages.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    metadata = site_packages / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site_packages / f"{name}.py").write_text(source)


def own_environment(stack: Stack, directory: Path) -> Path:
    """Gives the service an environment that has the packages of this one, and room for its own: its site-packages."""
    site_packages = directory / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    site_packages.mkdir(parents=True)
    own = Path(stack.python)
    (directory / "bin").mkdir()
    (directory / "bin" / "python").symlink_to(own.resolve())
    home = own.resolve().parent
    (directory / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    here = next(own.parent.parent.glob("lib/python3*/site-packages"))
    (site_packages / "here.pth").write_text(f"{here}\n")
    stack.python = str(directory / "bin" / "python")
    return site_packages


def run_scenario(chosen: Scenario) -> ScenarioResult:
    """Brings up a stack, changes it, and asks the doctor. Raises NotInTimeError, StackError."""
    with Stack(**chosen.stack) as stack:
        with_unit(stack)
        chosen.prepare(stack)
        keep_baseline(stack)
        chosen.change(stack)
        innocent = innocent_changes(stack, chosen)
        assert len(innocent) == INNOCENT_CHANGES
        chosen.load(stack)
        wait_for(lambda: chosen.sees(stack), f"a client to meet {chosen.name}", within=20, every=0.05)
        # What is named is tried here, not how soon: a busy machine gets the time that the doctor needs.
        report = ChangeReport(stack.doctor("--budget", "30"), innocent)
    return _judged(chosen, report)


def _judged(chosen: Scenario, report: ChangeReport) -> ScenarioResult:
    codes = tuple(report.ran.codes)
    assert codes or not report.ran.stderr, report.ran.stderr
    fitting = report.fitting(chosen.code)
    proof = report.evidence(chosen.code) if chosen.code in codes else ""
    missing = [
        end for end in chosen.guilty if not any(what.endswith(end) for what in fitting) or end not in proof
    ]
    innocent = {what for what in report.blamed if not what.endswith(chosen.guilty or ("\0",))}
    unlisted = report.innocent - {item["what"] for item in report.items}
    wrong = sorted(innocent) + [f"not listed: {what}" for what in sorted(unlisted)]
    wrong += [
        f"no change: {item['what']}"
        for item in report.items
        if chosen.unchanged and item["what"].endswith(chosen.unchanged)
    ]
    return ScenarioResult(chosen.name, chosen.code, tuple(missing), tuple(wrong), codes)


# --- scenarios --------------------------------------------------------------------------------------------------------


def _elsewhere(stack: Stack) -> str:
    return f"{stack.address}:{stack.free_port()}"


def _add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@scenario("NGX005", guilty=("gte-api.conf",), load=nginx, sees=answers(502))
def upstream_has_another_port(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server {stack.bind};", f"server {_elsewhere(stack)};", apply=False)


@scenario(
    "NGX005", guilty=("gunicorn.conf.py",), load=gunicorn, sees=answers(502), app=PLAIN_APP, wait="nothing"
)
def gunicorn_binds_another_port(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, f"bind = {stack.bind!r}", f"bind = {_elsewhere(stack)!r}", apply=False)


@scenario("NGX038", guilty=("gte-api.conf",), load=nginx, sees=answers(403))
def deny_all_is_left_behind(stack: Stack) -> None:
    put_before(stack, "deny all;", apply=False)


@scenario("NGX030", guilty=("gte-api.conf",), load=nginx, sees=answers(405))
def slash_replaces_the_path(stack: Stack) -> None:
    put_before(stack, "location /predict { proxy_pass http://gte_backend/; }", apply=False)


@scenario("NGX013", guilty=("gte-api.conf",), load=nginx, sees=answers(301))
def https_redirects_to_itself(stack: Stack) -> None:
    put_before(stack, f"return 301 {stack.url}$request_uri;", apply=False)


@scenario("NGX034", guilty=("conf.d/aa-parked.conf",), load=nginx, sees=answers(404))
def parked_page_claims_the_name(stack: Stack) -> None:
    """A new file; the site's own is as it was."""
    files = f"ssl_certificate {stack.certificate}; ssl_certificate_key {stack.private_key};"
    (stack.nginx_dir / "conf.d" / "aa-parked.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['https']} ssl;\n    server_name {stack.domain};\n"
        f"    {files}\n    location / {{ return 404; }}\n}}\n"
    )


@scenario("NET001", guilty=("gte-api.conf",), load=nginx, sees=meets("refused"))
def nginx_listens_elsewhere(stack: Stack) -> None:
    listen = f"listen {stack.address}:{stack.ports['https']}"
    stack.edit(stack.site_file, listen, f"listen {_elsewhere(stack)}", apply=False)


@scenario("NGX003", guilty=("gte-api.conf",), load=nginx_fails, sees=meets("refused"))
def directive_is_misspelt(stack: Stack) -> None:
    """nginx is restarted, not reloaded: it stays down."""
    stack.edit(stack.site_file, "proxy_pass ", "proxy_pas ", apply=False)


@scenario("GUN003", guilty=("build/app.py",), load=failing_start, sees=answers(502), app=PLAIN_APP)
def application_imports_what_is_not_there(stack: Stack) -> None:
    stack.app_file.write_text(f"import shoptools\n{PLAIN_APP}")


NEEDS_TOKEN = f"import os\n\nTOKEN = os.environ['SHOP_TOKEN']\n{PLAIN_APP}"


def with_token(stack: Stack) -> None:
    """The application's variable stands in the environment file."""
    _add(stack.directory / "gte.env", "SHOP_TOKEN=plain\n")
    stack.app_file.write_text(NEEDS_TOKEN)
    stack.restart_gunicorn()


@scenario(
    "GUN003", guilty=("gte.env",), load=failing_start, sees=answers(502), prepare=with_token, app=PLAIN_APP
)
def variable_is_renamed_in_the_environment_file(stack: Stack) -> None:
    """The application reads it at import, as it always has."""
    path = stack.directory / "gte.env"
    path.write_text(path.read_text().replace("SHOP_TOKEN", "SHOP_KEY"))


@scenario("GUN001", guilty=("gunicorn.conf.py",), load=failing_start, sees=answers(502), app=PLAIN_APP)
def gunicorn_s_file_has_a_typing_error(stack: Stack) -> None:
    _add(stack.gunicorn_conf, "workers = (2\n")


@scenario("GUN008", guilty=("gunicorn.conf.py",), load=gunicorn, sees=answers(200), app=PLAIN_APP)
def setting_is_misspelt(stack: Stack) -> None:
    _add(stack.gunicorn_conf, "max_request = 500\n")


@scenario("APP004", guilty=("build/app.py",), load=gunicorn, sees=answers(500), app=PLAIN_APP)
def prediction_raises(stack: Stack) -> None:
    stack.app_file.write_text(
        PLAIN_APP.replace("return jsonify(result={})", "return jsonify(result={}['x'])")
    )


def with_prices(stack: Stack) -> None:
    """An application of two modules."""
    (stack.app_dir / "prices.py").write_text("def price():\n    return 1\n")
    source = PLAIN_APP.replace("result={}", "result=prices.price()")
    stack.app_file.write_text(f"import prices\n{source}")
    stack.restart_gunicorn()


@scenario(
    "APP004",
    guilty=("build/prices.py",),
    load=gunicorn,
    sees=answers(500),
    app=PLAIN_APP,
    prepare=with_prices,
)
def imported_module_raises(stack: Stack) -> None:
    """The application's own file is as it was."""
    (stack.app_dir / "prices.py").write_text("def price():\n    return {}['price']\n")


def as_another_user(stack: Stack) -> None:
    """The service runs as a root that may not read what is another user's alone, and the model is another user's."""
    stack.launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *stack.launcher]
    for place in (stack.model_dir, *stack.model_dir.iterdir()):
        os.chown(place, 65534, 65534)
    stack.restart_gunicorn()


@scenario(
    "MOD004",
    guilty=("config.json",),
    load=elsewhere,
    sees=answers(503, path="/ready"),
    prepare=as_another_user,
)
def model_is_its_owner_s_alone(stack: Stack) -> None:
    """Not its content: its mode."""
    (stack.model_dir / "config.json").chmod(0o600)


@scenario("TLS010", guilty=("privkey.pem",), load=gunicorn, sees=answers(200))
def key_may_be_read_by_everybody(stack: Stack) -> None:
    stack.private_key.resolve().chmod(0o644)


@scenario("TLS011", guilty=("cron.d/certbot",), load=gunicorn, sees=answers(200))
def renewal_is_commented_out(stack: Stack) -> None:
    path = stack.cron / "certbot"
    path.write_text(f"# {path.read_text()}")


@scenario(
    "TLS006", guilty=("fullchain.pem",), load=nginx, sees=lambda stack: stack.predict().error is not None
)
def intermediate_is_cut_from_the_file(stack: Stack) -> None:
    path = stack.certificate.resolve()
    leaf, mark, _ = path.read_text().partition("-----END CERTIFICATE-----\n")
    path.write_text(leaf + mark)


# Packages: the files that use them are as they were.

APP_OF_TOOLBOX = f"import toolbox\n{PLAIN_APP}".replace("result={}", "result=toolbox.read()")
TOOLBOX = "def read():\n    return open('prices.txt').read().split(',')[1]\n"


def with_toolbox(stack: Stack) -> None:
    """An environment of its own, with a package that reads the application's file."""
    site_packages = own_environment(stack, stack.directory / "venv")
    install_package(site_packages, "toolbox", "1.4", TOOLBOX)
    install_package(site_packages, "ledger", "3.0", "")
    (stack.app_dir / "prices.txt").write_text("1,2")
    stack.app_file.write_text(APP_OF_TOOLBOX)
    stack.config["app"]["python"] = stack.python
    stack.write_config()
    stack.restart_gunicorn()


def _site_packages(stack: Stack) -> Path:
    return next((stack.directory / "venv").glob("lib/*/site-packages"))


@scenario(
    "APP004", guilty=("toolbox",), load=gunicorn, sees=answers(500), prepare=with_toolbox, app=PLAIN_APP
)
def upgrade_reads_the_same_file_otherwise(stack: Stack) -> None:
    """prices.txt is as it was, and the new version wants another separator; another package is upgraded too."""
    install_package(_site_packages(stack), "toolbox", "2.0", TOOLBOX.replace("','", "';'"))
    install_package(_site_packages(stack), "ledger", "3.1", "")


@scenario(
    "GUN003", guilty=("toolbox",), load=failing_start, sees=answers(502), prepare=with_toolbox, app=PLAIN_APP
)
def upgrade_refuses_to_be_imported(stack: Stack) -> None:
    install_package(
        _site_packages(stack), "toolbox", "2.0", "raise ImportError('toolbox 2 needs a licence')\n"
    )
    install_package(_site_packages(stack), "ledger", "3.1", "")


# Two changes that only together break it.


def _second(stack: Stack) -> str:
    """A second address of this stack, the same at each call."""
    return f"{stack.address}:{stack.ports.setdefault('second', stack.free_port())}"


def with_two_binds(stack: Stack) -> None:
    """gunicorn listens at two addresses."""
    both = repr([stack.bind, _second(stack)])
    stack.edit(stack.gunicorn_conf, f"bind = {stack.bind!r}", f"bind = {both}")


@scenario(
    "NGX005",
    guilty=("gte-api.conf", "gunicorn.conf.py"),
    load=gunicorn,
    sees=answers(502),
    prepare=with_two_binds,
)
def nginx_asks_the_one_address_and_gunicorn_keeps_the_other(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server {stack.bind};", f"server {_second(stack)};")
    assert stack.predict().status == 200
    both = repr([stack.bind, _second(stack)])
    stack.edit(stack.gunicorn_conf, f"bind = {both}", f"bind = {stack.bind!r}", apply=False)


@scenario("GUN003", guilty=("gte.env", "build/app.py"), load=failing_start, sees=answers(502), app=PLAIN_APP)
def code_begins_to_read_a_variable_that_is_wrong(stack: Stack) -> None:
    """A new variable that nobody read, and code that would be right without it."""
    _add(stack.directory / "gte.env", "SHOP_LIMIT=ten\n")
    stack.app_file.write_text(f"import os\n\nLIMIT = int(os.environ.get('SHOP_LIMIT', '10'))\n{PLAIN_APP}")


# Changes that were always harmless, and such as are none.


@scenario("GUN001", guilty=(), load=killed, sees=answers(502), app=PLAIN_APP)
def service_dies_after_harmless_changes(stack: Stack) -> None:
    """Changes where the cause could lie, which have served ever since."""
    stack.edit(stack.site_file, "keepalive 32;", "keepalive 24;")
    stack.edit(stack.gunicorn_conf, "workers = 1", "workers = 2")
    assert stack.predict().status == 200


@scenario(
    "NGX005",
    guilty=("gte-api.conf",),
    load=nginx,
    sees=answers(502),
    unchanged=("nginx.conf", "cron.d/certbot", "vocab.txt"),
)
def others_were_changed_and_changed_back(stack: Stack) -> None:
    for path in (stack.nginx_conf, stack.cron / "certbot", stack.model_dir / "vocab.txt"):
        text = path.read_text()
        path.write_text(f"# {text}")
        path.write_text(text)
    upstream_has_another_port.change(stack)


@scenario(
    "GUN001", guilty=(), load=killed, sees=answers(502), unchanged=("nginx.conf", "gte-api.conf", "vocab.txt")
)
def files_were_touched(stack: Stack) -> None:
    """A copy over itself, another time, another inode; the same content."""
    for path in (stack.nginx_conf, stack.site_file, *stack.model_dir.iterdir()):
        copy = path.with_name(f".{path.name}.new")
        shutil.copy2(path, copy)
        copy.replace(path)
        touch(path)
    stack.reload_nginx()


@scenario("GUN001", guilty=(), load=killed, sees=answers(502), app=PLAIN_APP)
def comments_alone_were_changed(stack: Stack) -> None:
    stack.edit(stack.site_file, "upstream gte", "# the service\nupstream gte", apply=False)
    _add(stack.gunicorn_conf, "# workers: two would do\n")


# A clock that was wrong, by what is recorded: the machine's own is left alone.


def _shift_recorded_times(stack: Stack, seconds: float) -> None:
    """The baseline as a clock would have dated it that was so far ahead."""
    for path in (stack.run / "watchdog-baselines" / "states").glob("*.json"):
        baseline = json.loads(path.read_text())
        for name in ("taken_at", "looked_at"):
            baseline[name] += seconds
        for file in baseline["files"].values():
            for name in ("mtime", "ctime"):
                file[name] += int(seconds * 1e9)
        for name in baseline.get("directories", {}):
            baseline["directories"][name] += int(seconds * 1e9)
        path.write_text(json.dumps(baseline))
        at = time.time() + seconds
        os.utime(path, (at, at))


@scenario("NGX005", guilty=("gte-api.conf",), load=nginx, sees=answers(502))
def clock_was_an_hour_ahead_and_was_set_back(stack: Stack) -> None:
    """The baseline is younger than everything that came after it."""
    _shift_recorded_times(stack, 3600.0)
    upstream_has_another_port.change(stack)


@scenario("APP004", guilty=("build/app.py",), load=gunicorn, sees=answers(500), app=PLAIN_APP)
def clock_was_an_hour_behind_and_was_set_forward(stack: Stack) -> None:
    _shift_recorded_times(stack, -3600.0)
    prediction_raises.change(stack)


@scenario("NGX005", guilty=("gte-api.conf",), load=nginx, sees=answers(502))
def change_is_dated_in_the_future(stack: Stack) -> None:
    """Written while the clock was wrong; only the inode's change time is right."""
    upstream_has_another_port.change(stack)
    later = time.time() + 7200
    os.utime(stack.site_file, (later, later))


@scenario("NGX005", guilty=("gte-api.conf",), load=nginx, sees=answers(502))
def change_came_with_an_old_date(stack: Stack) -> None:
    """`cp -p` and `rsync -t` keep the date: the guilty file looks older than the baseline."""
    upstream_has_another_port.change(stack)
    os.utime(stack.site_file, (1_600_000_000, 1_600_000_000))
