"""What a call raises."""


class GteError(Exception):
    """Any failure of a call. ``request_id`` identifies the request in the service's logs too."""

    def __init__(self, message: str, request_id: str) -> None:
        super().__init__(f"{message} (request {request_id})")
        self.request_id = request_id


class UnreachableError(GteError):
    """No answer: no connection, or one that broke."""


class TooSlowError(GteError):
    """A time-out expired, or the service gave up the prediction (504)."""


class BadAnswerError(GteError):
    """An answer that this service does not give: a page, a redirect, JSON of another form."""


class ApiError(GteError):
    """The service refused the request, or failed.

    ``status``: HTTP status code; ``code``: the service's (docs/api.md), empty if something in front of it answered;
    ``field``: the part of the request that is wrong, if one is; ``retry_after``: seconds, if the answer has it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code or 'error'}: {detail}", request_id)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after = retry_after


class BadRequestError(ApiError):
    """The request is wrong (400, 404, 405, 413, 415): repeating it does not help."""


class UnauthorizedError(ApiError):
    """The API key is missing, wrong or revoked (401, 403)."""


class UnavailableError(ApiError):
    """The service cannot serve it now (429, 502, 503), not even after the repetitions."""
