//! The APIs of text models. Each is one file with its row of [`TEXT_APIS`]; routes, the forms of errors, the OpenAPI
//! document and the table in docs/requests.md are derived from that table.

mod answer;
mod cohere;
mod hugging_face;
mod infinity;
mod models;
mod ollama;
mod openai;
mod ranking;
mod read;
mod request;
mod route;
mod search_skill;
mod tei;
mod vectors;

use std::fmt;

use crate::dialect::{PROTOCOLS, Protocol};
use crate::error_form::ErrorForm;
pub use answer::{Answered, Labels, Ranks, Vectors};
pub(crate) use request::Form;
pub use request::{ResultOptions, Side, TextError, TextOptions, TextRequest};
pub use route::{
    ALL_TASKS, About, End, MODEL, Operation, Served, Take, Tell, TextRoute, Write, WriteEach,
};
pub use vectors::VectorEncoding;

/// One API: its routes and the form of its errors.
pub struct TextApi {
    /// The server or service whose clients use it.
    pub name: &'static str,
    /// Its section in docs/text.md.
    pub section: &'static str,
    /// What its routes are for, in the documentation.
    pub purpose: &'static str,
    /// The form of errors at its routes.
    pub errors: &'static ErrorForm,
    /// Whether the first segments of its paths are those of others, whose errors unknown paths below them have.
    pub guest: bool,
    /// Its routes.
    pub routes: &'static [TextRoute],
}

/// All APIs. The first route that fits a path serves it.
pub static TEXT_APIS: &[&TextApi] = &[
    &openai::OPENAI,
    &ollama::OLLAMA,
    &search_skill::SEARCH_SKILL,
    &cohere::COHERE,
    &infinity::INFINITY,
    &hugging_face::HUGGING_FACE,
    &tei::TEI,
];

/// A route that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextCall<'p> {
    /// The API of the route.
    pub api: &'static TextApi,
    /// The route.
    pub route: &'static TextRoute,
    /// The model that the path names.
    pub model: Option<&'p str>,
}

impl TextApi {
    /// The route of a path, which is given by its segments below the prefix.
    pub fn find<'p>(path: &[&'p str]) -> Option<TextCall<'p>> {
        let all = TEXT_APIS.iter().flat_map(|api| {
            let routes = api.routes.iter();
            routes.map(move |route| (*api, route))
        });
        let mut fitting = all.filter_map(|(api, route)| {
            let model = route.fits(path)?;
            Some(TextCall { api, route, model })
        });
        fitting.next()
    }

    /// Its row in the documentation's table of paths.
    pub fn documentation(&self) -> String {
        let routes = self.routes.iter().filter(|route| !route.path.is_empty());
        let routes = routes.flat_map(|route| {
            let method = match route.takes_texts() {
                true => "POST",
                false => "GET",
            };
            let paths = [Some(route.template()), route.named_template()];
            let paths = paths.into_iter().flatten();
            paths.map(move |path| format!("`{method} /api/score/{path}`"))
        });
        let routes: Vec<String> = routes.collect();
        let Self {
            name,
            section,
            purpose,
            ..
        } = self;
        format!(
            "| {} | [{name}](text.md#{section}): {purpose} |",
            routes.join(", ")
        )
    }

    /// The form of errors below the first segment of a path, if that belongs to an API.
    pub fn errors_below(first: &str) -> Option<&'static ErrorForm> {
        let owner = TEXT_APIS.iter().find(|api| {
            let mut routes = api.routes.iter();
            !api.guest && first != MODEL && routes.any(|route| route.path.first() == Some(&first))
        });
        owner.map(|api| api.errors)
    }
}

/// The path below the prefix that would be that of a model with this name, and is a route's; `None` if the model has all of its
/// paths.
pub fn path_taken(name: &str) -> Option<String> {
    let texts = TEXT_APIS.iter().flat_map(|api| api.routes);
    let texts = texts.filter_map(|route| route.path.first());
    let others = PROTOCOLS.iter().flat_map(|protocol| protocol.routes);
    let others = others.filter_map(|route| route.path.first());
    let own = ["metrics", "openapi.json"];
    if texts.chain(others).chain(&own).any(|first| *first == name) {
        return Some(name.to_owned());
    }
    let of_models = PROTOCOLS.iter().flat_map(|protocol| protocol.routes);
    let mut of_models = of_models.filter(|route| route.path.contains(&MODEL));
    of_models.find_map(|route| {
        let segments = route.path.iter();
        let path: Vec<&str> = segments
            .map(|segment| if *segment == MODEL { name } else { segment })
            .collect();
        let taken = Protocol::find(&path)?.route != route;
        taken.then(|| path.join("/"))
    })
}

impl fmt::Debug for TextApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PartialEq for TextApi {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TextApi {}

#[cfg(test)]
mod tests;
