//! One look-up in the shared store for many requests of one task.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use super::key::UnitKey;
use super::remote::Remote;

/// Requests that join one look-up; the next ones make another.
const MAX_JOINED: usize = 256;
/// A request with more keys looks them up alone: a command of its own costs little beside so many keys.
const MAX_KEYS_EACH: usize = 64;

/// Joins the look-ups of several requests, such as the messages of a batch, into one for all of them.
///
/// Give clones of one value to requests that one task polls in turn, for example with
/// [`FuturesUnordered`](futures_util::stream::FuturesUnordered), and whose models share one [`Cache`](super::Cache). The
/// first request that reaches its look-up waits until the others had their turn, then looks up the keys of all. If it
/// is dropped before that, nothing is found for the requests that joined it.
#[derive(Debug, Clone, Default)]
pub struct JointLookUp {
    /// The way into the look-up that is being gathered. Locked for one insertion at a time, never across an await.
    gathering: Arc<Mutex<Option<mpsc::Sender<Joining>>>>,
}

/// The keys of one request, and the way back for what is found.
#[derive(Debug)]
struct Joining {
    keys: Vec<UnitKey>,
    /// Dropped without an answer if the store was not asked.
    found: oneshot::Sender<Vec<Option<Bytes>>>,
}

/// What a request does about its look-up.
enum Part {
    /// It makes the look-up for all that join.
    Leads(mpsc::Receiver<Joining>),
    /// Another request makes it.
    Follows(oneshot::Receiver<Vec<Option<Bytes>>>),
}

impl JointLookUp {
    /// Fills the empty elements of `found` with what the store knows of `keys`. `false` if the store was not asked.
    pub(super) async fn look_up(
        &self,
        remote: &Remote,
        keys: &[UnitKey],
        found: &mut [Option<Bytes>],
    ) -> bool {
        if !remote.is_up() {
            return false;
        }
        let missing: Vec<usize> = (0..keys.len()).filter(|i| found[*i].is_none()).collect();
        if missing.len() > MAX_KEYS_EACH {
            return remote.look_up(keys, found).await;
        }
        let mine: Vec<UnitKey> = missing.iter().map(|i| keys[*i]).collect();
        let answers = match self.join(&mine) {
            Part::Follows(answer) => answer.await.ok(),
            Part::Leads(joining) => {
                yield_now().await;
                lead(remote, mine, joining).await
            }
        };
        let asked = answers.is_some();
        for (i, answer) in missing.into_iter().zip(answers.unwrap_or_default()) {
            found[i] = answer;
        }
        asked
    }

    fn join(&self, keys: &[UnitKey]) -> Part {
        let mut gathering = self.gathering.lock();
        let (found, answer) = oneshot::channel();
        let joining = Joining {
            keys: keys.to_vec(),
            found,
        };
        // Fails where the look-up has enough company, has left, or its leader was dropped.
        if let Some(sender) = &*gathering
            && sender.try_send(joining).is_ok()
        {
            return Part::Follows(answer);
        }
        let (sender, joined) = mpsc::channel(MAX_JOINED);
        *gathering = Some(sender);
        Part::Leads(joined)
    }
}

/// Looks up `mine` and the keys of all that have joined, and hands each its part. `None` if the store was not asked.
async fn lead(
    remote: &Remote,
    mine: Vec<UnitKey>,
    mut joining: mpsc::Receiver<Joining>,
) -> Option<Vec<Option<Bytes>>> {
    // From here on, others make the next look-up.
    joining.close();
    let count = mine.len();
    let mut keys = mine;
    let mut followers = Vec::new();
    while let Ok(Joining {
        keys: theirs,
        found,
    }) = joining.try_recv()
    {
        followers.push((theirs.len(), found));
        keys.extend(theirs);
    }
    let mut found = vec![None; keys.len()];
    if !remote.look_up(&keys, &mut found).await {
        return None;
    }
    let mut theirs = found.split_off(count).into_iter();
    for (count, follower) in followers {
        // Fails where the request has gone.
        let _ = follower.send(theirs.by_ref().take(count).collect());
    }
    Some(found)
}
