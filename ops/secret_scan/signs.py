"""Quick tests that tell almost every word without a secret from one that may hold one.

Words are quoted by the thousand, and the rules take milliseconds to load: what has none of these signs costs one
microsecond. Every secret that the rules find has a sign; a test holds that.
"""

from __future__ import annotations

import re

# Every secret that `ops.secret_scan` finds has one of these about it; most words have none, and are quoted by the
# thousand. Names are looked for in lower case; the forms that no name announces, as they are written.
_NAME_SIGNS = re.compile(
    r"(?:pass|pwd|psw|secret|token|cred|dsn|cookie|sess|jwt|bearer|sign|\bsig|otp|[cx]srf|contrase|auth|pw\b|pw_|sid\b"
    r"|connection.?string|identified)(?=[\w.-]{0,80}[^\w.-])|key(?="
    r"[\w\"'\\\]).-]{0,24}[ \t]{0,8}(?:[=:>]|%3)|[\"' \t<,(])"
)
_FORM_SIGNS = re.compile(
    r"----[- ]?(?:BEGIN|END) |eyJ|A(?:3T|BIA|CCA|KIA|SIA|KID|KLT|KC|C[a-f0-9])|LTAI|SK[a-f0-9]"
    r"|gh[pousr]_|github_pat_|[Ii][Dd][Ee][Nn][Tt][Ii][Ff]|gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-|gl(?:sa|c)_"
    r"|GR1348941|-us\d|npm_|sk-|SG\.|[Xx][Oo][Xx]|[Xx][Aa][Pp][Pp]-|sq0|whsec_"
    r"|[rsp]k_(?:live|test)_|AIza|ya29\.|GOCSPX-|hf_|ms-[0-9a-f]{8}|hv[sbr]\.|do[op]_v1_|shp[a-z]{2}_|dapi|dckr_pat_"
    r"|lin_api_|sntrys_|PMAK-|AGE-|PuTTY|pypi-AgE|[Bb]asic |earer|EARER|\d:[0-9A-Za-z_-]{35}"
    r"|[MNO][\w-]{23,25}\.[\w-]{6}\."
    r"|\$(?:apr1|[1-7]|2[abxy]?|y|gy|argon2\w{0,2})\$|pbkdf2|scrypt|\{S?SHA|[Xx]-[Aa][Mm][Zz]|[Qq]-[AaSs]|[Oo][Ss]{2}[Aa]|[Aa][Ww][Ss]|/bot|hooks|/webhook"
    r"|(?:Account|SharedAccess)Key=|_authToken|weixin|dingtalk\.com|ftqq|pushplus|day\.app|qmsg"
)
# Where the URL itself is the secret: webhooks, and the services that Apprise knows.
_URL_SIGNS = re.compile(
    r"dingtalk|feishu|lark|wecom|weixin|ftqq|qmsg|tgram|discord|bark|serverchan|pushplus|pushover|msteams|workflows"
    r"|sendgrid|mailgun|ntfy|gotify|matrix|rocket|mmost|webhook|pbul|prowl|ifttt|sns:|twilio|pagerduty|opsgenie|splunk"
    r"|line:|signals?:|zulip|whatsapp|vonage|smseagle|slack|softlayer|day\.app"
)
_CHINESE_SIGNS = re.compile("[密口令私金凭授访秘]")
# Programs that take a password as an argument: mysql -pX, curl -u USER:X.
_PROGRAM_SIGNS = re.compile(
    r"\b(?:mysql[a-z]*|mariadb(?:-[a-z]+)?|xtrabackup|mycli|redis-cli|sshpass|curl|https?|httpie|xh|aria2c|hurl|ab|wrk"
    r"|siege|ldap[a-z]+|mongo[a-z]*|cqlsh|docker|podman|nerdctl|crane|oras|helm|skopeo|sqlcmd|bcp|influx"
    r"|clickhouse-client|rsync|nmcli|rclone|mosquitto_[ps]ub|snmpwalk|(?:un)?zip|7z[ar]?|(?:un)?rar|smbclient|rpcclient"
    r"|net|openssl|keytool|jarsigner|apksigner|htpasswd|celery|flower|jupyter(?:-[a-z]+)?)[ \t]"
)
# Behind a name comes a value: a name alone, a path and a sentence about a key hide nothing.
_BETWEEN = re.compile(
    r"[=:<(%：＝是为為成\"'`;]|(?:^|\s)--?\w|\s\S*\d|\b(?:env|arg|setenv|set|export|is|was|requirepass|masterauth)\s",
    re.IGNORECASE,
)
# No secret of `ops.secret_scan` is shorter with its name: pw:x.
_SHORTEST = 4
# sk-abcdefgh; x://:y@z
_SHORTEST_FORM = 7


def may_hold_secret(words: str) -> bool:
    """Whether anything in ``words`` looks like the beginning of a secret."""
    return len(words) >= _SHORTEST and (has_form(words) or has_name(words) or has_program(words))


def has_form(words: str) -> bool:
    """Whether something has the beginning of a credential's own form."""
    if len(words) < _SHORTEST_FORM:
        return False
    return _FORM_SIGNS.search(words) is not None or (
        "://" in words and ("@" in words or _URL_SIGNS.search(words) is not None)
    )


def has_name(words: str) -> bool:
    """Whether a name that can announce a secret is there, and something behind it."""
    if _NAME_SIGNS.search(words.lower()) and _BETWEEN.search(words):
        return True
    return not words.isascii() and _CHINESE_SIGNS.search(words) is not None


def has_program(words: str) -> bool:
    """Whether a program is called that takes a password as an argument."""
    return " " in words and _PROGRAM_SIGNS.search(words) is not None
