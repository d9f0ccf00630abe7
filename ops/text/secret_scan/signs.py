"""Quick tests that tell almost every word without a secret from one that may hold one.

Words are quoted by the thousand, and the rules take milliseconds to load: what has none of these signs costs one
microsecond. Every secret that the rules find has a sign; a test holds that.
"""

from __future__ import annotations

import re

# Every secret that `ops.text.secret_scan` finds has one of these about it; most words have none, and are quoted by the
# thousand. Names are looked for in lower case; the forms that no name announces, as they are written.
_NAME_SIGNS = re.compile(
    r"(?:pass|pwd|psw|secret|token|cred|dsn|cookie|sess|jwt|bearer|sign|\bsig|\b[as]k\b|otp|[cx]srf|contrase|auth|pw\b|pw_|sid\b"
    r"|connection.?string|identified)(?=[\w.-]{0,80}[^\w.-])|key(?="
    r"[\w\"'\\\]).-]{0,24}[ \t]{0,8}(?:[=:>]|%3)|[\"' \t<,(])"
)
# One branch for each first letter: at most places of a text the engine then looks at one only.
_FORM_SIGNS = re.compile(
    r"-(?:---[- ]?(?:BEGIN|END) |us\d)|/(?:bot|webhook)|_authToken|\$(?:apr1|[1-7]|2[abxy]?|y|gy|argon2\w{0,2})\$"
    r"|\{S?SHA|\d:[0-9A-Za-z_-]{35}"
    r"|A(?:3T|BIA|CCA|KIA|SIA|KID|KLT|KC|C[a-f0-9]|Iza|GE-|WS|wS|ws|Ws|ccountKey=)|BEARER|Basic |Bearer"
    r"|G(?:R1348941|OCSPX-)|I[Dd][Ee][Nn][Tt]|LTAI|[MNO][\w-]{23,25}\.[\w-]{6}\.|O[Ss][Ss][Aa]|P(?:MAK-|uTTY)|Q-[AaSs]"
    r"|S(?:K[a-f0-9]|G\.|haredAccessKey=)|X(?:[Oo][Xx]|[Aa][Pp][Pp]-|-[Aa][Mm][Zz])"
    r"|a[Ww][Ss]|b(?:asic |earer|EARER)|d(?:o[op]_v1_|api|ckr_pat_|ingtalk\.com|ay\.app)|eyJ|ftqq"
    r"|g(?:h[pousr]_|ithub_pat_|l(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-|l(?:sa|c)_)|h(?:f_|v[sbr]\.|ooks)"
    r"|i[Dd][Ee][Nn][Tt][Ii][Ff]|lin_api_|ms-[0-9a-f]{8}|npm_|o[Ss][Ss][Aa]|p(?:ypi-AgE|bkdf2|ushplus|k_(?:live|test)_)"
    r"|q(?:-[AaSs]|msg)|rk_(?:live|test)_|s(?:k-|k_(?:live|test)_|q0|hp[a-z]{2}_|ntrys_|crypt)|w(?:hsec_|eixin)"
    r"|x(?:[Oo][Xx]|[Aa][Pp][Pp]-|-[Aa][Mm][Zz])|ya29\."
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
# No secret of `ops.text.secret_scan` is shorter with its name: pw:x.
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
