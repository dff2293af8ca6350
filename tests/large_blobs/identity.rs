//! An account that is opened by the app's identity, over TLS.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use functions_host::azurite::Azurite;
use functions_host::blob_storage::BlobClient;
use functions_host::{PATIENCE, host::HostOptions};

use super::lab::{ACCOUNT, Lab, table};
use crate::support::certificates::Certificates;
use crate::support::identity::IdentityEndpoint;

/// An app whose identity opens the account. `trusted` says which authority it is told to trust.
async fn lab(identity: &IdentityEndpoint, files: &Certificates, trusted: &Path) -> Lab {
    identity.start().await;
    let storage = Azurite::start_secured("blob", &files.certificate, &files.key);
    let client = BlobClient::secured(&storage, &files.ca);
    let address = format!("https://127.0.0.1:{}/{ACCOUNT}", storage.port());
    let settings = |options: HostOptions| {
        let all = identity.settings().into_iter();
        let options = all.fold(options, |options, (name, value)| {
            options.setting(name, value)
        });
        options
            .setting("SCORE_BLOBS_STORAGE", address)
            .setting("SSL_CERT_FILE", trusted.to_str().unwrap())
    };
    Lab::on(storage, client, settings).await
}

fn files() -> (TempDir, Certificates) {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::create(folder.path(), &["127.0.0.1"], false);
    (folder, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_does_for_all_calls_of_its_life() {
    let ((_folder, files), identity) = (
        files(),
        IdentityEndpoint::of_storage(Duration::from_secs(3600)),
    );
    let lab = lab(&identity, &files, &files.ca).await;
    let (results, _) = lab.scored("a.csv", &table(1500)).await;
    assert_eq!(results.lines().count(), 1 + 1499 - 1);
    let (again, _) = lab.scored("b.csv", &table(1500)).await;
    assert_eq!(again, results);
    let tokens = identity.tokens();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert!(
        !lab.host
            .logs()
            .iter()
            .any(|line| line.text.contains(&tokens[0]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_is_renewed_and_an_endpoint_without_one_is_told() {
    let ((_folder, files), identity) = (
        files(),
        IdentityEndpoint::of_storage(Duration::from_secs(2)),
    );
    let lab = lab(&identity, &files, &files.ca).await;
    let (expected, _) = lab.scored("a.csv", "1,2,3\n").await;
    let first = identity.tokens().len();
    // Azurite refuses a token whose time is over.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(lab.scored("b.csv", "1,2,3\n").await.0, expected);
    assert!(identity.tokens().len() > first);
    identity.stop();
    lab.upload("c.csv", "1,2,3\n");
    lab.name("c.csv");
    let failure = lab.call().await.unwrap_err();
    assert!(failure.contains("status 503"), "{failure}");
    lab.host
        .wait_for_log("the identity endpoint gives no token", PATIENCE)
        .await;
    identity.start().await;
    lab.name("c.csv");
    lab.work().await;
    assert_eq!(lab.results("c.csv").0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_certificate_of_another_authority_is_not_trusted() {
    let ((_folder, files), identity) = (
        files(),
        IdentityEndpoint::of_storage(Duration::from_secs(3600)),
    );
    let lab = lab(&identity, &files, &files.other_ca).await;
    lab.upload("a.csv", "1,2,3\n");
    lab.name("a.csv");
    lab.call().await.unwrap_err();
    lab.host
        .wait_for_log("cannot be scored.*certificate", PATIENCE)
        .await;
}
