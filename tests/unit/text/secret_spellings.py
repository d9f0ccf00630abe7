"""Spellings of secrets, and words that only look like one: what every channel is tried with.

Each spelling is a text and the part of it that must not be seen. Forms are put together here, so that no file of this
repository holds anything of a real credential's form.
"""

from __future__ import annotations

import base64
import json

SECRET = "Tr0ub4dor-hunter2"
ALNUM = "x7Kd92mQ"
PEM = (
    "-----BEGIN RSA PRIVATE"
    + " KEY-----\n"
    + "\n".join(f"MIIEvQIBADANBgkqhkiG9w0BAQEFAAS{n}CBKcwggSjAgEAAoIBAQ" for n in range(4))
    + "\n-----END RSA PRIVATE"
    + " KEY-----"
)
BASIC = base64.b64encode(f"user:{SECRET}".encode()).decode()
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890","name":"li"}', b"s" * 32)
)


def _long(prefix: str, size: int) -> str:
    return prefix + (ALNUM * 40)[: size - 1] + "9"


_BY_NAME = [
    "password={}", "password: {}", "password : {}", "Password = '{}'", 'PASSWORD="{}"', "DB_PASSWORD={}",
    "export DB_PASSWORD={}", "dbPassword: {}", "db-password={}", "db.password={}", "spring.datasource.password={}",
    "MYSQL_PWD={}", "PGPASSWORD={} psql", "smtp_pass = {}", "REDIS_PASS: {}", "passphrase: '{}'", "db_pw={}",
    "userPassword1={}", "mysecretvalue={}", "client_secret={}&grant_type=x", "SECRET_KEY = '{}'", "secretKey: `{}`",
    "api_key={}", "apikey={}", "api-key: {}", "apiKey: '{}'", "X-Api-Key: {}", "x-api-key={}", "API KEY: {}",
    "access_key = {}", "accessKeySecret: {}", "AccessKeyId={}", "secret_access_key={}", "private_key: {}",
    "signing_key={}", "encryption-key={}", "auth_key={}", "authToken={}", "access_token={}", "refresh_token: {}",
    "id_token={}", "GTE_API_TOKENS={}", "x-auth-token: {}", "csrf_token={}", "session_id={}", "sessionid={}",
    "PHPSESSID={}", "connect.sid={}", "credentials: {}", "AWS_CREDENTIAL={}", "SENTRY_DSN={}", "jwt={}", "otp={}",
    '{{"password": "{}"}}', '{{"password":"{}","user":"li"}}', '{{"api_key" : "{}"}}', "{{'secret': '{}'}}",
    '{{"auth": {{"client_secret": "{}"}}}}', '{{"credentials": {{"user": "li", "value": "{}"}}}}',
    'msg="{{\\"password\\": \\"{}\\"}}"', 'log: "{{\\\\\\"token\\\\\\": \\\\\\"{}\\\\\\"}}"',
    '{{"name": "DB_PASSWORD", "value": "{}"}}', "- name: DB_PASSWORD\n  value: {}", '("password", "{}")',
    "('X-Api-Key', '{}')", "[b'authorization', b'Token {}']", "settings['SECRET_KEY'] = '{}'",
    "config[\"token\"]='{}'",
    "password: str = '{}'", "token := \"{}\"", "secret => '{}'", "password='first part ' '{}'",
    "set_password('{}')", 'password "{}"', "password is '{}'", "password: |\n  {}\n", "password = a b {}",
    "password = p,w;{}", "password=it's{}", "password={{vault}}{}", "Password (root): {}", "password[0]={}",
    "GET /login?user=a&password={}&x=1 HTTP/1.1", "/cb?token={}", "body: user%3Da%26password%3D{}%26x%3D1",
    "password%22%3A%22{}%22", "&password={}&amp;b=1", "password&quot;: &quot;{}&quot;",
    "Authorization: Bearer {}", "authorization: Basic {}", "Authorization: {}", "Authorization: Token {}",
    'Authorization: Digest username="u", response="{}"', "Proxy-Authorization: Custom {}",
    "curl -H 'Authorization: Bearer {}' https://h/", 'headers={{"Authorization": "Bearer {}"}}',
    "Cookie: sid={}; b=2", "Set-Cookie: session={}; Path=/", "cookie='a={}'",
    "密码：{}", "密码: {}", "数据库密码＝{}", "口令={}", "密钥 : {}", "令牌：“{}”", "密码是{}",
    "密码已重置为 {}", "密码（root）：{}",
    "私钥：{}", "授权码:{}", "用户名：李，密码：{}，登录失败", '{{"密码": "{}"}}',
    "--password {}", "--password={}", "--api-token {} --x", "-password {}", "--db.password '{}'",
    "proxy_set_header X-Api-Key {};", 'proxy_set_header Authorization "Bearer {}";', "fastcgi_param DB_PASSWORD {};",
    "set $api_token {};", "ENV DB_PASSWORD {}", "requirepass {}", "machine h login u password {}",
    "IDENTIFIED BY '{}'", "mysql -u root -p{} db", "redis-cli -a {} ping", "sshpass -p {} ssh h",
    "curl -u bob:{} https://h/", "curl --user 'bob:{}' https://h/", "openssl rsa -passin pass:{} -in k.pem",
    "smbclient //h/s -U li%{}", "ldapsearch -D cn=a -w {} -b dc=x", "htpasswd -nb li {}",
    "接口令牌：{}", "FERNET_KEY=x7Kd92mQ{}", "Incorrect API key provided: {}", "ak=x7{}",
    '<b class="k">password</b>: <b class="v">{}</b>',
    "<password>{}</password>", "<td>SECRET_KEY</td>\n<td class=\"code\"><pre>&#x27;{}&#x27;</pre></td>",
    "<th>API_TOKEN</th><td>{}</td>", "<b>Password</b>: {}<br>", '<input type="password" name="p" value="{}">',
    "<input value='{}' name='api_key'>", '<meta name="csrf-token" content="{}">',
    '<property name="db.password" value="{}"/>', '<entry key="password">{}</entry>', '<dt>SECRET_KEY</dt><dd>{}</dd>',
    "redis://user:{}@host/0", "postgresql+psycopg://u:{}@db:5432/x", "amqp://u:{}@[::1]:5672//", "https://:{}@h/",
    "proxy=http://u:{}@10.0.0.1:3128", "DATABASE_URL=mysql://root:{}@127.0.0.1/app",
]  # fmt: skip

_BY_FORM = [
    JWT, "AKIA" + "QW3R7TY8UI2OPAS4", _long("ghp_", 36), _long("github_pat_", 40),
    _long("glpat-", 20), _long("xoxb-123456789012-", 24), "sk_live_" + _long("", 24), _long("sk-", 40),
    _long("sk-proj-", 60), "SG." + _long("", 22) + "." + _long("", 43), _long("AIza", 35), _long("npm_", 36),
    _long("pypi-AgEIcHlwaS5vcmc", 80), _long("LTAI", 20), _long("AKID", 32), _long("hf_", 34), _long("hvs.", 24),
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2,
]  # fmt: skip

_WEBHOOKS = [
    "https://hooks.slack.com/services/T0/B0/{}", "https://oapi.dingtalk.com/robot/send?access_token={}",
    "https://open.feishu.cn/open-apis/bot/v2/hook/{}", "https://open.larksuite.com/open-apis/bot/v2/hook/{}",
    "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={}", "https://discord.com/api/webhooks/123456789/{}",
    "https://api.telegram.org/bot1234567890:{}/sendMessage", "https://sctapi.ftqq.com/{}.send",
    "dingtalk://{}/13800000000", "feishu://{}", "wecombot://{}", "https://x.webhook.office.com/webhookb2/{}/x",
]  # fmt: skip

# A secret as people choose it: a word, a digit, a word.
CHOSEN = "hunt9bluehorse"
CHECK_ID = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
_USER_INFO = [
    'invalid port in upstream "user:{}@127.0.0.1:8000x" in /etc/nginx/x.conf:3',
    'invalid port in upstream "u:{}@127..."',
    "user:{}@db:5432", "proxy user:{}@10.0.0.1:3128 refused", "upstream=app:{}@[::1]:8000",
    "https_proxy=u:{}@proxy.example.com",
    "user%3A{}@host", "connect to 'app:p@{}@db'", "http://app:p@{}@host/x", "http://app:{}@ss@host/x",
    "//app:{}@host/x",
    "http://{}@host/", "https://{}:x-oauth-basic@github.com/o/r", "https://{}:@api.example.com/v1",
    "wss://{}@host/socket",
    "http://u:pa/ss@{}@host/", "http://u:a?b{}@host/", "http://u:a#b{}@host/",
    'host not found in upstream ":{}@127.0.0.1"',
    "app/{}@orcl", "connect app/{}@//db:1521/orcl", "sqlplus -s app/{}", "jdbc:oracle:thin:app/{}@//db:1521/x",
    "u:{}@h1,v:w@h2", "[error] user:{}@backend.internal:80 is down", "(app:{}@db)",
]  # fmt: skip
_OF_OTHER_NAMES = [
    "FERNET_KEY={}", "fernet_key_old={}", "FERNET_KEY_2: {}", "fernetKey: {}", "cipher_key={}", "cipherkey={}",
    "hmac={}",
    "hmac_key_b64={}", "hmac_sha256={}", "salt={}", "password_salt: {}", "SECURITY_PASSWORD_SALT = '{}'",
    "pepper={}", "psk={}",
    "PIN={}", "card_pin={}", "access_code={}", "accessCode: {}", "verification code: {}", "security_code={}",
    "Fernet key: {}", "ingest-key: {}", "KEK={}", "passkey={}", '{{"data_encryption_key": "{}"}}',
    "pass phrase {}", "pass phrase: {}", "Pass word: {}", "password {}", "the password ({}) is wrong",
    "password [{}] rejected",
    "the password, {}, is wrong", "Password is incorrect: {}", "passphrase is: {}", "Unseal Key 1: {}",
    "password → {}",
    "access code {}", "recovery key: {}", "password “{}” refused", "wrong passphrase <{}>",
    "passwd is {}", "密码 {}", "密 码：{}", "密　码：{}",
    "口 令 : {}", "令 牌={}",
    "密码“{}”错误", "密码（{}）错误", "密码【{}】不正确", "验证码：{}", "提取码: {}", "动态码 = {}", "盐值：{}",
]  # fmt: skip
_CODED = [
    "password\\u003d{}", "password\\u003a {}", "?%70assword={}", "?p%61ss%77ord={}&a=1", "password%253D{}",
    "%2570assword%253D{}", "%E5%AF%86%E7%A0%81={}", '{{"\\u5bc6\\u7801": "{}"}}', '{{"\\u0070assword": "{}"}}',
    "{{\\u0022password\\u0022: \\u0022{}\\u0022}}", "p\\x61ssword\\x3d{}", "\\u{{70}}assword={}", "p&#97;ssword={}",
    "password&#61;{}", "password&#x3d;{}", "ｐａｓｓｗｏｒｄ＝{}", "ＴＯＫＥＮ：{}", "ＤＢ＿ＰＡＳＳＷＯＲＤ={}",
    "𝗽𝗮𝘀𝘀𝘄𝗼𝗿𝗱: {}", "ⓟⓐⓢⓢⓦⓞⓡⓓ={}",
    "%u0070assword={}", "password%u003d{}", "password\u00a0=\u00a0{}", "password\ufe66{}", "密碼\ufe55{}",
    "passwo\uff52d={}",
    "pass\u200bword={}", "to\u00adken: {}", "密\u2060码：{}", "api\ufeff_key={}",
]  # fmt: skip
_ENVIRONMENT = [
    "gunicorn -e DB={} app:app", "gunicorn -e magic={} app:app", "gunicorn --env X={} app:app",
    "gunicorn --env=X={} app:app",
    "GUNICORN_CMD_ARGS=\"--env X={} -w 4\"", "gunicorn --env 'X=a {}' app:app", "docker run -e X={} gte",
    "raw_env = ['X={}']", "docker build --build-arg X={} .", "systemd-run --setenv=X={} true",
    'gunicorn -e X="{}" app:app',
]  # fmt: skip
_HEARTBEATS = [
    "curl -fsS https://hc-ping.com/{}", "https://hc-ping.com/{}/fail", "https://hc.example.com/ping/{}",
    "https://uptime.example.com/api/push/{}?status=up", "https://uptime.betterstack.com/api/v1/heartbeat/{}",
    "https://cronitor.link/p/{}/backup", "https://nosnch.in/{}",
]  # fmt: skip


def spellings() -> list[tuple[str, str]]:
    """Each text with the secret it holds."""
    pairs = [(text.format(SECRET), SECRET) for text in _BY_NAME]
    pairs += [
        (text.format(CHOSEN), CHOSEN) for text in (*_USER_INFO, *_OF_OTHER_NAMES, *_CODED, *_ENVIRONMENT)
    ]
    pairs += [(text.format(CHECK_ID), CHECK_ID) for text in _HEARTBEATS]
    pairs += [(f"using {secret} here", secret) for secret in _BY_FORM]
    pairs += [(PEM, line) for line in PEM.splitlines()[1:3]]
    pairs += [("key: |\n  " + PEM.replace("\n", "\n  "), PEM.splitlines()[2])]
    pairs += [(json.dumps({"pem": PEM}), PEM.splitlines()[2])]
    pairs += [(PEM[: len(PEM) // 2], PEM.splitlines()[1]), (PEM[60:], PEM.splitlines()[2])]
    hook = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
    pairs += [(text.format(hook), hook) for text in _WEBHOOKS]
    pairs += [
        ('{"password": 12345678}', "12345678"),
        ("password=123456", "123456"),
        ("密码：666888", "666888"),
        ("口令：芝麻开门", "芝麻开门"),
        ("验证码：123456", "123456"),
        ("您的验证码为 482913，5 分钟内有效", "482913"),
        ("验证码 482913", "482913"),
        ("PIN=4829", "4829"),
        ("pin code: 4829", "4829"),
        ("PIN码：4829", "4829"),
        ("verification code is 482913", "482913"),
        ("password 12345678", "12345678"),
        (f"Authorization: Basic {BASIC}", BASIC),
        (f"basic {BASIC}", BASIC),
    ]
    return pairs


# Digests that are said to be some: kept where words that look random go.
DIGESTS = [
    "sha256 " + "9f86d081884c7d65" * 4, "SHA256: " + "9f86d081884c7d65" * 4, "sha256=" + "9f86d081884c7d65" * 4,
    "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709", "md5sum: d41d8cd98f00b204e9800998ecf8427e",
    "fingerprint: " + "9f86d081884c7d65" * 4, "SHA256:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE",
    'ETag: "da39a3ee5e6b4b0d3255bfef95601890afd80709"', "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "/dev/disk/by-uuid/a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d",
]  # fmt: skip
# Each has to be shown to the letter.
HARMLESS = [
    "token_count=5", "tokenizer=bert-base-chinese", '{"max_tokens": 512}', "max_tokens: 512", "num_tokens=18",
    '"prompt_tokens": 17, "total_tokens": 30', '{"tokens": ["北京", "冬奥会"]}', "tokens: counted",
    "token_type_ids: [0, 0, 1]",
    "the token of a sentence", "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON", "pad_token = [PAD]",
    "secretary=li", "the secretary: li", "password_policy: strict", "password_min_length=12", "passwordless=True",
    "AUTH_PASSWORD_VALIDATORS = [NumericPasswordValidator]", "password: required", "using password: YES",
    "token=None", "SECRET_KEY = os.environ['SECRET_KEY']", "password: ${DB_PASSWORD}",
    "proxy_set_header Authorization $http_authorization;", "proxy_set_header X-Api-Key $http_x_api_key;",
    "auth_basic_user_file /etc/nginx/.htpasswd;", "ssl_certificate_key /etc/letsencrypt/live/x.cn/privkey.pem;",
    "ssl_certificate_key=/etc/letsencrypt/live/x.cn/privkey.pem", "private_key: /etc/ssl/private/gte.key",
    "keyfile = '/etc/letsencrypt/live/x.cn/privkey.pem'", "GTE_API_KEYS_FILE=/etc/gte-api/keys.toml",
    "--keyfile /etc/ssl/gte.key", "/etc/secrets/token.json: Permission denied",
    "token.json: No such file or directory",
    "/etc/gte/secrets.toml", "proxy_pass http://token-service:8000;", "location /token {",
    "location = /password/reset {",
    "GET /oauth/token HTTP/1.1", "upstream: \"http://127.0.0.1:8000/token\"", "http://secret-store:8200/v1",
    "session_timeout: 30", "cookie_domain=.example.com", "SESSION_COOKIE_NAME = sid", "token_type: bearer",
    "token_endpoint=https://id.example.com/oauth2/token", "compass: north", "bypass=1", "proxy_pass: ok",
    "keepalive_timeout 65;", "cache_key = $uri", "primary_key: id", "public_key=MFkwEwYHKoZI", "keyword: 北京",
    "author: li", "authors=3", "design=flat", "sidecar: nginx", "assigned=3", "monkey: 1", "turkey=2",
    "密码长度：12", "密码错误：请重试", "令牌数量=5", "请输入密码", "密码策略：强", "秘书：李",
    "connect() failed (111: Connection refused) while connecting to upstream",
    "https://gte-api.example.com:443/predict", "User-Agent: curl/8.5.0", "mailto:ops@example.com",
    "getty@tty2.service",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "commit 5e14193f0c2a9be",
    "request_id=7d9f2c1e-3b4a-4c5d-8e6f-9a0b1c2d3e4f", "gunicorn 23.0.0", "nginx/1.26.2", "2022年北京冬奥会在北京举行",
    "sk-learn", "task-queue", "docker run -p 8000:8000 gte", "mysql -p", "curl -u $USER https://h/", "ssh -p 22 host",
    "cannot load certificate key \"/etc/ssl/private/gte.key\": BIO_new_file() failed",
    "KeyError: 'password'", "ModuleNotFoundError: No module named 'tokenizers'", "Error: key=value expected",
    "token_service: http://127.0.0.1:9000", "no valid API key: send Authorization: Bearer <key>",
    "POST /predict HTTP/1.1", "12:34:56 [error] 7#7: *1 no live upstreams", "total_tokens: 12",
    "git@github.com:org/repo.git", "li@example.com", "mailto:li2024@example.com", "email:li@example.com",
    "邮箱:li@example.com", "ssh li@10.0.0.1 -p 22", "scp a.txt li@host:/srv", "rsync a li@h1:/a li@h2:/b",
    "at 12:30@x",
    "2026-11-22T09:00:00,li@example.com", "fe80::1@eth0", "forward-addr: 2606:4700:4700::1111@853#dns.example.com",
    "aa:bb:cc:dd:ee:ff@wlan0", "nginx:1.27-alpine@sha256:" + "9f86d081" * 8, "name:gte@1.service", "user@1000.service",
    "HTTP/gte.example.com@EXAMPLE.COM", "actions/checkout@v4", "li/repo2024@main", "celery@host1: ready",
    "https://git@github.com/org/repo", "https://li@bitbucket.org/li/repo.git", "postgresql://li@db/x",
    "http://host:8000/a@b", "http://[::1]:8000/", "redis://cache:6379/0", "contact: mailto:ops@example.com",
    "expect_key = score", "split_key='test'", "self._key = name", "dispatch_key == DispatchKey.Python", "salt = salt",
    "HMAC_SHA256: hashlib.sha256,", "generate_token(length=30)", "raw_env = []",
    'raw_env = ["SHOP_URL=VALUE", "B=VALUE"] in /c.py', "Sec-WebSocket-Key: present",
    "key_size=2048", "keySize: 2048", "key_exchange: X25519", "ssl_session_ticket_key /etc/nginx/ticket.key;",
    "proxy_cache_key $scheme$host$uri;", "sort_key: name", "foreign_key=user_id", "primary_key=True",
    "key_type: ecdsa",
    "public_key_file=/etc/ssl/a.pub", "partition_key: day", "monkey_patch=yes", "keyboard: us",
    "routing_key: gte.tasks",
    "hmac=sha256", "hmac-algorithm: sha512", "password_encryption: scram-sha-256", "password_hashers: argon2id",
    "salt-minion: started", "pin_memory=True", "pin: 18", "pinned: yes", "status code: 502", "exit code 137",
    "error_code=0x80070005", "postcode: 100000", "verification code: sent",
    "Enter pass phrase for /etc/ssl/private/gte.key:",
    "password (at least 8 characters) required", "password (root) is required", "the password for li1234x has expired",
    "password sha256 digest", "验证码错误", "验证码已发送", "验证码长度：6", "密码 错误", "密码（至少 8 位）",
    "密码 8 位以上", "请输入密 码",
    "安全验收通过", "ＧＴＥ服务已启动", "percent%20encoded%2Fpath", "\\u5317\\u4eac: \\u51ac\\u5965\\u4f1a",
    "100% of 5",
    "gunicorn -e", "grep -e name=value log", "prefix_code=3", "sed -e s=a=b= x", "env: prod", "--environment prod",
    "GET /ping/ HTTP/1.1",
    "https://www.healthchecks.io/docs/", "sqlplus /nolog", "sqlplus / as sysdba", "application/json@utf-8",
]  # fmt: skip
