"""The OpenAPI document: valid, and its examples are requests that really score."""

import json

import jsonschema
import pytest
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

import harness
from harness import Handler
from test_formats import table_model
from test_triton_client import calculator, halves, shouting

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PREFIX = "/api/score"


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    root = tmp_path_factory.mktemp("openapi")
    harness.save(root, "mnist", harness.ROOT / "models/mnist/model.onnx")
    harness.save(root, "digit", harness.ROOT / "models/mnist/model.onnx", 'outputs = ["label"]\n')
    harness.save(root, "calculator", calculator())
    harness.save(root, "halves", halves())
    harness.save(root, "shouting", shouting())
    harness.save(root, "table", table_model())
    for name in harness.TYPES:
        harness.save(root, f"matrix_{name}", harness.identity(name, ["a", "b"]))
    harness.save(root, "scalar", harness.identity("INT64", []))
    with Handler(root) as running:
        yield running


@pytest.fixture(scope="module")
def document(handler):
    answer = handler.get("/openapi.json")
    if answer.status == 404:
        pytest.skip("GET /api/score/openapi.json is not served by this build")
    return answer.ok().json


def test_the_document_is_valid(document, say):
    try:
        validate(document)
    except OpenAPIValidationError as error:
        pytest.fail(f"{error.message} at {list(error.absolute_path)}")
    say(f"OpenAPI {document['openapi']} with {len(document['paths'])} paths")


def resolved(document, part):
    while isinstance(part, dict) and "$ref" in part:
        target = document
        for key in part["$ref"].removeprefix("#/").split("/"):
            target = target[key.replace("~1", "/").replace("~0", "~")]
        part = target
    return part


def examples_of(document, media):
    if "example" in media:
        yield "example", media["example"]
    for name, example in media.get("examples", {}).items():
        yield name, resolved(document, example)["value"]
    schema = resolved(document, media.get("schema", {}))
    if "example" in schema:
        yield "the schema's example", schema["example"]
    for index, example in enumerate(schema.get("examples", [])):
        yield f"the schema's example {index}", example


def pointer(*keys):
    return "#/" + "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def check(document, instance, *keys):
    """Validates against a schema inside the document, whose references start at the document's root."""
    registry = Registry().with_resource("urn:document", Resource(contents=document, specification=DRAFT202012))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "urn:document" + pointer(*keys)}
    validator = jsonschema.Draft202012Validator(schema, registry=registry)
    errors = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(instance)]
    assert not errors, errors[:3]


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def base_of(document):
    """The path below which the document's paths lie."""
    url = document.get("servers", [{"url": "/"}])[0]["url"]
    return "/" + url.split("://", 1)[-1].split("/", 1)[-1].strip("/") if "://" in url else "/" + url.strip("/")


def public_path(document, path, operation):
    for parameter in operation.get("parameters", []) + document["paths"][path].get("parameters", []):
        parameter = resolved(document, parameter)
        if parameter["in"] == "path":
            schema = resolved(document, parameter.get("schema", {}))
            choices = schema.get("enum") or schema.get("examples") or [parameter.get("example", "digit")]
            path = path.replace("{%s}" % parameter["name"], str(choices[0]))
    whole = (base_of(document).rstrip("/") + path) or "/"
    assert whole.startswith(PREFIX), f"{whole} lies outside {PREFIX}"
    return whole.removeprefix(PREFIX)


def response_of(document, path, method, operation, status):
    for key in (str(status), f"{status // 100}XX", "default"):
        if key in operation["responses"]:
            return key
    raise AssertionError(f"{method} {path} answers {status}, which is not described")


def schema_place(document, path, method, operation, answer):
    """Where the schema of this answer stands in the document, or None if it is described without one."""
    key = response_of(document, path, method, operation, answer.status)
    place = ["paths", path, method, "responses", key]
    response = operation["responses"][key]
    if "$ref" in response:
        place = response["$ref"].removeprefix("#/").split("/")
        response = resolved(document, response)
    whole = answer.headers["content-type"]
    content = response.get("content", {})
    content_type = whole if whole in content else whole.split(";")[0]
    assert content_type in content, f"{method} {path}: {answer.status} as {whole} is not described"
    return [*place, "content", content_type, "schema"] if "schema" in content[content_type] else None


def test_every_example_scores_and_its_answer_fits(handler, document, say):
    sent, failures = 0, []
    for path, method, operation in operations(document):
        body = resolved(document, operation.get("requestBody", {}))
        for content_type, media in body.get("content", {}).items():
            for name, example in examples_of(document, media):
                label = f"{method} {path} {content_type} {name}"
                sent += 1
                try:
                    if content_type.endswith("json") and "schema" in media:
                        at = ["paths", path, method, "requestBody", "content", content_type, "schema"]
                        if "$ref" in operation["requestBody"]:
                            at[:4] = operation["requestBody"]["$ref"].removeprefix("#/").split("/")
                        check(document, example, *at)
                    text = content_type.startswith("text/") and isinstance(example, str)
                    raw = example if text else json.dumps(example)
                    where = public_path(document, path, operation)
                    answer = handler.send(method.upper(), where, raw.encode(), {"content-type": content_type}).ok()
                    place = schema_place(document, path, method, operation, answer)
                    if place:
                        check(document, answer.json, *place)
                except AssertionError as error:
                    failures.append(f"{label}: {str(error)[:500]}")
    say(f"{sent} example requests of the document sent")
    assert sent, "the document has no example"
    assert not failures, f"{len(failures)} failures:\n" + "\n".join(failures)


def test_what_can_be_read_fits_its_schema(handler, document):
    failures = []
    for path, method, operation in operations(document):
        if method != "get":
            continue
        try:
            answer = handler.get(public_path(document, path, operation)).ok()
            place = schema_place(document, path, method, operation, answer)
            if place and answer.headers["content-type"].startswith("application/json"):
                check(document, answer.json, *place)
        except AssertionError as error:
            failures.append(f"get {path}: {str(error)[:500]}")
    assert not failures, "\n".join(failures)


def test_mistakes_fit_their_schema(handler, document):
    failures = []
    for path, method, operation in operations(document):
        if method != "post":
            continue
        try:
            answer = handler.post(public_path(document, path, operation), {"data": "rubbish"})
            assert answer.status == 400, answer.status
            place = schema_place(document, path, method, operation, answer)
            if place:
                check(document, answer.json, *place)
        except AssertionError as error:
            failures.append(f"post {path}: {str(error)[:500]}")
    assert not failures, "\n".join(failures)
