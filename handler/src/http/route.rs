//! Which path means what. Pure, so that the forwarded form and the envelope share it.

use score::Scorer;
use warp::http::Method;
use wire::dialect::{Operation, Protocol};
use wire::error_form::{self, ErrorForm};
use wire::text_api::{TextApi, TextRoute};

use crate::models::{Models, NoModel, Wanted};
use crate::problem::Problem;

/// The public path of everything but the host's own calls: the route prefix of host.json and the route in
/// `score_http/function.json`.
pub(super) const PREFIX: &str = "/api/score";

/// The same with that route, as traces name it.
const TEMPLATE: &str = "/api/score/{*path}";

/// The routes of a server without a host, which answers the same paths without the prefix, as traces name them.
const AT_ROOT: &str = "/{*path}";

/// The routes of `score_health_live` and `score_health_ready`, which need no key.
const LIVE: &str = "/api/health/live";
const READY: &str = "/api/health/ready";

/// The model a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelRef {
    pub(super) name: String,
    /// The version, where the path names one.
    pub(super) version: Option<String>,
}

impl ModelRef {
    /// The model, if it is loaded and of that version.
    pub(super) fn find<'a>(&self, models: &'a Models) -> Result<&'a Scorer, NoModel> {
        models.find(self.wanted()).map(|scorer| &**scorer)
    }

    /// Whether any version may be meant.
    pub(super) fn names_no_version(&self) -> bool {
        self.version.is_none()
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            name: Some(&self.name),
            version: self.version.as_deref(),
        }
    }
}

/// A route of the APIs of text models, and the model that the path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextTarget {
    pub(super) route: &'static TextRoute,
    pub(super) model: Option<String>,
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Score with a model, or with the default one.
    Score(Option<ModelRef>),
    /// Score with the default model, as MLflow's server answers.
    Invocations,
    /// A route of the APIs of text models.
    Text(TextTarget),
    /// What a model expects, or all of them.
    Describe(Option<String>),
    /// Prometheus text.
    Metrics,
    /// The OpenAPI document.
    OpenApi,
    /// A route of another server's that does not score, and the model that the path names.
    Protocol(Operation, Option<ModelRef>),
    /// For the platform, which has no key: the process answers.
    HealthLive,
    /// For the platform, which has no key: at least one model serves.
    HealthReady,
}

impl Route {
    /// The model that is to score, if this is what the request is for.
    pub(super) fn wanted(&self) -> Option<Wanted<'_>> {
        match self {
            Self::Score(model) => Some(
                model
                    .as_ref()
                    .map_or_else(Wanted::default, ModelRef::wanted),
            ),
            Self::Invocations => Some(Wanted::default()),
            Self::Text(target) if target.route.takes_texts() => Some(Wanted {
                name: target.model.as_deref(),
                version: None,
            }),
            _ => None,
        }
    }
}

/// Where paths lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    /// Below the prefix, as the host lets them through.
    BelowPrefix,
    /// There and at the root, for a server without a host.
    AtRootToo,
}

/// A path without what lies in front of all routes.
struct Rest<'p> {
    segments: Vec<&'p str>,
    /// Whether nothing lay in front of it.
    at_root: bool,
}

impl Paths {
    /// The rest of a path that is a route's or may be. The host matches the prefix in any letter case.
    fn rest(self, path: &str) -> Option<Rest<'_>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (rest, at_root) = match (below_prefix(path), self) {
            (Some(rest), _) => (rest, false),
            (None, Self::AtRootToo) if health(path).is_none() => (path, true),
            (None, _) => return None,
        };
        let segments = match rest.strip_prefix('/') {
            Some(rest) => rest.split('/').collect(),
            None => Vec::new(),
        };
        Some(Rest { segments, at_root })
    }

    /// The route by which the host lets a path through, if there is one.
    pub(super) fn template(self, path: &str) -> Option<&'static str> {
        // As nearly all paths are; the rest of them need not be taken apart for that.
        if below_prefix(path).is_some() {
            return Some(TEMPLATE);
        }
        match self.rest(path) {
            Some(rest) => choices(&rest).map(|_| AT_ROOT),
            None => health(path.strip_suffix('/').unwrap_or(path)).map(|(route, _)| route),
        }
    }

    /// The form that errors take at this path.
    pub(super) fn error_form(self, path: &str) -> &'static ErrorForm {
        let Some(rest) = self.rest(path) else {
            return &error_form::OWN;
        };
        if let Some(call) = Protocol::find(&rest.segments) {
            return call.protocol.errors;
        }
        if let Some(call) = TextApi::find(&rest.segments)
            && (rest.at_root || !rest.segments.is_empty())
        {
            return call.api.errors;
        }
        match rest.segments[..] {
            // The prefix of functions, too.
            ["api", ..] if rest.at_root => &error_form::OWN,
            [first, ..] => {
                // Several have routes below `v1` and `v2`; the latter is itself a route of one of them.
                let owner = Protocol::find(&[first]).map(|call| call.protocol.errors);
                let own = owner
                    .or_else(|| TextApi::errors_below(first))
                    .or_else(|| Protocol::errors_below(first));
                own.unwrap_or(&error_form::OWN)
            }
            [] => &error_form::OWN,
        }
    }

    /// Finds the meaning of a public path.
    ///
    /// # Errors
    /// 404 for an unknown path, 405 for a method the path does not take.
    pub(super) fn find(self, method: &Method, path: &str) -> Result<Route, Problem> {
        let Some(rest) = self.rest(path) else {
            return match (health(path.strip_suffix('/').unwrap_or(path)), method) {
                (None, _) => Err(Problem::no_such_path(path)),
                (Some((_, route)), &(Method::GET | Method::HEAD)) => Ok(route),
                (Some(_), _) => Err(Problem::method_not_allowed(true, false)),
            };
        };
        let (get, post) = choices(&rest).ok_or_else(|| Problem::no_such_path(path))?;
        let (may_get, may_post) = (get.is_some(), post.is_some());
        let wanted = match *method {
            Method::GET | Method::HEAD => get,
            Method::POST => post,
            _ => None,
        };
        wanted.ok_or_else(|| Problem::method_not_allowed(may_get, may_post))
    }

    /// Whether anyone may ask for it, by any name and without a key: probes that tell one word.
    pub(super) fn is_open(self, method: &Method, path: &str) -> bool {
        let probe = |route| {
            matches!(
                route,
                Route::HealthLive
                    | Route::HealthReady
                    | Route::Protocol(Operation::Live | Operation::Ready | Operation::Ping, _)
            )
        };
        self.find(method, path).is_ok_and(probe)
    }
}

/// The rest of a path that is the prefix or below it.
fn below_prefix(path: &str) -> Option<&str> {
    let (head, rest) = path.split_at_checked(PREFIX.len())?;
    let ends_there = rest.is_empty() || rest.starts_with('/');
    (ends_there && head.eq_ignore_ascii_case(PREFIX)).then_some(rest)
}

/// What a path of the platform's probes asks, and its route.
fn health(path: &str) -> Option<(&'static str, Route)> {
    if path.eq_ignore_ascii_case(LIVE) {
        Some((LIVE, Route::HealthLive))
    } else if path.eq_ignore_ascii_case(READY) {
        Some((READY, Route::HealthReady))
    } else {
        None
    }
}

/// What GET and what POST mean for a path.
fn choices(rest: &Rest<'_>) -> Option<(Option<Route>, Option<Route>)> {
    let get = |route| Some((Some(route), None));
    match &rest.segments[..] {
        [] if !rest.at_root => Some((Some(Route::Describe(None)), Some(Route::Score(None)))),
        ["metrics"] => get(Route::Metrics),
        ["openapi.json"] => get(Route::OpenApi),
        segments => {
            of_protocol(segments)
                .or_else(|| of_text(segments))
                .or_else(|| match segments {
                    [model] if !rest.at_root => {
                        let name = Some((*model).to_owned());
                        let model = model_ref(model, None);
                        Some((Some(Route::Describe(name)), Some(Route::Score(Some(model)))))
                    }
                    _ => None,
                })
        }
    }
}

/// What GET and what POST mean for a path of another server's.
fn of_protocol(segments: &[&str]) -> Option<(Option<Route>, Option<Route>)> {
    let call = Protocol::find(segments)?;
    let operation = call.route.operation;
    let model = call.model.map(|name| model_ref(name, call.version));
    let route = match operation {
        Operation::Score => Route::Score(model),
        Operation::Invoke => Route::Invocations,
        operation => Route::Protocol(operation, model),
    };
    Some(match operation.is_post() {
        true => (None, Some(route)),
        false => (Some(route), None),
    })
}

/// What GET and what POST mean for a path of the APIs of text models.
fn of_text(segments: &[&str]) -> Option<(Option<Route>, Option<Route>)> {
    let call = TextApi::find(segments)?;
    let route = Route::Text(TextTarget {
        route: call.route,
        model: call.model.map(str::to_owned),
    });
    Some(match call.route.takes_texts() {
        true => (None, Some(route)),
        false => (Some(route), None),
    })
}

fn model_ref(name: &str, version: Option<&str>) -> ModelRef {
    ModelRef {
        name: name.to_owned(),
        version: version.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Result<Route, u16> {
        let found = Paths::BelowPrefix.find(&method, path);
        found.map_err(|problem| problem.status())
    }

    #[test]
    fn finds_models_and_protocol_paths() {
        let iris = || Some(model_ref("iris", None));
        let second = || model_ref("iris", Some("2"));
        let text = |path: &str| {
            let segments: Vec<&str> = path.split('/').collect();
            let call = TextApi::find(&segments).unwrap();
            Route::Text(TextTarget {
                route: call.route,
                model: call.model.map(str::to_owned),
            })
        };
        let cases = [
            (Method::POST, "/api/score", Route::Score(None)),
            (Method::POST, "/api/score/", Route::Score(None)),
            (Method::POST, "/API/Score", Route::Score(None)),
            (Method::POST, "/api/score/iris", Route::Score(iris())),
            (
                Method::GET,
                "/api/score/iris",
                Route::Describe(Some("iris".into())),
            ),
            (Method::HEAD, "/api/score", Route::Describe(None)),
            (Method::GET, "/api/score/metrics", Route::Metrics),
            (Method::GET, "/api/score/openapi.json", Route::OpenApi),
            (
                Method::POST,
                "/api/score/v2/models/iris/versions/2/infer",
                Route::Score(Some(second())),
            ),
            (
                Method::GET,
                "/api/score/v2/models/iris/versions/2",
                Route::Protocol(Operation::Model, Some(second())),
            ),
            (
                Method::GET,
                "/api/score/v2/health/ready",
                Route::Protocol(Operation::Ready, None),
            ),
            (
                Method::POST,
                "/api/score/v1/models/iris:predict",
                Route::Score(iris()),
            ),
            (
                Method::POST,
                "/api/score/v1/models/iris/versions/2%3Apredict/",
                Route::Score(Some(second())),
            ),
            (Method::POST, "/api/score/invocations", Route::Invocations),
            (Method::GET, "/api/health/live", Route::HealthLive),
            (
                Method::POST,
                "/api/score/v1/embeddings",
                text("v1/embeddings"),
            ),
            (Method::HEAD, "/api/Health/READY/", Route::HealthReady),
            (
                Method::POST,
                "/api/score/v2/models/iris/infer",
                Route::Score(iris()),
            ),
        ];
        for (method, path, route) in cases {
            assert_eq!(found(method, path), Ok(route), "{path}");
        }
    }

    #[test]
    fn public_is_what_lies_below_the_prefix_and_health() {
        for path in ["/api/score", "/API/Score/", "/api/score/a/b"] {
            assert_eq!(Paths::BelowPrefix.template(path), Some(TEMPLATE), "{path}");
        }
        assert_eq!(Paths::BelowPrefix.template("/api/health/live"), Some(LIVE));
        assert_eq!(
            Paths::BelowPrefix.template("/API/Health/Ready/"),
            Some(READY)
        );
        for path in [
            "/api/scorer",
            "/api/score_http",
            "/api",
            "/",
            "",
            "/api/health",
            "/api/health/live/x",
            "/health/live",
            "/score_health_live",
        ] {
            assert_eq!(Paths::BelowPrefix.template(path), None, "{path}");
        }
    }

    #[test]
    fn without_a_host_the_same_paths_are_at_the_root() {
        for (method, path) in [
            (Method::POST, "/v1/embeddings"),
            (Method::POST, "/v1/models/iris:predict"),
            (Method::POST, "/invocations"),
            (Method::GET, "/ping"),
            (Method::GET, "/v2/health/live"),
            (Method::GET, "/metrics"),
        ] {
            let below = Paths::AtRootToo.find(&method, &format!("/api/score{path}"));
            let at_root = Paths::AtRootToo.find(&method, path);
            assert_eq!(at_root.unwrap(), below.unwrap(), "{path}");
            assert_eq!(Paths::AtRootToo.template(path), Some(AT_ROOT), "{path}");
            assert_eq!(found(method, path), Err(404), "{path}");
        }
        for path in ["/iris", "/score_http", "/api/scorer"] {
            let at_root = Paths::AtRootToo.find(&Method::POST, path);
            assert_eq!(
                at_root.map_err(|problem| problem.status()),
                Err(404),
                "{path}"
            );
            assert_eq!(Paths::AtRootToo.template(path), None, "{path}");
        }
        let health = Paths::AtRootToo.find(&Method::GET, READY);
        assert_eq!(health.unwrap(), Route::HealthReady);
    }

    #[test]
    fn errors_have_the_form_of_the_path() {
        for (path, form) in [
            ("/api/score", &error_form::OWN),
            ("/api/score/iris", &error_form::OWN),
            ("/api/health/live", &error_form::OWN),
            ("/api/score/v2/models/x", &error_form::TEXT),
            ("/api/score/v2/nothing", &error_form::TEXT),
            ("/api/score/v1/models/x:predict", &error_form::TEXT),
            ("/api/score/v1/models/x/versions/1", &error_form::TEXT),
            ("/api/score/v1/models/x", &error_form::OPENAI),
            ("/api/score/invocations", &error_form::MLFLOW),
            ("/api/score/v1/embeddings", &error_form::OPENAI),
            ("/api/score/v1/nothing", &error_form::OPENAI),
        ] {
            assert_eq!(Paths::BelowPrefix.error_form(path), form, "{path}");
        }
    }

    #[test]
    fn tells_unknown_paths_from_wrong_methods() {
        for path in [
            "/",
            "/api",
            "/api/scorer",
            "/api/score/a/b",
            "/api/score/v2/x",
        ] {
            assert_eq!(found(Method::GET, path), Err(404), "{path}");
        }
        for (method, path) in [
            (Method::PUT, "/api/score"),
            (Method::POST, "/api/score/metrics"),
            (Method::POST, "/api/health/live"),
            (Method::GET, "/api/score/v2/models/iris/infer"),
            (Method::GET, "/api/score/v1/models/iris:predict"),
            (Method::POST, "/api/score/ping"),
        ] {
            assert_eq!(found(method, path), Err(405), "{path}");
        }
    }
}
