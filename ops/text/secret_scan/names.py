"""Whether a name says that what stands under it is a secret.

An identifier of any style (snake, kebab, camel, dotted, Chinese) is cut into words. The last stem in it decides, and
what stands around the stem: ``access_token`` holds one, ``token_count`` a number, ``tokenizer`` a model.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate


class Strength(IntEnum):
    """How surely a name announces a secret. ``WEAK``: only a value that looks random is one. ``KEY``: only one of
    letters and digits, as keys are generated: programs call a name in a table a key too. ``CODE``: only one with four
    digits, or a long one with digits in it."""

    NONE = 0
    WEAK = 1
    KEY = 2
    # Short numbers are counts under such a name: token=5.
    STRONG = 3
    CODE = 4
    # A number is a secret too: password=123456.
    PASSWORD = 5


MAX_NAME_CHARS = 80

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_KEYS = (
    "access|account|admin|aes|api|app|auth|cipher|client|crypt|crypto|database|db|decryption|deploy|encryption|fernet|"
    "hmac|jwt|license|master|priv|private|rsa|secret|service|session|shared|signing|ssh|storage|webhook"
)
_CODES = (
    "access|activation|auth|backup|confirmation|invitation|invite|login|mfa|onetime|otp|pairing|pin|recovery|security|"
    "sms|unlock|verification|verify"
)
_STRONGEST = (
    r"passwor[dt]s?|passwds?|passw|passphrases?|passcodes?|contrase[nñ]as?|pwds?|pswd|secrets?|credentials?"
    r"|requirepass|masterauth|sshpass|(?:user|db|key|store|root|admin|mail|smtp|my|http|ftp)pass"
)
# Longest last stem wins; on lower-case words joined without anything between them.
_STEM = re.compile(
    rf"(?P<password>{_STRONGEST})"
    rf"|(?P<key>(?:{_KEYS})keys?|connectionstrings?|authorization|sessionids?|sessid|signatures?|cookies?)"
    rf"|(?P<token>tokens?)|(?P<code>(?:{_CODES})codes?)"
)
# Stems that are words of their own only: sid is not part of side, nor pass of bypass.
_WHOLE_WORDS: dict[str, Strength] = {
    "pass": Strength.STRONG,
    "pw": Strength.PASSWORD,
    "psw": Strength.PASSWORD,
    "creds": Strength.PASSWORD,
    "dsn": Strength.PASSWORD,
    "otp": Strength.PASSWORD,
    "totp": Strength.PASSWORD,
    "jwt": Strength.STRONG,
    "bearer": Strength.STRONG,
    "sid": Strength.STRONG,
    "auth": Strength.WEAK,
    "auths": Strength.WEAK,
    "csrf": Strength.WEAK,
    "xsrf": Strength.WEAK,
    "sign": Strength.WEAK,
    # The two halves of a Chinese cloud's access key.
    "ak": Strength.WEAK,
    "sk": Strength.WEAK,
    "sig": Strength.STRONG,
    "passkey": Strength.STRONG,
}
# Such words only where the name ends with them: salt, not salt-minion; pin, not pin_memory.
_LAST_WORDS: dict[str, Strength] = {
    "hmac": Strength.KEY,
    "salt": Strength.KEY,
    "pepper": Strength.KEY,
    # Key encryption key, data encryption key, pre-shared key.
    "kek": Strength.STRONG,
    "dek": Strength.STRONG,
    "psk": Strength.STRONG,
    "pin": Strength.CODE,
    "cvv": Strength.CODE,
    "cvc": Strength.CODE,
}
# Names that are nothing but this word.
_ALONE: dict[str, Strength] = {"key": Strength.WEAK, "keys": Strength.WEAK, "pass": Strength.WEAK}


def _spaced(stems: str) -> str:
    """The stems with blanks between their characters, as forms and printed letters have them."""
    return "|".join("[ \\t\u00a0\u3000]{0,4}".join(stem) for stem in stems.split())


_CHINESE_CODES = _spaced("PIN码 验证码 驗證碼 校验码 動態碼 动态码 安全码 提取码 激活码 邀请码")
_CHINESE_PASSWORDS = _spaced(
    "密码 密碼 密钥 密鑰 秘钥 密匙 令牌 私钥 私鑰 金鑰 凭证 凭据 憑證 授权码 授權碼 访问码 通行码 盐值 助记词"
)
_CHINESE = rf"(?P<code>{_CHINESE_CODES})|{_CHINESE_PASSWORDS}|{_spaced('口令')}(?!牌)"
CHINESE_STEMS = _CHINESE.replace("?P<code>", "?:")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# What a name is about that ends in one of these is no secret itself: token_count, password_policy, api_key_file.
_HARMLESS_ENDS = _set(
    """
    age agreement alg algo algorithm algorithms at attempts bucket budget changed check checker checks class classes
    classification count counts created description dir directory disabled domain embedding embeddings enabled
    encoder encoding endpoint error errors exchange exists expiration expired expires expiry failed failure failures
    field fields file filename files fingerprint format hasher hashers header headers hint host httponly ids in
    index invalid kind label len length level lifetime limit limits location log manager max min missing mode name
    names num number optional path paths pattern policies policy port position present prompt provider rate ref refs
    regex required reset retries rotation rule rules samesite scheme secure server service size state status store
    strength timeout title ttl type types updated uri url usage valid validator validators version window
    conf go html ini java js json log pem php py pyc rs sh so toml txt yaml yml
    """
)
# The rest of a word that begins with a stem and means something else.
_OTHER_WORDS = re.compile(r"(?:iz|is|ar|less|ion|ive|ly)")
_TOKENS_OF_TEXT = _set(
    """
    added audio avg bos cached cls completion consumed end eos generated image input last mask max mean min n new next
    num number of output pad per prompt reasoning remaining sep special start stop subword sum text total unk used word
    """
)
_PASSES = _set("band by fastcgi first grpc high low memcached multi one proxy scgi second single test uwsgi")
# What is called a key and found by: its value is a column's name, a path, a variable. A public key is for everybody,
# a certificate's key is named by its file.
_KEYS_OF_OTHER_KINDS = _set(
    """
    cache candidate certificate composite dict dictionary duplicate foreign group grouping host index join lookup
    missing natural order ordering partition primary pub public row shard sort sorting translation unique unknown
    websocket
    """
)
# Keys of which some are secrets: PagerDuty's routing_key is, a message queue's is not. Their values decide.
_KEYS_OF_EITHER_KIND = _set(
    """
    arrow attribute bucket class column config dedup dedupe deduplication document entity enter error event expected
    field function hash hot i18n idempotency item json label lock map message metric modifier node object option
    parameter query record redis routing s3 search setting shortcut tag
    """
)
# What may stand behind a key's own name, and leaves it one: FERNET_KEY_OLD, hmac_key_b64.
_QUALIFIERS = _set(
    """
    b64 backup base base32 base64 bytes current data default dev development encoded fallback hex live main material md
    new old plain prev previous primary prod production raw secondary sha staging str string test v val value
    """
)
_NEGATIONS = _set("ask no skip without")


@lru_cache(maxsize=4096)
def strength_of(name: str) -> Strength:
    """How surely ``name`` announces a secret."""
    name = name[-MAX_NAME_CHARS:]
    # Compiled where a name is not ASCII: it takes 5 ms.
    if not name.isascii() and (matches := list(re.finditer(_CHINESE, name))):
        # 密码错误, 密码长度: the stem only qualifies what the name is about.
        if _has_chinese(name[matches[-1].end() :]):
            return Strength.NONE
        return Strength.CODE if matches[-1]["code"] else Strength.PASSWORD
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[0] in _NEGATIONS:
        return Strength.NONE
    if len(words) == 1 and words[0] in _ALONE:
        return _ALONE[words[0]]
    return _by_stem(words) or _by_whole_word(words) or _by_key(words) or _by_last_word(words)


def _by_stem(words: list[str]) -> Strength:
    joined = "".join(words)
    stems = list(_STEM.finditer(joined))
    if not stems:
        return Strength.NONE
    stem = stems[-1]
    end = stem.end()
    if stem[0].endswith("s") and end - 1 in accumulate(map(len, words)):
        end -= 1  # token_service is no tokens_ervice
    head, tail = _around(words, stem.start(), end)
    if tail and (tail[-1] in _HARMLESS_ENDS or _OTHER_WORDS.match(tail[0]) or _has_chinese("".join(tail))):
        return Strength.NONE
    if tail and "".join(tail) in _HARMLESS_ENDS:
        return Strength.NONE
    if stem.lastgroup == "password":
        return Strength.PASSWORD
    if stem.lastgroup == "token":
        if head and head[-1] in _TOKENS_OF_TEXT:
            return Strength.NONE
        if not head and not tail and stem[0] == "tokens":
            return Strength.WEAK
    if stem.lastgroup == "code":
        return Strength.CODE
    return Strength.STRONG


def _by_whole_word(words: list[str]) -> Strength:
    for at in range(len(words) - 1, -1, -1):
        strength = _WHOLE_WORDS.get(words[at], Strength.NONE)
        if not strength:
            continue
        tail = words[at + 1 :]
        if tail and (tail[-1] in _HARMLESS_ENDS or _has_chinese("".join(tail))):
            return Strength.NONE
        if words[at] == "pass" and at and words[at - 1] in _PASSES:
            return Strength.NONE
        return strength
    return Strength.NONE


def _by_key(words: list[str]) -> Strength:
    """FERNET_KEY, Ocp-Apim-Subscription-Key, cipher_key_v2: a key of an unknown kind."""
    bare = _unqualified(words)
    if len(bare) < 2 or bare[-1] not in ("key", "keys") or bare[-2] in _KEYS_OF_OTHER_KINDS:
        return Strength.NONE
    # Several keys are as often those of a dictionary.
    return Strength.WEAK if bare[-1] == "keys" or bare[-2] in _KEYS_OF_EITHER_KIND else Strength.KEY


def _by_last_word(words: list[str]) -> Strength:
    bare = _unqualified(words)
    return _LAST_WORDS.get(bare[-1], Strength.NONE) if bare else Strength.NONE


def _unqualified(words: list[str]) -> list[str]:
    end = len(words)
    while end and (words[end - 1] in _QUALIFIERS or words[end - 1].isdigit()):
        end -= 1
    return words[:end]


def _around(words: list[str], start: int, end: int) -> tuple[list[str], list[str]]:
    """The words, or parts of words, before and behind the characters from ``start`` to ``end`` of all joined."""
    head, tail, at = [], [], 0
    for word in words:
        if at < start:
            head.append(word[: start - at])
        if at + len(word) > end:
            tail.append(word[max(0, end - at) :])
        at += len(word)
    return head, tail


def _has_chinese(words: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in words)
