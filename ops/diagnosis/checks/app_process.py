"""Exceptions that are explained by the process that runs the code: its threads, its fork, its output, its variables,
its temporary files.

Sources: Python's documentation (sqlite3, asyncio, tempfile, fork in a process with threads), gunicorn's (worker_class,
threads, preload_app), gevent's (monkey), SQLAlchemy's (QueuePool), errno(3), pts(4)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

from ops.diagnosis.checks.app_files import FileRefusal
from ops.diagnosis.checks.log_reading import Raised, innermost_own, package_frame
from ops.diagnosis.finding import Evidence, quote
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process
from ops.facts.logs import Logs
from ops.facts.service_process import PLACES, ServiceProcess
from ops.facts.target import Target
from ops.interpret.gunicorn import arguments, setting, worker_class
from ops.text.language import Text, verbatim

# gunicorn's default number of threads of a worker.
_ONE = 1
# gunicorn's own thread in the master, for its control socket (gunicorn >= 25.1).
_CONTROL_THREADS = 1


class Circumstances(NamedTuple):
    """How the service's code is run. ``kind``: the worker class, None if it is the default or not known; ``threads``:
    of each worker; ``is_preloaded``: the master loads the application before it forks; ``config``: gunicorn's file;
    ``given``: what its processes were given, None if that was not read; ``is_disk_full``: a file system that
    it writes to has no room."""

    kind: str | None = None
    threads: int = _ONE
    is_preloaded: bool = False
    config: str | None = None
    has_control: bool = True
    given: ServiceProcess | None = None
    is_disk_full: bool = False

    @property
    def serves_in_threads(self) -> bool:
        """Whether requests are served in other threads than the one that loaded the application. gunicorn turns a sync
        worker with several threads into gthread."""
        return self.kind == "gthread" or (self.kind in (None, "sync") and self.threads > _ONE)

    @property
    def lost_threads(self) -> int:
        """Threads of the application's or its libraries' that the master has, and no worker: a fork takes one along."""
        if not self.is_preloaded or self.given is None or self.given.master_threads is None:
            return 0
        return max(0, self.given.master_threads - 1 - (_CONTROL_THREADS if self.has_control else 0))

    @property
    def place(self) -> Text:
        """Where a setting of gunicorn's is changed."""
        return verbatim(self.config) if self.config else Text("gunicorn's command line", "gunicorn 的命令行")


def circumstances(
    master: Process | None, gunicorn: Gunicorn | NotSeen, logs: Logs | NotSeen, *, is_preloaded: bool
) -> Circumstances:
    """How gunicorn's running master runs the code."""
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    read = config if isinstance(config, GunicornConfig) and not config.missing else None
    threads = str(setting("threads", "threads", arguments(master), config))
    control = read.assigned.get("control_socket_disable") if read else None
    return Circumstances(
        kind=worker_class(master, config),
        threads=int(threads) if threads.isdigit() else _ONE,
        is_preloaded=is_preloaded,
        config=read.path if read else None,
        has_control=not (control and control.value is True),
        given=None if isinstance(logs, NotSeen) else logs.service_process,
    )


_Rule = Callable[[Raised, Circumstances, Target], FileRefusal | None]


def process_refusal(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """Return what about the process explains the exception; None if nothing that was seen does."""
    return next((found for rule in _RULES if (found := rule(raised, around, target))), None)


# --- output -----------------------------------------------------------------------------------------------------------

_OUTPUT_GONE = re.compile(r"\[Errno (?:5|32)\]")
_WRITES = re.compile(r"\bprint\(|\b(?:sys\.)?std(?:out|err)\.(?:write|flush|buffer)|\bclick\.s?echo\(")
_TO_ERROR = re.compile(r"\b(?:file\s*=\s*)?(?:sys\.)?stderr\b")
# What is printed elsewhere, and what reads or sends while its result is printed.
_NOT_ITS_OUTPUT = re.compile(
    r"\bfile\s*=\s*(?!(?:sys\.)?(?:std(?:out|err)|__std(?:out|err)__)\b)"
    r"|\.(?:read|recv|get|post|put|send|request|result|fetch|execute|load|communicate|writelines?)\w*\("
    r"|\b(?:open|urlopen|input)\("
)
_TERMINALS = ("/dev/pts/", "/dev/tty")
_PIPES = ("pipe:", "socket:")
# Packages that print in an application's place.
_PRINTERS = re.compile(r"/(?:click|colorama|rich|tqdm|typer)/")


def _is_written_to(raised: Raised) -> str | None:
    """The number of the standard output that the application wrote to when the exception was raised; None if the line
    may have done something else."""
    text = raised.entry.text
    line = innermost_own(text)
    package = package_frame(text)
    if not _WRITES.search(line) or _NOT_ITS_OUTPUT.search(line):
        return None
    if package is not None and not _PRINTERS.search(package):
        return None
    # The rest of a statement of several lines may say where it prints.
    if line.count("(") > line.count(")"):
        return None
    return "2" if _TO_ERROR.search(line) else "1"


def _output(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """What the application prints cannot be written: its terminal, or the program behind its pipe, is gone."""
    number = _is_written_to(raised) if _OUTPUT_GONE.search(raised.exception) else None
    if number is None:
        return None
    place = around.given.outputs.get(number) if around.given else None
    is_pipe = "Errno 32" in raised.exception
    if place is not None and not place.startswith(_PIPES if is_pipe else _TERMINALS):
        return None
    if is_pipe:
        what = Text(
            en="what the application prints goes into a pipe whose reader has ended",
            zh="应用打印的内容要写进一个管道，而读取管道的程序已经退出",
        )
    else:
        what = Text(
            en="what the application prints goes to a terminal that is closed",
            zh="应用打印的内容要写到一个已经关闭的终端",
        )
    pid = around.given.pid if around.given else 0
    return FileRefusal(
        (quote(f"/proc/{pid}/fd/{number}", place),) if place is not None else (),
        what,
        (
            Text(
                en="Restart it with its output in a file or the journal, not from a login's terminal: under its unit or"
                f" supervisord, or with >>FILE 2>&1 behind the command; or set capture_output = True in"
                f" {around.place.en}, which sends both to gunicorn's error log",
                zh="重启服务，让输出写进文件或 journal，不要留在登录终端上：用 unit 或 supervisord 启动，"
                f"或在命令后加 >>文件 2>&1；也可在 {around.place.zh} 里设 capture_output = True，"
                "把两种输出都写进 gunicorn 的错误日志",
            ),
            target.restart_command,
        ),
    )


# --- variables --------------------------------------------------------------------------------------------------------

_PATH = re.compile(r"/[^\s'\"<>|*?:;,()]{2,400}")
# What libraries say of a file or directory that they cannot use.
_OF_A_FILE = re.compile(
    r"\[Errno (?:2|13|17|20|21|30)\]|(?i:no such|not found|does not exist|doesn't exist|invalid path|not a directory"
    r"|not writable|permission denied|could not (?:find|open|load)|cannot (?:find|open|load|write)|unable to)"
)
_NOT_ALLOWED = re.compile(
    r"\[Errno (?:1|13|30)\]|(?i:not writable|permission denied|not permitted|read-only)"
)
# Of the interpreter and of systemd (systemd.exec(5)): nobody sets them by hand.
_OF_OTHERS = frozenset(
    {
        *(
            "CONDA_PREFIX",
            "VIRTUAL_ENV",
            "CACHE_DIRECTORY",
            "CONFIGURATION_DIRECTORY",
            "CREDENTIALS_DIRECTORY",
        ),
        *("LOGS_DIRECTORY", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"),
    }
)
# Much is in the directory for temporary files that did not come there by the variable.
_TEMPORARY = frozenset({"TEMP", "TMP", "TMPDIR"})
# The words of urllib, urllib3 (requests), httpx, aiohttp and curl for a proxy that fails.
_PROXY_WORDS = re.compile(
    r"\b(?:Client(?:Http)?)?Proxy(?:Connection|Timeout)?Error\b|\bInvalidProxyURL\b|\bProxySchemeUnknown\b"
    r"|(?i:tunnel connection failed|proxy authentication required|\b407 proxy"
    r"|(?:cannot|can't|could not|unable to|failed to) (?:connect to|resolve) (?:the )?proxy|from proxy after connect)"
)


def naming_variable(text: str, around: Circumstances) -> tuple[str, str] | None:
    """The variable of the service's environment that leads to a path in ``text``, and its value: the one whose value
    is the longest beginning of the path."""
    if around.given is None or not _OF_A_FILE.search(text):
        return None
    named = [path.rstrip("/.") for path in _PATH.findall(text)]
    is_refused = _NOT_ALLOWED.search(text) is not None
    leading = [
        (name, value)
        for name, value in around.given.variables.items()
        if value.startswith("/")
        and name not in _OF_OTHERS
        and any(_leads_to(name, value.rstrip("/"), path, is_refused=is_refused) for path in named)
    ]
    return max(leading, key=lambda pair: len(pair[1]), default=None)


def _leads_to(name: str, value: str, path: str, *, is_refused: bool) -> bool:
    """Whether a path is a variable's value, or what is looked for there: below it for a variable by which libraries
    find their files, directly in it for any other, whose files' owners it does not choose. Much lies below a home;
    what the variable brings there are the libraries' own directories (XDG Base Directory Specification)."""
    if len(value) <= 1:
        return False
    if name == "HOME":
        return path.startswith(f"{value}/.")
    if name in PLACES - _TEMPORARY:
        return f"{path}/".startswith(f"{value}/")
    return path == value or (not is_refused and name not in _TEMPORARY and path.rpartition("/")[0] == value)


def variable_steps(name: str, value: str) -> tuple[Evidence, Text]:
    """The evidence that a variable leads there, and the step that corrects it."""
    return (
        quote("environ", f"{name}={value}"),
        Text(
            en=f"{name} in the service's environment leads there: give it the place that is meant (Environment= or"
            " EnvironmentFile= of its unit, environment= in supervisord.conf, raw_env in gunicorn's configuration, or"
            " an export before its start command), or take it out",
            zh=f"是服务环境变量 {name} 指向那里：改成真正要用的位置（unit 的 Environment= 或 EnvironmentFile=、"
            "supervisord.conf 的 environment=、gunicorn 配置的 raw_env，或启动命令前的 export），或去掉它",
        ),
    )


def _named_by_variable(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """A file or directory that the exception names is one that a variable leads to."""
    found = naming_variable(raised.exception, around)
    if found is None:
        return None
    name, value = found
    evidence, step = variable_steps(name, value)
    return FileRefusal(
        (evidence,),
        Text(
            en=f"the variable {name} of the service's environment leads there",
            zh=f"服务的环境变量 {name} 指向那里",
        ),
        (f"ls -ld {shlex.quote(value)}", step, target.restart_command),
    )


def _proxy(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """Requests to other servers go through a proxy that a variable names."""
    if not _PROXY_WORDS.search(raised.exception):
        return None
    variables = around.given.variables if around.given else {}
    proxies = {name: value for name, value in variables.items() if name.upper().endswith("_PROXY")}
    used = {name: value for name, value in proxies.items() if name.upper() != "NO_PROXY"}
    if not used:
        return None
    names = ", ".join(used)
    return FileRefusal(
        tuple(quote("environ", f"{name}={value}") for name, value in proxies.items()),
        Text(
            en=f"its requests to other servers go through the proxy of {names}, which does not let them through",
            zh=f"它访问其他服务器时走 {names} 指定的代理，而该代理不放行",
        ),
        (
            Text(
                en=f"Correct {names} in the service's environment, or name the hosts that are reached directly in"
                " NO_PROXY (localhost,127.0.0.1 and names of your own network)",
                zh=f"改正服务环境里的 {names}，或把应直连的主机写进 NO_PROXY（localhost,127.0.0.1 和内网主机名）",
            ),
            target.restart_command,
        ),
    )


# --- temporary files --------------------------------------------------------------------------------------------------

# The process's own words: a database says the same of its own disk.
_NO_ROOM = re.compile(r"^OSError: \[Errno (?:28|122)\] (?:No space left on device|Disk quota exceeded)")
# Frames that have other limits with the same number: watched files, semaphores and shared memory.
_OF_NO_DISK = re.compile(
    r'File "[^"\n]*(?:inotify|watchdog|watchfiles|multiprocessing/|shared_memory|select)[^"\n]*"'
)
# A request does not fill more without a trace of it.
_LARGE = 4 << 30
_SPOOLS = re.compile(
    r'File "[^"]*(?:/tempfile|werkzeug/formparser|werkzeug/sansio/multipart|django/core/files/\w+'
    r'|starlette/formparsers|multipart/\w+|cgi|bottle)\.py"'
)
_FILE_IN = re.compile(r": '(/[^']+)'$")


def is_spooled(text: str) -> bool:
    """Whether a traceback goes through a request's temporary file."""
    return bool(_SPOOLS.search(text)) or "tempfile." in text


def _temporary_files(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """A request's temporary file does not fit its file system; it goes with the request, so nothing looks full."""
    given = around.given
    if (
        given is None
        or given.temporary is None
        or around.is_disk_full
        or not _NO_ROOM.search(raised.exception)
        or _FILE_IN.search(raised.exception)
        or _OF_NO_DISK.search(raised.entry.text)
    ):
        return None
    sure = is_spooled(raised.entry.text)
    if not sure and (given.temporary_bytes or 0) > _LARGE:
        return None
    size = f", {given.temporary_bytes >> 20} MiB" if given.temporary_bytes is not None else ""
    place = shlex.quote(given.temporary)
    return FileRefusal(
        (quote(f"df {given.temporary}", f"{given.temporary}{size}"),),
        Text(
            en=f"{'' if sure else 'most likely '}a temporary file of the request does not fit {given.temporary}{size},"
            " where this process keeps them; it is removed with the request, so there is room again when one looks",
            zh=f"{'' if sure else '很可能是'}请求的临时文件在 {given.temporary}{size.replace(', ', '，')} 里放不下"
            "（该进程的临时文件都放在这里）；请求结束后文件就被删除，所以查看时又有空间",
        ),
        (
            f"df -h {place}",
            Text(
                en="Give the service a directory with room for its largest uploads: TMPDIR=/var/tmp in its environment"
                " (Environment= of its unit), or make the file system larger (size= of the tmpfs)",
                zh="给服务一个放得下最大上传文件的目录：在其环境里设 TMPDIR=/var/tmp（unit 的 Environment=），"
                "或调大该文件系统（tmpfs 的 size=）",
            ),
            target.restart_command,
        ),
    )


# --- threads ----------------------------------------------------------------------------------------------------------

_OF_A_THREAD = re.compile(
    r"(?:objects|object|Objects) created in a thread can only be used in that same thread"
    r"|no current event loop in thread|only works in main thread|non-main thread|attached to a different loop"
    r"|cannot switch to a different thread|main thread is not in main loop"
)
_MAIN = re.compile(r"(?:only works in|is not in) main")
_LOOP = re.compile(r"event loop in thread|different loop")


def _bound_to_a_thread(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """An object that belongs to the thread that made it, or works in the main thread alone."""
    if not _OF_A_THREAD.search(raised.exception):
        return None
    how = f"worker_class {around.kind or 'sync'}, threads = {around.threads}"
    code = _in_the_right_thread(raised)
    served = Text(
        en=f"requests are served in other threads than the one that loaded the application ({how}), and this works in"
        " one thread alone",
        zh=f"处理请求的线程不是加载应用的那个线程（{how}），而它只能在一个线程里使用",
    )
    other = Text(
        en="the code uses in one thread what another has made, and it works in one thread alone",
        zh="代码在一个线程里使用另一个线程创建的对象，而它只能在一个线程里使用",
    )
    until = Text(
        en=f"Until then: worker_class = 'sync' and threads = 1 in {around.place.en}, with more workers",
        zh=f"在此之前：在 {around.place.zh} 里设 worker_class = 'sync'、threads = 1，并增加 workers",
    )
    return FileRefusal(
        (quote(around.config or "gunicorn", how),),
        served if around.serves_in_threads else other,
        (code, *((until,) if around.serves_in_threads else ()), target.restart_command),
    )


def _in_the_right_thread(raised: Raised) -> Text:
    """The change of the code, by what is bound to the thread."""
    where = raised.where
    if _MAIN.search(raised.exception):
        return Text(
            en=f"Move what {where} does to where the main thread runs it: to the import of the module, or gunicorn's"
            " post_worker_init; a request may not",
            zh=f"把 {where} 的操作移到主线程执行的地方：模块导入时，或 gunicorn 的 post_worker_init；请求里不能做",
        )
    if _LOOP.search(raised.exception):
        return Text(
            en=f"At {where} run the coroutine with asyncio.run(...), which makes a loop for the thread and closes it,"
            " in place of get_event_loop()",
            zh=f"在 {where} 用 asyncio.run(...) 运行协程：它为当前线程创建事件循环并负责关闭，不要用 get_event_loop()",
        )
    return Text(
        en=f"At {where} use one that this request's thread has made: open it in the request (Flask: g; or"
        " threading.local()), not while the module is imported; for sqlite3 alone check_same_thread=False with a lock"
        " around each use",
        zh=f"在 {where} 使用本请求所在线程创建的对象：在请求里打开（Flask 的 g，或 threading.local()），"
        "不要在导入模块时打开；仅 sqlite3 可用 check_same_thread=False 并在每次使用时加锁",
    )


_POOL = re.compile(r"QueuePool limit of size (\d+) overflow (-?\d+)")
_POOL_WORDS = re.compile(r"pool (?:is )?exhausted|No connection available")
# psycopg_pool says so whether every connection is in use or none could be made (its documentation, PoolTimeout).
_NO_CONNECTION_GOT = re.compile(r"PoolTimeout|couldn't get a connection after")


def _pool(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """The application's own pool of connections has none to give; the server was not asked for this request."""
    is_async = around.kind is not None and around.kind not in ("sync", "gthread")
    how = f"worker_class {around.kind}" if is_async else f"threads = {around.threads}"
    if _NO_CONNECTION_GOT.search(raised.exception):
        return _either_way(around, how, target)
    sizes = _POOL.search(raised.exception)
    if sizes is None and not _POOL_WORDS.search(raised.exception):
        return None
    held = int(sizes[1]) + max(0, int(sizes[2])) if sizes else 0
    too_few = bool(sizes) and (is_async or held < around.threads)
    size = f" ({held})" if sizes else ""
    what = (
        Text(
            en=f"its own pool has fewer connections{size} than a worker serves requests at a time ({how})",
            zh=f"应用自己的连接池{f'（{held} 个）' if sizes else ''}少于一个工作进程同时处理的请求数（{how}）",
        )
        if too_few
        else Text(
            en=f"every connection of its own pool{size} is in use, each for as long as its request takes, or is never"
            f" given back ({how})",
            zh=f"应用自己的连接池{f'（{held} 个）' if sizes else ''}已全部占用：请求占用太久，或用完没有归还（{how}）",
        )
    )
    return FileRefusal(
        (quote(around.config or "gunicorn", how),), what, (_larger_pool(how), target.restart_command)
    )


def _larger_pool(how: str) -> Text:
    return Text(
        en=f"Let pool_size + max_overflow (SQLAlchemy's create_engine, max_size of other pools) be at least the"
        f" threads of a worker ({how}), and workers x that pool less than the database's max_connections; have"
        " the code give each connection back at once (with engine.connect(), session.close()), before slow"
        " work",
        zh=f"让 pool_size + max_overflow（SQLAlchemy 的 create_engine；其他连接池为 max_size）不小于一个工作"
        f"进程的线程数（{how}），并让“workers × 连接池”小于数据库的 max_connections；代码用完连接立即归还"
        "（with engine.connect()、session.close()），不要占着连接做耗时的事",
    )


def _either_way(around: Circumstances, how: str, target: Target) -> FileRefusal:
    """The pool gave no connection in time, and does not say why."""
    return FileRefusal(
        (quote(around.config or "gunicorn", how),),
        Text(
            en="its pool had no connection to give in time: either the database cannot be reached (or refuses the"
            " pool, which then tries again in the background), or every connection is in use",
            zh="应用的连接池没能按时给出连接：要么数据库连不上（或拒绝了连接池，而它在后台不断重试），要么所有连接都被占用",
        ),
        (
            Text(
                en="First see whether the database answers, with the service's own address, user and password (psql"
                " CONNINFO -c 'select 1', pg_isready), and the pool's own lines ('error connecting in') in the log. A"
                " pool that was opened before the fork (preload_app) gives nothing in a worker: open it there",
                zh="先看数据库是否应答：用服务自己的地址、用户和密码（psql 连接串 -c 'select 1'、pg_isready），"
                "再看日志里连接池自己的行（error connecting in）。在 fork 之前（preload_app）打开的连接池在工作进程里"
                "给不出"
                "连接：要在工作进程里打开",
            ),
            Text(en=f"If it answers: {_larger_pool(how).en}", zh=f"如果能应答：{_larger_pool(how).zh}"),
            target.restart_command,
        ),
    )


# --- gevent -----------------------------------------------------------------------------------------------------------

_GREEN = ("gevent", "eventlet")
_SSL_RECURSION = re.compile(r'/ssl\.py", line \d+, in (?:\w+)\n[^\n]*super\(SSLContext')


def _patched_late(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """A module was imported before gevent replaced its parts: the library holds the old class."""
    kind = around.kind or ""
    if not any(green in kind for green in _GREEN):
        return None
    is_recursion = raised.exception.startswith("RecursionError") and _SSL_RECURSION.search(raised.entry.text)
    if not is_recursion and "would block forever" not in raised.exception:
        return None
    first = "from gevent import monkey; monkey.patch_all()"
    return FileRefusal(
        (quote(around.config or "gunicorn", f"worker_class = {kind}"),),
        Text(
            en="ssl was imported before gevent's monkey patching replaced it, by gunicorn's configuration, by"
            " preload_app, or by a library that loads early",
            zh="gevent 的 monkey patch 替换 ssl 之前，ssl 就已被导入：由 gunicorn 配置文件、preload_app"
            " 或较早加载的库导入",
        ),
        (
            Text(
                en=f"Patch first: {first} as the first line of {around.place.en}, before every other import; and take"
                " preload_app out if it is set",
                zh=f"先打补丁：把 {first} 写在 {around.place.zh} 的第一行，在其他所有 import 之前；"
                "如果设置了 preload_app，去掉它",
            ),
            Text(
                en="Or serve it with threads: worker_class = 'gthread' and threads = 8",
                zh="或改用线程：worker_class = 'gthread'，threads = 8",
            ),
            target.restart_command,
        ),
    )


# --- the fork ---------------------------------------------------------------------------------------------------------

# Without words of its own: a connection says what timed out.
_WAITED = re.compile(
    r"^(?:_?queue\.Empty|(?:concurrent\.futures\.(?:_base\.)?|multiprocessing\.(?:\w+\.)?)?TimeoutError)"
    r"(?::\s*(?:\d+ \(of \d+\) futures unfinished)?)?$"
)
_WAITS_THERE = re.compile(r"\.(?:get|result|as_completed)\(|\bas_completed\(|\bwait\(")
_AT_ONCE = re.compile(r"get_nowait\(|block\s*=\s*False|\.get\(False")
_FILES = re.compile(r'File "([^"\n]+)", line \d+')
# Modules of Python's that wait for another thread.
_OF_THREADS = re.compile(
    r"(?:^|/)(?:threading|queue|concurrent/futures/(?:_base|thread)|multiprocessing/pool)\.py$"
)


def waits_in_a_thread_module(text: str) -> bool:
    """Whether a traceback ends in one of Python's modules that wait for another thread."""
    files = _FILES.findall(text)
    return bool(files) and bool(_OF_THREADS.search(files[-1]))


def _waited_for_a_thread(raised: Raised) -> bool:
    """Whether it waited until its own time limit, in a module for threads, or in the application's own line for what
    has no frame (queue.SimpleQueue)."""
    text = raised.entry.text
    line = innermost_own(text)
    if not _WAITED.match(raised.exception) or _AT_ONCE.search(line):
        return False
    files = _FILES.findall(text)
    is_own_line = bool(files) and raised.where.startswith(f"{files[-1]}:")
    return waits_in_a_thread_module(text) or (is_own_line and bool(_WAITS_THERE.search(line)))


def forked_steps(around: Circumstances, target: Target) -> tuple[str | Text, ...]:
    """The steps against threads that stayed in the master."""
    return (
        Text(
            en=f"Take preload_app out of {around.place.en} (--preload from the command line), so that each worker loads"
            " the application and starts its own threads; or start them after the fork: in post_fork,"
            " post_worker_init, or at the first request",
            zh=f"从 {around.place.zh} 去掉 preload_app（命令行则去掉 --preload），让每个工作进程自己加载应用、"
            "启动自己的线程；或在派生之后再启动线程：post_fork、post_worker_init 或首个请求时",
        ),
        Text(
            en="If the model must be shared: OMP_NUM_THREADS=1 and MKL_NUM_THREADS=1 in its environment, and no"
            " computation in the master",
            zh="如果必须共享模型：在其环境里设 OMP_NUM_THREADS=1、MKL_NUM_THREADS=1，并且不要在主进程里做计算",
        ),
        target.restart_command,
    )


def forked_evidence(around: Circumstances) -> tuple[Evidence, ...]:
    """That the application is loaded before the fork, and that the master has threads of its own."""
    master = around.given.master_threads if around.given else 0
    return (
        quote(around.config or "gunicorn", "preload_app = True"),
        Evidence(
            "/proc/MASTER/task",
            Text(
                en=f"gunicorn's master has {master} threads: a fork takes along only the one that forks",
                zh=f"gunicorn 主进程有 {master} 个线程：派生（fork）只带走调用它的那一个",
            ),
        ),
    )


def _left_in_the_master(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """A request waits for a thread that was started before the fork, and is in no worker."""
    if not around.lost_threads or not _waited_for_a_thread(raised):
        return None
    return FileRefusal(
        forked_evidence(around),
        Text(
            en="it waited in vain, most likely for a thread that the application has started while it was imported:"
            " preload_app is on, so that thread is in the master, and a fork leaves it there",
            zh="它白等了一场，等的很可能是应用导入时启动的线程：preload_app 开着，该线程在主进程里，"
            "fork 不会把它带到工作进程",
        ),
        forked_steps(around, target),
    )


# --- the environment, programs, shared memory -------------------------------------------------------------------------

_OF_ENVIRON = re.compile(r'File "(?:<frozen os>|[^"\n]*/os\.py)", line \d+, in __getitem__')
_KEY = re.compile(r"^KeyError: '([A-Za-z_][A-Za-z0-9_]{0,79})'$")
_BARE_NAME = re.compile(
    r"^(?:FileNotFoundError: \[Errno 2\]|PermissionError: \[Errno 13\]) [^:]{1,60}: '([A-Za-z0-9][\w.+-]{0,80})'$"
)
_OF_SUBPROCESS = re.compile(r'File "[^"\n]*/(?:subprocess|pty)\.py", line \d+|in (?:posix_)?spawn\w*\b')
_OF_SHARED_MEMORY = re.compile(
    r'File "[^"\n]*/multiprocessing/(?:synchronize|shared_memory|heap)\.py"|\bSemLock\b|\bshm_open\b'
)


def _missing_variable(raised: Raised, _around: Circumstances, target: Target) -> FileRefusal | None:
    """The code asks for a variable of the environment that the service does not have."""
    key = _KEY.match(raised.exception) if _OF_ENVIRON.search(raised.entry.text) else None
    if key is None:
        return None
    return FileRefusal(
        (),
        Text(
            en=f"the variable {key[1]} is missing from the service's environment",
            zh=f"服务的环境里没有变量 {key[1]}",
        ),
        (
            Text(
                en=f"Set {key[1]} where the service is started: Environment= or EnvironmentFile= of its unit,"
                " environment= in supervisord.conf, raw_env in gunicorn's configuration; a login shell's variables do"
                " not reach a service",
                zh=f"在启动服务的地方设置 {key[1]}：unit 的 Environment= 或 EnvironmentFile=、supervisord.conf 的"
                " environment=、gunicorn 配置的 raw_env；登录 shell 里的变量传不到服务",
            ),
            target.restart_command,
        ),
    )


def _missing_program(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """A program that the application runs is not on the PATH of its process."""
    named = _BARE_NAME.match(raised.exception)
    if named is None or not _OF_SUBPROCESS.search(raised.entry.text):
        return None
    name, given = named[1], around.given
    place = given.programs.get(name) if given else None
    path = given.path if given and given.path is not None else ""
    if place:
        return FileRefusal(
            (
                *((quote("environ", f"PATH={path}"),) if path else ()),
                Evidence(place, Text(en="is there", zh="存在")),
            ),
            Text(
                en=f"the program {name} is at {place}, which is not on the PATH of the service's process",
                zh=f"程序 {name} 在 {place}，但不在服务进程的 PATH 里",
            ),
            (
                Text(
                    en=f"Add {place.rpartition('/')[0]} to the service's PATH (Environment=PATH=... of its unit), or"
                    f" have the code call {place}",
                    zh=f"把 {place.rpartition('/')[0]} 加进服务的 PATH（unit 的 Environment=PATH=...），或让代码直接"
                    f"调用 {place}",
                ),
                target.restart_command,
            ),
        )
    return FileRefusal(
        (quote("environ", f"PATH={path}"),),
        Text(
            en=f"the program {name} is not in any directory of the service's PATH",
            zh=f"服务 PATH 的各个目录里都没有程序 {name}",
        ),
        (
            Text(
                en=f"Install {name} on this host (apt-cache search {name}), or, if a login shell finds it (command -v"
                f" {name}), add that directory to PATH in the service's environment: a unit does not read a shell's"
                " profile",
                zh=f"在本机安装 {name}（apt-cache search {name}）；如果登录 shell 能找到它（command -v {name}），"
                "把所在目录加进服务环境的 PATH：unit 不读 shell 的 profile",
            ),
            target.restart_command,
        ),
    )


def _shared_memory(raised: Raised, around: Circumstances, target: Target) -> FileRefusal | None:
    """Semaphores and shared memory are files below /dev/shm, which no message names (shm_overview(7))."""
    if not raised.exception.startswith(("OSError", "PermissionError", "FileNotFoundError")):
        return None
    if not _OF_SHARED_MEMORY.search(raised.entry.text):
        return None
    seen = around.given.shared_memory if around.given else None
    return FileRefusal(
        (quote("/dev/shm", seen),) if seen else (),  # noqa: S108  what is looked at
        Text(
            en="semaphores and shared memory are files below /dev/shm, and the process cannot make one there: closed to"
            " its user, full, or not there",
            zh="信号量和共享内存是 /dev/shm 下的文件，而进程无法在那里创建：不允许该用户写、已满，或不存在",
        ),
        (
            "ls -ld /dev/shm; df -h /dev/shm; df -i /dev/shm",
            Text(
                en="It is to be a tmpfs with mode 1777: mount -o remount,mode=1777 /dev/shm, with size= for more"
                " room (a"
                " container: --shm-size); a unit's PrivateTmp, InaccessiblePaths or TemporaryFileSystem may give it"
                " another. Remove what crashed processes have left there",
                zh="它应是模式 1777 的 tmpfs：mount -o remount,mode=1777 /dev/shm，不够大就加 size=（容器用"
                " --shm-size）；"
                "unit 的 InaccessiblePaths、TemporaryFileSystem 可能给了服务另一个。清掉崩溃进程留下的文件",
            ),
            target.restart_command,
        ),
    )


_RULES: tuple[_Rule, ...] = (
    _missing_variable,
    _missing_program,
    _shared_memory,
    _output,
    _temporary_files,
    _bound_to_a_thread,
    _pool,
    _patched_late,
    _left_in_the_master,
    _proxy,
    _named_by_variable,
)
