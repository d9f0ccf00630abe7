"""Quick tests that tell almost every word without a secret from one that may hold one.

Words are quoted by the thousand, and the rules take milliseconds to load: what has none of these signs costs one
microsecond. Every secret that the rules find has a sign; a test holds that.
"""

from __future__ import annotations

import re

from ops.text.secret_scan.encodings import decoded, is_coded

# Every secret that `ops.text.secret_scan` finds has one of these about it; most words have none, and are quoted by the
# thousand. Names are looked for in lower case; the forms that no name announces, as they are written.
# One branch for each first letter: at most places of a text the engine then looks at one only. Before `code` stands
# what it is one of: access, verification, backup, invite, login, mfa, one-time, pairing, recovery, security, sms.
# Three letters of each: a look-behind has one length, and two would be met by our own gte_code.
_CODES = "ess|ion|uth|kup|ite|gin|mfa|ime|otp|ing|pin|ery|ity|sms|ock|ify"
_CODE = rf"ode(?:(?<=(?:{_CODES})code)|(?<=(?:{_CODES})[ _.-]code))"
_NAME_SIGNS = re.compile(
    "|".join(
        rf"{first}(?:{rest})(?=[\w.-]{{0,80}}[^\w.-])"
        for first, rest in (
            ("a", r"uth|k\b(?<=\bak)"),
            ("b", "earer"),
            ("c", rf"red|ookie|srf|ontrase|onnection.?string|v[vc]\b|{_CODE}"),
            ("d", r"sn|ek\b"),
            ("h", "mac"),
            ("i", "dentified"),
            ("j", "wt"),
            ("o", "tp"),
            ("p", r"ass|wd|sw|sk|epper|w(?:\b|_)|in(?<![a-z]pin)"),
            ("s", r"ecret|ess|ign|alt|id\b|ig(?:\b|(?<=\bsig))|k\b(?<=\bsk)"),
            ("t", "oken"),
            ("x", "srf"),
        )
    )
    + r"""|k(?:ey(?=[\w"'\\\]).-]{0,24}[ \t]{0,8}(?:[=:>＝：→⇒∶꞉]|%(?:25)*3|&#)"""
    + r"""|["' \t<,(])|ek\b(?=[^\w.-]))"""
)
# The same, as it is written.
_FORM_SIGNS = re.compile(
    r"-(?:---[- ]?(?:BEGIN|END) |us\d|-(?:set)?env?[ =]|-build-arg[ =]|e[ =]?[\"']?[A-Za-z_]\w{0,60}=)"
    r"|/(?:bot|webhook|push/|ping/)|_authToken|\$(?:apr1|[1-7]|2[abxy]?|y|gy|argon2\w{0,2})\$"
    r"|\{S?SHA|\d:[0-9A-Za-z_-]{35}"
    r"|A(?:3T|BIA|CCA|KIA|SIA|KID|KLT|KC|C[a-f0-9]|Iza|GE-|WS|wS|ws|Ws|ccountKey=)|BEARER|Basic |Bearer"
    r"|G(?:R1348941|OCSPX-)|I[Dd][Ee][Nn][Tt]|LTAI|[MNO][\w-]{23,25}\.[\w-]{6}\.|O[Ss][Ss][Aa]|P(?:MAK-|uTTY)|Q-[AaSs]"
    r"|S(?:K[a-f0-9]|G\.|haredAccessKey=)|X(?:[Oo][Xx]|[Aa][Pp][Pp]-|-[Aa][Mm][Zz])"
    r"|a[Ww][Ss]|cronitor|b(?:asic |earer|EARER)|d(?:o[op]_v1_|api|ckr_pat_|ingtalk\.com|ay\.app)|e(?:yJ|xpdp)|ftqq"
    r"|g(?:h[pousr]_|ithub_pat_|l(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-|l(?:sa|c)_)"
    r"|h(?:c-ping|eartbeat|f_|v[sbr]\.|ooks)"
    r"|i[Dd][Ee][Nn][Tt][Ii][Ff]|impdp|jdbc:oracle|lin_api_|ms-[0-9a-f]{8}|n(?:pm_|osnch)"
    r"|o[Ss][Ss][Aa]|p(?:ypi-AgE|bkdf2|ushplus|k_(?:live|test)_)"
    r"|q(?:-[AaSs]|msg)|r(?:k_(?:live|test)_|aw_env)|s(?:k-|k_(?:live|test)_|q0|hp[a-z]{2}_|ntrys_|crypt|ql(?:plus|ldr))|w(?:hsec_|eixin)"
    r"|x(?:[Oo][Xx]|[Aa][Pp][Pp]-|-[Aa][Mm][Zz])|ya29\."
)
# Where the URL itself is the secret: webhooks, and the services that Apprise knows.
_URL_SIGNS = re.compile(
    r"dingtalk|feishu|lark|wecom|weixin|ftqq|qmsg|tgram|discord|bark|serverchan|pushplus|pushover|msteams|workflows"
    r"|sendgrid|mailgun|ntfy|gotify|matrix|rocket|mmost|webhook|pbul|prowl|ifttt|sns:|twilio|pagerduty|opsgenie|splunk"
    r"|line:|signals?:|zulip|whatsapp|vonage|smseagle|slack|softlayer|day\.app"
)
_CHINESE_SIGNS = re.compile(
    "[密口令私金凭授访秘憑盐]|(?:[验驗][证證]|校验|[动動][态態]|安全|提取|激活|邀请|通行)[码碼]|助记"
    "|[验驗校动動安提激邀通助][ \\t\u00a0\u3000]{1,4}[证證验态態全取活请行记]"
    # Behind a letter, as in serverPIN, the quick test of English names does not take it.
    "|P[ \\t\u00a0\u3000]{0,4}I[ \\t\u00a0\u3000]{0,4}N[ \\t\u00a0\u3000]{0,4}码"
)
# User info without a scheme, USER:PASSWORD@HOST, and Oracle's USER/PASSWORD@SERVICE.
_USER_INFO = re.compile(r"(?::|%3[Aa]|/)[^\s/@\"'<>]{0,256}+@")
# Programs that take a password as an argument: mysql -pX, curl -u USER:X. By first letters too: six times as fast.
_PROGRAM_SIGNS = re.compile(
    "(?:"
    + "|".join(
        rf"{first}(?<=\b{first})(?:{rest})"
        for first, rest in (
            ("7", "z[ar]?"),
            ("a", "ria2c|b|pksigner"),
            ("b", "cp"),
            ("c", "url|qlsh|rane|lickhouse-client|elery"),
            ("d", "ocker"),
            ("f", "lower"),
            ("h", "ttps?|ttpie|url|elm|tpasswd"),
            ("i", "nflux"),
            ("j", "arsigner|upyter(?:-[a-z]+)?"),
            ("k", "eytool"),
            ("l", "dap[a-z]+"),
            ("m", "ysql[a-z]*|ariadb(?:-[a-z]+)?|ycli|ongo[a-z]*|osquitto_[ps]ub"),
            ("n", "erdctl|mcli|et"),
            ("o", "ras|penssl"),
            ("p", "odman"),
            ("r", "edis-cli|sync|clone|ar|pcclient"),
            ("s", "shpass|iege|kopeo|qlcmd|nmpwalk|mbclient"),
            ("u", "nzip|nrar"),
            ("w", "rk"),
            ("x", "trabackup|h"),
            ("z", "ip"),
        )
    )
    + r")[ \t]"
)
# Behind a name comes a value: a name alone, a path and a sentence about a key hide nothing.
_BETWEEN = re.compile(
    r"[=:<(%,，：＝→⇒∶꞉是为為成\"'`;“‘「【\[]|(?:^|\s)--?\w|\s\S*\d|\b(?:env|arg|setenv|set|export|is|was|requirepass|masterauth)\s",
    re.IGNORECASE,
)
# No secret of `ops.text.secret_scan` is shorter with its name: pw:x.
_SHORTEST = 4
# a:x@b
_SHORTEST_FORM = 5


def may_hold_secret(words: str) -> bool:
    """Whether anything in ``words`` looks like the beginning of a secret."""
    return len(words) >= _SHORTEST and (has_form(words) or has_name(words) or has_program(words))


def has_form(words: str) -> bool:
    """Whether something has the beginning of a credential's own form."""
    if len(words) < _SHORTEST_FORM:
        return False
    if "@" in words and ("//" in words or _USER_INFO.search(words) is not None):
        return True
    return _FORM_SIGNS.search(words) is not None or ("://" in words and _URL_SIGNS.search(words) is not None)


def has_name(words: str) -> bool:
    """Whether a name that can announce a secret is there, and something behind it."""
    if is_coded(words):
        words = decoded(words).words
    if _NAME_SIGNS.search(words.lower()) and _BETWEEN.search(words):
        return True
    return not words.isascii() and _CHINESE_SIGNS.search(words) is not None


def has_program(words: str) -> bool:
    """Whether a program is called that takes a password as an argument."""
    return " " in words and _PROGRAM_SIGNS.search(words) is not None
