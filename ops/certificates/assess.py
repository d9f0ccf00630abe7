"""Judging each certificate of an inventory. Pure; by the same rules as the doctor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ops.diagnosis.checks.tls import chain, is_stale, nothing_renews, when
from ops.diagnosis.checks.tls_files import READABLE_BY_OTHERS
from ops.diagnosis.finding import NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.certificate_inventory import (
    CertificateSource,
    FilePair,
    Inventory,
    JudgedCertificate,
    Remark,
    Renewal,
    Review,
    ServedThere,
    Status,
)
from ops.facts.certificates import (
    CertbotRuns,
    Certificate,
    Certificates,
    ExpiryStage,
    FileProblem,
    Lineage,
    Lineages,
    PemFile,
    RenewalAttempt,
)
from ops.facts.safeguards import Schedule
from ops.interpret.expiry import Expiry, expiry, limits_for
from ops.interpret.renewal import CertbotRule, attempts_of, certbot_rule, failures_since, renewers
from ops.interpret.trust import covers
from ops.text.duration import age, age_zh, in_chinese_units
from ops.text.language import Text, verbatim
from ops.text.reasons import reason

GRAVITY: dict[Status, int] = {Status.FAIL: 0, Status.WARN: 1, Status.UNKNOWN: 2, Status.OK: 3}


def review(inventory: Inventory) -> Review:
    """Judge every certificate; the most severe first, among equals the one that ends first."""
    by_name = (
        {x.name: x for x in inventory.lineages.lineages} if isinstance(inventory.lineages, Lineages) else {}
    )
    by_path = {pair.path: pair for pair in inventory.files}
    of_leaf = {
        leaf.fingerprint: by_name[pair.lineage]
        for pair in inventory.files
        if pair.lineage in by_name and (leaf := _leaf_of(pair.certificate)) is not None
    }
    assessments = [
        *(_of_file(pair, by_name.get(pair.lineage or ""), inventory) for pair in inventory.files),
        *(_of_endpoint(place, by_path, of_leaf, inventory) for place in inventory.served),
    ]
    assessments.sort(
        key=lambda j: (GRAVITY[j.status], j.left if j.left is not None else -1.0, j.name, j.where)
    )
    status: Status = min((j.status for j in assessments), key=GRAVITY.__getitem__, default=Status.OK)
    if not assessments or (status == Status.OK and any(place.needs_root for place in inventory.unseen)):
        status = Status.UNKNOWN
    return Review(inventory.taken_at, status, tuple(assessments), inventory.unseen)


class _Opinion:
    """The findings on one certificate, collected while it is judged."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.remarks: list[Remark] = []

    def say(self, en: str, zh: str, severity: Status | None = None, code: str | None = None) -> None:
        if code and code not in self.reasons:
            self.reasons.append(code)
        self.remarks.append(Remark(Text(en=en, zh=zh), severity))

    def note_unseen(self, unseen: NotSeen, severity: Status | None = None) -> None:
        self.remarks.append(Remark(reason(unseen.reason), severity))

    @property
    def status(self) -> Status:
        return min(
            (r.severity or Status.OK for r in self.remarks), key=GRAVITY.__getitem__, default=Status.OK
        )


# --- on disk ---


def _of_file(pair: FilePair, lineage: Lineage | None, inventory: Inventory) -> JudgedCertificate:
    opinion = _Opinion()
    name = pair.lineage or ""
    if isinstance(pair.certificate, NotSeen):
        opinion.note_unseen(pair.certificate, Status.UNKNOWN)
        return JudgedCertificate(
            name or pair.path,
            CertificateSource.FILE,
            pair.path,
            opinion.status,
            remarks=tuple(opinion.remarks),
            used_by=pair.used_by,
        )
    leaf = _leaf_of(pair.certificate)
    stand = _stand(leaf, lineage, inventory) if leaf else None
    if leaf is None or pair.certificate.problem:
        detail = f"{pair.certificate.problem}: {pair.certificate.detail}"
        opinion.say(detail, detail, Status.FAIL, "TLS012")
    if leaf is not None and stand is not None:
        _dates(leaf, stand, opinion)
    matches = _key(pair, leaf, opinion, inventory)
    renewal = None
    if lineage is not None:
        renewal = _renewal(lineage, leaf, stand, opinion, inventory)
    elif pair.client is not None:
        renewal = _by_client(pair, pair.client, stand, opinion, inventory)
    return _judged(
        name or (leaf.names[0] if leaf and leaf.names else pair.path),
        CertificateSource.FILE,
        pair.path,
        opinion,
        leaf,
        stand,
        key_matches=matches,
        renewal=renewal,
        used_by=pair.used_by,
    )


def _key(pair: FilePair, leaf: Certificate | None, opinion: _Opinion, inventory: Inventory) -> bool | None:
    key = pair.key
    if key is None:
        return None
    if isinstance(key, NotSeen):
        opinion.note_unseen(key)
        return None
    if key.problem is FileProblem.UNREADABLE and not inventory.is_root:
        opinion.say(f"{key.path}: not readable without root", f"{key.path}：需要 root 才能读取")
    elif key.problem and key.problem is not FileProblem.ENCRYPTED:
        opinion.say(f"{key.path}: {key.detail}", f"{key.path}：{key.detail}", Status.FAIL, "TLS012")
    if key.mode is not None and key.mode & READABLE_BY_OTHERS:
        mode = f"{key.mode:04o}"
        opinion.say(
            f"{key.resolved} has mode {mode}: others can read the key",
            f"{key.resolved} 权限为 {mode}：其他用户可以读取私钥",
            Status.WARN,
            "TLS010",
        )
    if leaf is None or key.public_key is None:
        return None
    if key.public_key != leaf.public_key:
        opinion.say(
            f"{key.path} is not the key of this certificate",
            f"{key.path} 不是这张证书的私钥",
            Status.FAIL,
            "TLS007",
        )
        return False
    return True


# --- served ---


def _of_endpoint(
    place: ServedThere, files: dict[str, FilePair], of_leaf: dict[str, Lineage], inventory: Inventory
) -> JudgedCertificate:
    opinion, end = _Opinion(), place.endpoint
    name = end.name or end.address
    if isinstance(place.served, NotSeen):
        # A server that speaks only TLS 1.3 cannot be asked for one kind of key; it was asked without, too.
        opinion.note_unseen(place.served, None if end.key else Status.UNKNOWN)
        return JudgedCertificate(
            name,
            CertificateSource.SERVED,
            end.where,
            opinion.status,
            remarks=tuple(opinion.remarks),
            used_by=(end.origin,),
        )
    served, leaf = place.served, place.served.chain[0]
    lineage = of_leaf.get(leaf.fingerprint)
    stand = _stand(leaf, lineage, inventory)
    _dates(leaf, stand, opinion)
    if end.expected and not covers(leaf, end.name):
        names = ", ".join(leaf.names) or "-"
        opinion.say(
            f"it is for {names}, not for {end.name}",
            f"证书属于 {names}，不包含 {end.name}",
            Status.FAIL,
            "TLS004",
        )
    pair = files.get(end.file or "")
    # A catch-all without a name serves no client that asked for a name, so it does not matter whether its certificate
    # is trusted.
    complete = None if not end.expected else _trust(place, pair, opinion)
    matches = _against_disk(leaf, pair, opinion, inventory)
    return _judged(
        name,
        CertificateSource.SERVED,
        end.where,
        opinion,
        leaf,
        stand,
        chain_complete=complete if served.trust_code >= 0 else None,
        matches_disk=matches,
        used_by=(end.origin,),
    )


def _trust(place: ServedThere, pair: FilePair | None, opinion: _Opinion) -> bool:
    assert not isinstance(place.served, NotSeen)  # noqa: S101  asked before
    certificates = Certificates(
        leaf=pair.certificate if pair else NotSeen(reason="-"), key=NotSeen(reason="-"), nearby=()
    )
    complete = True
    for finding in chain.judge(served=place.served, certificates=certificates, target=NotSeen(reason="-")):
        if finding.code == "TLS006":
            complete = False
            opinion.say("the intermediate certificate is not sent", "没有发送中间证书", Status.FAIL, "TLS006")
        elif finding.code == "TLS020":
            complete = False
            intermediate = finding.facts["sent"]
            opinion.say(
                f"the intermediate that is sent, {intermediate}, did not sign it",
                f"所发送的中间证书 {intermediate} 没有签发它",
                Status.FAIL,
                "TLS020",
            )
        else:
            why = finding.facts["reason"]
            opinion.say(f"its issuer is not trusted: {why}", f"签发者不受信任：{why}", Status.FAIL, "TLS005")
    if place.served.trust_code < 0 and place.served.trust_error:
        opinion.remarks.append(Remark(verbatim(place.served.trust_error)))
    return complete


def _against_disk(
    leaf: Certificate, pair: FilePair | None, opinion: _Opinion, inventory: Inventory
) -> bool | None:
    on_disk = _leaf_of(pair.certificate) if pair else None
    if pair is None or on_disk is None or not isinstance(pair.certificate, PemFile):
        return None
    if on_disk.fingerprint == leaf.fingerprint:
        return True
    until = when(on_disk.not_after)
    if is_stale(leaf, pair.certificate, inventory.workers_started, inventory.taken_at):
        opinion.say(
            f"{pair.path} was renewed (until {until}), and nginx still serves the old one: reload nginx",
            f"{pair.path} 已续期（到 {until}），nginx 仍在提供旧证书：请 reload nginx",
            Status.FAIL if inventory.taken_at > leaf.not_after else Status.WARN,
            "TLS008",
        )
    else:
        opinion.say(
            f"{pair.path} holds another certificate (until {until})",
            f"{pair.path} 中是另一张证书（到 {until}）",
        )
    return False


# --- both ---


def _stand(leaf: Certificate, lineage: Lineage | None, inventory: Inventory) -> Expiry:
    """The expiry of ``leaf``, by the settings for its names, certbot's rule, and the attempts since renewal was due."""
    limits = limits_for(leaf.names, inventory.rules)
    if lineage is None:
        return expiry(leaf.not_before, leaf.not_after, inventory.taken_at, limits=limits)
    rule = _rule(leaf, lineage, inventory)
    due = None if rule.too_old else rule.before_end
    own = expiry(leaf.not_before, leaf.not_after, inventory.taken_at, limits=limits, due=due)
    failed = failures_since(lineage, inventory.runs, own.due_at)
    return expiry(
        leaf.not_before,
        leaf.not_after,
        inventory.taken_at,
        limits=limits,
        due=due,
        failed_since_due=len(failed),
    )


def _rule(leaf: Certificate, lineage: Lineage, inventory: Inventory) -> CertbotRule:
    return certbot_rule(lineage, leaf.not_after - leaf.not_before, inventory.runs)


def _dates(leaf: Certificate, stand: Expiry, opinion: _Opinion) -> None:
    until = when(leaf.not_after)
    if stand.stage == ExpiryStage.EXPIRED:
        opinion.say(
            f"it expired {age(-stand.left)} ago, at {until}",
            f"已于 {until} 过期（{age_zh(-stand.left)}前）",
            Status.FAIL,
            "TLS001",
        )
    elif stand.stage == ExpiryStage.NOT_YET:
        start = when(leaf.not_before)
        opinion.say(f"it is valid only from {start}", f"要到 {start} 才生效", Status.FAIL, "TLS003")
    elif stand.severity is not None:
        time_left, share = age(stand.left), f"{stand.share:.0%}"
        last = stand.stage == ExpiryStage.PAGE
        opinion.say(
            f"{time_left} left ({share} of its lifetime){': act now' if last else ''}",
            f"只剩 {age_zh(stand.left)}（有效期的 {share}）{'，请立即处理' if last else ''}",
            Status(stand.severity) if stand.severity else None,
            "TLS002",
        )


def _renewal(
    lineage: Lineage, leaf: Certificate | None, stand: Expiry | None, opinion: _Opinion, inventory: Inventory
) -> Renewal:
    conf, runs = lineage.renewal, inventory.runs
    for path in lineage.outside:
        opinion.say(
            f"{path} lies outside certbot's directory: not followed",
            f"{path} 在 certbot 目录之外，未跟随",
            Status.WARN,
        )
    if conf.problem in (FileProblem.MALFORMED, FileProblem.UNREADABLE):
        severity: Status = (
            Status.UNKNOWN
            if conf.problem is FileProblem.UNREADABLE and not inventory.is_root
            else Status.WARN
        )
        code = "TLS011" if severity == Status.WARN else None
        opinion.say(
            f"certbot skips it: {conf.path}: {conf.detail}",
            f"certbot 会跳过它：{conf.path}：{conf.detail}",
            severity,
            code,
        )
    elif lineage.linked or conf.problem is None:
        _schedule_remark(lineage, opinion, inventory)
    if leaf is not None:
        _too_old(leaf, lineage, opinion, inventory)
    failed = failures_since(lineage, runs, leaf.not_before if leaf else 0.0)
    if failed:
        _failed(failed, stand, opinion, inventory.taken_at)
    jobs = (
        renewers(inventory.schedule, has_systemd=inventory.has_systemd)
        if not isinstance(inventory.schedule, NotSeen)
        else ()
    )
    tries = attempts_of(lineage, runs)
    last = runs.last_run if isinstance(runs, CertbotRuns) else None
    return Renewal(
        jobs=tuple(job.where for job in jobs if job.idle is None),
        due_at=stand.due_at if stand else None,
        last_renewed=lineage.renewed,
        last_run=max((attempt.time for attempt in tries), default=last),
        failed_tries=len(failed),
        reason=failed[-1].reason if failed else "",
        certbot=_rule(leaf, lineage, inventory).version if leaf else conf.version,
    )


def _by_client(
    pair: FilePair, client: str, stand: Expiry | None, opinion: _Opinion, inventory: Inventory
) -> Renewal:
    """The renewal by an ACME client other than certbot, whose jobs are in ``pair``."""
    active = tuple(job.where for job in pair.jobs if job.idle is None)
    hidden = (
        next(iter(inventory.schedule.unseen), None)
        if isinstance(inventory.schedule, Schedule)
        else inventory.schedule
    )
    if active:
        places = ", ".join(active)
        opinion.say(f"{client} renews it: {places}", f"由 {client} 续期：{places}")
    elif hidden is not None:
        why = reason(hidden.reason)
        opinion.say(f"who renews it was not seen: {why.en}", f"未能看到由谁续期：{why.to('zh')}")
    else:
        idle = ", ".join(f"{job.where}: {job.idle}" for job in pair.jobs)
        opinion.say(
            f"nothing renews it: no cron entry and no timer runs {client}{f' ({idle})' if idle else ''}",
            f"没有任务续期它：没有 cron 任务或 timer 运行 {client}{f'（{idle}）' if idle else ''}",
            Status.WARN,
            "TLS011",
        )
    return Renewal(
        jobs=active,
        due_at=stand.due_at if stand else None,
        last_renewed=pair.certificate.modified if isinstance(pair.certificate, PemFile) else None,
    )


def _schedule_remark(lineage: Lineage, opinion: _Opinion, inventory: Inventory) -> None:
    try:
        proof = nothing_renews(lineage, inventory.schedule, has_systemd=inventory.has_systemd)
    except NotJudgedError as error:
        why = reason(error.unseen.reason)
        opinion.say(f"who renews it was not seen: {why.en}", f"未能看到由谁续期：{why.to('zh')}")
        return
    for piece in proof:
        words = piece.detail
        opinion.say(
            f"nothing renews it: {piece.source}: {words.en}",
            f"没有任务续期它：{piece.source}：{words.zh}",
            Status.WARN,
            "TLS011",
        )


def _too_old(leaf: Certificate, lineage: Lineage, opinion: _Opinion, inventory: Inventory) -> None:
    rule, lifetime = _rule(leaf, lineage, inventory), age(leaf.not_after - leaf.not_before)
    before = age(rule.before_end)
    who = f"certbot {rule.version}" if lineage.renewal.renew_before is None else "renew_before_expiry"
    if rule.too_old:
        opinion.say(
            f"{who} renews {before} before the end, which for a lifetime of {lifetime} is at every run, until the "
            "authority refuses: certbot 4.0 or later follows the lifetime",
            f"{who} 在到期前 {in_chinese_units(before)}就续期，而证书总共只有 {in_chinese_units(lifetime)}："
            "每次运行都会续期，直到被 CA 限流；请换用 certbot 4.0 以上版本",
            Status.FAIL,
        )
    elif rule.wasteful:
        opinion.say(
            f"{who} renews {before} before the end, early for a lifetime of {lifetime}: certbot 4.0 follows it",
            f"{who} 在到期前 {in_chinese_units(before)}就续期，对有效期 {in_chinese_units(lifetime)}的证书来说过早；"
            "certbot 4.0 以上会按有效期计算",
        )


def _failed(failed: Sequence[RenewalAttempt], stand: Expiry | None, opinion: _Opinion, now: float) -> None:
    last = failed[-1]
    ago, count = age(max(0.0, now - last.time)), len(failed)
    severity: Status | None = Status.WARN if stand is not None and stand.failing else None
    opinion.say(
        f"renewal failed {count}x, last {ago} ago: {last.reason}",
        f"续期失败 {count} 次，最近一次在 {in_chinese_units(ago)}前：{last.reason}",
        severity,
    )


def _leaf_of(file: PemFile | NotSeen) -> Certificate | None:
    return file.certificates[0] if isinstance(file, PemFile) and file.certificates else None


def _judged(
    name: str,
    source: CertificateSource,
    where: str,
    opinion: _Opinion,
    leaf: Certificate | None,
    stand: Expiry | None,
    *,
    chain_complete: bool | None = None,
    key_matches: bool | None = None,
    matches_disk: bool | None = None,
    renewal: Renewal | None = None,
    used_by: Iterable[str] = (),
) -> JudgedCertificate:
    return JudgedCertificate(
        name=name,
        source=source,
        where=where,
        status=opinion.status,
        certificate=leaf,
        stage=stand.stage if stand else None,
        left=stand.left if stand else None,
        share=stand.share if stand else None,
        warn_below=stand.marks.warn if stand else None,
        fail_below=stand.marks.fail if stand else None,
        reasons=tuple(sorted(opinion.reasons)),
        remarks=tuple(opinion.remarks),
        chain_complete=chain_complete,
        key_matches=key_matches,
        matches_disk=matches_disk,
        renewal=renewal,
        used_by=tuple(used_by),
    )
