//! Microsoft Entra ID: the app's managed identity, or the developer's own sign-in, and logins for Redis by it.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use redis_store::{RedisCredentials, RedisCredentialsError, RedisLogin};
use serde::Deserialize;

const SCOPE: &str = "https://redis.azure.com/.default";
/// The endpoint is on the same machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

/// The identity that logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The app's managed identity.
    Managed {
        /// Of a user-assigned identity; `None` for the system-assigned one.
        client_id: Option<String>,
    },
    /// The account that is signed in to `az` or `azd` on this machine.
    Developer,
}

impl Identity {
    /// What fetches tokens for it, and keeps each until shortly before it expires.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let credential = match self {
            Self::Managed { client_id } => managed_identity(client_id.clone()),
            Self::Developer => Ok(DeveloperToolsCredential::new(None)? as Arc<_>),
        };
        Ok(Arc::new(Explained {
            identity: self.clone(),
            credential: credential?,
        }))
    }

    /// One line that says what to change.
    fn explain(&self, error: &azure_core::Error) -> String {
        let status = causes(error).find_map(|cause| {
            match cause.downcast_ref::<azure_core::Error>()?.kind() {
                ErrorKind::HttpResponse { status, .. } => Some(u16::from(*status)),
                _ => None,
            }
        });
        let advice = match (self, status) {
            (Self::Managed { client_id: None }, Some(400)) => {
                "the app has no system-assigned identity (400): give it one, or set AZURE_CLIENT_ID to the client id of \
                 its user-assigned identity"
            }
            (Self::Managed { .. }, Some(400)) => {
                "AZURE_CLIENT_ID is not the client id of an identity that is assigned to this app (400): correct it, or \
                 assign that identity"
            }
            (Self::Managed { .. }, Some(401 | 403)) => {
                "the identity endpoint does not accept IDENTITY_HEADER: restart the app"
            }
            (Self::Managed { .. }, Some(status)) => {
                return format!("the identity endpoint answered with status {status}");
            }
            (Self::Managed { .. }, None) => "the identity endpoint gives no token",
            (Self::Developer, _) => {
                "no managed identity (IDENTITY_ENDPOINT is not set) and no developer's sign-in: give the app an \
                 identity, or run `az login`"
            }
        };
        match status {
            Some(_) => advice.to_owned(),
            None => format!("{advice} ({})", one_line(innermost(error))),
        }
    }
}

/// A credential whose errors say what to change.
#[derive(Debug)]
struct Explained {
    identity: Identity,
    credential: Arc<dyn TokenCredential>,
}

#[async_trait]
impl TokenCredential for Explained {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let token = self.credential.get_token(scopes, options).await;
        token.map_err(|error| {
            azure_core::Error::with_message(ErrorKind::Credential, self.identity.explain(&error))
        })
    }
}

/// Fetches access tokens. Creates no client before the first token is asked for.
pub(crate) struct EntraCredentials {
    identity: Identity,
    /// Caches a token until five minutes before it expires, so a fresh token needs a new credential.
    credential: Mutex<Option<Arc<dyn TokenCredential>>>,
}

impl EntraCredentials {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            credential: Mutex::default(),
        }
    }

    /// What fetches tokens; it keeps each until shortly before it expires, unless a fresh one is wanted.
    ///
    /// # Errors
    /// If there is no identity.
    pub(crate) fn credential(&self, fresh: bool) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut kept = self.credential.lock();
        if let (Some(credential), false) = (&*kept, fresh) {
            return Ok(credential.clone());
        }
        let credential = self.identity.credential()?;
        Ok(kept.insert(credential).clone())
    }

    async fn login(&self, fresh: bool) -> Result<RedisLogin, RedisCredentialsError> {
        let failed = |error: azure_core::Error| RedisCredentialsError(error.to_string());
        let credential = self.credential(fresh).map_err(failed)?;
        let token = credential.get_token(&[SCOPE], None).await.map_err(failed)?;
        let password = token.token.secret().to_owned();
        let username = object_id(&password).ok_or_else(|| {
            let reason = "the access token names no object id (claim oid)";
            RedisCredentialsError(reason.to_owned())
        })?;
        Ok(RedisLogin {
            username,
            password,
            expires_at: SystemTime::from(token.expires_on),
        })
    }
}

impl RedisCredentials for EntraCredentials {
    fn kind(&self) -> &'static str {
        "Entra ID"
    }

    fn fetch(&self, fresh: bool) -> BoxFuture<'_, Result<RedisLogin, RedisCredentialsError>> {
        Box::pin(self.login(fresh))
    }
}

fn managed_identity(client_id: Option<String>) -> azure_core::Result<Arc<dyn TokenCredential>> {
    // Without a proxy, which would see the header that opens the endpoint.
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|error| azure_core::Error::new(ErrorKind::Other, error))?;
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(UserAssignedId::ClientId),
        client_options: ClientOptions {
            transport: Some(Transport::new(Arc::new(http))),
            // The supervisor of the connection retries, and knows for how long.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        },
    };
    Ok(ManagedIdentityCredential::new(Some(options))?)
}

/// The claim `oid`, which is the name of the Redis user. Not verified here: the server does that.
fn object_id(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        oid: String,
    }
    let payload = token.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Some(claims.oid)
}

/// The error, and what each was caused by.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The cause behind all others.
pub(crate) fn innermost(error: &azure_core::Error) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// One line of a text: tools write whole pages to standard error.
fn one_line(text: String) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_the_tokens_object_id() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let found = object_id(&token(r#"{"aud":"x","oid":"0000-1"}"#));
        assert_eq!(found.as_deref(), Some("0000-1"));
        for wrong in [
            token("{}"),
            token("[]"),
            "opaque".to_owned(),
            "a.%.b".to_owned(),
        ] {
            assert_eq!(object_id(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn long_texts_of_tools_become_one_line() {
        assert_eq!(one_line("a\n  b\tc".to_owned()), "a b c");
        assert_eq!(one_line("x".repeat(1000)).len(), 300);
    }
}
