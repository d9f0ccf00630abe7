"""Checks of certificate and key files on disk: whether nginx can load them, whether they match, and their modes."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from ops.diagnosis.checks.tls import NO_PATH, when
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.facts.base import NotSeen
from ops.facts.certificates import (
    Certificates,
    FileProblem,
    KeyFile,
    PemDefect,
    PemDefectKind,
    PemFile,
    Served,
)
from ops.facts.host import Host, Processes
from ops.facts.nginx import NginxTest, Pidfile
from ops.facts.probes import Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.trust import covers
from ops.text.duration import age
from ops.text.language import Text

READABLE_BY_OTHERS = 0o044


def _serves(
    target: Target, processes: Processes | NotSeen, nginx_pidfile: Pidfile | NotSeen, front: Front | NotSeen
) -> bool:
    """Whether an nginx with this configuration answers: users are not affected until its next reload or restart."""
    return (
        not isinstance(processes, NotSeen)
        and any(nginx_topology.serving_masters(target, processes, nginx_pidfile))
        and not isinstance(front, NotSeen)
        and front.connection.failure is None
    )


def _configured(target: Target, certificates: Certificates) -> Iterator[PemFile | KeyFile]:
    """The certificate and key file, if nginx's configuration or the settings name them."""
    for file, origin in ((certificates.leaf, "certificate"), (certificates.key, "private_key")):
        if not isinstance(file, NotSeen) and target.origin.get(origin) != "guide":
            yield file


def _pair(certificates: Certificates) -> tuple[PemFile, KeyFile] | None:
    """Certificate and key if both are known and do not match."""
    leaf, key = certificates.leaf, certificates.key
    if (
        isinstance(leaf, PemFile)
        and isinstance(key, KeyFile)
        and leaf.certificates
        and key.public_key is not None
        and key.public_key != leaf.certificates[0].public_key
    ):
        return leaf, key
    return None


# --- lines ------------------------------------------------------------------------------------------------------------

_FAULTS = {
    PemDefectKind.JOINED: Text(
        en="BEGIN follows the END of the block before it", zh="BEGIN 紧跟在上一块的 END 后面，没有换行"
    ),
    PemDefectKind.BEHIND_TEXT: Text(en="BEGIN follows other text", zh="BEGIN 前面还有别的文字"),
    PemDefectKind.INDENTED: Text(
        en="BEGIN is indented: the block is passed over", zh="BEGIN 前有空白，整块被忽略"
    ),
    PemDefectKind.ONE_LINE: Text(en="there is no line break behind BEGIN", zh="BEGIN 后面没有换行"),
    PemDefectKind.ESCAPED: Text(en=r"\n is written out in place of line breaks", zh=r"换行被写成了字面的 \n"),
    PemDefectKind.DASHES: Text(
        en="BEGIN is not between five plain hyphens on each side", zh="BEGIN 两侧不是五个普通连字符"
    ),
    PemDefectKind.CARRIAGE_RETURNS: Text(
        en="lines end with carriage returns alone", zh="行尾只有回车符（CR），没有换行符"
    ),
    PemDefectKind.NO_END: Text(en="the block has no END line", zh="此块没有 END 行"),
    PemDefectKind.WRONG_END: Text(en="END names another kind than BEGIN", zh="END 的类型与 BEGIN 不一致"),
    PemDefectKind.NOT_BASE64: Text(
        en="there is a character that is not base64", zh="含有不属于 base64 的字符"
    ),
    PemDefectKind.BLANK_LINE: Text(en="there is a blank line inside the block", zh="块内有空行"),
    PemDefectKind.CUT_OFF: Text(en="the block is cut off: lines are missing", zh="此块不完整，缺了若干行"),
    PemDefectKind.DER: Text(en="the file is DER, not PEM", zh="文件是 DER 格式，不是 PEM"),
    PemDefectKind.UTF_16: Text(
        en="the file is binary or UTF-16 text, not PEM", zh="文件是二进制或 UTF-16 文本，不是 PEM"
    ),
}
_IN_PLACE = "sed -i --follow-symlinks"


def _mending(file: PemFile | KeyFile, defect: PemDefect) -> str | Text:
    """The command that corrects the lines; a sentence if the content itself is lost."""
    path, line = shlex.quote(file.path), defect.line
    kind = "x509" if isinstance(file, PemFile) else "pkey"
    into = f"{path}.new && cat {path}.new > {path} && rm {path}.new"
    match defect.kind:
        case PemDefectKind.JOINED | PemDefectKind.BEHIND_TEXT:
            return rf"{_IN_PLACE} '{line}s/-----BEGIN/\n-----BEGIN/g' {path}"
        case PemDefectKind.INDENTED:
            return f"{_IN_PLACE} 's/^[[:space:]]*//' {path}"
        case PemDefectKind.ONE_LINE:
            return rf"{_IN_PLACE} '{line}{{s/-----BEGIN [A-Z0-9 ]*-----/&\n/g;s/-----END/\n&/g}}' {path}"
        case PemDefectKind.ESCAPED:
            return rf"{_IN_PLACE} 's/\\n/\n/g' {path}"
        case PemDefectKind.DASHES:
            return f"{_IN_PLACE} '{line}s/.*/-----BEGIN {defect.label}-----/' {path}"
        case PemDefectKind.CARRIAGE_RETURNS:
            return rf"{_IN_PLACE} 's/\r/\n/g' {path}"
        case PemDefectKind.BLANK_LINE:
            return f"{_IN_PLACE} '/^[[:space:]]*$/d' {path}"
        case PemDefectKind.WRONG_END:
            return f"{_IN_PLACE} '{line}s/.*/-----END {defect.label}-----/' {path}"
        case PemDefectKind.DER:
            return f"openssl {kind} -inform der -in {path} -out {into}"
        case PemDefectKind.UTF_16:
            return f"(umask 077; iconv -f UTF-16 -t UTF-8 {path} > {into})"
        case PemDefectKind.NO_END if defect.is_whole:
            return f"{_IN_PLACE} '{line}s/$/\\n-----END {defect.label}-----/' {path}"
    return Text(
        en=f"Copy the block that begins at line {defect.begins} of {file.path} again from where it came from:"
        " a part of it is lost",
        zh=f"{file.path} 第 {defect.begins} 行开始的那一块已经残缺，请从原来的来源重新复制",
    )


@check(
    "tls.lines",
    "TLS021",
    en="certificate and key files are laid out as PEM",
    zh="证书与私钥文件的 PEM 格式正确",
)
def lines(
    target: Target,
    certificates: Certificates,
    served: Served | NotSeen,
    front: Front | NotSeen,
    processes: Processes | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
) -> Iterator[Finding]:
    """TLS021: a block of the certificate or key file does not have the format that OpenSSL reads."""
    broken = [file for file in _configured(target, certificates) if file.defects]
    if not broken:
        return
    file, defect = broken[0], broken[0].defects[0]
    untrusted = isinstance(served, Served) and served.trust_code in NO_PATH
    is_serving = _serves(target, processes, nginx_pidfile, front) and not untrusted
    yield Finding(
        "TLS021",
        tuple(
            Evidence(f"{item.path}:{fault.line}", _FAULTS[fault.kind])
            for item in broken
            for fault in item.defects[:4]
        ),
        {"path": file.path, "line": str(defect.line)},
        severity=Severity.WARN if is_serving else None,
        summary=Text(
            en=f"{file.path}, line {defect.line}: {_FAULTS[defect.kind].en}.",
            zh=f"{file.path} 第 {defect.line} 行：{_FAULTS[defect.kind].zh}。",
        ),
        fix=(
            # Edit from the end of the file upwards: an inserted line moves those below it.
            *dict.fromkeys(_mending(item, fault) for item in broken for fault in reversed(item.defects[:8])),
            *(
                step
                for item in broken
                if isinstance(item, PemFile)
                for step in _chain_behind(item, certificates)
            ),
            *_then(target, serving=_serves(target, processes, nginx_pidfile, front)),
        ),
        explains=() if is_serving else None,
    )


def _chain_behind(file: PemFile, certificates: Certificates) -> Iterator[str | Text]:
    """The step that adds what signed the certificate of a DER file: such a file holds one certificate."""
    if not file.defects or file.defects[0].kind is not PemDefectKind.DER:
        return
    chains = {
        other.certificates: other.path
        for other in reversed(certificates.nearby)
        if not other.defects and all(one.is_authority and not one.self_signed for one in other.certificates)
    }
    if len(chains) == 1:
        (path,) = chains.values()
        yield f"cat {shlex.quote(path)} >>{shlex.quote(file.path)}"
    else:
        yield Text(
            en=f"A DER file holds one certificate: add its intermediate certificates behind it in {file.path}",
            zh=f"DER 文件只含一张证书：请把中间证书追加到 {file.path} 末尾",
        )


@check(
    "tls.order",
    "TLS022",
    en="the site's certificate is the first in its file",
    zh="站点证书位于证书文件的第一块",
)
def order(
    target: Target,
    certificates: Certificates,
    front: Front | NotSeen,
    processes: Processes | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
) -> Iterator[Finding]:
    """TLS022: the key's certificate is in the file, but after another one: the first counts (RFC 8446, 4.4.2)."""
    if (pair := _pair(certificates)) is None:
        return
    file, key = pair
    position = _position(file, key)
    if position is None or position >= len(file.places):
        return
    first, last = file.places[position]
    own = file.certificates[position]
    path = shlex.quote(file.path)
    serving = _serves(target, processes, nginx_pidfile, front)
    yield Finding(
        "TLS022",
        (
            quote(f"{file.path}:{file.places[0][0]}", f"subject {file.certificates[0].subject}"),
            quote(f"{file.path}:{first}", f"subject {own.subject}, public key sha256 {own.public_key[:16]}…"),
            quote(key.path, f"public key sha256 {(key.public_key or '')[:16]}…"),
        ),
        {"path": file.path, "line": str(first), "first": file.certificates[0].subject},
        severity=Severity.WARN if serving else None,
        fix=(
            f"{{ sed -n '{first},{last}p' {path}; sed '{first},{last}d' {path}; }} > {path}.new"
            f" && cat {path}.new > {path} && rm {path}.new",
            *_then(target, serving=serving),
        ),
        explains=() if serving else None,
    )


def _position(file: PemFile, key: KeyFile) -> int | None:
    """The index of the key's certificate in the file, None if it is not there."""
    return next((n for n, c in enumerate(file.certificates) if c.public_key == key.public_key), None)


# --- files and the pair -----------------------------------------------------------------------------------------------


@check(
    "tls.files",
    "TLS007",
    "TLS012",
    en="certificate and key files are there and belong together",
    zh="证书与私钥文件存在且匹配",
)
def files(
    target: Target,
    certificates: Certificates,
    host: Host,
    front: Front | NotSeen,
    nginx_test: NginxTest | NotSeen,
    processes: Processes | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
) -> Iterator[Finding]:
    """TLS012: a file that nginx needs is missing or unusable. TLS007: key and certificate differ."""
    serving = _serves(target, processes, nginx_pidfile, front)
    severity: Severity | None = Severity.WARN if serving else None
    unusable = [
        f for f in _configured(target, certificates) if f.problem not in (None, FileProblem.ENCRYPTED)
    ]
    hidden = next((f for f in unusable if f.problem is FileProblem.UNREADABLE and not host.is_root), None)
    for file in unusable:
        if not file.defects and (file.problem is not FileProblem.UNREADABLE or host.is_root):
            yield Finding(
                "TLS012",
                (quote(_leading_to(file), f"{file.problem}: {file.detail}".rstrip(": ")),),
                {"path": file.path, "problem": file.problem or ""},
                severity=severity,
            )
    if hidden is not None:
        raise NotJudgedError(NotSeen(reason=f"{hidden.path}: {hidden.detail}", needs_root=True))
    if unusable:
        return
    if (pair := _pair(certificates)) is not None:
        if not _is_laid_out_wrongly(*pair):
            yield Finding(
                "TLS007",
                (_half(pair[0], pair[1]), _half(pair[1], pair[0])),
                severity=severity,
                fix=tuple(_pairing(target, certificates, *pair, serving=serving)),
            )
        return
    # The files of another server block break the whole configuration too.
    for line in _refused(nginx_test):
        if "key values mismatch" in line:
            yield Finding("TLS007", (quote("nginx -t", line),), severity=severity)
            return
        if "cannot load certificate" in line and ("Permission denied" not in line or host.is_root):
            path = line.partition('"')[2].partition('"')[0]
            if any(words in line for words in _PASS_PHRASE):
                yield _encrypted(path, line, target, severity)
                return
            yield Finding(
                "TLS012",
                (quote("nginx -t", line),),
                {
                    "path": path or "?",
                    "problem": FileProblem.MISSING if "No such file" in line else FileProblem.NOT_PEM,
                },
                severity=severity,
            )
            return


# OpenSSL's words if nobody types the pass phrase in, or if ssl_password_file has another.
_PASS_PHRASE = ("problems getting password", "bad password read", "bad decrypt")


def _encrypted(path: str, line: str, target: Target, severity: Severity | None) -> Finding:
    """TLS012 for a key with a pass phrase that nginx does not have."""
    key = shlex.quote(path)
    return Finding(
        "TLS012",
        (quote("nginx -t", line),),
        {"path": path, "problem": "encrypted"},
        severity=severity,
        summary=Text(
            en=f"The key {path} has a pass phrase, and nginx has it from nobody: it starts by hand alone.",
            zh=f"私钥 {path} 有密码短语，而 nginx 无处取得：只有人工输入才能启动。",
        ),
        fix=(
            Text(
                en=f"Take the pass phrase off (asks for it once): openssl pkey -in {key} -out {key}.plain, then put"
                " that file in its place with the same owner and mode 0600",
                zh=f"去掉密码短语（会询问一次）：openssl pkey -in {key} -out {key}.plain，"
                "然后以相同属主、权限 0600 替换原文件",
            ),
            Text(
                en="Or write the pass phrase into a file of root's with mode 0600, and beside ssl_certificate_key:"
                " ssl_password_file FILE;",
                zh="或把密码短语写入 root 所有、权限 0600 的文件，"
                "并在 ssl_certificate_key 旁写：ssl_password_file 文件;",
            ),
            target.test_nginx,
            target.start_nginx,
        ),
    )


def _leading_to(file: PemFile | KeyFile) -> str:
    return f"{file.path} -> {file.resolved}" if file.resolved != file.path else file.path


def _refused(test: NginxTest | NotSeen) -> tuple[str, ...]:
    return () if isinstance(test, NotSeen) else test.lines


def _is_laid_out_wrongly(file: PemFile, key: KeyFile) -> bool:
    """Whether the key's certificate is in the file: after another, or in a block that OpenSSL skips."""
    return _position(file, key) is not None or any(c.public_key == key.public_key for c in file.hidden)


def _half(file: PemFile | KeyFile, other: PemFile | KeyFile) -> Evidence:
    """Evidence about one of the two files: its public key, and when it was written."""
    public = file.public_key if isinstance(file, KeyFile) else file.certificates[0].public_key
    words = f"public key sha256 {(public or '')[:16]}…"
    if file.modified is None:
        return quote(_leading_to(file), words)
    is_newer = other.modified is not None and file.modified > other.modified + 1
    return Evidence(
        _leading_to(file),
        Text(
            en=f"{words}, written {when(file.modified)}{', the newer of the two' if is_newer else ''}",
            zh=f"{words}，写于 {when(file.modified)}{'，两者中较新' if is_newer else ''}",
        ),
    )


def _pairing(
    target: Target, certificates: Certificates, leaf: PemFile, key: KeyFile, *, serving: bool
) -> Iterator[str | Text]:
    """The steps that make the two match: with the file beside them that fits, else with a new pair."""
    keys, others = certificates.other_keys, certificates.other_certificates
    newer = others and others[0].certificates[0].not_after > leaf.certificates[0].not_after
    if keys and not newer:
        yield _lead_to(key, keys[0].path, "ssl_certificate_key", target)
    elif others:
        yield _lead_to(leaf, others[0].path, "ssl_certificate", target)
    else:
        yield Text(
            en=f"No file beside them makes a pair with {leaf.path} or {key.path}: restore both from one backup, or"
            " issue a new pair",
            zh=f"旁边没有任何文件能与 {leaf.path} 或 {key.path} 配对：请从同一份备份恢复这两个文件，或重新签发",
        )
        if name := _lineage_name(target):
            yield f"certbot renew --force-renewal --cert-name {shlex.quote(name)}"
    yield from _then(target, serving=serving)


def _then(target: Target, *, serving: bool) -> tuple[str, str]:
    """The commands that make nginx load the corrected files."""
    return target.test_nginx, target.reload_nginx if serving else target.start_nginx


def _lead_to(file: PemFile | KeyFile, other: str, directive: str, target: Target) -> str | Text:
    """The command that points certbot's link to ``other``; if there is none, the directive to set."""
    here = PurePosixPath(file.path).parent
    if file.resolved != file.path and PurePosixPath(other).parent == PurePosixPath(file.resolved).parent:
        return f"ln -sfn {shlex.quote(posixpath.relpath(other, here))} {shlex.quote(file.path)}"
    return Text(
        en=f"In {target.site_file or target.nginx_config_file} set {directive} {other};",
        zh=f"在 {target.site_file or target.nginx_config_file} 中设置 {directive} {other};",
    )


def _lineage_name(target: Target) -> str | None:
    """certbot's name for the certificate, from its path."""
    live = PurePosixPath(target.letsencrypt_dir) / "live"
    path = PurePosixPath(target.certificate or "/")
    return path.relative_to(live).parts[0] if path.is_relative_to(live) and path != live else None


@check("tls.key", "TLS010", en="nobody else can read the private key", zh="其他用户无法读取私钥")
def key_mode(certificates: Certificates) -> Iterator[Finding]:
    """TLS010: a file with the private key is readable by its group or by everybody: the one that its path leads to, or
    the certificate's if the key is in that too."""
    key = seen(certificates.key)
    leaf = certificates.leaf
    open_files = [
        (file.resolved, file.mode)
        for file in (key, *((leaf,) if isinstance(leaf, PemFile) and leaf.key else ()))
        if file.mode is not None and file.mode & READABLE_BY_OTHERS
    ]
    for path, mode in dict.fromkeys(open_files):
        yield Finding("TLS010", (quote(path, f"mode {mode:04o}"),), {"path": path, "mode": f"{mode:04o}"})
    if not open_files and key.mode is None and key.problem not in (FileProblem.MISSING, FileProblem.DANGLING):
        raise NotJudgedError(NotSeen(reason=f"{key.path}: {key.detail}", needs_root=True))


@check(
    "tls.first_served",
    "TLS001",
    "TLS003",
    "TLS004",
    en="the certificate that nginx is to serve is valid for the name",
    zh="nginx 将要提供的证书对该域名有效",
)
def first_served(certificates: Certificates, target: Target, taken_at: float) -> Iterator[Finding]:
    """TLS004, TLS001 and TLS003 by the certificate file, whether nginx serves it yet or not."""
    file = seen(certificates.leaf)
    if file.problem is FileProblem.UNREADABLE:
        raise NotJudgedError(NotSeen(reason=f"{file.path}: {file.detail}", needs_root=True))
    if not file.certificates:
        return
    leaf, path = file.certificates[0], shlex.quote(file.path)
    names = ", ".join(leaf.names) or "-"
    if target.origin.get("domain") != "default" and not covers(leaf, target.domain):
        yield Finding(
            "TLS004",
            (quote(file.path, f"subjectAltName: {names}"),),
            {"names": names},
            verify=f"openssl x509 -noout -ext subjectAltName -in {path}",
        )
    if taken_at > leaf.not_after:
        yield Finding(
            "TLS001",
            (quote(file.path, f"notAfter {when(leaf.not_after)}"),),
            {"expired_at": when(leaf.not_after), "ago": age(taken_at - leaf.not_after)},
            verify=f"openssl x509 -noout -subject -dates -in {path}",
        )
    elif taken_at < leaf.not_before:
        yield Finding(
            "TLS003",
            (quote(file.path, f"notBefore {when(leaf.not_before)}"), quote("date", when(taken_at))),
            {"valid_from": when(leaf.not_before)},
            verify=f"date -u; openssl x509 -noout -startdate -in {path}",
        )


CHECKS = (lines, order, files, key_mode)
# Of a certificate that nginx need not serve yet: for the preflight.
FIRST_START = (first_served,)
