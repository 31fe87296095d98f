"""Every error as one shape, and the only place that knows status codes.

`{"error": {"message", "type", "param", "code", "request_id"}}`, the types and codes in the OpenAI API's words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, g, jsonify, request
from flask_limiter import RateLimitExceeded
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from app.chat.context import ContextOverflow
from app.chat.memory import ConversationBusyError, ConversationNotFoundError
from app.chat.prompt import TemplateError
from app.engine.client import (
    EngineBusyError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineTimeoutError,
    EngineUnavailableError,
    OwnerBusyError,
    PromptTooLongError,
    UnknownTokenError,
)
from app.idempotency.records import KeyReusedError, StreamGoneError
from app.idempotency.replies import RepliesClosedError
from app.incoming import Fault
from app.jobs.book import TooManyListenersError
from app.jobs.records import JobError, JobNotFoundError
from app.jobs.runner import NotTrainedError, QueueFullError
from app.jobs.weights import WeightsGoneError
from app.storage.database import DatabaseUnavailableError

log = logging.getLogger(__name__)

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ErrorDetail(BaseModel):
    message: str = Field(
        description="What was wrong, with which value, and what to do.",
        examples=["temperature: Input should be less than or equal to 10."],
    )
    type: str = Field(description="The kind of error.", examples=["invalid_request_error"])
    param: str | None = Field(description="The field at fault.", examples=["temperature"])
    code: str | None = Field(description="The error for programs.", examples=["invalid_value"])
    request_id: str = Field(
        description="Names this request in the log; also in the header X-Request-ID.", examples=["req-4f1d2c"]
    )


class ErrorBody(BaseModel):
    """The answer to any request that failed."""

    error: ErrorDetail = Field(description="What went wrong.")


class ApiError(Exception):
    """An error on its way to the client."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        detail = ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code, request_id=request_id)
        return ErrorBody(error=detail).model_dump()


class UnsupportedMediaTypeError(ApiError):
    def __init__(self, mimetype: str) -> None:
        super().__init__(
            415,
            f"The body's content type is {mimetype or 'missing'}; send application/json or a form.",
            code="unsupported_media_type",
        )


class NoApiKeyError(ApiError):
    def __init__(self) -> None:
        super().__init__(
            401,
            "This service needs an API key: send it in the header `Authorization: Bearer KEY`.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": 'Bearer realm="troika"'},
        )


class WrongApiKeyError(ApiError):
    def __init__(self) -> None:
        super().__init__(
            401,
            "The API key is none of this service's.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": 'Bearer realm="troika", error="invalid_token"'},
        )


class CrossSiteError(ApiError):
    def __init__(self, origin: str) -> None:
        super().__init__(
            403,
            f"Pages of {origin or 'another site'} may not send this; the operator can allow it: TROIKA_CORS_ORIGINS.",
            code="cross_site",
        )


class TooManyAtOnceError(ApiError):
    def __init__(self, count: int, retry_after_s: int) -> None:
        super().__init__(
            429,
            f"Too many requests at once: {count} of yours are being answered.",
            code="too_many_at_once",
            headers={"Retry-After": str(retry_after_s)},
        )


class OverloadedError(ApiError):
    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            503,
            "The service is answering as many requests as it can.",
            code="overloaded",
            headers={"Retry-After": str(retry_after_s)},
        )


class UnreadableRequestError(ApiError):
    """A request whose end can't be found, or is too far away."""

    def __init__(self, fault: Fault) -> None:
        match fault:
            case "head too long":
                super().__init__(431, "The headers are larger than the service takes.", code="headers_too_large")
            case "body too long":
                super().__init__(413, "The body is larger than the service takes.", code="too_large")
            case "unknown coding":
                message = "The only Transfer-Encoding that is read here is chunked."
                super().__init__(501, message, code="unsupported_transfer_coding")
            case "no length":
                message = "How long the body is can't be told from Content-Length, or from its chunks."
                super().__init__(400, message, code="malformed")


class SlowRequestError(ApiError):
    def __init__(self, seconds: float) -> None:
        super().__init__(408, f"The request did not come within {seconds:g} seconds.", code="request_timeout")


class ServiceNotReadyError(ApiError):
    """`code` is loading, stalled, crashed, refused or draining."""

    def __init__(self, reason: str, code: str) -> None:
        message = f"The service is not ready: {reason.rstrip('.')}."
        super().__init__(503, message, code=code, headers={"Retry-After": "2"})


class DrainingError(ApiError):
    def __init__(self) -> None:
        super().__init__(503, "The service is shutting down.", code="draining", headers={"Retry-After": "5"})


def context_overflow(error: ContextOverflow, field: str) -> ApiError:
    """What does not fit is the client's to shorten; `field` is what its dialect calls it."""
    message = f"{str(error)[:1].upper()}{str(error)[1:]}."
    return ApiError(400, message, code="context_length_exceeded", param=field)


def field_error(field: str | None, message: str) -> ApiError:
    """A field (None: the body as a whole) that is wrong in a way no schema tells."""
    return ApiError(422, f"{field or 'body'}: {message}.", code="invalid_value", param=field)


def training_failed(error: JobError) -> ApiError:
    """Why a training job came to nothing, in the shape that all errors have."""
    return ApiError(500, error.message, code=f"training_{error.code}")


def from_exception(error: Exception) -> ApiError:
    """The client's view of any exception; what is not the client's business goes to the log alone."""
    match error:
        case ApiError():
            return error
        case ContextOverflow():
            return context_overflow(error, error.field)
        case TemplateError():
            return ApiError(400, f"{error}.", code="template_error", param="messages")
        case PromptTooLongError():
            return ApiError(400, str(error), code="context_length_exceeded", param="input")
        case UnknownTokenError():
            return ApiError(400, str(error), code="unknown_token")
        case ConversationNotFoundError():
            return ApiError(404, str(error), code="conversation_not_found", param="conversation_id")
        case ConversationBusyError():
            return ApiError(409, str(error), code="conversation_busy", param="conversation_id")
        case JobNotFoundError():
            return ApiError(404, str(error), code="job_not_found", param="job_id")
        case NotTrainedError():
            return ApiError(409, str(error), code="not_trained", param="job_id")
        case WeightsGoneError():
            return ApiError(410, str(error), code="weights_gone", param="job_id")
        case QueueFullError(retry_after_s=seconds):
            return ApiError(429, str(error), code="queue_full", headers={"Retry-After": str(seconds)})
        case TooManyListenersError():
            return ApiError(503, str(error), code="too_many_listeners", headers={"Retry-After": "5"})
        case KeyReusedError():
            return ApiError(422, str(error), code="idempotency_key_reused", param="Idempotency-Key")
        case StreamGoneError():
            return ApiError(410, str(error), code="stream_gone", param="Last-Event-ID")
        case RepliesClosedError():
            return ApiError(503, str(error), code="draining", headers={"Retry-After": "5"})
        case DatabaseUnavailableError():
            return ApiError(503, str(error), code="database_unavailable", headers={"Retry-After": "5"})
        case OwnerBusyError(retry_after_s=seconds):
            return ApiError(429, str(error), code="too_many_at_once", headers={"Retry-After": str(seconds)})
        case EngineBusyError(retry_after_s=seconds):
            return ApiError(503, str(error), code="queue_full", headers={"Retry-After": str(seconds)})
        case EngineClosedError():
            return ApiError(503, str(error), code="draining", headers={"Retry-After": "5"})
        case EngineUnavailableError():
            return ApiError(503, str(error), code="engine_unavailable", headers={"Retry-After": "5"})
        case EngineTimeoutError():
            return ApiError(503, str(error), code="timeout", headers={"Retry-After": "5"})
        case EngineCrashedError() | EngineError():
            return ApiError(500, str(error), code="engine_error")
        case HTTPException():
            return _from_werkzeug(error)
        case LimitRequestLine():
            return ApiError(414, f"The request line is too long: {error}.", code="uri_too_long")
        case LimitRequestHeaders():
            return ApiError(431, f"The request's headers are too large: {error}.", code="headers_too_large")
        case UnsupportedTransferCoding():
            return ApiError(501, f"{error}.", code="unsupported_transfer_coding")
        case ExpectationFailed():
            return ApiError(417, f"{error}.", code="expectation_failed")
        case NoMoreData():
            return ApiError(400, "The request ended before its body did.", code="malformed")
        case ParseException() if not isinstance(error, InvalidResponseHeader | InvalidResponseHeaderName):
            return ApiError(400, f"This is not valid HTTP: {error}.", code="malformed")
        case _:
            log.error("request failed", exc_info=error)
            return ApiError(500, "Something went wrong inside the service; its log says what.", code="internal_error")


NO_FIELD = re.compile(r"\.(?:\([a-z ]+\)|\[key\])")
"""What is no field in pydantic's path to one: the tag of a branch (see `schemas.text_or_list`), the key of an entry."""

MESSAGES = {"Field required": "this field is required", "Extra inputs are not permitted": "there is no such field"}


def _from_validation(error: HTTPError) -> ApiError:
    """A body that cannot be read, or does not fit its schema; `detail` is {location: {field: [message]}}."""
    fields = next(iter(error.detail.values())) if isinstance(error.detail, dict) and error.detail else {}
    field, messages = next(iter(fields.items()), ("_schema", [str(error.message)]))
    name = None if field == "_schema" else NO_FIELD.sub("", field)
    message = _in_our_words(messages[0])
    # The OpenAI API answers 400 where the rest of this one, like most, answers 422.
    status = 400 if request.path.startswith("/v1/") else error.status_code
    return ApiError(status, f"{name or 'body'}: {message}.", code="invalid_value", param=name)


def first_wrong_field(error: ValidationError) -> ApiError:
    """The same for a body that is read without APIFlask."""
    problem = error.errors(include_url=False)[0]
    return field_error(".".join(str(part) for part in problem["loc"]) or None, _in_our_words(problem["msg"]))


def _in_our_words(message: str) -> str:
    return MESSAGES.get(message, message.removeprefix("Value error, "))


def _from_werkzeug(error: HTTPException) -> ApiError:
    """What Flask and werkzeug raise before a view runs, or while it reads the body."""
    match error:
        case NotFound():
            return ApiError(404, f"There is nothing at {request.path}.", code="not_found")
        case MethodNotAllowed(valid_methods=methods):
            allowed = ", ".join(sorted(methods or ()))
            message = f"{request.method} is not allowed at {request.path}; {allowed} is."
            return ApiError(405, message, code="method_not_allowed", headers={"Allow": allowed})
        case RequestEntityTooLarge():
            return _too_large()
        case RateLimitExceeded(description=limit):
            # When to come back is for `rate_limits` to say.
            return ApiError(429, f"Too many requests: {limit} are allowed.", code="rate_limit_exceeded")
        case BadRequest() if request.is_json:
            return ApiError(400, "The body is not valid JSON.", code="malformed")
        case _:
            status = error.code or 500
            return ApiError(status, error.description or error.name, code=error.name.lower().replace(" ", "_"))


def _too_large() -> ApiError:
    limit = (request.max_content_length or 0) >> 10
    return ApiError(413, f"The body is larger than the {limit} KiB allowed.", code="too_large")


def init_app(app: APIFlask) -> None:
    def respond(error: ApiError) -> Response:
        g.record.error = error.code
        response = jsonify(error.body(g.record.id))
        response.status_code = error.status
        response.headers.update(error.headers)
        return response

    @app.errorhandler(Exception)
    def on_exception(error: Exception) -> Response:
        return respond(from_exception(error))

    def on_validation_error(error: HTTPError) -> Response:
        return respond(_from_validation(error))

    # Not through APIFlask's decorator: that would take werkzeug's errors as well, without their words.
    app.error_callback = on_validation_error
