//! The OpenAPI document of the loaded models: every path, what it takes and how it answers.

mod answers;
mod bodies;
mod generators;
mod paths;
mod protocols;
mod texts;

use bodies::Part;
use bytes::Bytes;
use score::{ElementType, ModelMetadata};
use serde_json::{Map, Value, json};
use wire::error_form::{self, ErrorForm};
use wire::schema::{self, open, reference};

use super::guard;
use super::route::Paths;
use crate::app::App;
use crate::models::{Models, NoModel};
use crate::problem::ErrorCode;
use paths::{PROBLEMS, name_in};

/// How much the document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One form of each request and answer, in types of which generators make clients.
    Plain,
    /// Everything that is taken and answered.
    All,
}

/// The document as JSON. It is made when it is first asked for, as these models stay the same from then on.
pub(super) async fn written(app: &App, form: Form) -> Result<Bytes, NoModel> {
    let models = app.admission.models.when_loaded().await?;
    let [plain, all] = &models.openapi;
    let cell = match form {
        Form::Plain => plain,
        Form::All => all,
    };
    let text = cell.get_or_init(|| async {
        let mut document = document(app, &models, form);
        answers::add(&mut document, &models, app.admission.scoring.limits).await;
        Bytes::from(document.to_string())
    });
    Ok(text.await.clone())
}

/// Writes the document. Models that could not be loaded are not in it.
fn document(app: &App, models: &Models, form: Form) -> Value {
    let loaded = models.loaded();
    let loaded: Vec<&ModelMetadata> = loaded.map(|(_, scorer)| scorer.metadata()).collect();
    let mut paths = paths::paths(models, &loaded, form);
    paths::add_refusals(&mut paths, |method, path| {
        guard::refusals(app, Paths::BelowPrefix, method, path)
    });
    generators::name_operations(&mut paths);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "score",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Scores ONNX models.",
            "description": description(form),
        },
        "servers": [{ "url": "/" }],
        "security": [
            {}, { "functionKey": [] }, { "functionCode": [] }, { "bearer": [] }, { "apiKey": [] },
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "functionKey": { "type": "apiKey", "in": "header", "name": "x-functions-key" },
                "functionCode": { "type": "apiKey", "in": "query", "name": "code" },
                "bearer": { "type": "http", "scheme": "bearer" },
                "apiKey": { "type": "apiKey", "in": "header", "name": "api-key" },
            },
            "parameters": parameters(),
            "requestBodies": of_models(&loaded, |metadata| {
                let parts = Part::ALL.into_iter().filter(|part| bodies::has(metadata, *part, form));
                parts.map(|part| (part.names().0, bodies::request(metadata, part, form))).collect()
            }),
            "responses": responses(&loaded, form),
            "headers": headers(),
            "schemas": schemas(&loaded, form),
        },
    });
    generators::typed(&mut document);
    if form == Form::Plain {
        generators::plain(&mut document);
        generators::fit_examples(&mut document);
    }
    document
}

fn description(form: Form) -> String {
    let codings = codings().join("- or ");
    match form {
        Form::Plain => format!(
            "One form of each request and answer, for generators of clients. NaN and infinities are texts in JSON. The paths take \
             other dialects and formats too, which `openapi.json?all` describes. Bodies may be {codings}-compressed."
        ),
        Form::All => format!(
            "Every path that scores accepts every dialect. Bodies may be {codings}-compressed."
        ),
    }
}

/// What bodies may be compressed with.
fn codings() -> Vec<&'static str> {
    let all = wire::FORMATS.iter();
    all.filter_map(|format| format.coding).collect()
}

/// Components named `<model>.<part>`: no two models have the same, and no other component has a dot in its name.
fn of_models(
    loaded: &[&ModelMetadata],
    parts: impl Fn(&ModelMetadata) -> Vec<(&'static str, Value)>,
) -> Map<String, Value> {
    let all = loaded.iter().flat_map(|metadata| {
        let parts = parts(metadata).into_iter();
        parts.map(|(part, value)| (format!("{}.{part}", metadata.name), value))
    });
    all.collect()
}

fn parameters() -> Value {
    json!({
        "CacheControl": {
            "name": "Cache-Control",
            "in": "header",
            "description": "`no-cache`: computed again; `no-store`: computed again and not stored.",
            "schema": { "type": "string", "examples": ["no-cache", "no-store"] },
        },
        "JsonLength": {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "Where the JSON ends and binary tensors begin.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

fn headers() -> Value {
    let header =
        |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = |description| header(description, json!({ "type": "string" }));
    let number = |description| header(description, json!({ "type": "integer", "minimum": 0 }));
    json!({
        "X-Cache": {
            "description": "How many rows were found in the cache.",
            "schema": { "type": "string", "pattern": "^(HIT|MISS|BYPASS|PARTIAL; hits=[0-9]+, rows=[0-9]+)$" },
        },
        "Server-Timing": text("Milliseconds that the steps took."),
        "X-Request-Id": text("The id under which the log has this request."),
        "Inference-Header-Content-Length": number("Where the JSON ends and binary tensors begin."),
        "Retry-After": number("Seconds after which another try may succeed."),
        "X-Truncated": number("How many texts were cut."),
        "Allow": text("The methods the path takes."),
        "WWW-Authenticate": text("How a key is sent."),
    })
}

/// References to headers of the components.
fn header_references(names: &[&str]) -> Map<String, Value> {
    let reference = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let all = names.iter();
    all.map(|name| ((*name).to_owned(), reference(name)))
        .collect()
}

fn responses(loaded: &[&ModelMetadata], form: Form) -> Map<String, Value> {
    let mut all = of_models(loaded, |metadata| {
        let parts = Part::ALL.into_iter();
        let parts = parts.filter(|part| bodies::has(metadata, *part, form));
        parts
            .map(|part| (part.names().1, bodies::answer(metadata, part, form)))
            .collect()
    });
    for errors in forms(loaded, form) {
        for (status, _, name, description) in PROBLEMS {
            all.insert(name_in(errors, name), problem(status, description, errors));
        }
    }
    all
}

fn problem(status: u16, description: &str, form: &ErrorForm) -> Value {
    let headers: &[&str] = match status {
        401 => &["X-Request-Id", "WWW-Authenticate"],
        405 => &["X-Request-Id", "Allow"],
        503 => &["X-Request-Id", "Retry-After"],
        _ => &["X-Request-Id"],
    };
    json!({
        "description": description,
        "headers": header_references(headers),
        "content": bodies::json(reference(&name_in(form, "Error"))),
    })
}

fn schemas(loaded: &[&ModelMetadata], form: Form) -> Map<String, Value> {
    let mut all = of_models(loaded, |metadata| bodies::schemas(metadata, form));
    for ty in ElementType::ALL {
        if form == Form::All && loaded.iter().any(|metadata| has_elements(metadata, ty)) {
            all.insert(ty.as_str().to_owned(), schema::element(ty));
        }
    }
    let shared = [
        ("Tensor", tensor()),
        ("Model", model()),
        ("Models", models()),
        ("ProtocolModel", protocol_model()),
    ];
    all.extend(shared.map(|(name, schema)| (name.to_owned(), schema)));
    let codes = ErrorCode::names();
    all.extend(forms(loaded, form).map(|form| (name_in(form, "Error"), (form.schema)(&codes))));
    all
}

fn has_elements(metadata: &ModelMetadata, ty: ElementType) -> bool {
    let signature = &metadata.signature;
    let inputs = signature.inputs.iter().chain(&signature.optional);
    inputs
        .chain(&signature.outputs)
        .any(|spec| spec.element_type == ty)
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// The forms of errors at the paths of these models.
fn forms(loaded: &[&ModelMetadata], form: Form) -> impl Iterator<Item = &'static ErrorForm> {
    let texts = loaded.iter().any(|metadata| metadata.text.is_some());
    let all = error_form::ERROR_FORMS.iter().copied();
    all.filter(move |errors| match errors.name {
        name if name == error_form::OWN.name || name == error_form::TEXT.name => true,
        name if name == error_form::MLFLOW.name => form == Form::All,
        _ => texts,
    })
}

/// Name, type and shape of one input or output.
fn tensor() -> Value {
    let length = json!({ "type": "integer", "minimum": -1, "description": "-1 for any length." });
    let members = [
        ("name", text()),
        ("datatype", text()),
        ("shape", list(length)),
    ];
    open(members, 3)
}

/// What `GET` tells about a model.
fn model() -> Value {
    let tensors = || list(reference("Tensor"));
    let rows = [
        (
            "treated",
            json!({ "enum": ["independent", "alone", "together"] }),
        ),
        (
            "because",
            json!({ "enum": ["proved from the graph", "probed", "model.toml", "ensured by how texts are run"] }),
        ),
        ("reason", text()),
        ("operator", text()),
        ("warning", text()),
    ];
    let features = [("format", json!({ "enum": ["json", "npy", "raw", "hash"] }))];
    let number = || json!({ "type": "number" });
    let length = || json!({ "type": "integer" });
    let picture = [
        ("width", length()),
        ("height", length()),
        ("channels", length()),
        ("layout", json!({ "enum": ["hw", "chw", "hwc"] })),
        ("shape", list(length())),
        ("scale", number()),
        ("mean", list(number())),
        ("std", list(number())),
        ("resample", text()),
        ("resize", json!({ "anyOf": [length(), list(length())] })),
        ("background", list(length())),
    ];
    let members = [
        ("name", text()),
        ("inputs", tensors()),
        ("outputs", tensors()),
        ("features", open(features, 1)),
        ("optional_inputs", tensors()),
        ("answers_with", list(text())),
        ("rows", open(rows, 2)),
        ("memoized", json!({ "type": "boolean" })),
        ("labels", list(text())),
        ("picture", open(picture, 8)),
        (
            "sample_request",
            json!({ "description": "A request that can be sent as it is." }),
        ),
    ];
    open(members, 3)
}

fn models() -> Value {
    let broken = open([("name", text()), ("error", text())], 2);
    let any = json!({ "anyOf": [reference("Model"), broken] });
    open([("models", list(any))], 1)
}

fn protocol_model() -> Value {
    let tensors = || list(reference("Tensor"));
    let members = [
        ("name", text()),
        ("platform", text()),
        ("inputs", tensors()),
        ("outputs", tensors()),
        ("versions", list(text())),
    ];
    open(members, 4)
}
