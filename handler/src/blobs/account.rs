//! The storage account, from what the settings say of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport, Url};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};

use super::transport::Http;
use crate::config::BlobSettings;
use crate::entra::{EntraCredentials, Identity};

/// The account of the emulator, as Microsoft documents it.
const EMULATOR: &str = "AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1";
/// How long what is signed with the account's key can be used: longer than any call.
const SIGNED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a request that fails is tried again. The rest of a call's time has to suffice for it, also at the end of the call.
const RETRIED_FOR: azure_core::time::Duration = azure_core::time::Duration::seconds(15);
/// The version of the form that is signed.
const SIGNED_VERSION: &str = "2022-11-02";

/// Why a storage account cannot be used. No text has a value of the settings: they may hold keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccountError {
    /// Neither the setting nor what stands in for it.
    #[error(
        "no storage account is set: set SCORE_BLOBS_STORAGE to https://<account>.blob.core.windows.net, or AzureWebJobsStorage"
    )]
    Unset,
    /// A part of a connection string is missing.
    #[error(
        "SCORE_BLOBS_STORAGE or AzureWebJobsStorage: the connection string has no {0}; copy it as the portal shows it"
    )]
    Incomplete(&'static str),
    /// None of the forms.
    #[error(
        "SCORE_BLOBS_STORAGE or AzureWebJobsStorage: expected https://<account>.blob.core.windows.net, the account's name, or \
         a connection string"
    )]
    Unknown,
    /// Tokens are sent by TLS alone.
    #[error("SCORE_BLOBS_STORAGE: expected https://, because the app's identity opens the account")]
    Plain,
}

/// A storage account.
pub(super) struct Account {
    endpoint: Url,
    login: Login,
}

enum Login {
    Identity(EntraCredentials),
    Key {
        name: String,
        key: Secret,
    },
    /// What the endpoint's query holds is enough.
    Signed,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.endpoint.host_str().unwrap_or_default())
    }
}

impl Account {
    /// # Errors
    /// If the settings name no account, or not in one of the forms.
    pub(super) fn of(settings: &BlobSettings) -> Result<Self, AccountError> {
        let text = settings.storage.as_deref().ok_or(AccountError::Unset)?;
        let is_name = |text: &str| {
            (3..=24).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let address = match is_name(text) {
            true => format!("https://{text}.blob.core.windows.net"),
            false => text.to_owned(),
        };
        let lower = address.to_ascii_lowercase();
        if !lower.starts_with("https://") && !lower.starts_with("http://") {
            return Self::of_connection_string(text);
        }
        let endpoint = Url::parse(&address).map_err(|_| AccountError::Unknown)?;
        // A signature in the address opens the account by itself.
        if endpoint.query().is_some_and(|query| query.contains("sig=")) {
            let login = Login::Signed;
            return Ok(Self { endpoint, login });
        }
        if endpoint.scheme() != "https" {
            return Err(AccountError::Plain);
        }
        let identity = match settings.is_managed {
            true => Identity::Managed {
                client_id: settings.client_id.clone(),
            },
            false => Identity::Developer,
        };
        let login = Login::Identity(EntraCredentials::new(identity));
        Ok(Self { endpoint, login })
    }

    /// Source: "Configure Azure Storage connection strings".
    fn of_connection_string(text: &str) -> Result<Self, AccountError> {
        let parts: BTreeMap<String, &str> = text
            .split(';')
            .filter_map(|part| part.trim().split_once('='))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let part = |name: &str| parts.get(name).copied().filter(|value| !value.is_empty());
        if part("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::of_connection_string(EMULATOR);
        }
        let name = part("accountname");
        let address = match (part("blobendpoint"), name) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(name)) => {
                let protocol = part("defaultendpointsprotocol").unwrap_or("https");
                let suffix = part("endpointsuffix").unwrap_or("core.windows.net");
                format!("{protocol}://{name}.blob.{suffix}")
            }
            (None, None) if parts.contains_key("accountkey") => {
                return Err(AccountError::Incomplete("AccountName"));
            }
            (None, None) => return Err(AccountError::Unknown),
        };
        let mut endpoint = Url::parse(&address).map_err(|_| AccountError::Unknown)?;
        let login = match (part("sharedaccesssignature"), name, part("accountkey")) {
            (Some(signature), _, _) => {
                endpoint.set_query(Some(signature.trim_start_matches('?')));
                Login::Signed
            }
            (None, Some(name), Some(key)) => Login::Key {
                name: name.to_owned(),
                key: Secret::new(key.to_owned()),
            },
            (None, None, Some(_)) => return Err(AccountError::Incomplete("AccountName")),
            (None, _, None) => return Err(AccountError::Incomplete("AccountKey")),
        };
        Ok(Self { endpoint, login })
    }

    /// A client, which is used for one call of the host.
    ///
    /// # Errors
    /// If there is no identity, or the key is not base64.
    pub(super) fn client(&self, http: Arc<Http>) -> azure_core::Result<BlobServiceClient> {
        let (mut endpoint, mut credential) = (self.endpoint.clone(), None);
        match &self.login {
            Login::Identity(credentials) => credential = Some(credentials.credential(false)?),
            Login::Key { name, key } => {
                let until = OffsetDateTime::now_utc() + SIGNED_FOR;
                endpoint.set_query(Some(&signed(name, key, until)?));
            }
            Login::Signed => {}
        }
        let options = BlobServiceClientOptions {
            client_options: ClientOptions {
                transport: Some(Transport::new(http)),
                retry: RetryOptions::exponential(ExponentialRetryOptions {
                    max_total_elapsed: RETRIED_FOR,
                    ..ExponentialRetryOptions::default()
                }),
                ..ClientOptions::default()
            },
            ..BlobServiceClientOptions::default()
        };
        BlobServiceClient::new(endpoint, credential, Some(options))
    }
}

/// The query that lets its holder read and write blobs until then.
///
/// Source: "Create an account SAS".
fn signed(name: &str, key: &Secret, until: OffsetDateTime) -> azure_core::Result<String> {
    let until = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        until.year(),
        u8::from(until.month()),
        until.day(),
        until.hour(),
        until.minute(),
        until.second()
    );
    // Read, write, delete, list, add, create; blobs; service, containers, blobs.
    let (permissions, services, kinds) = ("rwdlac", "b", "sco");
    let text = format!(
        "{name}\n{permissions}\n{services}\n{kinds}\n\n{until}\n\nhttps,http\n{SIGNED_VERSION}\n\n"
    );
    let signature = hmac_sha256(&text, key)?;
    let mut query = Url::parse("http://localhost")?;
    query
        .query_pairs_mut()
        .append_pair("sv", SIGNED_VERSION)
        .append_pair("ss", services)
        .append_pair("srt", kinds)
        .append_pair("sp", permissions)
        .append_pair("se", &until)
        .append_pair("spr", "https,http")
        .append_pair("sig", &signature);
    Ok(query.query().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(storage: Option<&str>) -> BlobSettings {
        BlobSettings {
            storage: storage.map(str::to_owned),
            client_id: None,
            is_managed: true,
            incoming: String::new(),
            scored: String::new(),
            rejected: String::new(),
            budget: Duration::ZERO,
        }
    }

    #[test]
    fn accounts_are_named_in_every_form_that_the_host_takes() {
        let of = |text| Account::of(&settings(Some(text))).unwrap();
        for (text, endpoint, login) in [
            ("acct1", "https://acct1.blob.core.windows.net/", "identity"),
            (
                "https://a.privatelink/",
                "https://a.privatelink/",
                "identity",
            ),
            (
                "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aw==;EndpointSuffix=core.chinacloudapi.cn",
                "https://a.blob.core.chinacloudapi.cn/",
                "key",
            ),
            (
                "UseDevelopmentStorage=true;",
                "http://127.0.0.1:10000/devstoreaccount1",
                "key",
            ),
            (
                "BlobEndpoint=https://a.b/;SharedAccessSignature=?sv=1&sig=x%3D",
                "https://a.b/?sv=1&sig=x%3D",
                "signed",
            ),
            (
                "https://a.b/?sv=1&sig=x",
                "https://a.b/?sv=1&sig=x",
                "signed",
            ),
        ] {
            let account = of(text);
            assert_eq!(account.endpoint.as_str(), endpoint, "{text}");
            let found = match account.login {
                Login::Identity(..) => "identity",
                Login::Key { .. } => "key",
                Login::Signed => "signed",
            };
            assert_eq!(found, login, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_its_value() {
        for (text, expected) in [
            (None, AccountError::Unset),
            (Some("http://a.blob.core.windows.net"), AccountError::Plain),
            (
                Some("AccountKey=hunter2"),
                AccountError::Incomplete("AccountName"),
            ),
            (
                Some("AccountName=a"),
                AccountError::Incomplete("AccountKey"),
            ),
            (
                Some("@Microsoft.KeyVault(SecretUri=https://x)"),
                AccountError::Unknown,
            ),
            (Some("My Account"), AccountError::Unknown),
        ] {
            let error = Account::of(&settings(text)).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
