//! Results and refusals of a blob as blocks, of which blobs are made when the last line is done.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::message::{Progress, Written};
use super::storage::{Expected, Fault, Found, Place, Storage};
use crate::bulk::Format;

/// From so many bytes on a block is written.
const BLOCK_BYTES: usize = 4 << 20;
const LINES_OF_JSON: &str = "application/x-ndjson";
/// The metadata of results: of which version of the blob, and by which model.
const OF_VERSION: &str = "score_of";
const BY_MODEL: &str = "score_by";

/// Where the results and refusals of a blob go.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) source: Place,
    pub(super) results: Place,
    pub(super) refusals: Place,
}

/// What one call writes.
pub(super) struct Output {
    storage: Arc<Storage>,
    places: Places,
    /// The names of its blocks and how many there are.
    written: Written,
    results: Vec<u8>,
    refusals: Vec<u8>,
}

/// How making blobs of the blocks ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// They are there.
    Now,
    /// Another call had made them before.
    Before,
}

impl Output {
    /// Blocks of every call have names of their own: what another call writes for the same message never takes their place.
    pub(super) fn new(storage: Arc<Storage>, places: Places) -> Self {
        let name: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(8)
            .collect();
        Self {
            storage,
            places,
            written: Written(name, 0, 0),
            results: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Takes lines, and writes those that make a block.
    ///
    /// # Errors
    /// If a block is not taken.
    pub(super) async fn push(&mut self, results: &[u8], refusals: &[u8]) -> Result<(), Fault> {
        self.results.extend(results);
        self.refusals.extend(refusals);
        self.write(BLOCK_BYTES).await
    }

    async fn write(&mut self, least: usize) -> Result<(), Fault> {
        let Self {
            written, places, ..
        } = self;
        let lines = [
            (&mut self.results, &places.results, &mut written.1),
            (&mut self.refusals, &places.refusals, &mut written.2),
        ];
        for (lines, place, count) in lines {
            if lines.len() >= least.max(1) {
                let name = Written::name(&written.0, *count);
                let bytes = Bytes::from(std::mem::take(lines));
                self.storage.stage(place, &name, bytes).await?;
                *count += 1;
            }
        }
        Ok(())
    }

    /// Writes what is left; the result names the blocks of this call.
    ///
    /// # Errors
    /// If a block is not taken.
    pub(super) async fn end(mut self) -> Result<Written, Fault> {
        self.write(0).await?;
        Ok(self.written)
    }
}

/// Whether results are those of this version and model.
pub(super) fn is_done(results: Option<&Found>, done: &Progress) -> bool {
    let says = |name: &str, value: &str| {
        results.is_some_and(|found| found.metadata.get(name).is_some_and(|found| found == value))
    };
    says(OF_VERSION, &plain(&done.etag)) && says(BY_MODEL, &done.model)
}

/// A version without what headers may not have.
fn plain(etag: &str) -> String {
    let kept = |letter: &char| letter.is_ascii_graphic() && *letter != '"';
    etag.chars().filter(kept).collect()
}

/// Makes the results and the refusals of the blocks, if the blob is still the one that was scored. Refusals come first: the
/// results say that both are there. What an older version of the blob has left is replaced, and nothing of a newer one.
///
/// # Errors
/// [`Fault::Changed`] or [`Fault::Missing`] if the blob is another one or gone; [`Fault::BlocksLost`] if it has to be scored
/// again.
pub(super) async fn commit(
    storage: &Storage,
    places: &Places,
    done: &Progress,
    format: Format,
) -> Result<Committed, Fault> {
    loop {
        let results = storage.look_for(&places.results).await?;
        if is_done(results.as_ref(), done) {
            return Ok(Committed::Before);
        }
        let refusals = storage.look_for(&places.refusals).await?;
        // After those: were it newer, its results might be among them.
        storage.find(&places.source, Some(&done.etag)).await?;
        match replace(storage, places, done, format, (results, refusals)).await {
            // Another call was faster. It has its results there now, or is about to.
            Err(Fault::Changed) => {}
            outcome => return outcome.map(|()| Committed::Now),
        }
    }
}

async fn replace(
    storage: &Storage,
    places: &Places,
    done: &Progress,
    format: Format,
    (results, refusals): (Option<Found>, Option<Found>),
) -> Result<(), Fault> {
    let about = HashMap::from([
        (OF_VERSION.to_owned(), plain(&done.etag)),
        (BY_MODEL.to_owned(), done.model.clone()),
    ]);
    let blocks: Vec<String> = done.blocks.iter().flat_map(Written::refusals).collect();
    match refusals {
        Some(old) if blocks.is_empty() => storage.remove(&places.refusals, &old.etag).await?,
        None if blocks.is_empty() => {}
        old => {
            let expected = Expected::of(old.as_ref());
            let about = (LINES_OF_JSON, &about);
            storage
                .commit(&places.refusals, &blocks, &expected, about)
                .await?;
        }
    }
    let blocks: Vec<String> = done.blocks.iter().flat_map(Written::results).collect();
    let content_type = match format {
        Format::Csv => "text/csv",
        Format::Jsonl => LINES_OF_JSON,
    };
    let expected = Expected::of(results.as_ref());
    let about = (content_type, &about);
    storage
        .commit(&places.results, &blocks, &expected, about)
        .await
}

/// Makes refusals of these blocks, whatever is there.
///
/// # Errors
/// If they are not taken.
pub(super) async fn replace_refusals(
    storage: &Storage,
    place: &Place,
    written: Written,
) -> Result<(), Fault> {
    loop {
        let old = storage.look_for(place).await?;
        let blocks: Vec<String> = written.refusals().collect();
        let about = (LINES_OF_JSON, &HashMap::new());
        match storage
            .commit(place, &blocks, &Expected::of(old.as_ref()), about)
            .await
        {
            Err(Fault::Changed) => {}
            outcome => return outcome,
        }
    }
}
