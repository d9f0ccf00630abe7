"""Exceptions whose cause is not the line that raises them: the database, another service, a certificate, the locale, a
step of the deployment that was left out.

Sources: Python documentation (locale, UTF-8 mode), SQLAlchemy and Django documentation, messages of PostgreSQL, MySQL,
SQLite, Redis, OpenSSL, the C library's resolver."""

from __future__ import annotations

import re

from ops.diagnosis.checks.app_files import ExceptionKind, FileRefusal, kind_of
from ops.facts.target import Target
from ops.text.language import Text

_SURROUNDINGS = (
    # WSGI and ASGI headers are latin-1 (PEP 3333, RFC 9110 5.5): a process's own encoding is never called so.
    ExceptionKind(
        re.compile(
            r"InvalidResponseHeader|InvalidHeaderName|^UnicodeEncodeError: 'latin-1' codec"
            r"|Header values must not contain newline|Invalid HTTP header"
        ),
        Text(
            en="a header of the answer has characters that no header may have",
            zh="响应头里有响应头不允许的字符",
        ),
        Text(
            en="Correct the header in the application: it takes latin-1 alone, and no line break. For the name of a"
            " download: Content-Disposition: attachment; filename*=UTF-8''NAME with NAME percent-encoded"
            " (urllib.parse.quote; Flask's send_file and Starlette's FileResponse do it)",
            zh="在应用里改正这个响应头：只能用 latin-1，不能换行。下载的文件名写成 Content-Disposition: attachment; "
            "filename*=UTF-8''NAME，NAME 用百分号编码（urllib.parse.quote；Flask 的 send_file、"
            "Starlette 的 FileResponse 会自动处理）",
        ),
    ),
    ExceptionKind(
        re.compile(r"declared Content-Length|(?:longer|shorter) than Content-Length"),
        Text(
            en="the body has another length than the answer's Content-Length says",
            zh="响应体的长度与响应头 Content-Length 不符",
        ),
        Text(
            en="Let the framework compute Content-Length: do not set it, do not copy it from another server's answer,"
            " and have whatever changes the body on its way (a middleware that compresses or measures) set it anew",
            zh="让框架自己计算 Content-Length：不要手工设置，不要照抄别的服务器的响应头；"
            "途中改动响应体的中间件（压缩、统计）要重新设置它",
        ),
    ),
    ExceptionKind(
        re.compile(r"in (?:a )?forked (?:subprocess|process)|forked? without exec|after (?:a )?fork"),
        Text(
            en="what was opened or loaded before gunicorn forked its workers cannot be used in them",
            zh="gunicorn 派生工作进程之前打开或加载的东西，在工作进程里不能用",
        ),
        Text(
            en="Have each worker load it for itself: take preload_app (--preload) out, or load it in post_fork or at"
            " the first request; what runs in the master may not touch it (for CUDA not even"
            " torch.cuda.is_available())",
            zh="让每个工作进程自己加载：去掉 preload_app（--preload），或在 post_fork、首个请求时加载；"
            "主进程里的代码不能碰它（CUDA 连 torch.cuda.is_available() 都不行）",
        ),
    ),
    ExceptionKind(
        re.compile(r"^Unicode(?:En|De)codeError: '(?:ascii|iso8859-1)' codec"),
        Text(
            en="the service's process works with ASCII, not with UTF-8, for files or its output",
            zh="服务进程读写文件或输出时用的是 ASCII，而不是 UTF-8",
        ),
        Text(
            en="Give the service a UTF-8 locale: Environment=LC_ALL=C.UTF-8 PYTHONUTF8=1 below [Service] of its unit"
            " (systemctl edit), environment=LC_ALL=C.UTF-8 in supervisord.conf, or export LC_ALL=C.UTF-8 before its"
            ' start command; in the code name the encoding: open(..., encoding="utf-8")',
            zh="给服务设置 UTF-8 环境：在 unit 的 [Service] 下写 Environment=LC_ALL=C.UTF-8 PYTHONUTF8=1"
            "（systemctl edit），supervisord.conf 里写 environment=LC_ALL=C.UTF-8，"
            "或在启动命令前 export LC_ALL=C.UTF-8；"
            '代码里则写明编码：open(..., encoding="utf-8")',
        ),
    ),
    ExceptionKind(
        re.compile(
            r"no such (?:table|column)|relation \S+ does not exist|column \S+ (?:of relation \S+ )?does not exist"
            r"|Unknown column|Table '\S+' doesn't exist|has no column named"
        ),
        Text(en="the database's tables are older than the code", zh="数据库的表结构比代码旧"),
        Text(
            en="Run the migrations with the service's own settings and user (Django: python manage.py migrate; Alembic:"
            " alembic upgrade head; Flask-Migrate: flask db upgrade), and see that it is the database you mean",
            zh="用服务自己的配置和用户执行数据库迁移（Django：python manage.py migrate；Alembic：alembic upgrade head；"
            "Flask-Migrate：flask db upgrade），并确认连的就是那个数据库",
        ),
    ),
    ExceptionKind(
        re.compile(r"database is locked|database table is locked"),
        Text(en="SQLite lets one process write at a time", zh="SQLite 同一时间只允许一个进程写"),
        Text(
            en="Let writers wait (a timeout of 20 seconds for the connection; PRAGMA journal_mode=WAL), keep"
            " transactions short, or take a database server",
            zh="让写入方多等一会儿（连接的 timeout 设 20 秒；PRAGMA journal_mode=WAL），缩短事务，或改用数据库服务器",
        ),
    ),
    ExceptionKind(
        re.compile(
            r"too many (?:connections|clients)|remaining connection slots|QueuePool limit of size"
            r"|max number of clients reached|Too many connections"
        ),
        Text(en="the database takes no more connections", zh="数据库不再接受新连接"),
        Text(
            en="workers x threads (or the pool's size) of all services must stay below the server's max_connections:"
            " lower them, raise it, or put a pooler between; see who holds the connections",
            zh="所有服务的“进程数 × 线程数”（或连接池大小）之和必须小于数据库的 max_connections：减少前者、调大后者，"
            "或在中间加连接池；并查看连接被谁占用",
        ),
    ),
    ExceptionKind(
        re.compile(
            r"password authentication failed|Access denied for user|NOAUTH|WRONGPASS|invalid username-password pair"
            r"|Authentication failed\.|role \"[^\"]+\" does not exist"
        ),
        Text(
            en="the database does not accept the service's user or password",
            zh="数据库不接受服务所用的用户名或密码",
        ),
        Text(
            en="See which user and password the service gets (its unit's Environment and EnvironmentFile, .env), try"
            " them with psql, mysql or redis-cli, and correct the side that is wrong",
            zh="查看服务实际拿到的用户名和密码（unit 的 Environment 与 EnvironmentFile、.env），"
            "用 psql、mysql 或 redis-cli 试一下，改正错的一边",
        ),
    ),
    ExceptionKind(
        re.compile(
            r"\[Errno 111\]|Connection refused|Error 111 connecting|could not connect to server"
            r"|Can't connect to (?:local )?\S* ?server|No route to host|\[Errno 113\]|server closed the connection"
        ),
        Text(en="another service that it needs does not answer", zh="它依赖的另一个服务没有应答"),
        Text(
            en="The message names the address, or the settings do (database, cache, queue): see whether it runs there"
            " (systemctl status, ss -ltnp), start it, and have it start before this service (After= in the unit)",
            zh="报错里或配置里有地址（数据库、缓存、队列）：看它是否在那里运行（systemctl status、ss -ltnp），"
            "把它启动，并让它先于本服务启动（unit 里的 After=）",
        ),
    ),
    ExceptionKind(
        re.compile(
            r"Name or service not known|Temporary failure in name resolution|nodename nor servname|getaddrinfo failed"
            r"|\[Errno -[235]\]|could not translate host name|Failed to resolve"
        ),
        Text(en="a host's name does not resolve here", zh="有主机名在本机解析不了"),
        Text(
            en="Take the name from the message: getent hosts NAME. Correct it in the service's settings, or the name"
            " server in /etc/resolv.conf",
            zh="从报错里取出主机名，执行 getent hosts 主机名；改正服务配置里的名字，或 /etc/resolv.conf 里的 DNS",
        ),
    ),
    ExceptionKind(
        re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
        Text(
            en="the service does not trust the certificate of another server that it asks",
            zh="服务不信任它所访问的另一台服务器的证书",
        ),
        Text(
            en="The message says why: 'unable to get local issuer' needs the authority's certificate"
            " (update-ca-certificates, pip install -U certifi, SSL_CERT_FILE or REQUESTS_CA_BUNDLE in the unit),"
            " 'has expired' is for the other server's owner to fix, 'Hostname mismatch' is the address in the settings;"
            " do not switch verification off",
            zh="报错写明原因：unable to get local issuer 需要补 CA 证书（update-ca-certificates、"
            "pip install -U certifi，或在 unit 里设 SSL_CERT_FILE、REQUESTS_CA_BUNDLE）；has expired 要对方更新；"
            "Hostname mismatch 是配置里的地址不对。不要关闭校验",
        ),
    ),
    ExceptionKind(
        re.compile(r"Missing staticfiles manifest entry|The file '[^']+' could not be found with <"),
        Text(
            en="the static files of this version were not collected",
            zh="没有收集这个版本的静态文件",
        ),
        Text(
            en="Collect them with the service's settings: python manage.py collectstatic --noinput; a template may also"
            " name a file that does not exist",
            zh="用服务的配置收集：python manage.py collectstatic --noinput；也可能是模板引用了不存在的文件",
        ),
    ),
    ExceptionKind(
        re.compile(r"TemplateDoesNotExist|TemplateNotFound"),
        Text(en="a template was not deployed, or is looked for elsewhere", zh="模板没有部署，或查找位置不对"),
        Text(
            en="See whether the file is in this release (find . -name NAME), and which directories the settings search"
            " (TEMPLATES DIRS and APP_DIRS, template_folder): a relative one depends on the working directory",
            zh="看本次发布里有没有该文件（find . -name 文件名），以及配置查找哪些目录（TEMPLATES 的 DIRS 与 APP_DIRS、"
            "template_folder）：相对路径取决于工作目录",
        ),
    ),
    ExceptionKind(
        re.compile(r"\[Errno 28\](?! inotify)|No space left on device"),
        Text(en="there is no space, or no inode, left", zh="磁盘空间或 inode 用完了"),
        Text(
            en="df -h and df -i show which file system; what it wrote last is the likely one",
            zh="用 df -h 和 df -i 看是哪个文件系统；最可能是它最后写入的那个",
        ),
    ),
    ExceptionKind(
        re.compile(r"CUDA (?:out of memory|error)|OutOfMemoryError|CUDNN_STATUS|no CUDA-capable device"),
        Text(en="the graphics card has no memory left, or is not usable", zh="显存不足或显卡不可用"),
        Text(
            en="nvidia-smi shows who holds the memory: each worker loads a model of its own, so take fewer workers, or"
            " smaller batches",
            zh="nvidia-smi 可看显存被谁占用：每个工作进程各加载一份模型，请减少进程数或批大小",
        ),
    ),
)


# What a connection's peer does, or its encryption, when two processes write to the one connection.
_OF_A_SHARED_CONNECTION = ExceptionKind(
    re.compile(
        r"(?i)bad.record.mac|decryption failed|SSL SYSCALL|SSLEOFError|EOF occurred in violation|lost synchronization"
        r"|packet sequence number|out of sync"
    ),
    Text(
        en="the workers most likely share one connection: preload_app is on, so what the application opens while it is"
        " imported was opened before the fork, once for all",
        zh="工作进程很可能共用同一条连接：preload_app 开着，应用导入时打开的连接在派生之前只建立了一次",
    ),
    Text(
        en="Have each worker open its own: take preload_app (--preload) out, or close what was opened in gunicorn's"
        " post_fork (SQLAlchemy: engine.dispose(close=False); Django: connections.close_all()), or connect at the first"
        " request",
        zh="让每个工作进程自己建立连接：去掉 preload_app（--preload），或在 gunicorn 的 post_fork 里关掉继承的连接"
        "（SQLAlchemy：engine.dispose(close=False)；Django：connections.close_all()），或在首个请求时再连接",
    ),
)


def surroundings(exception: str, target: Target, *, is_preloaded: bool = False) -> FileRefusal | None:
    """Return what is wrong around the code by ``exception``'s own words; None if they speak of nothing known.
    ``is_preloaded``: the master loads the application before it forks."""
    kinds = (*_SURROUNDINGS, _OF_A_SHARED_CONNECTION) if is_preloaded else _SURROUNDINGS
    kind = kind_of(exception, kinds)
    if kind is None:
        return None
    return FileRefusal((), kind.what, (kind.step, target.restart_command))
