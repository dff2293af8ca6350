//! Lines of OpenAI's batch form, which are requests of their own:
//! <https://platform.openai.com/docs/api-reference/batch/request-input>.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use score::{CacheUse, ModelMetadata, quoted};
use serde::Deserialize;
use serde_json::value::RawValue;
use wire::Declared;
use wire::dialect::Protocol;
use wire::text_api::{self, TEXT_APIS, Take, TextApi};

use super::window::{Lane, Tally};
use crate::limits::Given;
use crate::problem::Problem;
use crate::scoring::{self, Call, Settings};
use crate::texts::{self, Asked};

/// The start of the id of an answer; the number of the line follows.
pub(crate) const ID: &str = "line-";
/// What may stand in front of a path, as it does in front of those of the server.
const PREFIX: &str = "/api/score";
/// No line is logged as slow: a run tells its times.
const NEVER_SLOW: std::time::Duration = std::time::Duration::MAX;

/// A line of OpenAI's batch form.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    #[serde(borrow)]
    custom_id: &'a RawValue,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

/// What a line asks for.
pub(super) enum Wanted<'i> {
    /// The scores of rows, in the dialect of its body.
    Rows,
    /// What a route of the APIs of text models makes of texts, and the model that the url names.
    Texts(&'static Take, Option<Cow<'i, str>>),
}

impl<'a> Item<'a> {
    /// Whether a line has what all of these have.
    pub(super) fn may_be(text: &[u8]) -> bool {
        text.trim_ascii_start().starts_with(b"{")
            && memchr::memmem::find(text, b"\"custom_id\"").is_some()
    }

    /// A line, if it is one of these.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        Self::may_be(text).then(|| serde_json::from_slice(text).ok())?
    }

    /// What it asks for, by its url.
    ///
    /// # Errors
    /// If nothing is served there, another model is wanted, or the method is not POST.
    pub(super) fn wanted(&self, metadata: &ModelMetadata) -> Result<Wanted<'static>, Problem> {
        if let Some(method) = word("method", self.method)?
            && !method.eq_ignore_ascii_case("POST")
        {
            let method = quoted(&method);
            let message = format!("method: expected POST, found {method}");
            return Err(refused("method", message));
        }
        let Some(url) = word("url", self.url)? else {
            return Ok(Wanted::Rows);
        };
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let path = path.strip_prefix(PREFIX).unwrap_or(path);
        let path: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        if path.is_empty() {
            return Ok(Wanted::Rows);
        }
        if let Some(call) = Protocol::find(&path)
            && call.route.operation.scores()
        {
            named(call.model, metadata)?;
            return Ok(Wanted::Rows);
        }
        if let Some(call) = TextApi::find(&path)
            && let text_api::Operation::Take(take) = &call.route.operation
        {
            let model = call.model.map(|model| Cow::Owned(model.to_owned()));
            return Ok(Wanted::Texts(take, model));
        }
        match &path[..] {
            [model] if url.starts_with(PREFIX) => {
                named(Some(*model), metadata).map(|()| Wanted::Rows)
            }
            _ => Err(unknown(&url, metadata)),
        }
    }

    /// The line of the answer with that body.
    pub(super) fn answered(&self, number: u64, body: &[u8]) -> Vec<u8> {
        let id = self.custom_id.get();
        let head = format!(
            "{{\"id\":\"{ID}{number}\",\"custom_id\":{id},\"response\":{{\"status_code\":200,\"request_id\":\"{ID}{number}\",\"body\":"
        );
        [head.as_bytes(), body, b"},\"error\":null}\n"].concat()
    }
}

impl Lane {
    /// The answer of a route of the APIs of text models.
    pub(super) async fn texts(
        &self,
        id: &str,
        take: &'static Take,
        model: Option<Cow<'_, str>>,
        body: &[u8],
        tally: &mut Tally,
    ) -> Result<Vec<u8>, Problem> {
        let call = Call {
            id,
            index: None,
            since: Instant::now(),
            declared: Declared::default(),
            accept: None,
            cache: CacheUse::default(),
            json_only: true,
            joint: None,
        };
        let settings = Settings {
            limits: self.limits,
            log_slow: NEVER_SLOW,
        };
        let given = Given::Shared(Bytes::copy_from_slice(body));
        let read = scoring::read_texts((&settings, &self.decoding), take, call, given);
        let (request, held) = read.await?;
        let metadata = self.metadata();
        let in_body = request.model.as_deref().filter(|_| take.names_model);
        named(model.as_deref().or(in_body), metadata)?;
        let write = metadata
            .text
            .as_ref()
            .and_then(|text| take.write_for(text.task));
        let Some(write) = write else {
            let tasks: Vec<&str> = take.tasks().iter().map(|task| task.as_str()).collect();
            let name = quoted(&metadata.name);
            let message = format!(
                "url: it is for models with the task {}; model {name} is none",
                tasks.join(" or ")
            );
            return Err(refused("url", message));
        };
        // Each is waited for, however long its API's clients would wait.
        let asked = Asked::new(call, None, request, held, self.scorer.clone());
        let answer = texts::answer(write, asked, None).await?;
        if let Some(cache) = answer.cache {
            tally.count_rows(cache, answer.texts, answer.infer);
        }
        Ok(answer.body)
    }
}

/// A member that is a text, or is left out.
fn word<'a>(name: &str, member: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, Problem> {
    let Some(member) = member.filter(|member| member.get() != "null") else {
        return Ok(None);
    };
    let read = serde_json::from_str::<String>(member.get());
    let read = read.map_err(|_| {
        let found = quoted(member.get());
        refused(name, format!("{name}: expected a text, found {found}"))
    });
    read.map(|word| Some(Cow::Owned(word)))
}

/// Refuses another model than the one that is loaded.
fn named(model: Option<&str>, metadata: &ModelMetadata) -> Result<(), Problem> {
    let Some(other) = model.filter(|model| *model != metadata.name) else {
        return Ok(());
    };
    let (other, name) = (quoted(other), quoted(&metadata.name));
    let message = format!("model: found {other}; the lines are scored with {name}");
    Err(refused("model", message))
}

fn unknown(url: &str, metadata: &ModelMetadata) -> Problem {
    let routes = TEXT_APIS.iter().flat_map(|api| api.routes);
    let known = routes.filter_map(|route| match (&route.operation, &metadata.text) {
        (text_api::Operation::Take(take), Some(text)) if !route.path.is_empty() => {
            let serves = take.write_for(text.task).is_some();
            serves.then(|| format!(", /{}", route.template()))
        }
        _ => None,
    });
    let known: String = known.collect();
    let url = quoted(url);
    let message = format!("url: nothing is served at {url}; expected none, {PREFIX}{known}");
    refused("url", message)
}

fn refused(member: &str, message: String) -> Problem {
    Problem::bad_request(message).at(member)
}
