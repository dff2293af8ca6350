//! The routes of the servers whose clients are served unchanged. Each server's are in the file of its dialects; what a path
//! means, the forms of errors, the OpenAPI document and the table in docs/requests.md are derived from [`PROTOCOLS`].

use std::fmt;

use super::{mlflow, open_inference, tensorflow_serving};
use crate::error_form::ErrorForm;

/// Stands for the name of a model in the path of a route.
pub const MODEL: &str = "{model}";

/// Stands for the version of a model in [`ProtocolRoute::path`].
pub const VERSION: &str = "{version}";

/// A server whose clients call routes of their own.
pub struct Protocol {
    /// The server's name, or the name of its protocol.
    pub name: &'static str,
    /// Its section in docs/requests.md.
    pub section: &'static str,
    /// What its routes are for, in the documentation.
    pub purpose: &'static str,
    /// The form of errors at its routes.
    pub errors: &'static ErrorForm,
    /// Its routes.
    pub routes: &'static [ProtocolRoute],
}

/// One route of a server.
pub struct ProtocolRoute {
    /// The segments of its path below the prefix. A segment is a name, [`MODEL`] or [`VERSION`], or one of these with a verb
    /// behind a colon.
    pub path: &'static [&'static str],
    /// Its name in the OpenAPI document.
    pub id: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What it answers with.
    pub operation: Operation,
}

/// What a route answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// POST: the scores of the body's rows.
    Score,
    /// POST: the same, where a body that is not JSON is answered under `predictions` too.
    Invoke,
    /// POST: a refusal. The text says what to do instead.
    Refuse(&'static str),
    /// POST: the state of each model.
    Index,
    /// Name and version of this program.
    Server,
    /// Whether the process lives.
    Live,
    /// Whether a model serves.
    Ready,
    /// The same in one line.
    Ping,
    /// The version of this program, in one line.
    Version,
    /// Inputs and outputs of a model, as the Open Inference Protocol has them.
    Model,
    /// Whether a model serves.
    ModelReady,
    /// A model's configuration, as Triton has it.
    Config,
    /// What was counted of a model, or of each.
    Statistics,
    /// The state of a model's versions.
    Status,
    /// Inputs and outputs of a model, as TensorFlow Serving has them.
    Signature,
}

impl Operation {
    /// Whether the body's rows are scored.
    pub fn scores(self) -> bool {
        matches!(self, Self::Score | Self::Invoke)
    }

    /// Whether it is asked for by POST; any other by GET.
    pub fn is_post(self) -> bool {
        matches!(
            self,
            Self::Score | Self::Invoke | Self::Refuse(_) | Self::Index
        )
    }
}

/// All servers with routes of their own. The first route that fits a path serves it.
pub static PROTOCOLS: &[&Protocol] = &[
    &open_inference::PROTOCOL,
    &tensorflow_serving::PROTOCOL,
    &mlflow::PROTOCOL,
];

/// A route that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolCall<'p> {
    /// The server whose route it is.
    pub protocol: &'static Protocol,
    /// The route.
    pub route: &'static ProtocolRoute,
    /// The model that the path names.
    pub model: Option<&'p str>,
    /// The version that the path names.
    pub version: Option<&'p str>,
}

impl Protocol {
    /// The route of a path, which is given by its segments below the prefix.
    pub fn find<'p>(path: &[&'p str]) -> Option<ProtocolCall<'p>> {
        let first = path.first()?;
        let all = PROTOCOLS.iter().flat_map(|protocol| {
            let routes = protocol.routes.iter();
            routes.map(move |route| (*protocol, route))
        });
        let mut fitting = all.filter(|(_, route)| {
            route.path.len() == path.len() && route.path.first() == Some(first)
        });
        fitting.find_map(|(protocol, route)| {
            let (model, version) = route.names(path)?;
            Some(ProtocolCall {
                protocol,
                route,
                model,
                version,
            })
        })
    }

    /// The form of errors below the first segment of a path; `None` if no server has routes there.
    pub fn errors_below(first: &str) -> Option<&'static ErrorForm> {
        let owner = PROTOCOLS.iter().find(|protocol| {
            let mut routes = protocol.routes.iter();
            routes.any(|route| route.path.first() == Some(&first))
        });
        owner.map(|protocol| protocol.errors)
    }

    /// Its row in the documentation's table of paths. Routes that refuse, and those of one version, are left out.
    pub fn documentation(&self) -> String {
        let routes = self.routes.iter().filter(|route| route.is_documented());
        let routes = routes.map(|route| {
            let method = match route.operation.is_post() {
                true => "POST",
                false => "GET",
            };
            format!("`{method} /api/score/{}`", route.template())
        });
        let routes: Vec<String> = routes.collect();
        let Self {
            name,
            section,
            purpose,
            ..
        } = self;
        format!(
            "| {} | [{name}](#{section}): {purpose} |",
            routes.join(", ")
        )
    }
}

impl ProtocolRoute {
    /// Whether documents have it: none that refuse, and none of one version.
    pub fn is_documented(&self) -> bool {
        !matches!(self.operation, Operation::Refuse(_)) && !self.path.contains(&"versions")
    }

    /// Its path below the prefix, as documents write it.
    pub fn template(&self) -> String {
        self.path.join("/")
    }

    /// The model and the version in a path of as many segments; `None` if the path is another route's.
    fn names<'p>(&self, path: &[&'p str]) -> Option<(Option<&'p str>, Option<&'p str>)> {
        let (mut model, mut version) = (None, None);
        for (segment, given) in self.path.iter().zip(path) {
            if let Some(verb) = segment.strip_prefix(MODEL) {
                model = Some(named(given, verb)?);
            } else if let Some(verb) = segment.strip_prefix(VERSION) {
                version = Some(named(given, verb)?);
            } else if segment != given {
                return None;
            }
        }
        Some((model, version))
    }
}

/// The name in front of `verb`, which is empty or begins with its colon. Some clients and proxies write the colon as `%3A`.
fn named<'p>(given: &'p str, verb: &str) -> Option<&'p str> {
    let name = match verb.strip_prefix(':') {
        None => given,
        Some(word) => {
            let rest = given.strip_suffix(word)?;
            let colons = [":", "%3A", "%3a"];
            colons.iter().find_map(|colon| rest.strip_suffix(colon))?
        }
    };
    (!name.is_empty()).then_some(name)
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Protocol {}

impl fmt::Debug for ProtocolRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.template())
    }
}

impl PartialEq for ProtocolRoute {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for ProtocolRoute {}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(&'static str, Option<&str>, Option<&str>)> {
        let segments: Vec<&str> = path.split('/').collect();
        let call = Protocol::find(&segments)?;
        Some((call.route.id, call.model, call.version))
    }

    #[test]
    fn paths_name_models_versions_and_verbs() {
        let iris = Some("iris");
        for (path, expected) in [
            ("v2", ("server", None, None)),
            ("v2/models/stats", ("statistics", None, None)),
            ("v2/models/iris/stats", ("model_statistics", iris, None)),
            ("v2/models/iris/infer", ("infer", iris, None)),
            (
                "v2/models/iris/versions/2/infer",
                ("version_infer", iris, Some("2")),
            ),
            ("v1/models/iris:predict", ("predict", iris, None)),
            ("v1/models/iris%3Apredict", ("predict", iris, None)),
            ("v1/models/iris%3apredict", ("predict", iris, None)),
            ("v1/models/a:b:predict", ("predict", Some("a:b"), None)),
            (
                "v1/models/iris/versions/12:predict",
                ("version_predict", iris, Some("12")),
            ),
            (
                "v1/models/iris/versions/12",
                ("version_status", iris, Some("12")),
            ),
            ("v1/models/iris/metadata", ("signature", iris, None)),
            ("v1/models/iris:classify", ("classify", iris, None)),
            ("invocations", ("invocations", None, None)),
            ("ping", ("ping", None, None)),
        ] {
            assert_eq!(found(path), Some(expected), "{path}");
        }
        for path in [
            "",
            "v1",
            "v1/models/:predict",
            "v1/models/iris:Predict",
            "v1/models/irispredict",
            "v1/models/iris/predict",
            "v2/models",
            "v2/models//infer",
            "v2/models/iris/infer/x",
            "pings",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn each_route_has_a_name_and_a_path_of_its_own() {
        let all = PROTOCOLS.iter().flat_map(|protocol| protocol.routes);
        let all: Vec<&ProtocolRoute> = all.collect();
        for (at, route) in all.iter().enumerate() {
            for other in &all[..at] {
                assert_ne!(route.id, other.id);
                assert_ne!(route.path, other.path);
            }
        }
    }

    #[test]
    fn the_documentation_has_the_table_of_routes() {
        let text = include_str!("../../../../docs/requests.md");
        for row in PROTOCOLS.iter().map(|protocol| protocol.documentation()) {
            assert!(
                text.contains(&row),
                "docs/requests.md, paths: write this row:\n{row}"
            );
        }
    }
}
