//! The identity endpoint of App Service, together with what Azure makes of its tokens: a Redis user named by the object
//! id, whose passwords are the tokens that live, and whose connections end with the token they came with.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::resp::{self, RespValue};
use functions_host::{encoding, port};

/// The object id of the identity, which is the name of the Redis user.
pub(crate) const OBJECT_ID: &str = "6f1c5f2e-0000-4000-8000-00000000a11a";
/// The client id of the same identity.
pub(crate) const CLIENT_ID: &str = "0b5e3c11-0000-4000-8000-0000000c11e7";
const REDIS: &str = "https://redis.azure.com";
/// What opens the endpoint.
pub(crate) const HEADER: &str = "header-s3cret-of-the-endpoint";

/// The endpoint; ends when dropped.
#[derive(Debug)]
pub(crate) struct IdentityEndpoint {
    port: u16,
    authority: Arc<Authority>,
    server: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Authority {
    /// What tokens are for.
    resource: &'static str,
    /// Plain ports where the default user needs no password.
    redis: Vec<u16>,
    life: Duration,
    is_user_assigned: bool,
    tokens: Mutex<Vec<String>>,
    kills: AtomicUsize,
}

impl IdentityEndpoint {
    /// An endpoint that is not there yet, of an app with a system-assigned identity. Its tokens live for whole seconds.
    pub(crate) fn new(redis: &[u16], life: Duration) -> Self {
        Self::of(redis, life, false, REDIS)
    }

    /// The same with tokens for storage accounts.
    pub(crate) fn of_storage(life: Duration) -> Self {
        Self::of(&[], life, false, "https://storage.azure.com")
    }

    /// The same for an app that has a user-assigned identity only.
    pub(crate) fn user_assigned(redis: &[u16], life: Duration) -> Self {
        Self::of(redis, life, true, REDIS)
    }

    fn of(redis: &[u16], life: Duration, is_user_assigned: bool, resource: &'static str) -> Self {
        let authority = Authority {
            resource,
            redis: redis.to_vec(),
            life,
            is_user_assigned,
            tokens: Mutex::default(),
            kills: AtomicUsize::new(0),
        };
        Self {
            port: port::free(),
            authority: Arc::new(authority),
            server: Mutex::default(),
        }
    }

    /// Listens from now on.
    ///
    /// # Panics
    ///
    /// If the port has been taken.
    pub(crate) async fn start(&self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let listener = listener.expect("a free port");
        let authority = self.authority.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, authority.clone()));
            }
        });
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server.abort_handle());
    }

    /// Refuses connections until it is started again.
    pub(crate) fn stop(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = server.take() {
            server.abort();
        }
    }

    /// What the platform sets for the app.
    pub(crate) fn settings(&self) -> [(&'static str, String); 2] {
        let endpoint = format!("http://127.0.0.1:{}/msi/token", self.port);
        [
            ("IDENTITY_ENDPOINT", endpoint),
            ("IDENTITY_HEADER", HEADER.to_owned()),
        ]
    }

    /// All tokens so far.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.authority.tokens().clone()
    }

    /// How often connections were ended because their token had expired.
    pub(crate) fn kills(&self) -> usize {
        self.authority.kills.load(Ordering::Relaxed)
    }
}

impl Drop for IdentityEndpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(mut stream: TcpStream, authority: Arc<Authority>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
    let (status, body) = authority.reply(&String::from_utf8_lossy(&request)).await;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

impl Authority {
    async fn reply(self: &Arc<Self>, request: &str) -> (u16, String) {
        let line = request.lines().next().unwrap_or_default();
        let query = line
            .split(' ')
            .nth(1)
            .and_then(|target| target.split_once('?'));
        let has = |pair: &str| query.is_some_and(|(_, query)| query.split('&').any(|p| p == pair));
        let header = request.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-identity-header")
                .then(|| value.trim())
        });
        if header != Some(HEADER) {
            return (401, String::new());
        }
        let names_client = query.is_some_and(|(_, query)| query.contains("client_id="));
        let is_known = match self.is_user_assigned {
            true => has(&format!("client_id={CLIENT_ID}")),
            false => !names_client,
        };
        let is_right = line.starts_with("GET ")
            && has("api-version=2019-08-01")
            && has(&format!(
                "resource={}",
                self.resource.replace("://", "%3A%2F%2F")
            ));
        if !is_right || !is_known {
            return (
                400,
                r#"{"statusCode":400,"message":"no such identity"}"#.to_owned(),
            );
        }
        let (token, expires_on) = self.issue().await;
        let body = serde_json::json!({
            "access_token": token,
            "expires_on": expires_on.to_string(),
            "resource": self.resource,
            "token_type": "Bearer",
            "client_id": CLIENT_ID,
        });
        (200, body.to_string())
    }

    /// A new token, known to the servers, and forgotten by them when its time is over.
    async fn issue(self: &Arc<Self>) -> (String, u64) {
        let end = SystemTime::now() + self.life;
        let expires_on = end
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let claims = serde_json::json!({
            "oid": OBJECT_ID, "exp": expires_on, "n": self.tokens().len(),
            "iat": 0, "nbf": 0, "aud": self.resource, "iss": "https://sts.windows.net/0/",
        });
        let part = |text: &str| {
            let text = encoding::base64(text.as_bytes());
            text.trim_end_matches('=')
                .replace('+', "-")
                .replace('/', "_")
        };
        let token = format!(
            "{}.{}.",
            part(r#"{"alg":"none"}"#),
            part(&claims.to_string())
        );
        self.tokens().push(token.clone());
        for port in &self.redis {
            let before = logins(*port).await;
            let password = format!(">{token}");
            let rule = ["ACL", "SETUSER", OBJECT_ID, "on", &password, "~*", "+@all"];
            command(*port, &rule).await;
            let (authority, port, token) = (self.clone(), *port, token.clone());
            let left = Duration::from_secs(expires_on) + Duration::from_millis(100);
            tokio::spawn(async move {
                sleep(
                    (UNIX_EPOCH + left)
                        .duration_since(SystemTime::now())
                        .unwrap_or_default(),
                )
                .await;
                authority.retire(port, &token, before).await;
            });
        }
        (token, expires_on)
    }

    /// With this token came one login; a second since then was with a later one.
    async fn retire(&self, port: u16, token: &str, logins_before: i64) {
        let password = format!("<{token}");
        command(port, &["ACL", "SETUSER", OBJECT_ID, &password]).await;
        if logins(port).await < logins_before + 2 {
            let killed = command(port, &["CLIENT", "KILL", "USER", OBJECT_ID]).await;
            self.kills
                .fetch_add(killed.integer() as usize, Ordering::Relaxed);
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Successful logins so far.
pub(crate) async fn logins(port: u16) -> i64 {
    let text = command(port, &["INFO", "commandstats"]).await.text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_auth:"));
    let number = |name: &str| -> i64 {
        let value = line.and_then(|line| line.split(',').find_map(|pair| pair.strip_prefix(name)));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    number("calls=") - number("failed_calls=")
}

async fn command(port: u16, words: &[&str]) -> RespValue {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    match resp::pipeline(port, &[&words]).await {
        Ok(mut replies) => replies.pop().expect("one reply per command"),
        // The server has been stopped, which some tests do.
        Err(_) => RespValue::Integer(0),
    }
}
