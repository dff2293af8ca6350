//! `handler cache`: shows and removes the results in Redis. Answers go to standard output, everything else to standard error.

mod known;
mod report;

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use redis_store::StoredEntries;
use score::ModelTag;

use super::arguments::{CacheCommand, PurgeArguments};
use crate::config::Config;
use crate::telemetry::logging::{self, complain};
use known::KnownModels;

/// Runs one of the commands.
///
/// # Errors
/// If no Redis is set, it does not answer, or the model is not known.
pub(crate) fn run(command: &CacheCommand, config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    let answer = match command {
        CacheCommand::Stats { json } => runtime.block_on(stats(config, *json)),
        CacheCommand::Purge(arguments) => runtime.block_on(purge(config, arguments)),
    }?;
    logging::answer(&answer)
}

async fn stats(config: &Config, json: bool) -> anyhow::Result<String> {
    let entries = open(config).await?;
    let totals = entries.survey(None, progress("found")).await?;
    let known = KnownModels::read(config).unwrap_or_else(|error| {
        complain("warning: ", [format!("no model is known: {error:#}")]);
        KnownModels::default()
    });
    let namespace = &config.cache.namespace;
    Ok(match json {
        true => report::json(namespace, &totals, &known),
        false => report::table(namespace, &totals, &known),
    })
}

async fn purge(config: &Config, arguments: &PurgeArguments) -> anyhow::Result<String> {
    let model = match &arguments.model {
        Some(model) => Some(find(config, model)?),
        None => None,
    };
    let which = match (&arguments.model, model) {
        (Some(name), Some(tag)) if *name != tag.to_string() => format!("model {name} ({tag})"),
        (_, Some(tag)) => format!("model {tag}"),
        (_, None) => "all models".to_owned(),
    };
    let which = format!("{which} in namespace {}", config.cache.namespace);
    let entries = open(config).await?;
    if arguments.dry_run {
        let totals = entries.survey(model, progress("found")).await?;
        let count: u64 = totals.values().map(|totals| totals.entries).sum();
        return Ok(format!("would remove {count} entries of {which}\n"));
    }
    let so_far = Cell::new(0);
    let mut say = progress("removed");
    let removing = entries.remove(model, |count| {
        so_far.set(count);
        say(count);
    });
    let removed = removing.await.with_context(|| {
        let count = so_far.get();
        format!("{count} entries were removed, then it failed; run it again for the rest")
    })?;
    Ok(format!("removed {removed} entries of {which}\n"))
}

/// A name in the model folder, or the digits that `stats` shows, by which results of former models can be removed, too.
fn find(config: &Config, model: &str) -> anyhow::Result<ModelTag> {
    match model.parse() {
        Ok(tag) => Ok(tag),
        Err(_) => KnownModels::read(config)?.tag_of(model),
    }
}

async fn open(config: &Config) -> anyhow::Result<StoredEntries> {
    let Some(redis) = &config.cache.redis else {
        bail!("no Redis is set: set REDIS_URL or REDIS_CONNECTION_STRING");
    };
    complain(
        "warning: REDIS_CONNECTION_STRING: ",
        &config.cache.redis_remarks,
    );
    Ok(StoredEntries::open(redis.clone(), config.cache.namespace.clone()).await?)
}

/// Reports the progress at most once a second.
fn progress(what: &'static str) -> impl FnMut(u64) {
    let mut last = Instant::now();
    move |count| {
        if last.elapsed() >= Duration::from_secs(1) {
            last = Instant::now();
            complain("", [format!("{what} {count} entries so far")]);
        }
    }
}
