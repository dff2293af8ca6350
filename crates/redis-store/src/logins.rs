//! The login in use: fetched when there is none, replaced when it is refused or ends soon.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::Server;
use fred::types::config::CredentialProvider;
use score::Backoff;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::credentials::{RedisCredentials, RedisCredentialsError, RedisLogin};

/// Developers' tools start whole interpreters; an endpoint of the platform answers within milliseconds.
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);
const PAUSES: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));

/// The login that all connections share. Asked by the supervisor of the connection only, never by a request.
pub(super) struct Logins {
    credentials: Arc<dyn RedisCredentials>,
    refused: AtomicBool,
    /// Held across the fetch of a login, so that connections made at the same time share one.
    state: Mutex<State>,
}

struct State {
    login: Option<RedisLogin>,
    failure: Option<RedisCredentialsError>,
    /// Connections are tried again every second; the source of logins is asked less and less often.
    pauses: Backoff,
    not_before: Option<Instant>,
}

impl Logins {
    pub(super) fn new(credentials: Arc<dyn RedisCredentials>) -> Self {
        Self {
            credentials,
            refused: AtomicBool::new(false),
            state: Mutex::new(State {
                login: None,
                failure: None,
                pauses: PAUSES,
                not_before: None,
            }),
        }
    }

    /// The server did not accept the login: the next connection gets a fresh one.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// A login for a new connection.
    ///
    /// # Errors
    /// If none can be had now; also while it is too soon to ask again.
    pub(super) async fn get(&self) -> Result<RedisLogin, RedisCredentialsError> {
        let mut state = self.state.lock().await;
        let refused = self.refused.load(Ordering::Relaxed);
        let too_soon = state.not_before.is_some_and(|time| Instant::now() < time);
        if let Some(login) = &state.login
            && !login.time_left().is_zero()
            && (!refused || too_soon)
        {
            // Also a refused one: rights may have been given in the meantime, and tokens live for hours.
            return Ok(login.clone());
        }
        if let (Some(failure), true) = (&state.failure, too_soon) {
            return Err(failure.clone());
        }
        let fresh = state.login.is_some();
        let outcome = self.fetch(&mut state, fresh).await;
        state.not_before = Some(Instant::now() + state.pauses.next_pause());
        outcome
    }

    /// A login to follow the one in use, which goes on being used if there is none.
    pub(super) async fn renew(&self) -> Result<RedisLogin, RedisCredentialsError> {
        let mut state = self.state.lock().await;
        let login = self.fetch(&mut state, true).await?;
        state.pauses.reset();
        Ok(login)
    }

    async fn fetch(
        &self,
        state: &mut State,
        fresh: bool,
    ) -> Result<RedisLogin, RedisCredentialsError> {
        let answer = timeout(FETCH_TIMEOUT, self.credentials.fetch(fresh)).await;
        let outcome = answer.unwrap_or_else(|_| {
            let reason = format!("no {} login within {FETCH_TIMEOUT:?}", self.kind());
            Err(RedisCredentialsError(reason))
        });
        match &outcome {
            Ok(login) => {
                self.refused.store(false, Ordering::Relaxed);
                state.login = Some(login.clone());
                state.failure = None;
            }
            Err(failure) => state.failure = Some(failure.clone()),
        }
        outcome
    }

    /// What kind of logins they are, for logs.
    pub(super) fn kind(&self) -> &'static str {
        self.credentials.kind()
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logins({})", self.kind())
    }
}

#[async_trait::async_trait]
impl CredentialProvider for Logins {
    /// Asked for every connection, also those of a cluster's other nodes and those made again.
    async fn fetch(
        &self,
        _server: Option<&Server>,
    ) -> Result<(Option<String>, Option<String>), FredError> {
        match self.get().await {
            Ok(login) => Ok((Some(login.username), Some(login.password))),
            // Not `Auth`, which would read as a refusal by the server.
            Err(error) => Err(FredError::new(ErrorKind::IO, error.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::SystemTime;

    use futures_util::future::BoxFuture;

    use super::*;

    /// Numbers its logins, and fails while told to.
    #[derive(Default)]
    struct Numbered {
        asked: AtomicUsize,
        fresh: AtomicUsize,
        fails: AtomicBool,
    }

    impl RedisCredentials for Numbered {
        fn kind(&self) -> &'static str {
            "numbered"
        }

        fn fetch(&self, fresh: bool) -> BoxFuture<'_, Result<RedisLogin, RedisCredentialsError>> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            self.fresh.fetch_add(fresh.into(), Ordering::Relaxed);
            let outcome = match self.fails.load(Ordering::Relaxed) {
                true => Err(RedisCredentialsError("down".to_owned())),
                false => Ok(RedisLogin {
                    username: "user".to_owned(),
                    password: format!("pass-{number}"),
                    expires_at: SystemTime::now() + Duration::from_secs(600),
                }),
            };
            Box::pin(async { outcome })
        }
    }

    fn logins() -> (Arc<Numbered>, Logins) {
        let credentials = Arc::new(Numbered::default());
        (credentials.clone(), Logins::new(credentials))
    }

    #[tokio::test(start_paused = true)]
    async fn one_login_serves_all_connections_until_it_is_refused() {
        let (credentials, logins) = logins();
        for _ in 0..3 {
            assert_eq!(logins.get().await.unwrap().password, "pass-0");
        }
        tokio::time::advance(PAUSES.after(10).next_pause()).await;
        logins.refuse();
        assert_eq!(logins.get().await.unwrap().password, "pass-1");
        assert_eq!(credentials.fresh.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_always_refuses_causes_no_storm_of_fetches() {
        let (credentials, logins) = logins();
        for _ in 0..600 {
            logins.get().await.unwrap();
            logins.refuse();
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        let asked = credentials.asked.load(Ordering::Relaxed);
        assert!((20..35).contains(&asked), "{asked} times in five minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_asked_for_again_at_once_and_passes() {
        let (credentials, logins) = logins();
        credentials.fails.store(true, Ordering::Relaxed);
        for _ in 0..5 {
            assert_eq!(logins.get().await.unwrap_err().to_string(), "down");
        }
        assert_eq!(credentials.asked.load(Ordering::Relaxed), 1);
        credentials.fails.store(false, Ordering::Relaxed);
        tokio::time::advance(PAUSES.after(0).next_pause()).await;
        assert_eq!(logins.get().await.unwrap().password, "pass-1");
    }

    #[tokio::test]
    async fn a_failed_renewal_keeps_the_login_and_nothing_shows_its_password() {
        let (credentials, logins) = logins();
        let login = logins.get().await.unwrap();
        credentials.fails.store(true, Ordering::Relaxed);
        assert!(logins.renew().await.is_err());
        assert_eq!(logins.get().await.unwrap(), login);
        let shown = format!("{login:?} {logins:?}");
        assert!(!shown.contains("pass-"), "{shown}");
    }
}
