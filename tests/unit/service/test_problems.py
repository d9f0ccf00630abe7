"""Problem details, OpenAI's error object, request ids."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from service.http.problems import CODES, Problem, from_http_status
from service.http.request_id import choose


@pytest.mark.parametrize("code", CODES)
def test_every_code_makes_a_complete_problem(code: str) -> None:
    details = Problem(code, "what is wrong").details("r1")
    assert details["status"] == CODES[code][0]
    assert details["type"].endswith(f"#{code}")
    assert details["title"]
    assert (details["detail"], details["code"], details["request_id"]) == ("what is wrong", code, "r1")


def test_the_codes_of_the_contract_are_there() -> None:
    assert CODES.keys() >= {
        "bad_json", "bad_request", "unknown_task", "text_too_long", "batch_too_large", "payload_too_large",
        "unsupported_media_type", "model_unavailable", "overloaded", "timeout", "unauthorized", "internal",
    }  # fmt: skip


def test_only_openais_paths_get_openais_object() -> None:
    problem = Problem("bad_request", "no", field="input")
    assert problem.body("/v1/embeddings", "r")[1] == "application/json"
    assert json.loads(problem.body("/v1/embeddings", "r")[0])["error"]["param"] == "input"
    assert problem.body("/v1", "r")[1] == "application/problem+json"


def test_headers_of_the_error_itself() -> None:
    assert Problem("overloaded", "", retry_after=3).headers() == {"Retry-After": "3"}
    assert Problem("method_not_allowed", "", allow="GET, HEAD").headers() == {"Allow": "GET, HEAD"}


@pytest.mark.parametrize("status", [400, 401, 404, 405, 408, 413, 415, 417, 431, 500, 501, 505])
def test_a_framework_error_keeps_its_status(status: int) -> None:
    problem = from_http_status(status, "detail")
    assert problem.status == problem.details("r")["status"] == status


def test_a_detail_that_quotes_half_a_surrogate_pair_does_not_fail_the_answer() -> None:
    body, _ = Problem("bad_request", "\ud800").body("/predict", "r")
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize("offered", ["a", "A-1.b_c", "0" * 64])
def test_a_well_formed_request_id_is_kept(offered: str) -> None:
    assert choose(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "0" * 65, "a b", "a\n", "\n", ".a", "é", "a;b", "１"])
def test_another_is_replaced_by_a_new_one(offered: str | None) -> None:
    made = choose(offered)
    assert made != offered
    assert len(made) == 32
    assert choose(offered) != made


def test_no_control_character_is_raw_in_an_answer() -> None:
    body, _ = Problem("bad_request", "a\x1b[31m\x7f\x9b31m引").body("/predict", "x")
    assert json.loads(body)["detail"] == "a\x1b[31m\x7f\x9b31m引"
    assert "引" in body.decode()
    assert not [character for character in body.decode() if ord(character) in (0x1B, 0x7F, 0x9B)]


def test_no_identifier_is_given_twice_not_even_by_another_worker() -> None:
    given = [choose(None) for _ in range(300)]
    with ProcessPoolExecutor(1, get_context("fork")) as worker:
        given += worker.map(choose, [None] * 300)
    given += [choose(None) for _ in range(300)]
    assert len(set(given)) == 900
