//! Paths of the APIs of text models.

use score::ModelMetadata;
use serde_json::{Map, Value, json};
use wire::text_api::{
    ALL_TASKS, About, MODEL, Operation as Work, TEXT_APIS, Take, TextApi, TextRoute,
};

use super::paths::{OF_ASKING, OF_SCORING, Operation};
use super::{Form, bodies, header_references};
use crate::http::route::PREFIX;
use crate::models::Models;

/// The paths of all APIs, if a text model is loaded; in the plain document those without a model's name, where they are enough.
pub(super) fn paths(
    models: &Models,
    loaded: &[&ModelMetadata],
    form: Form,
) -> Vec<(String, Value)> {
    let mut paths = Vec::new();
    for api in TEXT_APIS {
        // The empty path is that of a server without a host.
        for route in api.routes.iter().filter(|route| !route.path.is_empty()) {
            Path { api, route }.add(models, loaded, form, &mut paths);
        }
    }
    match loaded.iter().any(|metadata| metadata.text.is_some()) {
        true => paths,
        false => Vec::new(),
    }
}

/// A route of an API.
struct Path {
    api: &'static TextApi,
    route: &'static TextRoute,
}

impl Path {
    /// Adds its paths for the models that serve it.
    fn add(
        &self,
        models: &Models,
        loaded: &[&ModelMetadata],
        form: Form,
        paths: &mut Vec<(String, Value)>,
    ) {
        let tasks = match &self.route.operation {
            Work::Take(take) => take.tasks(),
            Work::Tell(_) => ALL_TASKS.to_vec(),
        };
        let of = |metadata: &&&ModelMetadata| match (&self.route.operation, &metadata.text) {
            (Work::Take(take), Some(text)) => take.suits(text),
            (Work::Take(_), None) => false,
            (Work::Tell(tell), text) => tell.about == About::Any || text.is_some(),
        };
        let serving: Vec<&ModelMetadata> = loaded.iter().filter(of).copied().collect();
        let needs_name = self.route.path.contains(&MODEL);
        let usual = match self.needs_no_name() {
            true => serving.first().copied(),
            false => models
                .for_tasks(None, &tasks)
                .ok()
                .map(|scorer| scorer.metadata()),
        };
        let usual = usual.filter(|_| !needs_name);
        if (form == Form::All || (usual.is_none() && !needs_name))
            && let Some(template) = self.named_template()
        {
            paths.extend(serving.iter().map(|metadata| self.of(&template, metadata)));
        }
        paths.extend(usual.map(|metadata| self.without_name(metadata)));
    }

    /// Whether the path alone is enough, or the body names the model.
    fn needs_no_name(&self) -> bool {
        match &self.route.operation {
            Work::Take(take) => take.names_model,
            Work::Tell(tell) => tell.about == About::All,
        }
    }

    /// The path with a model's name, if there is one, and what the names of its operations begin with.
    fn named_template(&self) -> Option<(String, String)> {
        let id = self.route.id;
        match self.route.path.contains(&MODEL) {
            true => Some((self.route.template(), id.to_owned())),
            false => {
                let template = self.route.named_template()?;
                Some((template, format!("{id}_of")))
            }
        }
    }

    /// With the name of a model in the path.
    fn of(&self, (template, id): &(String, String), metadata: &ModelMetadata) -> (String, Value) {
        let name = &metadata.name;
        let path = template.replace(MODEL, name);
        let operation = self.operation(template, &format!("{id}_{name}"), metadata);
        (format!("{PREFIX}/{path}"), operation)
    }

    fn without_name(&self, metadata: &ModelMetadata) -> (String, Value) {
        let template = self.route.template();
        let operation = self.operation(&template, self.route.id, metadata);
        (format!("{PREFIX}/{template}"), operation)
    }

    fn operation(&self, template: &str, id: &str, metadata: &ModelMetadata) -> Value {
        let path = format!("{PREFIX}/{template}");
        let operation = Operation::at(&path, id, self.route.summary).of(self.api.name);
        match &self.route.operation {
            Work::Take(take) => json!({ "post": taking(operation, take, metadata) }),
            Work::Tell(tell) => {
                let content = bodies::json((tell.answer_schema)());
                json!({ "get": operation.asking(content, OF_ASKING) })
            }
        }
    }
}

fn taking(operation: Operation<'_>, take: &Take, metadata: &ModelMetadata) -> Value {
    let headers = ["X-Cache", "X-Request-Id", "X-Truncated"];
    let answer = json!({
        "description": "The answer in the form of the API.",
        "headers": header_references(&headers),
        "content": bodies::json((take.answer_schema)()),
    });
    let mut content = bodies::json((take.request_schema)());
    let mut example: Map<String, Value> = serde_json::from_str(take.sample).unwrap_or_default();
    if take.names_model {
        example.insert("model".to_owned(), metadata.name.clone().into());
    }
    content["application/json"]["example"] = example.into();
    let mut operation = operation.with(answer, OF_SCORING);
    operation["parameters"] = json!([{ "$ref": "#/components/parameters/CacheControl" }]);
    operation["requestBody"] = json!({ "required": true, "content": content });
    operation
}
