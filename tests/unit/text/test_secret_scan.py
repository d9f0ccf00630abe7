"""Secrets are hidden by name and by form in every spelling; what only looks like one is shown to the letter."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from ops.interpret.redaction import redacted_text
from ops.text.sanitize import safe_line, safe_text, without_secrets
from ops.text.secret_scan import HIDDEN, signs
from ops.text.secret_scan.command_lines import without_argument_secrets, without_secret_arguments
from ops.text.secret_scan.encodings import decoded
from ops.text.secret_scan.entropy import without_random_words
from ops.text.secret_scan.forms import Rule, rules, table
from ops.text.secret_scan.html import without_attribute_secrets
from ops.text.secret_scan.names import Strength, strength_of
from ops.text.secret_scan.names_in_text import without_named_secrets
from tests.unit.text.secret_spellings import DIGESTS, HARMLESS, JWT, SECRET, spellings

SPELLINGS = spellings()


def test_the_tables_are_as_long_as_promised() -> None:
    assert len(SPELLINGS) >= 300
    assert len(HARMLESS) >= 150


@pytest.mark.parametrize(("written", "secret"), SPELLINGS)
def test_a_secret_is_hidden_in_every_spelling(written: str, secret: str) -> None:
    for shown in (without_secrets(written), safe_text(written, 4000), safe_line(written, 4000)):
        assert secret not in shown
        assert HIDDEN in shown


@pytest.mark.parametrize(("written", "secret"), SPELLINGS)
def test_it_is_hidden_inside_a_longer_text_too(written: str, secret: str) -> None:
    around = (
        f"2026-11-22 09:00:00 [error] 7#7: something broke\n{written}\nand the next line, client: 1.2.3.4"
    )
    shown = without_secrets(around)
    assert secret not in shown
    assert shown.startswith("2026-11-22 09:00:00 [error] 7#7: something broke\n")


@pytest.mark.parametrize("written", HARMLESS)
def test_what_only_looks_like_a_secret_stays(written: str) -> None:
    assert safe_line(written) == written
    assert safe_text(f"[error] {written}") == f"[error] {written}"


@pytest.mark.parametrize("written", [*HARMLESS, *DIGESTS])
def test_what_only_looks_like_a_secret_stays_in_the_evidence_too(written: str) -> None:
    assert redacted_text(written) == written


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ('upstream "user:p@ss@127.0.0.1:8000"', 'upstream "user:***@127.0.0.1:8000"'),
        ("?%70assword=hunt9&a=1", "?%70assword=***&a=1"),
        ("ｐａｓｓｗｏｒｄ＝hunt9，下一项", "ｐａｓｓｗｏｒｄ＝***，下一项"),
        ("gunicorn --env A=hunt9 -w 4", "gunicorn --env A=*** -w 4"),
        ("the password (hunt9blue) is wrong", "the password (***) is wrong"),
        ("GET /x?token=abc9def&lang=zh HTTP/1.1", "GET /x?token=***&lang=zh HTTP/1.1"),
        ("redis://user:hunter2@host/0", "redis://user:***@host/0"),
        ('{"password": 123456, "user": "li"}', '{"password": "***", "user": "li"}'),
        ('{"credentials": {"a": 1}, "user": "li"}', '{"credentials": "***", "user": "li"}'),
        ("mysql -u root -phunter2 shop", "mysql -u root -p*** shop"),
        ("用户：李，密码：hunter2，登录失败", "用户：李，密码：***，登录失败"),
        ("user=li password=hunter2 host=db", "user=li password=*** host=db"),
        ("password: hunter2\nuser: li", "password: ***\nuser: li"),
        ("openssl rsa -passin pass:x1 -in k.pem", "openssl rsa -passin pass:*** -in k.pem"),
        ('<input name="password" value="x" class="c">', '<input name="password" value="***" class="c">'),
    ],
)
def test_what_stands_around_a_secret_stays(written: str, shown: str) -> None:
    assert without_secrets(written) == shown


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["FERNET_KEY", "cipher_key", "fernet_key_old", "password_salt", "access_code", "PIN", "验证码", "密 码",
     "password", "DB_PASSWORD", "dbPassword", "db-passwd", "userpwd", "MYSQL_PWD", "client.secret", "X-Api-Key",
     "accessKeyId", "AWSSecretAccessKey", "authToken", "GTE_API_TOKENS", "Set-Cookie", "sessionid", "SENTRY_DSN",
     "password_reset_token", "mysecretvalue", "smtp_pass", "数据库密码", "访问令牌", "wp-csrf-token",
     "proxy-authorization"],
)  # fmt: skip
def test_a_name_announces_a_secret(name: str) -> None:
    assert strength_of(name) >= Strength.STRONG


@pytest.mark.parametrize(
    "name", ["hmac", "salt", "pepper", "ingest_key", "Subscription-Key", "upload_key_v2"]
)
def test_a_name_announces_a_secret_where_letters_and_digits_stand(name: str) -> None:
    assert strength_of(name) in (Strength.KEY, Strength.STRONG)
    assert without_secrets(f"{name}=hunt9bluehorse") == f"{name}=***"
    assert without_secrets(f"{name}=sha256 {name}=name") == f"{name}=sha256 {name}=name"


@pytest.mark.parametrize(
    "name",
    ["key_size", "key_exchange", "proxy_cache_key", "primary_key", "sort_key", "cipher_key_path", "salt-minion",
     "pin_memory", "status_code", "encode", "验证码长度",
     "tokenizer", "max_tokens", "maxTokens", "token_count", "tokenCount", "secretary", "password_policy",
     "passwordLength", "api_key_file", "credentials_path", "proxy_pass", "bypass", "compass", "session_timeout",
     "cookie_domain", "public_key", "cache_key", "ssl_certificate_key", "keyfile", "key_type", "author", "sidecar",
     "design", "密码长度", "密码错误", "no_password", "token_endpoint", "secrets.toml", "authenticated", ""],
)  # fmt: skip
def test_a_name_is_about_something_else(name: str) -> None:
    assert strength_of(name) == Strength.NONE


# --- forms --------------------------------------------------------------------------------------------------


def test_every_rule_says_where_it_is_from_and_compiles() -> None:
    names = [rule.id for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule.origin
        assert rule.signs
        assert rule.pattern.search("") is None, rule.id


def _samples(pattern: str) -> st.SearchStrategy[str]:
    # hypothesis' from_regex does not know possessive repetitions.
    return st.from_regex(re.sub(r"(?<=[+*?}])\+", "", pattern)).map(lambda sample: sample[:5000])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_every_match_of_a_rule_bears_a_sign_of_it(rule: Rule) -> None:
    @settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(_samples(rule.pattern.pattern))
    def holds(sample: str) -> None:
        if rule.pattern.search(sample):
            assert rule.hide(sample) != sample
            assert signs.has_form(sample)

    holds()


def test_every_program_with_a_password_bears_a_sign() -> None:
    for entry in table()["program"]:
        for program in entry["programs"]:
            assert signs.has_program(f"{program} -x y"), program


# Far above what any machine takes for a linear pass, far below a quadratic one's minutes.
HANGS_FROM_SECONDS = 3.0
SIZE = 100_000

REPEATED = [
    "a-", "password", "password=", 'password="', "password='", "password: {", "{", "[", "(", '"', "'", '\\"', "\\",
    "<", "<input ", '<input name="password" ', "<td>", "password<td>", "=", ":", "//", "://", "://a:", "@",
    "://a:b", "eyJ",
    "eyJaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ", "A", "AKIA", "sk-", "xox",
    "xoxb-1-", "1",
    "1:", "/bot1", "密码", "密码：", "密码（", "%22", "&",
    "&a=", ";", "a ", "curl -u ", "mysql -p", "Cookie: ", "bearer ",
    "aws key ", "AWSkeypwd", "token (", "- ", "| ", "password: |\n ", "A" * 39 + "/", "identified by ", "?a=b&", "\n",
    "name: password\n", "M" + "a" * 24 + ".", "key ", "session ", "$2y$", "value", "🔑", "A\n",
    "MIIEvQIBADANBgkqhkiG\n",
    "qyapi.weixin.qq.com/?a=b&", "https://hooks.slack.com/services/", "IDENTIFIED BY '", "token", "token.",
    "token-", "_",
    "%70", "%25", "%2570", "%E5%AF", "\\u0070", "\\u{70}", "&#112;", "&#", "ｐ", "\u200b", "𝗽",
    "ｐａｓｓｗｏｒｄ＝", "user:", "user:p@",
    "(user:", "u:p", "a/b1cdef@", " app/", "//u:", "//u:p@", "-e ", "-e A=", "--env X=", '-e A="', "--env 'X=a",
    "验 证 ",
    "密 ", "密 码", "pin ", "code ", "password (", "password [a", "the password ", "hc-ping.com/", "https://h/",
    "/x7Kd92mQ4R1z", "https://h/x7Kd92mQ4R1z", "sha256 ", "sqlplus ", "sqlplus -s ",
    "hmac=", "pin=", "sign=", "key=", "hmac=“", "pin:", "a1b2c3d4-", "salt",
    "pass phrase ", "FERNET_KEY ", "_key", "a_", "key_old_", ":p1@", "access code ",
]  # fmt: skip


@pytest.mark.parametrize("part", REPEATED)
def test_no_input_takes_longer_than_its_length(part: str) -> None:
    """A hundred thousand characters that begin the same thing over and over."""
    for name, function in (
        ("all", without_secrets),
        ("names", without_named_secrets),
        ("html", without_attribute_secrets),
        ("programs", without_argument_secrets),
        ("entropy", without_random_words),
        ("evidence", redacted_text),
        ("encodings", decoded),
        ("command", lambda text: without_secret_arguments(text.split())),
        ("sign", signs.may_hold_secret),
        *((rule.id, rule.hide) for rule in rules()),
    ):
        words = part * (SIZE // len(part)) + "!"
        started = time.process_time()
        function(words)
        assert time.process_time() - started < HANGS_FROM_SECONDS, name


# --- what holds for any text --------------------------------------------------------------------------------

PIECES = st.lists(
    st.one_of(
        st.sampled_from([written for written, _ in SPELLINGS]),
        st.sampled_from(HARMLESS),
        st.sampled_from(REPEATED),
        st.text(max_size=6),
        st.sampled_from([" ", "\n", ", ", '"', "'", "=", ": ", "***", "<", ">", "{", "}", "&", ";", "\\"]),
    ),
    max_size=5,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(PIECES)
@example('password="a')
@example(f"token={JWT}")
def test_hiding_twice_changes_nothing_and_nothing_grows_without_bound(written: str) -> None:
    once = without_secrets(written)
    assert without_secrets(once) == once
    assert len(once) <= 5 * len(written) + 8
    line = safe_line(written)
    assert safe_line(line) == line


@settings(max_examples=100, deadline=None)
@given(PIECES)
@example("name:gte@1.servicePIN码：4829")
@example("myP I\u3000N 码：4829")
# Capitals begin a word: dataKEK is a KEK, appSig a sig.
@example("dataKEK=hunt9bluehorse")
@example("dataDEK=hunt9bluehorse")
@example("appSig=hunt9bluehorse")
def test_no_secret_is_without_a_sign(written: str) -> None:
    quick = without_secrets(written)
    with pytest.MonkeyPatch.context() as patched:
        for test in ("may_hold_secret", "has_form", "has_name", "has_program"):
            patched.setattr(signs, test, lambda words: True)  # noqa: ARG005
        assert without_secrets(written) == quick


# --- command lines, word by word ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("app", "--api-token", SECRET), ("app", "--api-token", "***")),
        (("app", "--password", "two words"), ("app", "--password", "***")),
        (("/usr/bin/mysql", "-u", "root", f"-p{SECRET}"), ("/usr/bin/mysql", "-u", "root", "-p***")),
        (("curl", "-u", f"li:{SECRET}", "https://h/"), ("curl", "-u", "li:***", "https://h/")),
        (("redis-cli", "-a", SECRET), ("redis-cli", "-a", "***")),
        (("sudo", "sshpass", "-p", SECRET, "ssh"), ("sudo", "sshpass", "-p", "***", "ssh")),
        (("gunicorn", "--keyfile", "/etc/ssl/k.pem"), ("gunicorn", "--keyfile", "/etc/ssl/k.pem")),
        (("app", "--max-tokens", "512"), ("app", "--max-tokens", "512")),
        (("app", "--ask-password", "x"), ("app", "--ask-password", "x")),
        (
            ("gunicorn", "-e", "A=two words", "--env", "lang=c"),
            ("gunicorn", "-e", "A=***", "--env", "lang=***"),
        ),
        (("grep", "-e", "name=value"), ("grep", "-e", "name=value")),
    ],
)
def test_a_process_s_words_lose_their_secrets(command: tuple[str, ...], shown: tuple[str, ...]) -> None:
    assert without_secret_arguments(command) == shown


# --- words that look random ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    ["x7Kd92mQzR4vTn8BwLp3", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "3yZe7MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQ",
     "q3v9x2k7z8w1n5b4m6c0p", "dGhpcyBpcyBhIHNlY3JldCBmb3IgeW91IG9ubHk="],
)  # fmt: skip
def test_a_word_that_looks_random_is_hidden(word: str) -> None:
    assert without_random_words(f"got {word}, then left") == "got ***, then left"


@pytest.mark.parametrize(
    "words",
    ["/etc/letsencrypt/live/gte-api.example.com/fullchain.pem", "nlp_gte_sentence-embedding_chinese-large",
     "iic/nlp_gte_sentence-embedding_chinese-large", "7d9f2c1e-3b4a-4c5d-8e6f-9a0b1c2d3e4f", "TLS_AES_256_GCM_SHA384",
     "ECDHE-RSA-AES128-GCM-SHA256", "x86_64-linux-gnu-python311", "ngx_http_upstream_keepalive_module",
     "2022年北京冬奥会在北京举行，二十个以上的汉字不是随机的密钥", "ConnectionRefusedError",
     "multilingual-e5-small-int8-quantized",
     "/usr/lib/python3/dist-packages/Crypto/PublicKey", "application/vnd.google-earth.kml+xml",
     "2026-11-22T09:00:00+08:00",
     "10000000000000000000000", "================================", "gunicorn/workers/gthread"],
)  # fmt: skip
def test_names_paths_and_prose_are_not_random(words: str) -> None:
    assert without_random_words(words) == words


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("https://hc-ping.com/a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d/fail", "https://hc-ping.com/***/fail"),
        ("GET /jobs/a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d/run HTTP/1.1", "GET /jobs/***/run HTTP/1.1"),
        ("see http://h:8000/x7Kd92mQ4R1z/a, then", "see http://h:8000/***/a, then"),
    ],
)
def test_who_knows_a_url_s_random_path_may_use_it(written: str, shown: str) -> None:
    assert without_random_words(written) == shown
