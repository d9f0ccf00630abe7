"""Turn an error of `nginx -t` into one sentence of advice in both languages. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from ops.text.language import Text
from ops.text.sanitize import INVISIBLE_MARK, safe_line

# 22030#22030: nginx's process and thread, before every message (ngx_log_error_core).
_PROCESS = re.compile(r"^\d+#\d+: (?:\*\d+ )?")
# Directives that nginx's documentation allows only outside of every block, or only in http { }.
_MAIN_ONLY = frozenset(
    {
        "daemon", "env", "events", "http", "load_module", "lock_file", "master_process", "mail", "pid",
        "pcre_jit", "ssl_engine", "stream", "thread_pool", "timer_resolution", "user", "worker_cpu_affinity",
        "worker_priority", "worker_processes", "worker_rlimit_core", "worker_rlimit_nofile",
        "worker_shutdown_timeout", "working_directory"
    }
)  # fmt: skip
_HTTP_ONLY = frozenset(
    {
        "charset_map", "fastcgi_cache_path", "geo", "geoip_city", "geoip_country", "limit_conn_zone",
        "limit_req_zone", "log_format", "map", "map_hash_bucket_size", "map_hash_max_size", "perl_modules",
        "proxy_cache_path", "scgi_cache_path", "server", "server_names_hash_bucket_size",
        "server_names_hash_max_size", "split_clients", "upstream", "uwsgi_cache_path",
        "variables_hash_bucket_size", "variables_hash_max_size"
    }
)  # fmt: skip


def without_process(message: str) -> str:
    """Return ``message`` without the number of nginx's process."""
    return _PROCESS.sub("", message)


def advice(message: str, file: str, line: str | None, main_file: str, other: str | None = None) -> Text:
    """Advise on a change at ``file``, ``line``, by nginx's ``message``; ``main_file`` is nginx.conf. Some messages name
    no line. ``other`` is ``FILE:LINE`` of the first of two duplicates."""
    text = _advice(message, file, line, main_file)
    if other is None:
        return text
    first = other.rpartition(":")[0]
    if file != first and (file.startswith(first) or first.startswith(file)):
        copy, original = (file, other) if file.startswith(first) else (first, f"{file}:{line}")
        return Text(
            en=f"{copy} is a second copy of the site ({original}): nginx reads every file that the pattern of an"
            " include matches, so move it to another directory, or have the include take *.conf alone",
            zh=f"{copy} 是同一站点的另一份（{original}）：include 的模式匹配到的文件 nginx 都会读，"
            "请把它移到别的目录，或让 include 只匹配 *.conf",
        )
    return Text(en=f"{text.en} (the first is at {other})", zh=f"{text.zh}（前一处在 {other}）")


def _advice(message: str, file: str, line: str | None, main_file: str) -> Text:
    words = without_process(message).strip()
    place = (
        Text(en=f"{file}, line {line}", zh=f"{file} 第 {line} 行")
        if line is not None
        else Text(en=f"The configuration {file}", zh=f"配置 {file}")
    )
    if (match := _UNKNOWN.search(words)) and (mended := _not_a_name(match[1], place, file)):
        return mended
    for pattern, explain in _KINDS:
        if match := pattern.search(words):
            return explain(match, place, file == main_file)
    return Text(en=f"Correct {place.en}: {words}", zh=f"修改 {place.zh}：{words}")


_Explain = Callable[[re.Match[str], Text, bool], Text]


def _misplaced(match: re.Match[str], place: Text, is_main: bool) -> Text:
    name = match[1]
    if name in _MAIN_ONLY:
        top = Text(en="the top of nginx.conf, outside of every block", zh="nginx.conf 最外层、所有块之外")
        block = Text(en="http { }", zh="http { }")
    elif name in _HTTP_ONLY and not is_main:
        top = Text(en="the top of the file", zh="文件开头")
        block = Text(en="server { }", zh="server { }")
    elif name in _HTTP_ONLY:
        top = Text(en="http { }", zh="http { } 里")
        block = Text(en="the block around it", zh="所在的块")
    else:
        return Text(
            en=f"{name} is not allowed in this block: see its documentation, and move or delete {place.en}",
            zh=f"{name} 不能写在这个块里：移到其文档所说的块中，或删除 {place.zh}",
        )
    return Text(
        en=f"Move {place.en} ({name} …) out of {block.en}, to {top.en}",
        zh=f"把 {place.zh}（{name} …）移出 {block.zh}，放到{top.zh}",
    )


# Prefixes of directives whose modules are packaged separately, and Debian's package names.
_PACKAGES = (
    ("brotli", "libnginx-mod-http-brotli-filter"),
    ("more_", "libnginx-mod-http-headers-more-filter"),
    ("geoip2", "libnginx-mod-http-geoip2"),
    ("geoip_", "libnginx-mod-http-geoip"),
    ("js_", "libnginx-mod-http-js"),
    ("lua_", "libnginx-mod-http-lua"),
    ("perl", "libnginx-mod-http-perl"),
    ("image_filter", "libnginx-mod-http-image-filter"),
    ("xslt_", "libnginx-mod-http-xslt-filter"),
    ("fancyindex", "libnginx-mod-http-fancyindex"),
    ("echo", "libnginx-mod-http-echo"),
    ("auth_pam", "libnginx-mod-http-auth-pam"),
    ("upload_progress", "libnginx-mod-http-uploadprogress"),
    ("nchan_", "libnginx-mod-nchan"),
    ("rtmp", "libnginx-mod-rtmp"),
    ("stream", "libnginx-mod-stream"),
)


# A quoted text that stands where a directive should has blanks, quotes and line breaks of its own.
_UNKNOWN = re.compile(r'^unknown directive "(.*?)(?:"(?: in \S+:\d+)?)?$', re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# No option of nginx's configure takes these away: one of them is unknown only if a character that is not shown stands
# beside it.
_OF_EVERY_NGINX = frozenset(
    {
        "access_log", "add_header", "alias", "client_max_body_size", "daemon", "default_type", "env", "error_log",
        "error_page", "events", "expires", "http", "include", "index", "keepalive_timeout", "listen", "load_module",
        "location", "log_format", "master_process", "pid", "resolver", "root", "sendfile", "server", "server_name",
        "try_files", "types", "upstream", "user", "worker_connections", "worker_processes", "worker_rlimit_nofile"
    }
)  # fmt: skip
# Directives of modules that nginx may be built without (configure --without-…, or not --with-…).
_OF_MODULE = {
    name: module
    for module, names in {
        "ngx_http_rewrite_module (--without-pcre takes it away)": "break if return rewrite set",
        "ngx_http_ssl_module": "ssl_certificate ssl_certificate_key ssl_ciphers ssl_dhparam ssl_prefer_server_ciphers"
        " ssl_protocols ssl_session_cache ssl_session_tickets ssl_session_timeout ssl_stapling ssl_trusted_certificate",
        "ngx_http_gzip_module": "gzip gzip_comp_level gzip_disable gzip_min_length gzip_proxied gzip_types gzip_vary",
        "ngx_http_gzip_static_module": "gzip_static",
        "ngx_http_proxy_module": "proxy_buffering proxy_buffer_size proxy_buffers proxy_cache proxy_cache_path"
        " proxy_connect_timeout proxy_hide_header proxy_http_version proxy_next_upstream proxy_pass proxy_read_timeout"
        " proxy_redirect proxy_request_buffering proxy_send_timeout proxy_set_header",
        "ngx_http_access_module": "allow deny",
        "ngx_http_auth_basic_module": "auth_basic auth_basic_user_file",
        "ngx_http_auth_request_module": "auth_request auth_request_set",
        "ngx_http_charset_module": "charset charset_map",
        "ngx_http_fastcgi_module": "fastcgi_cache_path fastcgi_index fastcgi_param fastcgi_pass",
        "ngx_http_geo_module": "geo",
        "ngx_http_grpc_module": "grpc_pass grpc_set_header",
        "ngx_http_limit_conn_module": "limit_conn limit_conn_zone",
        "ngx_http_limit_req_module": "limit_req limit_req_zone",
        "ngx_http_map_module": "map map_hash_bucket_size map_hash_max_size",
        "ngx_http_realip_module": "real_ip_header real_ip_recursive set_real_ip_from",
        "ngx_http_scgi_module": "scgi_cache_path scgi_pass",
        "ngx_http_split_clients_module": "split_clients",
        "ngx_http_stub_status_module": "stub_status",
        "ngx_http_sub_module": "sub_filter sub_filter_once sub_filter_types",
        "ngx_http_uwsgi_module": "uwsgi_cache_path uwsgi_param uwsgi_pass",
        "ngx_http_v2_module (nginx 1.25.1; before it: listen 443 ssl http2)": "http2",
        "ngx_http_v3_module (nginx 1.25.0)": "http3 quic_retry",
        "the thread pools (--with-threads)": "thread_pool",
    }.items()
    for name in names.split()
}


def _not_a_name(unknown: str, place: Text, file: str) -> Text | None:
    """What is to be done about a directive that nginx does not know because a character that is not shown stands beside
    its name, or because it is no name; None for a name.

    ``unknown`` has the former by their numbers (`show_invisible`) in what `nginx -t` printed. What was read of a log
    has them no more, or a plain blank for one: there alone the name itself shows that one was beside it."""
    marks = dict.fromkeys(INVISIBLE_MARK.findall(unknown))
    name = INVISIBLE_MARK.sub(" ", unknown).split()
    if marks and " " not in unknown and name and _NAME.fullmatch(name[0]):
        return _without_unseen_characters(name[0], [int(mark, 16) for mark in marks], place, file)
    stripped = unknown.strip()
    if stripped in _OF_EVERY_NGINX or (stripped != unknown and stripped in _OF_MODULE):
        return _without_unseen_characters(stripped, [0xFEFF, 0x200B, 0xA0], place, file)
    if not stripped.startswith("$") and not any(character.isspace() for character in stripped):
        return None
    shown = safe_line(stripped, 60)
    if name and (name[0] in _OF_EVERY_NGINX or name[0] in _OF_MODULE):
        return Text(
            en=f"{place.en}: nginx takes {shown} for one word, because it is in quotes: write it without them",
            zh=f"{place.zh}：{shown} 带引号，nginx 把它当成一个词：去掉引号",
        )
    return Text(
        en=f"{place.en}: the text {shown} stands where a directive begins: the line before it ends with a ; too early"
        " (the parts of a log_format or of another value have one ; behind the last), or it is not meant to be there",
        zh=f"{place.zh}：文字 {shown} 出现在指令开头的位置：前一行过早写了 ;（log_format 之类的值分成几段时，"
        "只在最后一段之后写 ;），或者它本不该在这里",
    )


_INVISIBLE_NAMES = {
    0xFEFF: Text(
        en='a byte order mark (BOM: an editor saved the file as "UTF-8 with BOM")',
        zh="字节顺序标记（BOM，编辑器把文件存成了“带 BOM 的 UTF-8”）",
    ),
    0x200B: Text(en="a zero-width space", zh="零宽空格"),
    0xA0: Text(en="a no-break space", zh="不间断空格"),
    0x3000: Text(en="an ideographic (full-width) space", zh="全角空格"),
}


def _without_unseen_characters(name: str, codes: list[int], place: Text, file: str) -> Text:
    # As bytes of UTF-8, for the locale may be C.
    edits = "; ".join(
        "s/{}/{}/g".format(
            "".join(rf"\x{byte:02X}" for byte in chr(code).encode()), " " if chr(code).isspace() else ""
        )
        for code in codes
    )
    command = f"sed -i '{edits}' {shlex.quote(file)}"
    names = [_INVISIBLE_NAMES.get(code, Text(en=f"U+{code:04X}", zh=f"U+{code:04X}")) for code in codes]
    en, zh = " or ".join(each.en for each in names), "或".join(each.zh for each in names)
    return Text(
        en=f"{place.en}: beside {name} is a character that is not shown, {en}, so nginx does not know the word. Take it"
        f" out: {command}",
        zh=f"{place.zh}：{name} 旁边有看不见的字符（{zh}），所以 nginx 不认识这个词。去掉它：{command}",
    )


def _unknown(match: re.Match[str], place: Text, _is_main: bool) -> Text:
    name = match[1]
    words = Text(
        en=f"{place.en}: this nginx knows no directive {name}: correct its spelling, or load the module that has it",
        zh=f"{place.zh}：这个 nginx 没有 {name} 指令，请改正拼写，或加载提供它的模块",
    )
    if module := _OF_MODULE.get(name):
        return Text(
            en=f"{place.en}: {name} is of {module}: see in nginx -V whether this nginx was built with it. If not,"
            " install a build that has it, or delete the line; if it was, a hidden character stands beside the word"
            " (grep -nP '[^\\x00-\\x7F]' FILE)",
            zh=f"{place.zh}：{name} 属于 {module}：用 nginx -V 看这个 nginx 编译时是否带了它。没有带，就换用带有它的"
            " nginx，或删除这一行；带了，就是这个词旁边有隐藏字符（grep -nP '[^\\x00-\\x7F]' 文件）",
        )
    package = next((package for begins, package in _PACKAGES if name.startswith(begins)), None)
    if package is None and "_by_lua" in name:
        package = "libnginx-mod-http-lua"
    if package is None:
        return words
    return Text(
        en=f"{words.en} (Debian, Ubuntu: apt install {package}, and at the top of nginx.conf"
        " include /etc/nginx/modules-enabled/*.conf; or load_module ...;), or delete the line",
        zh=f"{words.zh}（Debian、Ubuntu：apt install {package}，并在 nginx.conf 最前面写"
        " include /etc/nginx/modules-enabled/*.conf; 或 load_module ...;），或删除这一行",
    )


def _larger_hash(match: re.Match[str], _place: Text, _is_main: bool) -> Text:
    # ngx_hash_init: either a long name does not fit a bucket, or many names do not fit the table.
    lines = " ".join(f"{name} {int(size) * 2};" for name, size in re.findall(r"(\w+_size): (\d+)", match[0]))
    return Text(
        en=f"A name is too long for nginx's table of names, or there are too many: in http {{ }} write {lines}",
        zh=f"有名称太长或太多，nginx 的哈希表放不下：在 http {{ }} 中写 {lines}",
    )


# Variables that recipes use and that nginx does not have: each is made by a map of its own in http.
_MAPS = {
    "connection_upgrade": 'map $http_upgrade $connection_upgrade { default upgrade; "" ""; }',
    "proxy_connection": 'map $http_upgrade $proxy_connection { default upgrade; "" ""; }',
    "proxy_x_forwarded_proto": "map $http_x_forwarded_proto $proxy_x_forwarded_proto"
    ' { default $http_x_forwarded_proto; "" $scheme; }',
}


def _no_variable(match: re.Match[str], place: Text, _is_main: bool) -> Text:
    name = match[1]
    if made := _MAPS.get(name):
        return Text(
            en=f"{place.en}: nginx has no variable ${name} by itself, a map makes it. Write in http {{ }}, outside"
            f" every server: {made}",
            zh=f"{place.zh}：变量 ${name} 不是 nginx 自带的，要由 map 定义。写在 http {{ }} 里、所有 server 之外："
            f"{made}",
        )
    return Text(
        en=f"{place.en}: nginx has no variable ${name}: correct its name, or bring over the map, set or geo that makes"
        " it where this line was copied from",
        zh=f"{place.zh}：没有变量 ${name}：请改正名称；如果这一行是复制来的，把原处定义它的 map、set 或 geo 也带过来",
    )


def _told(en: str, zh: str) -> _Explain:
    """Return an explanation that fills in ``{place}`` and the match's groups as ``{0}``, ``{1}``."""

    def explain(match: re.Match[str], place: Text, _is_main: bool) -> Text:
        groups = [group or "" for group in match.groups()]
        return Text(en=en.format(*groups, place=place.en), zh=zh.format(*groups, place=place.zh))

    return explain


_KINDS: tuple[tuple[re.Pattern[str], _Explain], ...] = (
    (re.compile(r'^"([^"]+)" directive is not allowed here'), _misplaced),
    (
        _UNKNOWN,
        _unknown,
    ),
    (
        re.compile(r'^directive "([^"]*)" (?:is not terminated by ";"|has no opening)'),
        _told("{place}: end the directive {0} with ;", "{place}：给 {0} 指令补上结尾的 ;"),
    ),
    (
        re.compile(r'^unexpected end of file, expecting "([^"]+)"'),
        _told(
            "{place}: the file ends before its last block is closed: add {0}",
            "{place}：文件结束时块还没有关闭，请补上 {0}",
        ),
    ),
    (
        re.compile(r'^unexpected "([^"]+)"'),
        _told(
            "{place}: {0} is not expected there: a ; or a brace is missing or too many in the lines before it",
            "{place}：这里不该出现 {0}：前面几行多了或少了 ; 或大括号",
        ),
    ),
    (
        re.compile(r'^invalid number of arguments in "([^"]+)"'),
        _told("{place}: {0} has too few or too many values", "{place}：{0} 的参数个数不对"),
    ),
    (
        re.compile(r'^"([^"]+)" directive is duplicate'),
        _told(
            "{place}: {0} is there twice in this block: delete one",
            "{place}：同一个块里有两个 {0}，请删掉一个",
        ),
    ),
    (
        re.compile(r'^duplicate location "([^"]+)"'),
        _told(
            "{place}: location {0} is there twice in this server: delete one",
            "{place}：这个 server 里有两个 location {0}，请删掉一个",
        ),
    ),
    (
        re.compile(r'^duplicate upstream "([^"]+)"'),
        _told(
            "{place}: upstream {0} is defined twice: delete or rename one",
            "{place}：upstream {0} 定义了两次，请删掉或改名",
        ),
    ),
    (
        re.compile(r"^(?:a )?duplicate (?:default server|listen options) for (\S+)"),
        _told(
            "{place}: another server block has it for {0} already: keep default_server and such options in one of them",
            "{place}：另一个 server 块已对 {0} 声明过：default_server 之类的选项只保留在其中一个里",
        ),
    ),
    (
        re.compile(r"^a duplicate listen (\S+)"),
        _told(
            "{place}: this server block listens on {0} twice: delete one of the two",
            "{place}：同一个 server 块两次监听 {0}，请删掉一个",
        ),
    ),
    (
        re.compile(r'^duplicate "log_format" name "([^"]+)"'),
        _told(
            "{place}: log_format {0} is defined twice: delete or rename one",
            "{place}：log_format {0} 定义了两次，请删掉或改名",
        ),
    ),
    (
        re.compile(
            r'^(?:\w+ "([^"]+)" is already bound|duplicate zone "([^"]+)"'
            r'|the shared memory zone "([^"]+)" is already|the size \d+ of shared memory zone "([^"]+)" conflicts)'
        ),
        _told(
            "{place}: the zone {0}{1}{2}{3} is defined twice: delete or rename one",
            "{place}：zone {0}{1}{2}{3} 定义了两次，请删掉或改名",
        ),
    ),
    (
        re.compile(r'^(?:conflicting parameter "([^"]+)"|duplicate (default) map parameter)'),
        _told(
            "{place}: {0}{1} is there twice in this block: delete one",
            "{place}：同一个块里有两个 {0}{1}，请删掉一个",
        ),
    ),
    (
        re.compile(r'^host not found in upstream "([^"]+)"'),
        _told(
            "{place}: the name {0} does not resolve: correct it, or write the address",
            "{place}：域名 {0} 解析不了：请改正，或改写成 IP 地址",
        ),
    ),
    (
        re.compile(r'^(?:invalid parameter|invalid value) "?([^"]+)"?'),
        _told(
            "{place}: {0} is no value that it takes: correct or delete it",
            "{place}：不接受 {0} 这个值，请改正或删除",
        ),
    ),
    (
        re.compile(r'^unknown "([^"]+)" variable'),
        _no_variable,
    ),
    (
        re.compile(r'^unknown log format "([^"]+)"'),
        _told(
            "{place}: no log_format {0} is defined: define it in http {{ }}, or take another",
            "{place}：没有定义 log_format {0}：请在 http {{ }} 中定义，或换一个",
        ),
    ),
    (
        re.compile(r'^(?:zero size shared memory zone|unknown (?:limit_req_zone|limit_conn_zone)) "([^"]+)"'),
        _told(
            "{place}: the zone {0} is used and defined nowhere: add its limit_req_zone (or …_zone) line to http {{ }}",
            "{place}：用到了未定义的 zone {0}：请在 http {{ }} 中加上对应的 limit_req_zone（或 …_zone）行",
        ),
    ),
    (
        re.compile(r'^no "ssl_certificate" is defined'),
        _told(
            "{place}: listen … ssl needs ssl_certificate and ssl_certificate_key in the same server block; so does the"
            " block that comes first at a port where another one has ssl. A block that is to serve nobody takes"
            " ssl_reject_handshake on; instead",
            "{place}：listen … ssl 需要同一个 server 块里有 ssl_certificate 和 ssl_certificate_key；"
            "同一端口上只要有一个块写了 ssl，排在最前面的块也需要。不提供服务的块可以改写 ssl_reject_handshake on;",
        ),
    ),
    (re.compile(r"^could not build (?:the )?\w+, you should increase .*"), _larger_hash),
    (
        re.compile(r'^SSL_CTX_use_certificate\("([^"]+)"\) failed .*:(?:ee|ca) key too small'),
        _told(
            "The key of {0} is too small for this host's OpenSSL, which wants 2048 bits of RSA or an ECDSA key: have"
            " the certificate issued for a new key (certbot renew --force-renewal --key-type rsa --rsa-key-size 2048)",
            "{0} 的密钥太短，本机的 OpenSSL 至少要求 2048 位 RSA 或 ECDSA 密钥：换新密钥重新签发证书"
            "（certbot renew --force-renewal --key-type rsa --rsa-key-size 2048）",
        ),
    ),
    (
        re.compile(r'^SSL_CTX_use_certificate\("([^"]+)"\) failed .*:(?:ee|ca) md too weak'),
        _told(
            "{0} is signed with a digest that this host's OpenSSL takes no more (SHA-1, MD5): have it issued anew",
            "{0} 的签名用了本机 OpenSSL 不再接受的摘要算法（SHA-1、MD5）：请重新签发",
        ),
    ),
    (
        re.compile(r'^open\(\) "([^"]+)" failed \(2:'),
        _told(
            "{place}: {0} does not exist: correct the path, or put the file there",
            "{place}：{0} 不存在：请改正路径，或放好该文件",
        ),
    ),
    (
        re.compile(r'^open\(\) "([^"]+)" failed \(13:'),
        _told(
            "{place}: nginx may not open {0}: check owner, mode and SELinux (namei -l {0})",
            "{place}：nginx 无权打开 {0}：检查属主、权限和 SELinux（namei -l {0}）",
        ),
    ),
    (
        re.compile(r"^bind\(\) to (\S+) failed \(98:"),
        _told(
            "Another process holds {0}: find it (ss -ltnp), and end it or give one of the two another address",
            "{0} 已被别的进程占用：用 ss -ltnp 找到它，结束它，或让其中一个换地址",
        ),
    ),
    (
        re.compile(r"^bind\(\) to (\S+) failed \(99:"),
        _told(
            "{0} is no address of this host (ip -brief address): correct the listen line that names it",
            "{0} 不是本机地址（ip -brief address）：请改正对应的 listen 行",
        ),
    ),
    (
        re.compile(r"^bind\(\) to (\S+) failed \(13:"),
        _told(
            "nginx may not bind {0}: start it as root; with SELinux allow the port (semanage port -a -t http_port_t)",
            "nginx 无权绑定 {0}：请以 root 启动；启用 SELinux 时需放行端口（semanage port -a -t http_port_t）",
        ),
    ),
    (
        re.compile(r'^mkdir\(\) "([^"]+)" failed \((?:2|13|30):'),
        _told(
            "nginx cannot make the directory {0}: make it, or the one above it, for nginx's user",
            "nginx 无法创建目录 {0}：请为 nginx 的用户建好它或其上级目录",
        ),
    ),
)
