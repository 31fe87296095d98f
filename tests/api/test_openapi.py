"""`/openapi.json` and `/docs`: complete, valid, and true to what the service does."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.server import LiveServer

Schema = dict[str, Any]


@pytest.fixture
def document(http: httpx.Client) -> Schema:
    response = http.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    return dict(response.json())


def operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_document_is_openapi_3_1(document: Schema) -> None:
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


def test_document_names_the_address_it_was_reached_under(document: Schema, live_server: LiveServer) -> None:
    assert [server["url"] for server in document["servers"]] == [live_server.url]


def test_every_property_is_described_and_has_an_example(document: Schema) -> None:
    schemas = document["components"]["schemas"]
    assert len(schemas) > 20
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"
            assert described.get("examples") or "$ref" in json.dumps(described), f"{name}.{field}"


def test_every_operation_has_an_id_a_tag_and_a_summary_and_its_parameters_are_described(document: Schema) -> None:
    found = dict(operations(document))
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in found.items():
        assert operation["summary"], name
        assert set(operation["tags"]) <= tags, name
        assert all(p["description"] and p["example"] for p in operation.get("parameters", ())), name


def test_every_error_has_the_one_shape(document: Schema) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and (name, status) != ("GET /health", "503"):
                assert response["content"] == {
                    "application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
                }, name


def test_chat_takes_json_and_forms_and_its_streams_are_documented(document: Schema) -> None:
    body = document["paths"]["/chat"]["post"]["requestBody"]
    assert set(body["content"]) == {"application/json", "application/x-www-form-urlencoded"}
    form = document["components"]["schemas"]["ChatRequest.Form"]["properties"]
    assert all("anyOf" not in field for field in form.values())
    for path in ("/chat", "/v1/chat/completions", "/v1/completions"):
        content = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/event-stream"}


# -- the page ------------------------------------------------------------------------------------------------


def test_docs_page_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    references = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(references) == 4
    for reference in references:
        assert reference == "data:," or http.get(f"/{reference}").status_code == 200, reference
    assert http.get("/docs/start.js").text.startswith("SwaggerUIBundle(")
    assert not re.search(r"https?://", page.text + http.get("/docs/start.js").text)
    assert not re.search(r"""url\(["']?(?!["']?data:)|@import""", http.get("/docs/swagger-ui.css").text)


@pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "nothing.js"])
def test_docs_serve_nothing_else(http: httpx.Client, name: str) -> None:
    assert http.get(f"/docs/{name}").status_code == 404


# -- the service is as the document says ---------------------------------------------------------------------


def tamed(document: Schema, model: str) -> Schema:
    """The document for requests that mean something: of the model there is, for replies of a few tokens."""
    limits = {"type": "integer", "minimum": 1, "maximum": 4}
    few = dict.fromkeys(("max_tokens", "max_completion_tokens", "max_new_tokens", "n", "best_of"), limits)
    for name, schema in document["components"]["schemas"].items():
        properties = schema.get("properties", {})
        properties |= {field: limits for field in few if field in properties}
        if "Request" in name and "model" in properties:
            properties["model"] = {"const": model}
        if name.startswith("TrainingOptions"):  # runs of a moment
            properties |= {"epochs": {"const": 1}, "train_fraction": {"const": 0.001}, "dataset": {"const": "digits"}}
            schema["required"] = ["epochs", "train_fraction", "dataset"]
        schema["required"] = sorted(
            {*schema.get("required", ()), *({"max_tokens", "max_new_tokens"} & set(properties))}
        )
    return document


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_whatever_is_sent_the_answer_is_in_the_document(
    live_server: LiveServer, document: Schema, mode: GenerationMode
) -> None:
    """Requests made up from the document, right and wrong ones: no 5xx, and no answer outside its schema."""
    if mode is GenerationMode.POSITIVE:
        document = tamed(document, httpx.get(f"{live_server.url}/v1/models").json()["data"][0]["id"])
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=live_server.url, request_timeout=60)  # some wait for a whole training run
    answers: dict[str, Counter[int]] = {}
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            if mode is GenerationMode.NEGATIVE and not operation.body:
                continue  # no text is a wrong path
            counted = answers.setdefault(operation.label, Counter())
            _check_operation(operation, mode, session, counted)
    assert all(sum(counted.values()) > 10 for label, counted in answers.items() if label.startswith("POST")), answers
    if mode is GenerationMode.POSITIVE:
        # What a made-up id names isn't there; all else has answered, not only refused.
        assert all(counted[200] + counted[202] for label, counted in answers.items() if "{" not in label), answers


def _check_operation(operation: Any, mode: GenerationMode, session: requests.Session, counted: Counter[int]) -> None:
    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        # Some rules are beyond a schema: `top_logprobs` needs `logprobs`, a token has to be in the vocabulary.
        response = case.call_and_validate(session=session, excluded_checks=[positive_data_acceptance])
        counted[response.status_code] += 1

    check()
