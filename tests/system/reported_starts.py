"""Starts that people reported as failing, each rebuilt from its report: real ones, of the real gunicorn."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ops.interpret.start_failure.kind import Kind
from tests.system.failing_starts import HELLO, FailingStart, closed_directory, holds_the_port

DJANGO = """\
import os
SECRET_KEY = "x"
INSTALLED_APPS = []
ROOT_URLCONF = __name__
urlpatterns = []
"""
DJANGO_WSGI = """\
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""


def django(settings: str, wsgi: str = DJANGO_WSGI) -> dict[str, str]:
    """A Django project whose settings are these lines behind the usual ones."""
    return {"shop/__init__.py": "", "shop/settings.py": DJANGO + settings, "shop/wsgi.py": wsgi}


def reads(
    name: str,
    kind: Kind,
    variable: str,
    body: str,
    value: str | None = None,
    config: str = "",
    where: str = "",
) -> FailingStart:
    """An application that reads ``variable`` as ``body`` does, set to ``value``; ``config``: a module beside it."""
    files = {"app.py": f"import os\n{body}"} | ({"config.py": f"import os\n{config}"} if config else {})
    values = {"name": variable} if variable else {}
    environment = {variable: value} if value is not None else {}
    return FailingStart(
        name, kind, files, values=values, environment=environment, says="exited with code", where=where
    )


def table_is_missing(directory: Path, _held: ExitStack) -> None:
    import sqlite3

    sqlite3.connect(directory / "shop.db").close()


def saves_a_class_of_its_own(directory: Path, _held: ExitStack) -> None:
    (directory / "scorer.pickle").write_bytes(b"c__main__\nScorer\n.")


# The environment of the tests has the package, by another one that needs it.
NO_MULTIPART = {
    f"{name}.py": f"raise ModuleNotFoundError(\"No module named '{name}'\")\n"
    for name in ("python_multipart", "multipart")
}

REPORTED: tuple[FailingStart, ...] = (
    # --- a variable that is not set
    FailingStart(
        "address put together with a variable",
        Kind.VARIABLE,
        {"app.py": "import os\nmongo_link = os.getenv('mlab_link') + '?retryWrites=false'\n"},
        values={"name": "mlab_link"}, where="app.py:2", source="replit-discord/all-seeing-bot#9",
    ),
    FailingStart(
        "name put together with a variable",
        Kind.VARIABLE,
        {"app.py": 'import os\nname = os.environ.get("BASE_NAME")+"-AML-WS"\n'},
        values={"name": "BASE_NAME"}, where="app.py:2", source="microsoft/MLOpsPython#98",
    ),
    FailingStart(
        "home directory",
        Kind.VARIABLE,
        {"app.py": "import os\nconfigfilename = os.getenv('HOME')+'/.pypilot/web.conf'\n"},
        values={"name": "HOME"}, where="app.py:2", source="pypilot/pypilot#264", without=("HOME",),
    ),
    FailingStart(
        "number from a variable",
        Kind.VARIABLE,
        {"app.py": "import os\nINITIAL_PORT = int(os.getenv('INITIAL_PORT')) # Initial port\n"},
        values={"name": "INITIAL_PORT"}, where="app.py:2", source="Distillery-Dev/Discomfort#8",
    ),
    FailingStart(
        "number from an empty variable",
        Kind.VARIABLE_VALUE,
        {"app.py": 'import os\nclass Config:\n    CHUNK_SIZE = int(os.environ.get("CHUNK_SIZE", 128))\n'},
        values={"name": "CHUNK_SIZE"}, where="app.py:3", environment={"CHUNK_SIZE": ""},
        source="xgorn/X-URL-Uploader#1",
    ),
    FailingStart(
        "number with a comment behind it",
        Kind.VARIABLE_VALUE,
        django("import environ\nenv = environ.Env()\nTIMEOUT = env.int('EXERCISE_CACHE_TTL', 3600)\n"),
        wsgi="shop.wsgi", values={"name": "EXERCISE_CACHE_TTL"}, where="settings.py:8",
        environment={"EXERCISE_CACHE_TTL": "18000 # in seconds - 5*60*60, 5 hours"}, source="wger-project/docker#97",
    ),
    FailingStart(
        "list from a variable",
        Kind.VARIABLE,
        {"app.py": 'import os\nAB = os.environ.get("AB_EXPERIMENTS")\nvariants = AB.strip().split(",")\n'},
        values={"name": "AB_EXPERIMENTS"}, where="app.py:2", source="webcompat/webcompat.com#3022",
    ),
    FailingStart(
        "length of a variable",
        Kind.VARIABLE,
        {
            "app.py": "import os\ndef is_true(val):\n    return len(val) > 0 and val.lower() == 'true'\n"
            'raw = is_true(os.getenv("RAW_BODY"))\n'
        },
        values={"name": "RAW_BODY"}, where="app.py:4", source="openfaas/python-flask-template#37",
    ),
    FailingStart(
        "address of the database",
        Kind.VARIABLE,
        {
            "app.py": "import os\nfrom sqlalchemy import create_engine\n"
            'DATABASE_URL = os.getenv("DATABASE_URL")\nengine = create_engine(DATABASE_URL)\n'
        },
        values={"name": "DATABASE_URL"}, where="app.py:3", source="frappe/erpnext#50518",
    ),
    FailingStart(
        "empty address of the database",
        Kind.VARIABLE,
        {
            "app.py": "import os\nfrom sqlalchemy import create_engine\n"
            'engine = create_engine(os.environ.get("DATABASE_URL", ""))\n'
        },
        values={"name": "DATABASE_URL"}, where="app.py:3", source="miguelgrinberg/flasky#186",
    ),
    FailingStart(
        "database of Flask-SQLAlchemy",
        Kind.VARIABLE,
        {
            "app.py": "import os\nfrom flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\n"
            'app = Flask(__name__)\napp.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DB_URI")\n'
            "db = SQLAlchemy(app)\n"
        },
        values={"name": "DB_URI"}, where="app.py:5", source="neupanic/Python-Flask-Authentication-Tutorial#7",
    ),
    FailingStart(
        "secret key of Django",
        Kind.VARIABLE,
        django(
            'SECRET_KEY = os.environ.get("CUCKOO_SECRET", "")\n',
            DJANGO_WSGI + "from django.conf import settings\nKEY = settings.SECRET_KEY\n",
        ),
        wsgi="shop.wsgi", values={"name": "CUCKOO_SECRET"}, source="spender-sandbox/cuckoo-modified#492",
    ),
    FailingStart(
        "variable by django-environ",
        Kind.VARIABLE,
        django('import environ\nenv = environ.Env()\nKEY = env("DJANGO_AWS_ACCESS_KEY_ID")\n'),
        wsgi="shop.wsgi", values={"name": "DJANGO_AWS_ACCESS_KEY_ID"}, where="settings.py:8",
        source="cookiecutter/cookiecutter-django#384",
    ),
    FailingStart(
        "variable by environs",
        Kind.VARIABLE,
        {"app.py": 'from environs import Env\nenv = Env()\ntoken = env.str("SHOP_TOKEN")\n'},
        values={"name": "SHOP_TOKEN"}, where="app.py:3", source="sloria/environs, its README",
    ),
    FailingStart(
        "number by environs",
        Kind.VARIABLE_VALUE,
        {"app.py": 'from environs import Env\nenv = Env()\nport = env.int("SHOP_PORT")\n'},
        values={"name": "SHOP_PORT"}, where="app.py:3", environment={"SHOP_PORT": "eighty"},
        source="sloria/environs, its README",
    ),
    FailingStart(
        "variable by decouple",
        Kind.VARIABLE,
        {"app.py": 'from decouple import config\nKEY = config("SECRET_KEY")\n'},
        values={"name": "SECRET_KEY"}, where="app.py:2", source="HBNetwork/python-decouple, its README",
    ),
    FailingStart(
        "truth by decouple",
        Kind.VARIABLE_VALUE,
        {"app.py": 'from decouple import config\nDEBUG = config("DEBUG", default=False, cast=bool)\n'},
        values={"name": "DEBUG"}, where="app.py:2", environment={"DEBUG": "release"},
        source="HBNetwork/python-decouple#35",
    ),
    FailingStart(
        "settings of dynaconf",
        Kind.VARIABLE,
        {
            "app.py": "from dynaconf import Dynaconf, Validator\n"
            'settings = Dynaconf(envvar_prefix="SHOP", validators=[Validator("TOKEN", must_exist=True)])\n'
            "settings.validators.validate()\n"
        },
        values={"name": "SHOP_TOKEN"}, where="app.py:3", source="dynaconf/dynaconf, its documentation",
    ),
    FailingStart(
        "settings of pydantic with a prefix",
        Kind.VARIABLE,
        {
            "app.py": "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
            "class Settings(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='SHOP_')\n"
            "    token: str\nsettings = Settings()\n"
        },
        values={"name": "SHOP_TOKEN"}, where="app.py:5", source="pydantic/pydantic-settings, its documentation",
    ),
    FailingStart(
        "number in pydantic's settings",
        Kind.VARIABLE_VALUE,
        {
            "app.py": "from pydantic_settings import BaseSettings\n"
            "class Settings(BaseSettings):\n    port: int = 1\nsettings = Settings()\n"
        },
        values={"name": "PORT"}, where="app.py:4", environment={"PORT": "5432:5432"},
        source="rafsaf/minimal-fastapi-postgres-template#30",
    ),
    FailingStart(
        "variable that holds JSON",
        Kind.VARIABLE,
        {"app.py": 'import json, os\nkey = json.loads(os.environ.get("GOOGLE_CREDENTIALS"))\n'},
        values={"name": "GOOGLE_CREDENTIALS"}, where="app.py:2", source="jointakahe/takahe#76, not set",
    ),
    FailingStart(
        "variable that holds no JSON",
        Kind.VARIABLE_VALUE,
        {"app.py": 'import json, os\nERROR_EMAILS = json.loads(os.environ["TAKAHE_ERROR_EMAILS"])\n'},
        values={"name": "TAKAHE_ERROR_EMAILS"}, where="app.py:2",
        environment={"TAKAHE_ERROR_EMAILS": "me@example.org"}, source="jointakahe/takahe#76",
    ),
    FailingStart(
        "key that is no key",
        Kind.VARIABLE_VALUE,
        {
            "app.py": "import os\nfrom cryptography.fernet import Fernet\n"
            'cipher = Fernet(os.environ.get("FIELD_ENCRYPTION_KEY", "blablablabla"))\n'
        },
        values={"name": "FIELD_ENCRYPTION_KEY"}, where="app.py:3", source="grahamgilbert/Crypt-Server#75",
    ),
    # --- what is there to be found
    FailingStart(
        "database's directory is not there",
        Kind.DATABASE_FILE,
        {"app.py": 'import sqlite3\nsqlite3.connect("data/taxii.db").execute("create table x (y)")\n'},
        where="app.py:2", source="eclecticiq/OpenTAXII#44",
    ),
    FailingStart(
        "tables are not there",
        Kind.TABLE,
        {"app.py": 'import sqlite3\nsqlite3.connect("shop.db").execute("select * from artifacts")\n'},
        values={"table": "artifacts"}, where="app.py:2", prepare=table_is_missing, source="yampelo/beagle#31",
    ),
    FailingStart(
        "log of Django may not be written",
        Kind.FILE_FORBIDDEN,
        django(
            "LOGGING = {'version': 1, 'handlers': {'file': {'class': 'logging.FileHandler', 'filename': "
            "'closed/django.log'}}, 'root': {'handlers': ['file']}}\n"
        ),
        wsgi="shop.wsgi", drop=True, prepare=closed_directory, fix=("closed/django.log",),
        source="iragm/fishauctions#306",
    ),
    FailingStart(
        "log of Django has no directory",
        Kind.FILE,
        django(
            "LOGGING = {'version': 1, 'handlers': {'file': {'class': 'logging.FileHandler', 'filename': "
            "'/var/log/django-nobody/ssm.log'}}, 'root': {'handlers': ['file']}}\n"
        ),
        wsgi="shop.wsgi", fix=("/var/log/django-nobody",), source="ConsciousUniverse/simple-stock-management#35",
    ),
    FailingStart(
        "directory that the application makes",
        Kind.FILE_FORBIDDEN,
        {"app.py": 'import os\nos.makedirs("closed/app/config")\n'},
        drop=True, prepare=closed_directory, where="app.py:2", fix=("closed/app",),
        source="chr0nzz/traefik-manager#24",
    ),
    FailingStart(
        "configuration that is no JSON",
        Kind.DATA_FILE,
        {"app.py": 'import json\nwith open("config.json", "r") as f: config = json.load(f)\n',
         "config.json": '{\n  "key": "x",\n  }\n'},
        values={"path": "config.json"}, where="app.py:2", source="slippersheepig/chatgpt-html#15",
    ),
    FailingStart(
        "configuration without its section",
        Kind.DATA_FILE,
        {"app.py": 'import configparser\nc = configparser.ConfigParser()\nc.read("shop.ini")\n'
                   'host = c.get("database", "host")\n'},
        values={"path": "shop.ini"}, where="app.py:4", source="rmountjoy92/DashMachine#158",
    ),
    # --- the application and gunicorn
    FailingStart(
        "application parses gunicorn's arguments",
        Kind.PARSES_ARGUMENTS,
        {"app.py": "import argparse\nparser = argparse.ArgumentParser()\n"
                   'parser.add_argument("--mode")\nargs = parser.parse_args()\n' + HELLO},
        where="app.py:4", says="exited with code 2", fix=("__main__",), source="benoitc/gunicorn#2231",
    ),
    FailingStart(
        "relative import without a package",
        Kind.RELATIVE_IMPORT,
        {"__init__.py": "", "main.py": "from .data import source\n" + HELLO, "data.py": "source = 1\n"},
        wsgi="main:app", where="main.py:1", fix=("chdir",), source="ExpDev07/coronavirus-tracker-api#269",
    ),
    FailingStart(
        "settings module that is not there",
        Kind.SUBMODULE,
        django("", DJANGO_WSGI.replace("shop.settings", "shop.settings_production")),
        wsgi="shop.wsgi", where="wsgi.py:2", fix=("DJANGO_SETTINGS_MODULE", "shop.settings_production"),
        source="benoitc/gunicorn#338",
    ),
    FailingStart(
        "file of the name of the package beside it",
        Kind.SUBMODULE,
        {"app.py": HELLO},
        wsgi="app.main:app", fix=("app:app",), source="tiangolo/meinheld-gunicorn-flask-docker#115",
    ),
    FailingStart(
        "module that is all zeros",
        Kind.DAMAGED,
        {"app.py": f"import shop_settings\n{HELLO}", "shop_settings.py": b"\0" * 18},
        where="app.py:1", fix=("shop_settings.py", "backup"), source="commaai/openpilot#21990",
    ),
    FailingStart(
        "module of a package that is all zeros",
        Kind.DAMAGED,
        {"app.py": f"from shop.settings import A\n{HELLO}", "shop/__init__.py": "", "shop/settings.py": b"\0" * 18},
        where="app.py:1", fix=("shop/settings.py",), source="sysrepo/sysrepo#2270",
    ),
    FailingStart(
        "pickle of a class of the script that was run",
        Kind.PICKLED,
        {"app.py": f"import pickle\nmodel = pickle.load(open('scorer.pickle', 'rb'))\n{HELLO}"},
        values={"name": "Scorer", "module": "__main__", "path": "scorer.pickle"}, where="app.py:2",
        prepare=saves_a_class_of_its_own, fix=("sys.modules['__main__'].Scorer",), source="fastai/fastai#2575",
    ),
    FailingStart(
        "pickle of a class of a module that is not deployed",
        Kind.PICKLED,
        {"app.py": f"import pickle\nmodel = pickle.load(open('scorer.pkl', 'rb'))\n{HELLO}",
         "scorer.pkl": b"ctraining\nScorer\n."},
        values={"module": "training", "path": "scorer.pkl"}, where="app.py:2", source="Miserlou/Zappa#1767",
    ),
    FailingStart(
        "metrics' port is taken by the first worker",
        Kind.PORT_OF_ITS_OWN,
        {"app.py": "from prometheus_client import start_http_server\n"
                   "start_http_server(8765, addr='127.98.1.2')\n" + HELLO},
        where="app.py:2", prepare=holds_the_port, fix=("8765",), source="django-commons/django-prometheus#407",
    ),
    FailingStart(
        "package for forms",
        Kind.PACKAGE,
        {"app.py": "from fastapi import FastAPI, Form\napp = FastAPI()\n@app.post('/x')\n"
                   "def x(a: str = Form()): pass\n", **NO_MULTIPART},
        values={"package": "python-multipart"}, where="app.py:3", fix=("pip install python-multipart",),
        source="hummingbot/hummingbot-api#41",
    ),
    FailingStart(
        "package for addresses of mail",
        Kind.PACKAGE,
        {"app.py": "from pydantic import BaseModel, EmailStr\nclass User(BaseModel):\n    mail: EmailStr\n"},
        fix=("pip install ", "pydantic[email]"),
        source="pydantic/pydantic, its documentation",
    ),
    FailingStart(
        "temporary directory of the workers",
        Kind.WORKER_DIRECTORY,
        conf='worker_tmp_dir = "DIR/shm"\n', fix=("worker_tmp_dir",), source="benoitc/gunicorn, docs/source/faq",
    ),
    FailingStart(
        "package of the worker class",
        Kind.WORKER_CLASS,
        conf='worker_class = "eventlet"\n', values={"name": "eventlet"}, fix=("gthread",),
        source="benoitc/gunicorn, news of 27",
    ),
    FailingStart(
        "setting of another type, read from a template",
        Kind.CONFIG_FAILS,
        conf='from json import loads\nspew = loads("""False""")\n', where="gunicorn.conf.py:5",
        source="debops/debops#491",
    ),
)  # fmt: skip


# The same kinds in other clothes, and near misses, which no variable is to blame for.
VARIANTS: tuple[FailingStart, ...] = (
    reads(
        "path joined to a variable",
        Kind.VARIABLE,
        "DATA_DIR",
        "import os.path\np = os.path.join(os.getenv('DATA_DIR'), 'x')\n",
    ),
    reads(
        "path of a variable",
        Kind.VARIABLE,
        "MODEL_DIR",
        "from pathlib import Path\np = Path(os.environ.get('MODEL_DIR')) / 'x'\n",
    ),
    reads(
        "log level",
        Kind.VARIABLE_VALUE,
        "LOG_LEVEL",
        "import logging\nlogging.basicConfig(level=os.environ['LOG_LEVEL'])\n",
        "verbose",
    ),
    reads(
        "log level looked up",
        Kind.VARIABLE_VALUE,
        "LOG_LEVEL",
        "import logging\nl = getattr(logging, os.environ['LOG_LEVEL'])\n",
        "verbose",
    ),
    reads(
        "log level as a key",
        Kind.VARIABLE_VALUE,
        "LOG_LEVEL",
        "LEVELS={'a':1}\nl = LEVELS[os.environ['LOG_LEVEL']]\n",
        "verbose",
    ),
    reads(
        "address of a peer",
        Kind.VARIABLE_VALUE,
        "PEER",
        "import ipaddress\na = ipaddress.ip_address(os.environ['PEER'])\n",
        "x",
    ),
    reads(
        "time zone",
        Kind.VARIABLE_VALUE,
        "ZONE",
        "from zoneinfo import ZoneInfo\na = ZoneInfo(os.environ['ZONE'])\n",
        "Mars/X",
    ),
    reads(
        "name imported from a module of settings",
        Kind.VARIABLE,
        "SHOP_URL",
        "from config import URL\nfrom sqlalchemy import create_engine\ne = create_engine(URL)\n",
        config="URL = os.getenv('SHOP_URL')\n",
    ),
    reads(
        "attribute of a module of settings",
        Kind.VARIABLE,
        "SHOP_HOST",
        "import config\nhost = config.HOST.lower()\n",
        config="HOST = os.getenv('SHOP_HOST')\n",
    ),
    reads(
        "address taken apart",
        Kind.VARIABLE,
        "BROKER",
        "from urllib.parse import urlparse\nu = urlparse(os.environ.get('BROKER'))\nh = u.netloc.split(':')\n",
    ),
    reads("rate", Kind.VARIABLE, "RATE", "f = float(os.getenv('RATE'))\n"),
    reads(
        "settings file of Flask",
        Kind.VARIABLE,
        "SHOP_SETTINGS",
        "from flask import Flask\napp = Flask('x')\napp.config.from_envvar('SHOP_SETTINGS')\n",
    ),
    reads("assertion", Kind.VARIABLE, "SHOP_KEY", "assert os.environ.get('SHOP_KEY'), 'no key'\n"),
    reads(
        "the application's own check",
        Kind.VARIABLE,
        "SHOP_TOKEN",
        "TOKEN = os.environ.get('SHOP_TOKEN')\nif not TOKEN:\n    raise ValueError('please configure the token')\n",
    ),
    reads(
        "the application ends itself, and says why",
        Kind.VARIABLE,
        "SHOP_DB",
        "import sys\nif 'SHOP_DB' not in os.environ:\n    sys.exit('SHOP_DB is not set')\n",
    ),
    reads(
        "the application ends itself by a condition",
        Kind.VARIABLE,
        "SHOP_DB",
        "import sys\n"
        "t = os.getenv('SHOP_DB')\n"
        "if t is None:\n"
        "    print('no database', file=sys.stderr)\n"
        "    sys.exit(1)\n",
    ),
    reads(
        "list in pydantic's settings",
        Kind.VARIABLE_VALUE,
        "HOSTS",
        "from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    hosts: list[str]\nS()\n",
        "a,b",
    ),
    reads(
        "alias in pydantic's settings",
        Kind.VARIABLE,
        "SHOP_T",
        "from pydantic import Field\n"
        "from pydantic_settings import BaseSettings\n"
        "class S(BaseSettings):\n"
        "    t: str = Field(validation_alias='SHOP_T')\n"
        "S()\n",
    ),
    FailingStart(
        "YAML",
        Kind.DATA_FILE,
        {"app.py": "import os\nimport yaml\nc = yaml.safe_load(open('c.yaml'))\n", "c.yaml": "a: [1\nb: 2\n"},
        values={"path": "c.yaml"},
    ),
    FailingStart(
        "TOML",
        Kind.DATA_FILE,
        {
            "app.py": "import os\nimport tomllib\nwith open('c.toml','rb') as f:\n    c = tomllib.load(f)\n",
            "c.toml": "a = = 1\n",
        },
        values={"path": "c.toml"},
    ),
    FailingStart(
        "key of JSON",
        Kind.DATA_FILE,
        {
            "app.py": "import os\nimport json\nc = json.load(open('c.json'))\nx = c['database']\n",
            "c.json": "{}",
        },
        values={"path": "c.json"},
    ),
    reads("key of its own", Kind.EXCEPTION, "", "d = {}\nx = d['database']\n"),
    reads("None of its own", Kind.EXCEPTION, "", "x = None\nx.strip()\n"),
    reads("division, beside a variable", Kind.EXCEPTION, "", "rate = os.environ.get('R', '1')\n1/0\n"),
    reads(
        "pattern, beside a variable",
        Kind.EXCEPTION,
        "",
        "import re\nt = os.getenv('HOME')\nre.compile('(' + 'x')\n",
    ),
    reads(
        "service behind a variable",
        Kind.CONNECTION,
        "",
        "import socket\ns = socket.create_connection((os.environ.get('REDIS_HOST','127.98.1.3'), 6379))\n",
    ),
    reads("file behind a variable", Kind.FILE, "", "f = open(os.environ.get('SHOP_FILE','/srv/none/x'))\n"),
    reads(
        "module that a variable names",
        Kind.VARIABLE_VALUE,
        "SHOP_MODULE",
        "import importlib\nm = importlib.import_module(os.environ['SHOP_MODULE'])\n",
        "shop_nobody",
    ),
    reads(
        "address without a port",
        Kind.VARIABLE_VALUE,
        "SHOP_ADDR",
        "h, p = os.environ['SHOP_ADDR'].split(':')\n",
        "x",
    ),
    reads(
        "one of two variables",
        Kind.VARIABLE,
        "P",
        "u = 'http://%s:%d' % (os.getenv('H'), int(os.getenv('P', '')))\n",
    ),
)
