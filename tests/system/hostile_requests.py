"""Requests that nobody should send, each with what may come back: the hostile set.

Each is bytes as they go over the wire. ``status``: what gunicorn and nginx may answer; 0: the connection may end
without an answer, as HTTP asks for where nothing is left to answer (another protocol, a broken frame).
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

OK = frozenset({200})
BAD = frozenset({400})
# The encoder may be asked for more than it can do in the time there is, or still be busy with what was asked before.
BUSY = frozenset({503, 504})
GOOD_OR_BAD = OK | BAD | BUSY
ENCODED = ("sentiment", "embedding")
TEXT = "2022年北京冬奥会在北京举行"


@dataclass(frozen=True)
class Hostile:
    """One request. ``seconds``: after which no answer counts as none."""

    name: str
    content: bytes
    status: frozenset[int]
    seconds: float = 5.0


def post(
    path: str, body: bytes, headers: bytes = b"Content-Type: application/json\r\n", method: bytes = b"POST"
) -> bytes:
    """A request with a body, on a connection that it closes."""
    return (
        method
        + b" "
        + path.encode()
        + b" HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n"
        + headers
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


def get(target: bytes, headers: bytes = b"", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    """A request without a body, on a connection that it closes."""
    return (
        method
        + b" "
        + target
        + b" "
        + version
        + b"\r\nHost: HOST\r\nConnection: close\r\n"
        + headers
        + b"\r\n"
    )


def body_of(task: str, text: object, **parameters: object) -> bytes:
    """The body of a prediction."""
    content = {"task_type": task, "input_text": text, "parameters": parameters}
    return json.dumps(content, ensure_ascii=False).encode()


NER = body_of("ner", TEXT)
CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n"
)


def in_chunks(*pieces: bytes, headers: bytes = b"") -> bytes:
    """A chunked request of these pieces, frames included."""
    return CHUNKED + headers + b"\r\n" + b"".join(pieces)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """A chunk."""
    return b"%x" % len(data) + extension + b"\r\n" + data + b"\r\n"


def bodies() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Bodies that are no JSON, or JSON that no reader should trip over."""
    yield "deep lists", b"[" * 100_000, BAD
    yield "deep objects", b'{"a":' * 50_000, BAD
    yield "deep lists that end", b"[" * 900 + b"]" * 900, BAD
    yield "deep parameters", b'{"task_type":"ner","input_text":"a","parameters":' + b'{"schema":' * 400, BAD
    deep = (
        b'{"task_type":"ner","input_text":"a","parameters":{"schema":' + b'{"a":' * 300 + b"null" + b"}" * 302
    )
    yield "deep schema that ends", deep, BAD
    yield "a huge number", b'{"task_type": 1e999}', BAD
    yield "a negative huge number", b'{"task_type": -1e999}', BAD
    yield "a number of many digits", b'{"task_type": ' + b"9" * 100_000 + b"}", BAD
    yield "a fraction of many digits", b'{"task_type": 0.' + b"9" * 100_000 + b"}", BAD
    yield "an exponent of many digits", b'{"task_type": 1e' + b"9" * 10_000 + b"}", BAD
    yield "NaN", b'{"task_type": NaN}', BAD
    yield "-Infinity", b'{"task_type": -Infinity}', BAD
    yield "equal keys", b'{"task_type":"ner","task_type":"qa","input_text":"a"}', BAD
    yield "equal keys, escaped", rb'{"task_type":"ner","\u0074ask_type":"qa","input_text":"a"}', BAD
    yield "equal keys inside", b'{"task_type":"ner","input_text":"a","parameters":{"a":1,"a":2}}', BAD
    yield "half a surrogate", rb'{"task_type":"ner","input_text":"\ud83d"}', BAD
    yield "surrogates in the wrong order", rb'{"task_type":"ner","input_text":"\ude00\ud83d"}', BAD
    yield "half a surrogate in a key", rb'{"task_type":"ner","input_text":"a","\udc00":1}', BAD
    yield "surrogates in UTF-8 (CESU-8)", b'{"task_type":"ner","input_text":"\xed\xa0\xbd\xed\xb8\x80"}', BAD
    yield "overlong UTF-8", b'{"task_type":"ner","input_text":"\xc0\xaf"}', BAD
    yield "UTF-8 beyond Unicode", b'{"task_type":"ner","input_text":"\xf4\x90\x80\x80"}', BAD
    yield "UTF-8 cut short", b'{"task_type":"ner","input_text":"\xe5\x8c', BAD
    yield "a byte order mark", b"\xef\xbb\xbf" + NER, OK
    yield "two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf" + NER, BAD
    yield "UTF-16 with its mark", NER.decode().encode("utf-16"), BAD
    yield "UTF-16 without a mark", NER.decode().encode("utf-16-be"), BAD
    yield "UTF-32", NER.decode().encode("utf-32"), BAD
    yield "GBK", NER.decode().encode("gbk"), BAD
    yield "GB 18030", NER.decode().encode("gb18030"), BAD
    yield "Big5", '{"task_type":"ner","input_text":"臺北"}'.encode("big5"), BAD
    yield "Latin-1", '{"task_type":"ner","input_text":"café"}'.encode("latin-1"), BAD
    yield "EBCDIC", '{"task_type":"ner"}'.encode("cp500"), BAD
    yield "gzip without saying so", bytes.fromhex("1f8b0800000000000003"), BAD
    yield "a NUL after the value", NER + b"\x00", BAD
    yield "NULs only", b"\x00" * 1000, BAD
    yield "a control character inside a string", b'{"task_type":"ner","input_text":"a\x1bb"}', BAD
    yield "C1 controls in a text", body_of("ner", "北京\x9b31m\x85上海"), OK
    yield "a NUL in a text", rb'{"task_type":"ner","input_text":"\u0000\u0000"}', GOOD_OR_BAD
    yield "a byte order mark as the text", body_of("ner", "\ufeff"), GOOD_OR_BAD
    yield "two values", NER + NER, BAD
    yield "a comment", b"/* a */" + NER, BAD
    yield "a comma too many", b'{"task_type":"ner","input_text":"a",}', BAD
    yield "a string at the top", b'"ner"', BAD
    yield "null", b"null", BAD
    yield "an empty key", b'{"":1,"task_type":"ner","input_text":"a"}', BAD
    yield (
        "a key of 100,000 characters",
        b'{"' + b"k" * 100_000 + b'":1,"task_type":"ner","input_text":"a"}',
        BAD,
    )
    yield "a key of controls", rb'{"\u009b31m\u0000\u2028":1,"task_type":"ner","input_text":"a"}', BAD
    yield "50,000 unknown keys", b"{" + b",".join(b'"%d":1' % n for n in range(50_000)) + b"}", BAD
    yield "a task of 100,000 characters", body_of("n" * 100_000, "a"), BAD
    yield "a task of controls", body_of("\x9b31m\r\n\u202e", "a"), BAD
    yield (
        "__proto__ as a parameter",
        b'{"task_type":"ner","input_text":"a","parameters":{"__proto__":{}}}',
        BAD,
    )
    yield "a task's name of another class", b'{"task_type":["ner"],"input_text":"a"}', BAD
    yield "true as the text", b'{"task_type":"ner","input_text":true}', BAD
    yield "an escape of every character", b'{"task_type":"ner","input_text":"' + rb"\u767e" * 1800 + b'"}', OK


def texts() -> Iterator[tuple[str, str, bytes, frozenset[int]]]:
    """Texts and parameters that cost, or once cost, more than their share: paths, bodies."""
    names = "、".join(a + b for a in "赵钱孙李周吴郑王" for b in "伟芳娜敏静")
    sentences = "。".join(f"第{number}个人是谁" for number in range(600))[:4900]
    units = ("百", "\U0001f600", "\u200b", "一", "a", "《", "第一届", "e\u0301", "，")
    for task in ("event", "relation", "ner", *ENCODED):
        for unit in units[:3] if task in ENCODED else units:
            length = 1800 if unit == "百" else 4800
            yield (
                f"{task}: {unit!a} x {length}",
                "/predict",
                body_of(task, (unit * length)[:4900]),
                GOOD_OR_BAD,
            )
    yield "qa: 40 names", "/predict", body_of("qa", names, question="谁来了？"), OK | BUSY
    yield "qa: 504 clauses", "/predict", body_of("qa", sentences, question="谁来了？"), OK | BUSY
    yield "qa: bars only", "/predict", body_of("qa", "|" * 4900), BAD
    yield (
        "qa: a question as long as the text",
        "/predict",
        body_of("qa", "谁" * 2400 + "|" + "谁" * 2400),
        GOOD_OR_BAD,
    )
    yield "a ligature of 18 characters (NFKC)", "/predict", body_of("embedding", "\ufdfa" * 4900), GOOD_OR_BAD
    yield "the same, to ner", "/predict", body_of("ner", "\ufdfa" * 4900), OK
    yield "Hangul that falls apart (NFD)", "/predict", body_of("embedding", "\uac01" * 4900), GOOD_OR_BAD
    yield (
        "one letter with 4,800 accents",
        "/predict",
        body_of("embedding", "a" + "\u0301" * 4800),
        GOOD_OR_BAD,
    )
    yield "4,800 accents in the wrong order", "/predict", body_of("ner", "\u0315\u0300\u05ae" * 1600), OK
    yield "joined people", "/predict", body_of("ner", "👨\u200d👩\u200d👧\u200d" * 600), OK
    yield "right to left overrides", "/predict", body_of("ner", "\u202e北京\u202c" * 1000), OK
    yield "noncharacters", "/predict", body_of("ner", "\ufffe\uffff\U0010ffff" * 1000), OK
    yield "private use", "/predict", body_of("relation", "\ue000\U000f0000" * 2000), OK
    yield "tags", "/predict", body_of("event", "\U000e0041" * 4000), OK
    yield "line separators", "/predict", body_of("sentiment", "好\u2028坏\u2029\x85" * 1000), OK | BUSY
    yield (
        "nothing to be read",
        "/v1/embeddings",
        b'{"input":["\xe2\x80\x8b","\xc2\xad","\xef\xb8\x8f"]}',
        GOOD_OR_BAD,
    )
    yield (
        "2,048 times nothing",
        "/v1/embeddings",
        json.dumps({"input": ["\u200b"] * 2048}).encode(),
        GOOD_OR_BAD,
    )
    yield "2,049 texts", "/v1/embeddings", json.dumps({"input": ["a"] * 2049}).encode(), BAD
    yield "no text", "/v1/embeddings", b'{"input":[]}', BAD
    yield "texts in lists in lists", "/v1/embeddings", b'{"input":[[["a"]]]}', BAD
    yield "300,000 empty lists", "/v1/embeddings", b'{"input":[' + b",".join([b"[]"] * 300_000) + b"]}", BAD
    yield "200,000 token numbers", "/v1/embeddings", b'{"input":[' + b",".join([b"1"] * 200_000) + b"]}", BAD
    for value in (b"0", b"-1", b"1e300", b"true", b'"384"', b"384.5", b"[]"):
        yield f"dimensions {value!r}", "/v1/embeddings", b'{"input":"a","dimensions":' + value + b"}", BAD
    for value in (b"0", b"-1", b"1.5", b'"2"', b"true", b"{}"):
        yield f"top_n {value!r}", "/v1/rerank", b'{"query":"a","documents":["b"],"top_n":' + value + b"}", BAD
    yield "top_n beyond all", "/v1/rerank", b'{"query":"a","documents":["b"],"top_n":1e18}', GOOD_OR_BAD
    yield (
        "both top_n and top_k",
        "/v1/rerank",
        b'{"query":"a","documents":["b"],"top_n":1,"top_k":2}',
        GOOD_OR_BAD,
    )
    yield "documents of nothing", "/v1/rerank", b'{"query":"a","documents":[{}]}', BAD
    yield "documents in a document", "/v1/rerank", b'{"query":"a","documents":[{"text":{"text":"b"}}]}', BAD
    yield "a query of blanks", "/v1/rerank", '{"query":"\u3000","documents":["b"]}'.encode(), BAD
    yield "2,049 documents", "/v1/rerank", json.dumps({"query": "a", "documents": ["b"] * 2049}).encode(), BAD
    labels = [f"第{number}类" for number in range(2000)]
    yield "2,000 labels", "/predict", body_of("classification", TEXT, labels=labels), GOOD_OR_BAD
    yield "equal labels", "/predict", body_of("classification", TEXT, labels=["a"] * 100), GOOD_OR_BAD
    yield (
        "a label of nothing",
        "/predict",
        body_of("classification", TEXT, labels=["\u200b", "a"]),
        GOOD_OR_BAD,
    )
    yield (
        "a label of controls",
        "/predict",
        body_of("classification", TEXT, labels=["\x9b31m", "\r\n"]),
        GOOD_OR_BAD,
    )
    yield (
        "a label as long as a text",
        "/predict",
        body_of("classification", TEXT, labels=["标" * 4900]),
        GOOD_OR_BAD,
    )
    yield "2,000 candidates", "/predict", body_of("similarity", TEXT, candidates=labels), GOOD_OR_BAD
    yield "a pattern as a schema", "/predict", body_of("ner", "a" * 4000, schema={"(a+)+$": None}), BAD
    yield "brackets as a schema", "/predict", body_of("ner", "a", schema={"(" * 64: None}), BAD
    yield (
        "1,000 names in a schema",
        "/predict",
        body_of("ner", "a", schema={f"n{n}": None for n in range(1000)}),
        BAD,
    )
    yield "a schema of lists", "/predict", body_of("relation", "a", schema={"人物": ["出生地"]}), BAD
    yield "an empty schema inside", "/predict", body_of("relation", "a", schema={"人物": {}}), BAD
    yield "a schema to sentiment", "/predict", body_of("sentiment", "a", schema={"人物": None}), BAD
    yield "truncate as a word", "/predict", body_of("ner", "a", truncate="yes"), BAD
    yield (
        "truncate 100,000 characters",
        "/predict",
        body_of("ner", "字" * 100_000, truncate=True),
        GOOD_OR_BAD,
    )
    choose = random.Random(17)
    mixed = "".join(
        chr(choose.choice((0x20, 0x4E00, 0x1F600, 0x300, 0x9B, 0x202E)) + choose.randrange(60))
        for _ in range(4500)
    )
    for task in ("ner", "relation", "event", "sentiment", "embedding"):
        yield f"{task}: characters at random", "/predict", body_of(task, mixed), OK | BUSY


def frames() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Requests whose frame is odd."""
    nothing = frozenset({0})
    refused = frozenset({0, 400, 403, 405, 408, 411, 413, 414, 415, 417, 421, 431, 494, 501, 505})
    lost = refused | {404}
    yield (
        "no length",
        b"POST /predict HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n",
        refused,
    )
    for value in (b"-1", b"+5", b"0x5", b"5, 5", b"1e1", b"5 5", b"\xb2", b"9" * 30, b""):
        content = (
            b"POST /predict HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: "
            + value
            + b"\r\n\r\n{}"
        )
        yield f"Content-Length: {value[:12]!r}", content, refused
    two = b"Content-Length: 5\r\nContent-Length: 6\r\n"
    yield "two lengths", b"POST /predict HTTP/1.1\r\nHost: HOST\r\n" + two + b"\r\n{}{}{}", refused
    yield (
        "length and chunks",
        in_chunks(chunk(NER), b"0\r\n\r\n", headers=b"Content-Length: 4\r\n"),
        refused | OK,
    )
    for name, value in (
        ("twice chunked", b"chunked, chunked"),
        ("another coding", b"gzip, chunked"),
        ("chunked is not last", b"chunked, identity"),
        ("a vertical tab", b"\x0bchunked"),
        ("an invented coding", b"xchunked"),
        ("quoted", b'"chunked"'),
    ):
        content = (
            b"POST /predict HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTransfer-Encoding: "
            + value
            + b"\r\n\r\n0\r\n\r\n"
        )
        yield f"Transfer-Encoding, {name}", content, refused
    yield (
        "chunks in HTTP/1.0",
        in_chunks(chunk(NER), b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        refused | OK,
    )
    for size in (b"-1", b"0x5", b"1_0", b"+5", b" 5", b"g", b"", b"f" * 40, b"5\xa0"):
        yield f"a chunk of {size[:8]!r}", in_chunks(size + b"\r\n{}{}{}\r\n0\r\n\r\n"), refused
    yield "a huge chunk that does not come", in_chunks(b"fffffff\r\n{"), frozenset({413})
    yield (
        "a huge body that does not come",
        CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 99999999999") + b"\r\n{",
        frozenset({413}),
    )
    yield (
        "a length with 30 zeros",
        post("/predict", NER).replace(b"Content-Length: ", b"Content-Length: " + b"0" * 30),
        OK | refused,
    )
    yield (
        "a coding around the chunks that do not come",
        in_chunks(b"5\r\n").replace(b": chunked", b": gzip, chunked"),
        refused,
    )
    yield "a chunk's end is missing", in_chunks(b"5\r\n{}{}{}0\r\n\r\n"), refused
    yield "chunks end with a line feed", in_chunks(b"2\n{}\n0\n\n"), refused
    yield (
        "a chunk's extension of 10,000 bytes",
        in_chunks(chunk(NER, b";" + b"a" * 10_000), b"0\r\n\r\n"),
        refused | OK,
    )
    yield (
        "a chunk's extension of controls",
        in_chunks(chunk(NER, b";\x9b31m=\x1b"), b"0\r\n\r\n"),
        refused | OK,
    )
    one_by_one = b"".join(chunk(NER[at : at + 1]) for at in range(len(NER)))
    yield "a chunk a byte", in_chunks(one_by_one, b"0\r\n\r\n"), OK
    yield "a trailer", in_chunks(chunk(NER), b"0\r\nContent-Length: 9\r\n\r\n"), refused | OK
    yield (
        "a trailer of 100,000 bytes",
        in_chunks(chunk(NER), b"0\r\nA: " + b"b" * 100_000 + b"\r\n\r\n"),
        refused | OK,
    )
    yield "chunks without an end", in_chunks(chunk(NER)), refused
    yield "another media type", post("/predict", NER, b"Content-Type: text/plain\r\n"), frozenset({415})
    yield (
        "UTF-16 as the charset",
        post("/predict", NER, b"Content-Type: application/json; charset=utf-16\r\n"),
        OK | {415},
    )
    yield (
        "a media type of controls",
        post("/predict", NER, b"Content-Type: application/json; a=\x9b31m\r\n"),
        refused | OK,
    )
    yield (
        "a media type of 8,000 bytes",
        post("/predict", NER, b"Content-Type: application/json; a=" + b"b" * 7900 + b"\r\n"),
        refused | OK,
    )
    yield (
        "two media types",
        post("/predict", NER, b"Content-Type: application/json\r\nContent-Type: text/plain\r\n"),
        refused | OK,
    )
    yield (
        "a compressed body",
        post("/predict", b"\x1f\x8b", b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n"),
        frozenset({415}),
    )
    yield (
        "a coding of controls",
        post("/predict", NER, b"Content-Type: application/json\r\nContent-Encoding: \x9b31m\r\n"),
        refused,
    )
    yield (
        "multipart",
        post("/predict", b"--a\r\n" * 1000, b"Content-Type: multipart/form-data; boundary=a\r\n"),
        frozenset({415}),
    )
    yield (
        "a form of 10,000 fields",
        post("/predict", b"a=b&" * 10_000, b"Content-Type: application/x-www-form-urlencoded\r\n"),
        frozenset({415}),
    )
    yield "no body where one is due", get(b"/predict", method=b"POST"), refused
    yield "a body where none is due", post("/health", b"x" * 1000, b"", method=b"GET"), refused | OK
    yield (
        "an expectation nobody knows",
        post("/predict", NER, b"Content-Type: application/json\r\nExpect: 200-maybe\r\n"),
        refused | OK,
    )
    for method in (
        b"TRACE",
        b"CONNECT",
        b"PATCH",
        b"post",
        b"P\xc3\x96ST",
        b"X" * 5000,
        b"G E T",
        b"\x1b[31m",
    ):
        yield f"method {method[:8]!r}", get(b"/predict", method=method), refused
    for target in (
        b"*",
        b"/predict\x9b31m",
        b"/\x00",
        b"/a b",
        b"/%",
        b"/%zz",
        b"predict",
        b"/\xff\xfe",
        b"http://[::1",
        b"/" + b"%2e%2e/" * 200,
    ):
        yield f"target {target[:12]!r}", get(target), lost
    for target in (
        b"/%00",
        b"/%0d%0aX:y",
        b"/%c2%9b31m",
        b"//predict",
        b"/predict;a=b",
        b"/static/%2e%2e/%2e%2e/etc/passwd",
        b"/static/..%5c..%5capp.py",
        b"/%F0%9F%98%80",
        b"/v1/%9b",
        b"/nothing?" + b"q" * 4000,
    ):
        yield f"target {target[:16]!r}", get(target), lost | frozenset({301, 308})
    yield "another's whole address", get(b"http://evil.example/health"), refused | OK | {404}
    yield "HTTP/0.9", b"GET /health\r\n\r\n", refused | OK
    for version in (b"HTTP/9.9", b"HTTP/1.9", b"HTTP/01.1", b"HTTP/1.1 ", b"http/1.1", b"ICY/1.0"):
        yield f"version {version!r}", get(b"/health", version=version), refused | OK
    yield "HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused
    yield "TLS where none is spoken", bytes.fromhex("16030100050100000100"), refused
    yield "SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", refused
    yield "a PROXY line", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get(b"/health"), refused
    yield "no host", b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", refused | OK
    yield "two hosts", get(b"/health", b"Host: evil.example\r\n"), refused
    yield "a folded header", get(b"/health", b"A: b\r\n c\r\n"), refused | OK
    yield "a header without a name", get(b"/health", b": b\r\n"), refused | OK
    yield "a blank before the colon", get(b"/health", b"A : b\r\n"), refused | OK
    yield "a header with a NUL", get(b"/health", b"A: b\x00c\r\n"), refused
    yield "a bare carriage return", get(b"/health", b"A: b\rX: y\r\n"), refused | OK
    yield "200 headers", get(b"/health", b"A: b\r\n" * 200), refused | OK
    yield "a header of 100,000 bytes", get(b"/health", b"A: " + b"b" * 100_000 + b"\r\n"), refused
    yield "1,000 cookies", get(b"/health", b"Cookie: " + b"a=b; " * 1000 + b"\r\n"), refused | OK
    yield (
        "a length with an underscore",
        post("/predict", NER, b"Content-Type: application/json\r\nContent_Length: 3\r\n"),
        refused | OK,
    )
    for header in (
        b"User-Agent",
        b"Referer",
        b"X-Request-ID",
        b"X-Forwarded-For",
        b"Authorization",
        b"Accept-Language",
        b"Origin",
    ):
        yield (
            f"controls in {header.decode()}",
            get(b"/nothing", header + b": a\x9b31m\xc2\x9b\x85b\r\n"),
            lost,
        )
        yield f"an escape in {header.decode()}", get(b"/nothing", header + b": a\x1b[31mb\r\n"), lost
    yield "100 addresses", get(b"/nothing", b"X-Forwarded-For: " + b"192.0.2.1, " * 100 + b"x\r\n"), lost
    yield (
        "an address with a zone",
        post("/predict", NER, b"Content-Type: application/json\r\nX-Forwarded-For: fe80::1%eth0\r\n"),
        OK,
    )
    yield (
        "an upgrade to HTTP/2",
        get(b"/health", b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
        refused | OK,
    )
    yield "a web socket", get(b"/predict", b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"), refused
    yield (
        "a range of a file",
        get(b"/static/app.js", b"Range: bytes=0-0,1-1,2-2,99999999999999999999-\r\n"),
        lost | {200, 206, 416},
    )
    yield (
        "a date that is none",
        get(b"/static/app.js", b"If-Modified-Since: Thu, 99 Foo 99999 25:61:61 GMT\r\n"),
        lost | OK,
    )
    yield "Accept of 8,000 bytes", get(b"/nothing", b"Accept: " + b"a/b;q=0.1," * 790 + b"\r\n"), lost
    yield (
        "languages without end",
        get(b"/", b"Accept-Language: " + b"zh;q=0.1," * 800 + b"\r\n"),
        refused | OK,
    )
    hundred = get(b"/nothing").replace(b"Connection: close\r\n", b"") * 100
    yield "100 requests in one piece", hundred + get(b"/nothing"), lost
    yield (
        "a second request in the body's place",
        post("/predict", b"").replace(b"Length: 0", b"Length: 0") + get(b"/nothing"),
        refused,
    )
    yield "nothing but line ends", b"\r\n" * 1000, refused | nothing
    yield "random bytes", random.Random(17).randbytes(5000) + b"\r\n\r\n", refused


def hostile() -> list[Hostile]:
    """The whole set."""
    return [
        *(Hostile(f"body: {name}", post("/predict", body), status) for name, body, status in bodies()),
        *(
            Hostile(f"body to /v1: {name}", post("/v1/embeddings", body), BAD)
            for name, body, _ in bodies()
            if len(body) < 2000
        ),
        *(Hostile(f"text: {name}", post(path, body), status, 20.0) for name, path, body, status in texts()),
        *(Hostile(f"frame: {name}", content, status) for name, content, status in frames()),
    ]
