"""`/openapi.json` and `/docs`: what APIFlask gathers from the routes, made exact, and a page that shows it.

The page is Swagger UI from a package beside this one: nothing of it comes from elsewhere.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, jsonify, request, send_from_directory
from werkzeug.exceptions import NotFound

from app.api import auth
from app.api.errors import ErrorBody
from app.api.idempotency import EVENT_ID_PATTERN, KEY, KEY_PATTERN, LAST_EVENT_ID
from app.api.training_schemas import EXAMPLE_ID, PREDICT_BODY

Schema = dict[str, Any]

DESCRIPTION = """\
GPT-2 chat over HTTP: `POST /chat` and the OpenAI API under `/v1`.

Every error has one shape, `{"error": {"message", "type", "param", "code", "request_id"}}`. An unknown or unsupported
field is refused by name, never ignored. To import this into Postman: Import, then the address of this document.
"""

TAGS = {
    "Chat": "One message in, one reply out.",
    "OpenAI": "What clients of the OpenAI API expect; base URL `/v1`.",
    "Conversations": "What was said, to be read and erased.",
    "Training": "A digit classifier, trained before your eyes.",
    "Health": "The state of the service.",
}

FORM = "application/x-www-form-urlencoded"

ERROR = {"$ref": "#/components/schemas/ErrorBody"}

BODY_ERRORS = {
    "400": "The body is malformed, or too long for the model",
    "413": "The body is larger than the service takes",
    "415": "The body's content type is not one that is read here",
    "503": "The service cannot take the request now; Retry-After says when to come back",
}

EVENT = {
    "type": "object",
    "description": "Server-sent events, each of this form. Comments between them keep the line open.",
    "required": ["data"],
    "properties": {
        "id": {
            "type": "string",
            "description": "What Last-Event-ID goes on after: in streams of `/train-demo`, and of replies under an "
            "Idempotency-Key.",
        },
        "event": {
            "type": "string",
            "description": "In streams of `/chat`: token, done or error; of `/train-demo`: started, batch, epoch, "
            "done, error or cancelled.",
        },
        "data": {"type": "string", "description": "A JSON object; under `/v1` the last is [DONE]."},
    },
}

STREAM_EXAMPLES = {
    "/chat": 'event: token\ndata: {"text":"Hello"}\n\nevent: done\ndata: {"reply":"Hello", …}\n\n',
    "/v1/chat/completions": 'data: {"choices":[{"index":0,"delta":{"content":"Hello"}, …}], …}\n\ndata: [DONE]\n\n',
    "/train-demo/{job_id}/events": 'id: 2\nevent: batch\ndata: {"epoch":1,"batch":1,"loss":2.4, …}\n\n'
    'id: 18752\nevent: done\ndata: {"id":"train_8d2f…","status":"done", …}\n\n',
    "/v1/completions": 'data: {"choices":[{"index":0,"text":" there", …}], …}\n\ndata: [DONE]\n\n',
}

BODIES = {"/train-demo/{job_id}/predict": PREDICT_BODY}

KEY_HEADER = {
    "name": KEY,
    "in": "header",
    "description": "Names this request, of the client's own choice, best a new UUID in quotes. Sent again, it gets the "
    "same reply and generates nothing: also from another process of the service, also while the first is still "
    "being answered, then with `Idempotent-Replayed: true`. A stream's events then have ids.",
    "example": '"8e03978e-40d5-43e8-bc93-6894a57f9324"',
    "schema": {"type": "string", "pattern": KEY_PATTERN},
}

RESUME_HEADER = {
    "name": LAST_EVENT_ID,
    "in": "header",
    "description": "With the same `Idempotency-Key` and the same `stream: true`: the id of the last event that was "
    "seen. The stream goes on after it.",
    "example": "3f1c09d2a4b85e6770c1d2e3-17",
    "schema": {"type": "string", "pattern": EVENT_ID_PATTERN},
}

HEADERS: dict[str, list[Schema]] = {
    "/chat": [KEY_HEADER, RESUME_HEADER],
    "/v1/chat/completions": [KEY_HEADER, RESUME_HEADER],
    "/v1/completions": [KEY_HEADER, RESUME_HEADER],
    "/train-demo/{job_id}/events": [
        {
            "name": LAST_EVENT_ID,
            "in": "header",
            "description": "The id of the last event that was seen: the stream goes on after it.",
            "example": 3751,
            "schema": {"type": "integer", "minimum": 0, "maximum": 10**12},
        }
    ],
}

KEYED_ERRORS = {
    "410": "What Last-Event-ID belongs to is not kept any more",
    "422": "The Idempotency-Key came with another request before",
}

PARAMETERS = {
    "job_id": ("The training job, as `POST /train-demo` named it.", EXAMPLE_ID),
    "image_format": ("png or svg.", "png"),
    "model": ("The model, as `/v1/models` names it.", "starter"),
    "conversation_id": ("The conversation, as a reply named it.", "conv_8d2f6c1e0b7a4953a1f0e2d4c6b8a793"),
}

blueprint = APIBlueprint("docs", __name__, enable_openapi=False)


def init_app(app: APIFlask) -> None:
    app.description = DESCRIPTION
    app.config["AUTO_SERVERS"] = False
    app.spec_processor(exact)
    app.register_blueprint(blueprint)


# -- the document --------------------------------------------------------------------------------------------


def exact(spec: Any) -> Any:
    """Put in what APIFlask does not know: our errors, and which answers can be streams."""
    used = {tag for _, _, operation in _operations(spec) for tag in operation.get("tags", ())}
    spec["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    schemas = spec["components"]["schemas"]
    schemas.pop("HTTPError", None)
    schemas.pop("ValidationError", None)
    error = ErrorBody.model_json_schema(ref_template="#/components/schemas/ErrorBody.{model}")
    schemas |= {f"ErrorBody.{name}": schema for name, schema in error.pop("$defs").items()}
    schemas["ErrorBody"] = error
    _document_access(spec)
    for schema in schemas.values():
        _drop_titles(schema)
    for path, method, operation in _operations(spec):
        operation.setdefault("operationId", _operation_id(method, path))
        if path in HEADERS:
            operation["parameters"] = operation.get("parameters", []) + HEADERS[path]
        for parameter in operation.get("parameters", ()):
            _parameter(parameter)
        if method == "post" and path in BODIES:
            operation["requestBody"] = BODIES[path]
        if "requestBody" in operation:
            _body(operation, schemas)
        _errors(path, operation)
        if path in STREAM_EXAMPLES:
            streamed = operation["responses"].setdefault("200", {"description": "The events"})
            streamed.setdefault("content", {})["text/event-stream"] = {
                "schema": EVENT,
                "example": STREAM_EXAMPLES[path],
            }
    return spec


def _document_access(spec: Schema) -> None:
    """Declare the keys and the limits, if there are any, and which operations they are for."""
    keys, limits = current_app.extensions["api_keys"], "limiter" in current_app.extensions
    if keys:
        spec["components"]["securitySchemes"] = {
            "ApiKey": {"type": "http", "scheme": "bearer", "description": "A key that the operator has given out."}
        }
    rules = current_app.url_map.iter_rules()
    endpoints = {re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule): rule.endpoint for rule in rules}
    for path, method, operation in _operations(spec):
        responses = operation["responses"]
        if method != "get":
            responses["403"] = {"description": "The page of a site that is not allowed sent it"}
        if auth.needs_key(endpoints[path], method.upper()):
            if keys:
                operation["security"] = [{"ApiKey": []}]
                responses["401"] = {"description": "There is no API key, or a wrong one"}
            if limits:
                responses["429"] = {"description": "Too many requests; Retry-After says when to come back"}


def _operations(spec: Schema) -> list[tuple[str, str, Schema]]:
    return [
        (path, method, operation)
        for path, item in spec["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
    ]


def _parameter(parameter: Schema) -> None:
    """Say what it is where readers look for it: Pydantic's words are in the schema."""
    if parameter["in"] == "path" and parameter["name"] in PARAMETERS:
        parameter["description"], parameter["example"] = PARAMETERS[parameter["name"]]
    elif "examples" in parameter["schema"]:
        schema = parameter["schema"]
        parameter["description"], (parameter["example"], *_) = schema.pop("description"), schema.pop("examples")
        _drop_titles(schema)


def _operation_id(method: str, path: str) -> str:
    words = path.translate(str.maketrans("/{}_-.", "      ")).split()
    return method + "".join(word.capitalize() for word in words)


def _body(operation: Schema, schemas: Schema) -> None:
    body: Schema = operation["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    reference = schema.get("$ref", "")
    name = reference.rpartition("/")[2]
    body["required"] = bool(schemas.get(name, schema).get("required"))
    if FORM in body["content"]:
        schemas[f"{name}.Form"] = _form(schemas[name])
        body["content"][FORM]["schema"] = {"$ref": f"{reference}.Form"}


def _form(schema: Schema) -> Schema:
    """The same fields as a form can have them: once each, as text, with no null and no list."""
    fields = {}
    for name, field in schema["properties"].items():
        kinds = field.get("anyOf", [])
        kinds = [kind for either in kinds for kind in either.get("oneOf", [either])]
        kept = [kind for kind in kinds if kind.get("type") not in ("null", "array")]
        field = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
        field["examples"] = [one[0] if isinstance(one, list) else one for one in field["examples"]]
        fields[name] = field | (kept[0] if kept else {})
    return schema | {"properties": fields}


def _errors(path: str, operation: Schema) -> None:
    responses: Schema = operation["responses"]
    if "requestBody" in operation:
        for status, description in BODY_ERRORS.items():
            responses.setdefault(status, {"description": description})
        if path.startswith("/v1/"):
            responses.pop("422", None)
            responses.setdefault("404", {"description": "There is no such model"})
    if KEY_HEADER in HEADERS.get(path, ()):
        for status, description in KEYED_ERRORS.items():
            responses.setdefault(status, {"description": description})
    for status, response in responses.items():
        if status[0] in "45":
            # `/health` shows the same state whether it is good or bad.
            same = path == "/health" and status == "503"
            schema = responses["200"]["content"]["application/json"]["schema"] if same else ERROR
            response["content"] = {"application/json": {"schema": schema}}
    operation["responses"] = dict(sorted(responses.items()))


def _drop_titles(schema: Any) -> None:
    """Pydantic's titles only repeat the names."""
    if isinstance(schema, list):
        for item in schema:
            _drop_titles(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        for item in schema.values():
            _drop_titles(item)


@blueprint.get("/openapi.json")
def document() -> Response:
    """The document for whoever asks: importers such as Postman's need the address under which they reached it."""
    spec = cast(Schema, cast(APIFlask, current_app).spec)
    return jsonify(spec | {"servers": [{"url": request.url_root.rstrip("/"), "description": "This service."}]})


# -- the page ------------------------------------------------------------------------------------------------

ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Troika: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

START = "SwaggerUIBundle({});\n".format(
    json.dumps({"url": "openapi.json", "dom_id": "#docs", "validatorUrl": None, "tryItOutEnabled": True})
)

POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
"""The browser itself sees to it that the page loads nothing from elsewhere. Swagger UI writes styles into its tags."""


@blueprint.get("/docs")
def docs() -> Response:
    return Response(PAGE, mimetype="text/html", headers={"Content-Security-Policy": POLICY})


@blueprint.get("/docs/start.js")
def start() -> Response:
    return Response(START, mimetype="text/javascript")


@blueprint.get("/docs/<name>")
def asset(name: str) -> Response:
    if name not in ASSETS:
        raise NotFound
    return send_from_directory(Path(str(files("flask_swagger_ui"))) / "dist", name, max_age=86_400)
