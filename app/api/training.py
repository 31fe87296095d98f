"""`/train-demo`: a digit classifier, trained before your eyes, that reads the digit you draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

from apiflask import APIBlueprint
from flask import Response, current_app, request, stream_with_context
from pydantic import ValidationError

from app.api import sse
from app.api.errors import field_error, first_wrong_field, training_failed
from app.api.request_log import RequestRecord
from app.api.requests import ClientGone, conversation_owner, current_record
from app.api.training_schemas import (
    ComparisonQuery,
    Drawing,
    Job,
    JobPage,
    ListQuery,
    Reading,
    StartQuery,
    job_out,
)
from app.jobs.book import JobBook
from app.jobs.events import final_id
from app.jobs.records import JobRecord
from app.jobs.runner import TrainingJobs
from app.training.images import ImageError, normalize, read_array, read_image
from app.training.options import TrainingOptions

blueprint = APIBlueprint("training", __name__, url_prefix="/train-demo", tag="Training")


def answers_job(description: str) -> Any:
    """For `doc`: an answer that is a job too, beside the one that `output` names."""
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
    }


HEARTBEAT_S = 5.0
WAIT_S = 1.0  # between two looks at whether a client that waits is still there
MAX_COMPARED = 8
ANY_IMAGE_FORMAT = "<any(png, svg):image_format>"


def jobs() -> TrainingJobs:
    return cast(TrainingJobs, current_app.extensions["training"])


@blueprint.post("")
@blueprint.input(TrainingOptions, location="json_or_form", arg_name="options")
@blueprint.input(StartQuery, location="query", arg_name="query")
@blueprint.output(Job, status_code=202)
@blueprint.doc(
    summary="Train a digit classifier",
    responses={
        200: answers_job("With `wait`: the job, which has ended"),
        422: "An option is wrong",
        429: "Too many jobs wait",
    },
)
def start(options: TrainingOptions, query: StartQuery) -> Any:
    if request.is_json and not isinstance(request.get_json(), dict):
        raise field_error(None, "it must be a JSON object")
    if options.workers > jobs().max_workers:
        raise field_error("workers", f"{options.workers} are asked for; this service allows {jobs().max_workers}")
    owner = conversation_owner()
    if not query.wait:
        record = jobs().submit(options, owner)
        return _job(record, 202)
    with jobs().book.listening():
        record = jobs().submit(options, owner)
        is_gone = ClientGone()
        while record.is_live and not is_gone():
            record = jobs().book.wait(record.id, owner, WAIT_S)
    return _job(record, 200)


@blueprint.get("")
@blueprint.input(ListQuery, location="query", arg_name="query")
@blueprint.output(JobPage)
@blueprint.doc(summary="List training jobs", responses={404: "There is no job `before`", 503: "Try later"})
def list_jobs(query: ListQuery) -> JobPage:
    found = jobs().book.page(conversation_owner(), query.limit + 1, query.before)
    page = [job_out(record) for record in found[: query.limit]]
    more = len(found) > query.limit
    following = f"{request.path}?limit={query.limit}&before={page[-1].id}" if more else None
    return JobPage(jobs=page, next=following)


@blueprint.get("/<job_id>")
@blueprint.output(Job)
@blueprint.doc(summary="Read a training job", responses={404: "There is none", 503: "Try later"})
def read(job_id: str) -> Job:
    return job_out(jobs().book.get(job_id, conversation_owner()))


@blueprint.delete("/<job_id>")
@blueprint.output(Job)
@blueprint.doc(
    summary="Cancel a training job, or delete one that has ended",
    description="A job that waits or runs is cancelled: the answer is the job, which has ended (202: not quite yet). "
    "One that has ended is deleted with its weights: the answer is empty.",
    responses={
        202: answers_job("It will be cancelled in a moment"),
        204: "It had ended and was deleted",
        404: "There is none",
        503: "Try later",
    },
)
def cancel(job_id: str) -> Any:
    owner = conversation_owner()
    if not jobs().book.get(job_id, owner).is_live:
        jobs().delete(job_id, owner)
        return Response(status=204)
    record = jobs().cancel(job_id, owner)
    return _job(record, 202 if record.is_live else 200)


def _job(record: JobRecord, status: int) -> Any:
    job = job_out(record)
    return job, status, {"Location": job.links.self}


# -- what happens in it --------------------------------------------------------------------------------------


@blueprint.get("/<job_id>/events")
@blueprint.doc(
    summary="Follow a training job",
    description="Server-sent events: `started`, `batch` (about ten a second), `epoch`, then exactly one `done` or "
    "`cancelled` (data: the job) or `error`. Each has an id; `Last-Event-ID` goes on after it. The same for a job that "
    "has ended; who has seen its end gets 204, upon which an EventSource asks no more.",
    responses={
        204: "There are no more events",
        404: "There is no such job",
        422: "Last-Event-ID is no number",
        503: "Too many requests follow jobs",
    },
)
def events(job_id: str) -> Response:
    owner = conversation_owner()
    last = _last_event_id()
    record = jobs().book.get(job_id, owner)
    if not record.is_live and last >= final_id(record):
        return Response(status=204)
    listening = jobs().book.listening()
    listening.__enter__()
    response = sse.response(stream_with_context(_events(jobs().book, job_id, owner, last, current_record())))
    response.call_on_close(lambda: listening.__exit__(None, None, None))  # also if the client leaves at once
    return response


def _last_event_id() -> int:
    given = request.headers.get("Last-Event-ID", "").strip() or "0"
    if not (given.isascii() and given.isdecimal() and len(given) < 16):
        raise field_error("Last-Event-ID", f"it must be the id of an event, a number, not {given[:40]!r}")
    return int(given)


def _events(book: JobBook, job_id: str, owner: str, last: int, record: RequestRecord) -> Iterator[str]:
    try:
        yield sse.HEARTBEAT  # the client is to see at once that it is connected, also while the job waits
        for each in book.follow(job_id, owner, last, HEARTBEAT_S):
            if each is None:
                yield sse.HEARTBEAT
                continue
            event, job = each
            data: Any = event.data
            if event.name == "error" and job.error:
                data = record.error_body(training_failed(job.error))
            elif event.is_final:
                data = job_out(job).model_dump(mode="json")
            yield sse.event(event.name, data, event.id)
    except Exception as error:
        yield sse.event("error", record.error_body(error))


# -- its classifier ------------------------------------------------------------------------------------------


@blueprint.post("/<job_id>/predict")
@blueprint.output(Reading)
@blueprint.doc(
    summary="Read a drawn digit with the trained classifier",
    responses={
        404: "There is no such job",
        409: "It has no classifier",
        410: "Its weights are not kept any more",
        422: "The image can't be used",
    },
)
def predict(job_id: str) -> Reading:
    predictor = jobs().predictor(job_id, conversation_owner())
    try:
        image = normalize(read_image(_upload()) if not request.is_json else read_array(_drawing()))
    except ImageError as error:
        raise field_error("image", str(error)) from error
    prediction = predictor.predict(image)
    return Reading(digit=prediction.digit, probabilities=prediction.probabilities)


def _drawing() -> list[list[float]]:
    try:
        return Drawing.model_validate(request.get_json()).image
    except ValidationError as error:
        raise first_wrong_field(error) from error


def _upload() -> bytes:
    if request.form:
        raise field_error(next(iter(request.form)), "there is no such field; send `image` as a file")
    files = list(request.files.items(multi=True))
    if [name for name, _ in files] != ["image"]:
        raise field_error("image", 'send one picture as a file, or JSON {"image": 28 rows of 28 numbers}')
    content: bytes = files[0][1].read()
    return content


# -- its pictures --------------------------------------------------------------------------------------------

PICTURE = {"schema": {"type": "string", "format": "binary"}}
PICTURES: Any = {"description": "The picture", "content": {"image/png": PICTURE, "image/svg+xml": PICTURE}}


@blueprint.get(f"/<job_id>/plot.{ANY_IMAGE_FORMAT}")
@blueprint.doc(
    summary="Plot loss, accuracy and confusion matrix",
    responses={200: PICTURES, 404: "There is none", 503: "Try later"},
)
def plot(job_id: str, image_format: Literal["png", "svg"]) -> Response:
    from app.training import plots  # matplotlib takes a second and much memory: only for whoever asks for a plot

    record = jobs().book.get(job_id, conversation_owner())
    matrix = record.result["confusion_matrix"] if record.result else None
    return _picture(plots.plot_run(record.history, matrix, title=_title(record), format=image_format), image_format)


@blueprint.get(f"/plot.{ANY_IMAGE_FORMAT}")
@blueprint.input(ComparisonQuery, location="query", arg_name="query")
@blueprint.doc(summary="Plot several jobs together", responses={200: PICTURES, 404: "There is none", 503: "Try later"})
def compare(image_format: Literal["png", "svg"], query: ComparisonQuery) -> Response:
    from app.training import plots

    ids = list(dict.fromkeys(name.strip() for name in query.ids.split(",")))
    if len(ids) > MAX_COMPARED:
        raise field_error("ids", f"it names {len(ids)} jobs; at most {MAX_COMPARED} are compared")
    records = [jobs().book.get(job_id, conversation_owner()) for job_id in ids]
    runs = {f"{number} · {_title(record)}": record.history for number, record in enumerate(records, 1)}
    return _picture(plots.plot_comparison(runs, format=image_format), image_format)


SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""An SVG is a document to a browser: it may be styled, and hold pictures, but no scripts."""


def _picture(content: bytes, image_format: str) -> Response:
    if image_format == "png":
        return Response(content, mimetype="image/png")
    return Response(content, mimetype="image/svg+xml", headers={"Content-Security-Policy": SVG_POLICY})


def _title(record: JobRecord) -> str:
    dataset = record.started["dataset"]["name"] if record.started else record.options["dataset"]
    accuracy = f", {record.result['test_accuracy']:.2%}" if record.result else f", {record.status}"
    return f"{dataset}, seed {record.options['seed']}{accuracy}"
