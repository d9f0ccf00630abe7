"""Random configurations of nginx and random requests to them, by a seed.

A site is a few server blocks behind one port. Names and patterns are taken from small pools, so that they overlap."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

PREFIXES = (
    "/", "/a", "/a/", "/a/b", "/a/b/", "/predict", "/predict/", "/api/", "/api/v1/", "/dir/", "/dir", "/f.txt", "/x y",
    "/a+b/", "/%41/", "/中/", "/deep/one/two/", "/static/", "/A/",
)  # fmt: skip
PATTERNS = (
    "^/a", r"\.txt$", "^/(.*)/b$", r"^/api/v(\d+)/(?<rest>.*)$", "/predict", "^/(?!a)", "^/x", r"\.(txt|html)$",
    "^/[ab]+/", "^/A", "b{1,2}", "^/dir/(?<name>[a-z]+)", "^/%41", "/$", "^/static/(.+)$", "中", r"\\.html$",
)  # fmt: skip
SEGMENTS = (
    "a", "b", "predict", "api", "v1", "v2", "dir", "f.txt", "static", "deep", "one", "two", "index.html", "x%20y", "x",
    "a+b", "%41", "%e4%b8%ad", "..", ".", "", "%2e%2e", "a%2fb", "%2F", "A", "a%3Fb", "a%25b", "a%23b", "a%2Bb", "q;p",
    "a&b", "é", "a%C3%A9", "~", "'", '"', "a:b", "a=b", "@x", "...", "dir2", "a%00b", "a%zz", "{x}", "a|b", "<s>",
)  # fmt: skip
NAMES = (
    "a.test", "b.test", "www.a.test", "*.a.test", ".b.test", "www.*", "mail.*", r"~^(?<sub>\w+)\.c\.test$", "~^www",
    "_", "", "*.test", "x.y.b.test", "*.y.b.test",
)  # fmt: skip
HOSTS = (
    "a.test", "A.TEST", "b.test", "www.a.test", "x.a.test", "x.y.a.test", "www.b.test", "one.c.test", "mail.example",
    "www.example", "unknown.example", "a.test.", "a.test:81", "x.y.b.test", "z.y.b.test", "127.0.0.1",
)  # fmt: skip
METHODS = ("GET", "GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS")
VARIABLES = (
    "$uri", "$args", "$request_uri", "$is_args", "$arg_x", "$host", "$request_method", "$scheme", "$http_x_kind", "$1",
    "$v", "$w", "$mapped", "$kind", "$server_name", "$document_uri", "$server_port", "$cookie_c", "$https", "$rest",
    "$document_root", "$request_filename", "$by_host", "$query_string", "$content_type", "$remote_addr", "$2", "$name",
)  # fmt: skip
PRELUDE = r"""
map $uri $mapped { default none; ~^/a(?<tail>.*)$ "m$tail"; /predict exact; ~*^/API up; }
map $http_x_kind $kind { default ""; one 1; two "two $uri"; ~^t three; "" nothing; }
map $host $by_host { hostnames; default 0; .a.test A; *.test T; www.* W; }
"""
# What some site may use is to be known to nginx, whichever sites there are.
DECLARED = "set $v ''; set $w ''; set $rest ''; set $name ''; set $sub ''; set $tail ''; set $backend '';"


@dataclass
class Site:
    """One configuration: its text, and the requests it is asked."""

    number: int
    port: int
    is_tls: bool
    text: str
    places: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """One request as it goes over the wire. ``answer``: what the service is to answer."""

    port: int
    method: str
    target: str
    host: str | None
    headers: tuple[tuple[str, str], ...]
    body: int | None
    answer: int
    tls: bool
    sni: str | None
    version: str


class Generator:
    """Sites and requests from one random source. ``backends``: each service's address in nginx's form."""

    def __init__(self, seed: int, backends: tuple[str, ...], root: str) -> None:
        self.random = random.Random(seed)
        self.backends = backends
        self.root = root
        self._tag = 0

    # --- configurations ---------------------------------------------------------------------------------------------

    def site(self, number: int, port: int, certificate: str) -> Site:
        is_tls = self._often(0.2)
        count = self.random.choice((1, 1, 2, 3, 4))
        blocks = [self._server(port, is_tls, certificate, first=n == 0) for n in range(count)]
        return Site(number, port, is_tls, "\n".join(blocks))

    def _server(self, port: int, is_tls: bool, certificate: str, *, first: bool) -> str:
        listens = [f"listen 127.0.0.1:{port}", f"listen {port}"] if self._often(0.2) else [f"listen {port}"]
        if not first and self._often(0.3):
            listens = [self.random.choice((f"listen 127.0.0.1:{port}", f"listen 127.0.0.2:{port}"))]
        ssl = " ssl" if is_tls else ""
        lines = [f"{words}{ssl};" for words in listens]
        if is_tls:
            lines.append(f"ssl_certificate {certificate}; ssl_certificate_key {certificate};")
        names = [self._quoted(n) for n in self.random.sample(NAMES, self.random.choice((0, 1, 1, 2, 3)))]
        if names:
            lines.append(f"server_name {' '.join(names)};")
        self._names = {f"@n{n}" for n in range(2)}
        lines += self._settings(in_server=True)
        lines += self._script(in_server=True) if self._often(0.15) else []
        lines += self._locations("", depth=0)
        if self._often(0.5) and not any(line.startswith("location  / ") for line in lines):
            lines.append(
                f"location / {{\n{self._place()}\n" + "\n".join(self._content(kind="prefix")) + "\n}"
            )
        for name in sorted(self._names):
            lines.append(f"location {name} {{ {self._place()} {' '.join(self._content(kind='named'))} }}")
        return "server {\n" + "\n".join(lines) + "\n}\n"

    def _often(self, share: float) -> bool:
        return self.random.random() < share

    def _place(self) -> str:
        self._tag += 1
        return f"add_header X-Place p{self._tag} always;"

    @staticmethod
    def _quoted(word: str) -> str:
        return "'" + word + "'" if not word or set(word) & set(" {};\"'\\") else word

    def _locations(self, inside: str, depth: int) -> list[str]:
        prefixes = [p for p in PREFIXES if p.startswith(inside)]
        lines, used = [], set()
        for _ in range(self.random.choice((1, 2, 3, 4, 6) if depth == 0 else (0, 0, 1, 2))):
            kind = self.random.choice(("", "", "", "^~", "=", "~", "~*"))
            pattern = self.random.choice(PATTERNS if kind.startswith("~") else prefixes or ["/"])
            key = ("" if kind == "^~" else kind, pattern)
            if key in used:
                continue
            used.add(key)
            inner = []
            if kind != "=" and depth < 2 and self._often(0.25):
                inner = self._locations(inside if kind.startswith("~") else pattern, depth + 1)
            what = "regex" if kind.startswith("~") else "exact" if kind == "=" else "prefix"
            body = [self._place(), *self._content(kind=what), *inner]
            lines.append(f"location {kind} {self._quoted(pattern)} {{\n" + "\n".join(body) + "\n}")
        return lines

    def _content(self, *, kind: str) -> list[str]:
        lines = self._settings(in_server=False)
        lines += self._script(in_server=False) if self._often(0.45) else []
        choice = self.random.random()
        if choice < 0.5:
            lines += self._proxy(with_uri=kind in ("prefix", "exact"))
        elif choice < 0.6:
            lines.append(f"return {self._returned()};")
        elif choice < 0.75:
            lines.append(f"try_files {self._tried()};")
        elif choice < 0.8 and kind != "named":
            lines.append(f"alias {self.root}/{self.random.choice(('dir', 'dir/', 'static/'))};")
        if self._often(0.08) and kind != "named":
            lines.append("internal;")
        if self._often(0.12):
            inside = self.random.choice(("deny all;", "deny 127.0.0.1;", "allow 127.0.0.0/8; deny all;"))
            lines.append(f"limit_except {self.random.choice(('GET', 'POST', 'GET POST'))} {{ {inside} }}")
        return lines

    def _settings(self, *, in_server: bool) -> list[str]:
        options = [
            lambda: f"root {self.root}{self.random.choice(('', '/dir', '/'))};",
            lambda: f"client_max_body_size {self.random.choice(('10', '1k', '0', '1m'))};",
            lambda: f"error_page {self._error_page()};",
            lambda: "proxy_intercept_errors on;",
            lambda: "recursive_error_pages on;",
            lambda: f"index {self.random.choice(('index.html', 'none.html index.html', '/f.txt', 'f.txt'))};",
            lambda: "absolute_redirect off;",
            lambda: "port_in_redirect off;",
            lambda: f"proxy_set_header X-Up {self._template()}; proxy_set_header Host {self._host_value()};",
            lambda: "proxy_set_header X-Other yes;",
            lambda: self.random.choice(("deny all;", "allow 127.0.0.1; deny all;", "deny 10.0.0.0/8;")),
            lambda: "auth_basic realm; auth_basic_user_file /dev/null;",
            lambda: "satisfy any;",
        ]
        if in_server:
            options += [lambda: "merge_slashes off;", lambda: "server_name_in_redirect on;"]
            options += [lambda: "error_page 404 500 502 /errors.html;"]
        shares = [0.2, 0.08, 0.2, 0.15, 0.08, 0.15, 0.1, 0.1, 0.15, 0.1, 0.03, 0.03, 0.05, 0.2, 0.1, 0.1]
        return [option() for option, share in zip(options, shares, strict=False) if self._often(share)]

    def _error_page(self) -> str:
        codes = " ".join(
            self.random.sample(
                ("404", "403", "405", "502", "500", "413", "400", "301"), self.random.choice((1, 2, 4))
            )
        )
        change = self.random.choice(("", "", "", " =", " =200", " =418", " =303"))
        target = self.random.choice(
            (
                "/errors.html",
                "/a/b",
                "/predict",
                "/missing.html",
                "@n0",
                "@n1",
                "/f.txt?e=$uri",
                "https://e.test/$uri",
            )
        )
        return f"{codes}{change} {target}"

    def _host_value(self) -> str:
        return self.random.choice(("$host", "$http_host", "$proxy_host", "fixed.test", '""'))

    def _template(self) -> str:
        words = [
            self.random.choice(VARIABLES) if self._often(0.7) else self.random.choice(("x", "-", "/y", r"\t"))
            for _ in range(self.random.choice((1, 2, 3)))
        ]
        return '"' + "|".join(words) + '"'

    def _returned(self) -> str:
        status = self.random.choice(
            ("200", "200", "204", "301", "302", "308", "403", "404", "418", "444", "500", "503")
        )
        if status in ("301", "302", "308"):
            return f"{status} {self.random.choice(('/new$uri', 'https://e.test$request_uri', '/z?$args', '$uri'))}"
        if status in ("204", "444") or self._often(0.3):
            return status
        return f"{status} {self._template()}"

    def _tried(self) -> str:
        names = self.random.sample(
            (
                "$uri",
                "$uri/",
                "$uri.html",
                "/f.txt",
                "/dir/",
                "/none",
                "$uri/index.html",
                "/static$uri",
                "$document_root",
            ),
            self.random.choice((1, 2, 3)),
        )
        last = self.random.choice(
            (
                "=404",
                "=403",
                "@n0",
                "@n1",
                "/index.html",
                "/predict",
                "/a/b?x=$uri",
                "/errors.html$is_args$args",
                "/dir/",
            )
        )
        return " ".join((*names, last))

    def _proxy(self, *, with_uri: bool) -> list[str]:
        backend = self.random.choice((*self.backends, "pool"))
        uri = ""
        if with_uri and self._often(0.5):
            uri = self.random.choice(("/", "/up", "/up/", "/up?k=v", "/api/v9/", "/中/"))
        if self._often(0.15):
            backend = self.random.choice(self.backends)
            suffix = self.random.choice(("", "", "$uri", "/fixed", "/q$is_args$args", "$request_uri", "/"))
            colon = ":" if backend.startswith("unix:") and suffix else ""
            return [f"set $backend {backend};", f"proxy_pass http://$backend{colon}{suffix};"]
        colon = ":" if backend.startswith("unix:") and uri else ""
        return [f"proxy_pass http://{backend}{colon}{uri};"]

    def _script(self, *, in_server: bool) -> list[str]:
        return [
            self._statement(in_server=in_server, depth=0) for _ in range(self.random.choice((1, 1, 2, 3)))
        ]

    def _statement(self, *, in_server: bool, depth: int) -> str:
        choice = self.random.random()
        if choice < 0.3:
            name = self.random.choice(("v", "w") if in_server else ("v", "w", "v", "args"))
            return f"set ${name} {self._template()};"
        if choice < 0.6:
            return f"rewrite {self._rewrite()};"
        if choice < 0.68:
            return "break;"
        if choice < 0.75 and depth:
            return f"return {self._returned()};"
        if depth:
            return "set $w inside;"
        inner = [self._statement(in_server=in_server, depth=1) for _ in range(self.random.choice((1, 1, 2)))]
        if not in_server and self._often(0.25):
            inner = self._proxy(with_uri=False)
        return f"if ({self._condition()}) {{ {' '.join(inner)} }}"

    def _condition(self) -> str:
        variable = self.random.choice([v for v in VARIABLES if not v[1].isdecimal()])
        pattern = self._quoted(
            self.random.choice(("^/a(.*)", "x", r"\d", "^GET$", "one|two", "^(.)(.)", "test"))
        )
        return self.random.choice(
            (
                variable,
                f"{variable} = {self.random.choice(('GET', '/predict', 'one', '$uri', 'POST'))}",
                f"{variable} != {self.random.choice(('GET', '/a', 'one'))}",
                f"{variable} ~ {pattern}",
                f"{variable} ~* {pattern}",
                f"{variable} !~ {pattern}",
                f"-f {self.root}$uri",
                "!-f $request_filename",
                "-d $request_filename",
                f"!-e {self.root}/dir$uri",
            )
        )

    def _rewrite(self) -> str:
        pattern = self._quoted(
            self.random.choice(
                (*PATTERNS, "^", "^/(.*)$", "^/predict$", "^/a/(.*)$", r"^/(\w+)/(\w+)", "nomatch")
            )
        )
        target = self.random.choice(
            [
                "/b/$1",
                "/predict",
                "/api/v1/$1",
                "/$1",
                "/a?y=$1",
                "/dir/?",
                "/x?$args",
                "$uri/",
                "/static/$2",
                "/f.txt",
                "/deep$uri?z=$arg_x",
                "/$v",
                "https://e.test/$1",
                "/q?y=$1&z=$2?",
                "$scheme://e.test/$1?",
            ]
        )
        flag = self.random.choice(("", "", " last", " last", " break", " redirect", " permanent"))
        return f"{pattern} {target}{flag}"

    # --- requests ---------------------------------------------------------------------------------------------------

    def request(self, site: Site) -> Sent:
        method = self.random.choice(METHODS)
        has_body = method in ("POST", "PUT") and self._often(0.8)
        tls = site.is_tls if self._often(0.97) else not site.is_tls
        host = (
            self.random.choice(HOSTS)
            if self._often(0.97)
            else self.random.choice((None, "", "a/b", "a..test"))
        )
        sni = self.random.choice(HOSTS[:10]).lower() if tls and self._often(0.8) else None
        if host in HOSTS[:10] and sni and self._often(0.8):
            sni = host.lower()
        return Sent(
            port=site.port,
            method=method,
            target=self._target(),
            host=host,
            headers=tuple(
                (name, self.random.choice(values))
                for name, values, share in (
                    ("X-Kind", ("one", "two", "three", "0"), 0.4),
                    ("Cookie", ("c=1; d=2", "d=2", "c="), 0.2),
                    ("X-Under_score", ("1",), 0.1),
                )
                if self._often(share)
            ),
            body=self.random.choice((1, 50, 2000)) if has_body else None,
            answer=self.random.choice((200, 200, 200, 201, 302, 404, 405, 500, 502, 503)),
            tls=tls,
            sni=sni,
            version="HTTP/1.1" if self._often(0.97) else "HTTP/1.0",
        )

    def _target(self) -> str:
        if self._often(0.35):
            path = self.random.choice([p for p in PREFIXES if " " not in p])
        else:
            path = "/" + "/".join(
                self.random.choice(SEGMENTS) for _ in range(self.random.choice((1, 2, 2, 3, 4)))
            )
        if self._often(0.3):
            path += "/"
        arguments = self.random.choice(("", "", "?", "?x=1", "?x=a%20b&y=2", "?X=0", "?x=/a/b", "?x=#f"))
        start = self.random.choice(("", "")) if self._often(0.97) else "http://b.test"
        return f"{start}{path}{arguments}"
