//! The few operations on blobs that scoring one needs, and what can go wrong with them.

use std::collections::HashMap;
use std::num::NonZero;

use azure_core::error::ErrorKind;
use azure_core::http::{Etag, StatusCode};
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesOptions,
    BlobClientGetPropertiesResultHeaders, BlockBlobClientCommitBlockListOptions, BlockListType,
    BlockLookupList,
};
use azure_storage_blob::{BlobClient, BlobServiceClient};
use bytes::Bytes;

use crate::entra::innermost;

/// What one request reads.
pub(super) const RANGE_BYTES: usize = 4 << 20;
/// How much of an account's reason is told.
const MOST_TOLD: usize = 200;

/// Why an operation on a blob failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// There is no such blob.
    #[error("there is no such blob")]
    Missing,
    /// There is no such container.
    #[error("there is no container {0:?}")]
    NoContainer(String),
    /// It is not, or no longer, the version that was asked for.
    #[error("the blob or the model was changed meanwhile")]
    Changed,
    /// Blocks that are to make a blob are not there any more.
    #[error("blocks of the result are not there any more")]
    BlocksLost,
    /// Everything else, which may pass.
    #[error("{0}")]
    Other(String),
}

impl Fault {
    fn of(container: &str, error: &azure_core::Error) -> Self {
        let ErrorKind::HttpResponse {
            status, error_code, ..
        } = error.kind()
        else {
            let (told, cause) = (error.to_string(), innermost(error));
            let cause = if told == cause {
                cause
            } else {
                format!("{told}: {cause}")
            };
            return Self::Other(one_line(&format!("the storage account: {cause}")));
        };
        let code = error_code.as_deref().unwrap_or_default();
        match (status, code) {
            (StatusCode::NotFound, "ContainerNotFound") => Self::NoContainer(container.to_owned()),
            (StatusCode::NotFound, _) => Self::Missing,
            (StatusCode::PreconditionFailed, code) if code.starts_with("Lease") => {
                Self::Other(format!(
                    "a blob in the container {container:?} has a lease ({code}): end the lease"
                ))
            }
            (StatusCode::PreconditionFailed, _) | (StatusCode::Conflict, "BlobAlreadyExists") => {
                Self::Changed
            }
            (StatusCode::BadRequest, "InvalidBlockList") => Self::BlocksLost,
            (StatusCode::Forbidden | StatusCode::Unauthorized, _) => Self::Other(format!(
                "the storage account refuses access to the container {container:?} ({code}): the app's identity needs the \
                 role Storage Blob Data Contributor"
            )),
            _ => Self::Other(format!(
                "the storage account answers with status {} ({})",
                u16::from(*status),
                one_line(code)
            )),
        }
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MOST_TOLD).collect()
}

/// A blob of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) container: String,
    pub(super) name: String,
}

/// What is known of a blob.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Its version.
    pub(super) etag: String,
    pub(super) bytes: u64,
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    /// What its writer has added, by names in lower case.
    pub(super) metadata: HashMap<String, String>,
}

/// Which version is replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// There is no such blob.
    Nothing,
    /// This one.
    Version(String),
}

impl Expected {
    pub(super) fn of(found: Option<&Found>) -> Self {
        found.map_or(Self::Nothing, |found| Self::Version(found.etag.clone()))
    }
}

/// A storage account.
pub(super) struct Storage(pub(super) BlobServiceClient);

impl Storage {
    fn blob(&self, place: &Place) -> BlobClient {
        self.0.blob_client(&place.container, &place.name)
    }

    /// What is known of a blob, or of this version of it.
    ///
    /// # Errors
    /// [`Fault::Missing`] if there is none, [`Fault::Changed`] if it is another version.
    pub(super) async fn find(&self, place: &Place, etag: Option<&str>) -> Result<Found, Fault> {
        let fault = |error| Fault::of(&place.container, &error);
        let options = BlobClientGetPropertiesOptions {
            if_match: etag.map(Etag::from),
            ..BlobClientGetPropertiesOptions::default()
        };
        let found = self.blob(place).get_properties(Some(options)).await;
        let found = found.map_err(fault)?;
        let metadata = found.metadata().map_err(fault)?.into_iter();
        Ok(Found {
            etag: found
                .etag()
                .map_err(fault)?
                .map_or(String::new(), |etag| etag.to_string()),
            bytes: found.content_length().map_err(fault)?.unwrap_or_default(),
            content_type: found.content_type().map_err(fault)?,
            content_encoding: found.content_encoding().map_err(fault)?,
            metadata: metadata
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect(),
        })
    }

    /// The same; `None` if there is none.
    ///
    /// # Errors
    /// As [`Storage::find`].
    pub(super) async fn look_for(&self, place: &Place) -> Result<Option<Found>, Fault> {
        match self.find(place, None).await {
            Ok(found) => Ok(Some(found)),
            Err(Fault::Missing | Fault::NoContainer(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Bytes of this version from there on, at most [`RANGE_BYTES`]; there have to be some.
    ///
    /// # Errors
    /// As [`Storage::find`].
    pub(super) async fn read(&self, place: &Place, etag: &str, start: u64) -> Result<Bytes, Fault> {
        let fault = |error| Fault::of(&place.container, &error);
        let options = BlobClientDownloadOptions {
            if_match: Some(Etag::from(etag)),
            range: Some((start..start.saturating_add(RANGE_BYTES as u64)).into()),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(RANGE_BYTES),
            ..BlobClientDownloadOptions::default()
        };
        let found = self.blob(place).download(Some(options)).await;
        found.map_err(fault)?.body.collect().await.map_err(fault)
    }

    /// Adds a block to those of which [`Storage::commit`] makes a blob. Makes the container if there is none.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn stage(&self, place: &Place, id: &str, bytes: Bytes) -> Result<(), Fault> {
        match self.try_stage(place, id, bytes.clone()).await {
            Err(Fault::NoContainer(container)) => {
                self.make(&container).await?;
                self.try_stage(place, id, bytes).await
            }
            staged => staged,
        }
    }

    async fn make(&self, container: &str) -> Result<(), Fault> {
        let made = self.0.blob_container_client(container).create(None).await;
        match made {
            // Another call may have made it.
            Err(error) if error.http_status() != Some(StatusCode::Conflict) => {
                Err(Fault::of(container, &error))
            }
            _ => Ok(()),
        }
    }

    async fn try_stage(&self, place: &Place, id: &str, bytes: Bytes) -> Result<(), Fault> {
        let length = bytes.len() as u64;
        let client = self.blob(place).block_blob_client();
        let staged = client
            .stage_block(id.as_bytes(), length, bytes.into(), None)
            .await;
        staged.map_err(|error| Fault::of(&place.container, &error))?;
        Ok(())
    }

    /// Whether there is a block of that name, of which no blob is made yet.
    ///
    /// # Errors
    /// If the account cannot be used.
    pub(super) async fn has_block(&self, place: &Place, id: &str) -> Result<bool, Fault> {
        let client = self.blob(place).block_blob_client();
        let listed = client
            .get_block_list(BlockListType::Uncommitted, None)
            .await;
        let listed = listed.and_then(|answer| answer.into_model());
        let blocks = match listed.map_err(|error| Fault::of(&place.container, &error)) {
            Ok(list) => list.uncommitted_blocks.unwrap_or_default(),
            Err(Fault::Missing | Fault::NoContainer(_)) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        Ok(blocks
            .iter()
            .any(|block| block.name.as_deref() == Some(id.as_bytes())))
    }

    /// Makes a blob of these blocks, which may be none.
    ///
    /// # Errors
    /// [`Fault::Changed`] if something else is there than expected, [`Fault::BlocksLost`].
    pub(super) async fn commit(
        &self,
        place: &Place,
        blocks: &[String],
        expected: &Expected,
        about: (&str, &HashMap<String, String>),
    ) -> Result<(), Fault> {
        match self.try_commit(place, blocks, expected, about).await {
            Err(Fault::NoContainer(container)) => {
                self.make(&container).await?;
                self.try_commit(place, blocks, expected, about).await
            }
            committed => committed,
        }
    }

    async fn try_commit(
        &self,
        place: &Place,
        blocks: &[String],
        expected: &Expected,
        (content_type, metadata): (&str, &HashMap<String, String>),
    ) -> Result<(), Fault> {
        let fault = |error| Fault::of(&place.container, &error);
        let list = BlockLookupList {
            latest: Some(blocks.iter().map(|name| name.as_bytes().to_vec()).collect()),
            ..BlockLookupList::default()
        };
        let mut options = BlockBlobClientCommitBlockListOptions {
            blob_content_type: Some(content_type.to_owned()),
            metadata: Some(metadata.clone()),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        match expected {
            Expected::Nothing => options.if_none_match = Some(Etag::from("*")),
            Expected::Version(etag) => options.if_match = Some(Etag::from(etag.as_str())),
        }
        let list = list.try_into().map_err(fault)?;
        let client = self.blob(place).block_blob_client();
        client
            .commit_block_list(list, Some(options))
            .await
            .map_err(fault)?;
        Ok(())
    }

    /// Removes this version of a blob.
    ///
    /// # Errors
    /// [`Fault::Changed`] if it is another one.
    pub(super) async fn remove(&self, place: &Place, etag: &str) -> Result<(), Fault> {
        let options = BlobClientDeleteOptions {
            if_match: Some(Etag::from(etag)),
            ..BlobClientDeleteOptions::default()
        };
        match self.blob(place).delete(Some(options)).await {
            Ok(_) => Ok(()),
            Err(error) => match Fault::of(&place.container, &error) {
                Fault::Missing => Ok(()),
                fault => Err(fault),
            },
        }
    }
}
