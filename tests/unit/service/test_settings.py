"""Settings from the environment: typed, bounded, and consistent with each other."""

from pathlib import Path

import pytest

from service.settings import SettingsError, read_server_settings, read_settings, unknown_names


def test_an_empty_environment_leaves_threads_for_health() -> None:
    settings = read_settings({})
    assert settings.model_dir is None
    assert settings.max_concurrent + settings.max_queue < settings.threads


@pytest.mark.parametrize("threads", range(1, 40))
def test_any_number_of_threads_has_places_and_keeps_one_free(threads: int) -> None:
    settings = read_settings({"GTE_THREADS": str(threads)})
    assert settings.max_concurrent >= 1
    assert threads == 1 or settings.max_concurrent + settings.max_queue < threads


def test_values_are_read() -> None:
    settings = read_settings(
        {"GTE_MODEL_DIR": "/m", "GTE_QUEUE_TIMEOUT": "0.5", "GTE_MAX_BATCH": " 3 ", "GTE_PROGRESS_DIR": "/p"}
    )
    assert (settings.model_dir, settings.queue_timeout, settings.max_batch) == (Path("/m"), 0.5, 3)
    assert settings.progress_dir == Path("/p")


def test_an_empty_value_is_an_unset_one() -> None:
    assert read_settings({"GTE_MAX_BATCH": "", "GTE_MODEL_DIR": ""}) == read_settings({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GTE_ENGINE", "torch"),
        ("GTE_MAX_BATCH", "0"),
        ("GTE_MAX_BATCH", "1.5"),
        ("GTE_MAX_BATCH", "1e3"),
        ("GTE_MAX_BATCH", "9" * 30),
        ("GTE_QUEUE_TIMEOUT", "soon"),
        ("GTE_QUEUE_TIMEOUT", "nan"),
        ("GTE_QUEUE_TIMEOUT", "inf"),
        ("GTE_QUEUE_TIMEOUT", "-1"),
        ("GTE_MAX_QUEUE", "32"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("GTE_WORKERS", "0"), ("GTE_WORKER_CLASS", "gevent"), ("GTE_LOG_LEVEL", "loud"), ("GTE_TIMEOUT", "-1")],
)
def test_the_same_for_gunicorns(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_server_settings({name: value})


def test_by_default_the_service_is_private_and_has_no_shared_control_socket() -> None:
    server = read_server_settings({})
    assert server.bind.startswith("127.0.0.1:")
    assert server.control_socket is None


def test_logs_can_be_turned_off() -> None:
    assert read_server_settings({"GTE_ACCESS_LOG": "off"}).access_log is None


def test_misspelt_names_are_found() -> None:
    known = dict.fromkeys(["GTE_WORKERS", "GTE_MODEL_DIR", "PATH"], "")
    assert unknown_names({**known, "GTE_THREDS": "1"}) == ["GTE_THREDS"]


@pytest.mark.parametrize(
    "bind",
    [
        *("127.0.0.1:8000", "[::1]:8000", "localhost:80", ":8000", "localhost", "0.0.0.0:0", "fd://3"),
        *(
            "unix:/run/gte-api/gunicorn.sock",
            "unix:@gte",
            "127.0.0.1:8000,unix:/run/a.sock",
            "127.0.0.1:8000, [::1]:8000",
        ),
    ],
)
def test_an_address_as_gunicorn_takes_it_is_kept(bind: str) -> None:
    assert read_server_settings({"GTE_BIND": bind}).bind == bind


@pytest.mark.parametrize(
    "bind",
    [
        "8000",
        "127.0.0.1:abc",
        "127.0.0.1:",
        "::1",
        "::1:8000",
        "a:65536",
        "http://a:80",
        "a b:1",
        "127.0.0.1:1,8000",
    ],
)
def test_an_address_that_is_none_is_refused_before_gunicorn_meets_it(bind: str) -> None:
    with pytest.raises(SettingsError, match=r"GTE_BIND=.*HOST:PORT"):
        read_server_settings({"GTE_BIND": bind})
