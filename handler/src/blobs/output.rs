//! Results and refusals of a blob as blocks, of which blobs are made when the last line is done.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::message::{Progress, Written};
use super::storage::{Expected, Fault, Found, Place, Storage};
use crate::bulk::Format;
use crate::problem::{Problem, Reason};

/// From so many bytes on a block is written.
const BLOCK_BYTES: usize = 4 << 20;
/// More bytes go into several blocks, so that each is sent in time.
const MOST_BLOCK_BYTES: usize = 16 << 20;
const LINES_OF_JSON: &str = "application/x-ndjson";
/// How often other calls may be faster to write the same results.
const MOST_TRIES: usize = 10;
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

/// The most letters of a blob's name.
///
/// Source: "Naming and referencing containers, blobs, and metadata".
const MOST_LETTERS: usize = 1024;
const OF_REFUSALS: &str = ".errors.jsonl";

impl Places {
    /// For a blob, with the containers of results and of refusals.
    pub(super) fn of(source: Place, scored: &str, rejected: &str) -> Self {
        let place = |container: &str, name| Place {
            container: container.to_owned(),
            name,
        };
        Self {
            results: place(scored, source.name.clone()),
            refusals: place(rejected, refusals_name(&source.name)),
            source,
        }
    }
}

/// The name of a blob and an ending. Where both are too long for a name, a digest stands for the end of the blob's.
fn refusals_name(name: &str) -> String {
    // A letter beyond the basic plane counts twice.
    let letters = |text: &str| text.encode_utf16().count();
    if letters(name) + OF_REFUSALS.len() <= MOST_LETTERS {
        return format!("{name}{OF_REFUSALS}");
    }
    let digest = &blake3::hash(name.as_bytes()).to_hex()[..16];
    let most = MOST_LETTERS - OF_REFUSALS.len() - digest.len() - 1;
    let mut taken = 0;
    let start: String = name
        .chars()
        .take_while(|letter| {
            taken += letter.len_utf16();
            taken <= most
        })
        .collect();
    format!("{start}~{digest}{OF_REFUSALS}")
}

/// What one call writes.
pub(super) struct Output {
    storage: Arc<Storage>,
    places: Places,
    /// The names of its blocks and how many there are.
    written: Written,
    results: Vec<u8>,
    refusals: Vec<u8>,
    /// Why lines that were taken are in no block.
    lost: Option<Fault>,
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
            lost: None,
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
            while lines.len() >= least.max(1) {
                let name = Written::name(&written.0, *count);
                let rest = lines.split_off(lines.len().min(MOST_BLOCK_BYTES));
                let bytes = Bytes::from(std::mem::replace(lines, rest));
                if let Err(fault) = self.storage.stage(place, &name, bytes).await {
                    self.lost = Some(fault.clone());
                    return Err(fault);
                }
                *count += 1;
            }
        }
        Ok(())
    }

    /// Writes what is left; the result names the blocks of this call.
    ///
    /// # Errors
    /// If a block is not taken, or was not before: then nothing of this call counts.
    pub(super) async fn end(mut self) -> Result<Written, Fault> {
        if let Some(fault) = self.lost.take() {
            return Err(fault);
        }
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

/// Whether results are those of this version, by any model.
pub(super) fn is_of(results: Option<&Found>, etag: &str) -> bool {
    results.is_some_and(|found| found.metadata.get(OF_VERSION) == Some(&plain(etag)))
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
    for _ in 0..MOST_TRIES {
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
    Err(others())
}

fn others() -> Fault {
    Fault::Other("other programs keep writing the same results".to_owned())
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
        Format::Jsonl | Format::Parquet => LINES_OF_JSON,
    };
    let expected = Expected::of(results.as_ref());
    let about = (content_type, &about);
    storage
        .commit(&places.results, &blocks, &expected, about)
        .await
}

/// The line that says why a whole blob cannot be scored.
///
/// # Errors
/// If it cannot be written as JSON.
pub(super) fn refusal(blob: &str, problem: &Problem) -> Result<Vec<u8>, Problem> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        blob: &'a str,
        reason: Reason<'a>,
    }
    let reason = problem.reason();
    let line = serde_json::to_vec(&Refusal { blob, reason });
    let mut line = line.map_err(|_| Problem::internal())?;
    line.push(b'\n');
    Ok(line)
}

/// Makes refusals of these blocks, in place of any that are there.
///
/// # Errors
/// If they are not taken.
pub(super) async fn replace_refusals(
    storage: &Storage,
    place: &Place,
    written: Written,
) -> Result<(), Fault> {
    for _ in 0..MOST_TRIES {
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
    Err(others())
}

#[cfg(test)]
mod tests {
    use azure_core::http::Url;
    use azure_storage_blob::BlobServiceClient;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An account that answers each request so.
    async fn answering(head: &'static str) -> Arc<Storage> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer =
                    format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let url = Url::parse(&format!("http://{address}/account")).unwrap();
        Arc::new(Storage(BlobServiceClient::new(url, None, None).unwrap()))
    }

    fn place(container: &str) -> Place {
        Place {
            container: container.to_owned(),
            name: "a".to_owned(),
        }
    }

    fn places() -> Places {
        Places {
            source: place("incoming"),
            results: place("scored"),
            refusals: place("rejected"),
        }
    }

    #[test]
    fn refusals_of_the_longest_names_have_names_of_their_own() {
        assert_eq!(refusals_name("d/a.csv"), "d/a.csv.errors.jsonl");
        let longest = |letter: &str| letter.repeat(1024 / letter.encode_utf16().count());
        let names = ["x", "\u{1f48e}"].map(longest);
        let other = format!("{}y", &names[0][..1023]);
        let found: Vec<String> = [&names[0], &names[1], &other]
            .map(|name| refusals_name(name))
            .into();
        for name in &found {
            let letters = name.encode_utf16().count();
            assert!((1020..=1024).contains(&letters), "{letters}");
            assert!(name.ends_with(".errors.jsonl"), "{name}");
        }
        assert_ne!(found[0], found[2]);
    }

    #[tokio::test]
    async fn nothing_counts_once_a_block_is_lost() {
        let mut output = Output::new(answering("403 Forbidden").await, places());
        let block = vec![b'1'; BLOCK_BYTES];
        let refused = output.push(&block, b"").await.unwrap_err();
        assert_eq!(output.end().await.unwrap_err(), refused);
    }

    #[tokio::test]
    async fn a_leased_result_is_no_changed_blob() {
        let head = "412 Precondition Failed\r\nx-ms-error-code: LeaseIdMissing";
        let storage = answering(head).await;
        let block = Bytes::from_static(b"1");
        let fault = storage.stage(&place("scored"), "MQ==", block).await;
        assert!(fault.unwrap_err().to_string().contains("lease"));
    }
}
