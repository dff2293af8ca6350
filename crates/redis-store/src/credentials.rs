//! Logins that change while the process runs, such as access tokens. Where they come from is not known here.

use std::fmt;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

/// A login that is valid for a while. Its `Debug` form hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisLogin {
    /// The ACL user.
    pub username: String,
    /// Its password of the moment.
    pub password: String,
    /// When the server stops accepting the password, and closes connections that were opened with it.
    pub expires_at: SystemTime,
}

impl RedisLogin {
    /// How long it is still good for; zero if it has expired.
    pub(super) fn time_left(&self) -> Duration {
        let left = self.expires_at.duration_since(SystemTime::now());
        left.unwrap_or_default()
    }
}

impl fmt::Debug for RedisLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLogin")
            .field("username", &self.username)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why there is no login, in one line that says what to change. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisCredentialsError(pub String);

/// Where logins come from.
pub trait RedisCredentials: Send + Sync + 'static {
    /// What kind of login it is, for logs.
    fn kind(&self) -> &'static str;

    /// A login that is good now. With `fresh` it must not come from a cache of this process: the server has refused the
    /// last one, or that one ends soon. It may be dropped before it is done.
    fn fetch(&self, fresh: bool) -> BoxFuture<'_, Result<RedisLogin, RedisCredentialsError>>;
}
