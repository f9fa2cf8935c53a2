//! A bucket of S3, or of whatever speaks its language.
//!
//! `object_store` writes most requests down and knows where credentials come from; what it cannot say (listings with
//! foreign keys in them, copies of parts) stands in `listing` and `copy`, sent by `ask`. All of them take one way to the store:
//! `transport` signs (`signer`, `credentials`), sends, and sends again within a budget (`retry`); `wire` watches whether
//! bytes still move; `failure` says what went wrong in the store's words. Downloads go on behind a cut (`download`).
//! [`S3`] also signs addresses for clients (`presign`), and learns at the start what its store can do (`probe`).
//!
//! Bodies are never cut off by a clock while they move, however long they are.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Range,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use object_store::{
    Attribute, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3, AmazonS3Builder, AwsCredential, S3ConditionalPut},
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    clock::Clock,
    store::{
        Distance, Limits, Listing, Meta, Multipart, Object, Page, Part, Parts, Pending, Precondition, Result, Slot,
        Store, Writers,
        error::{Error, Kind, Operation},
        key::Key,
        s3::{
            credentials::Provider,
            endpoint::Bucket,
            failure::translate,
            probe::Creating,
            settings::{Checksum, Encryption, Settings, Writing},
            signer::Signer,
            transport::{Ambiguity, Connector, Extra, Transport},
            wire::Wire,
        },
    },
};

mod ask;
mod copy;
mod credentials;
pub mod doctor;
mod download;
mod endpoint;
pub mod failure;
mod listing;
mod presign;
pub mod probe;
mod retry;
pub mod settings;
mod signer;
mod transport;
mod wire;
mod xml;

/// Most parts of one upload (API reference, "multipart upload limits").
const PARTS_MAX: u32 = 10_000;

/// Deletions under way at once.
const DELETES: usize = 16;

/// Locks that keys share.
const STRIPES: usize = 64;

/// Tells whose write it was that a create-only put meets.
const WRITER: HeaderName = HeaderName::from_static("x-amz-meta-pierhead-writer");
const WRITER_KEY: &str = "pierhead-writer";

/// One bucket.
#[derive(Debug)]
pub struct S3 {
    objects: AmazonS3,
    transport: Arc<Transport>,
    bucket: Bucket,
    settings: Settings,
    /// What goes with every object that is written.
    described: HeaderMap,
    limits: Limits,
    creating: Creating,
    /// Held by a create-only put where the store does not look for itself: at least we do not race with ourselves.
    looking: Vec<Mutex<()>>,
}

/// Settings of which no store can be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Address(#[from] endpoint::Unusable),
    #[error("{0} is not a value of a header")]
    Header(String),
    #[error(transparent)]
    ObjectStore(#[from] object_store::Error),
}

impl S3 {
    /// Nothing is sent to the store before the first operation; [`S3::probe`] is the first that should be.
    pub fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let bucket = Bucket::new(&settings)?;
        let wire = Wire::new(&settings, &settings.tls);
        let agents = Wire::new(&settings, &settings.credentials_tls);
        let provider = Provider::new(&settings.credentials, &settings.region, &agents, &clock)?;
        let signer = Signer::new(provider, settings.region.clone(), clock);
        let transport = Arc::new(Transport::new(wire, signer, settings.patience));
        // The transport repeats; twice would be too often.
        let unused = AwsCredential { key_id: String::new(), secret_key: String::new(), token: None };
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket.name())
            .with_region(&settings.region)
            // In this form the endpoint is taken as it is, whichever way the bucket is addressed.
            .with_virtual_hosted_style_request(true)
            .with_endpoint(bucket.base())
            .with_allow_http(true)
            .with_skip_signature(true)
            // Not used, so not looked for either.
            .with_credentials(Arc::new(StaticCredentialProvider::new(unused)))
            .with_disable_bulk_delete(true)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .with_http_connector(Connector(Arc::clone(&transport)));
        builder = match settings.writing.checksum {
            Checksum::None => builder,
            Checksum::Crc64Nvme => builder.with_checksum_algorithm(object_store::aws::Checksum::CRC64NVME),
            Checksum::Sha256 => builder.with_checksum_algorithm(object_store::aws::Checksum::SHA256),
        };
        let described = described(&settings.writing)?;
        let parts = Parts::Equal { size: settings.transfer.part_size };
        let limits = Limits { parts, parts_max: PARTS_MAX, distance: Distance::Away };
        Ok(Self {
            objects: builder.build()?,
            transport,
            bucket,
            settings,
            described,
            limits,
            creating: Creating::Exclusive,
            looking: (0..STRIPES).map(|_| Mutex::default()).collect(),
        })
    }

    fn path(&self, key: &Key) -> Result<Path> {
        let full = self.bucket.full(key);
        Path::parse(&full).map_err(|error| Error::new(Operation::Get, key, Kind::Unavailable).with_source(error))
    }

    /// Who wrote the object that stands there, as [`WRITER`] said.
    async fn writer(&self, key: &Key) -> Result<Option<String>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.objects.get_opts(&self.path(key)?, options).await {
            Ok(found) => Ok(found
                .attributes
                .get(&Attribute::Metadata(WRITER_KEY.into()))
                .map(|writer| writer.as_ref().to_owned())),
            Err(error) => Err(translate(error, Operation::Put, key)),
        }
    }

    /// Writes where nothing may stand. An answer that was lost makes the write be sent again, and the second one meets
    /// the first: then it is asked whose write stands there.
    async fn create(&self, key: &Key, payload: PutPayload) -> Result<()> {
        let (ambiguity, writer) = (Ambiguity::default(), Uuid::new_v4().to_string());
        let mut headers = self.described.clone();
        headers.insert(WRITER, HeaderValue::try_from(&writer).expect("an UUID is visible ASCII"));
        let mut options = PutOptions::from(PutMode::Create);
        options.extensions.insert(ambiguity.clone());
        options.extensions.insert(Extra(headers));
        let put = self.objects.put_opts(&self.path(key)?, payload, options).await;
        let error = match put {
            Ok(_) => return Ok(()),
            Err(error) => translate(error, Operation::Put, key),
        };
        if error.kind == Kind::AlreadyExists && ambiguity.is_set() {
            match self.writer(key).await {
                Ok(found) if found == Some(writer) => return Ok(()),
                // What stood there has gone since.
                Err(gone) if gone.is_not_found() => {}
                found => drop(found?),
            }
        }
        Err(error)
    }

    async fn write(&self, key: &Key, payload: PutPayload) -> Result<()> {
        let mut options = PutOptions::default();
        options.extensions.insert(Extra(self.described.clone()));
        let put = self.objects.put_opts(&self.path(key)?, payload, options).await;
        put.map(drop).map_err(|error| translate(error, Operation::Put, key))
    }

    /// Whether an upload that is gone was completed: an object of its size stands there.
    async fn was_completed(&self, key: &Key, parts: &[Part]) -> Result<bool> {
        let size: u64 = parts.iter().map(|part| part.length).sum();
        match self.head(key).await {
            Ok(meta) => Ok(meta.size == size),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Store for S3 {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        let found = self.objects.head(&self.path(key)?).await;
        found.map(|meta| download::meta(&meta)).map_err(|error| translate(error, Operation::Head, key))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        self.download(key, range).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        let payload = PutPayload::from_iter(content);
        match (precondition, self.creating) {
            (Precondition::Always, _) => {}
            (Precondition::Absent, Creating::Exclusive) => return self.create(key, payload).await,
            (Precondition::Absent, Creating::Ignored) => {
                let _looking = self.looking[stripe(key)].lock().await;
                return match self.head(key).await {
                    Ok(_) => Err(Error::new(Operation::Put, key, Kind::AlreadyExists)),
                    Err(error) if error.is_not_found() => self.write(key, payload).await,
                    Err(error) => Err(error),
                };
            }
        }
        self.write(key, payload).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let delete = |key: Key| async move {
            match self
                .objects
                .delete(&self.path(&key)?)
                .await
                .map_err(|error| translate(error, Operation::Delete, &key))
            {
                Err(error) if error.is_not_found() => Ok(()),
                result => result,
            }
        };
        let Some((last, others)) = keys.split_last() else { return Ok(()) };
        let others: Vec<_> = others.iter().cloned().map(delete).collect();
        stream::iter(others).buffer_unordered(DELETES).try_collect::<()>().await?;
        delete(last.clone()).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        if listing.limit == 0 {
            return Ok(Page::default());
        }
        self.page(listing).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        let mut options = PutMultipartOptions::default();
        options.extensions.insert(Extra(self.described.clone()));
        let begun = self.objects.create_multipart_opts(&self.path(key)?, options).await;
        let id = begun.map_err(|error| translate(error, Operation::Begin, key))?;
        Ok(Multipart { key: key.clone(), id })
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        let length = content.iter().map(|chunk| chunk.len() as u64).sum();
        let path = self.path(&upload.key)?;
        let index = slot.number.saturating_sub(1) as usize;
        let put = self.objects.put_part(&path, &upload.id, index, PutPayload::from_iter(content)).await;
        let put = put.map_err(|error| gone(translate(error, Operation::PutPart, &upload.key)))?;
        Ok(Part { number: slot.number, tag: put.content_id, length })
    }

    /// S3 keeps a part before it answers.
    async fn flush(&self, _upload: &Multipart) -> Result<()> {
        Ok(())
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], _writers: Writers) -> Result<()> {
        let ids = parts.iter().map(|part| PartId { content_id: part.tag.clone() }).collect();
        let completed = self.objects.complete_multipart(&self.path(&upload.key)?, &upload.id, ids).await;
        match completed.map_err(|error| gone(translate(error, Operation::Complete, &upload.key))) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == Kind::UploadGone && self.was_completed(&upload.key, parts).await? => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        let aborted = self.objects.abort_multipart(&self.path(&upload.key)?, &upload.id).await;
        match aborted.map_err(|error| gone(translate(error, Operation::Abort, &upload.key))) {
            Err(error) if error.kind == Kind::UploadGone => Ok(()),
            result => result,
        }
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        self.unfinished(prefix).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        self.join(sources, to).await
    }
}

/// Which lock a key has.
fn stripe(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or_default()
}

/// Of an upload in parts nothing else can be missing but the upload itself.
fn gone(error: Error) -> Error {
    match error.kind {
        Kind::NotFound => Error { kind: Kind::UploadGone, ..error },
        _ => error,
    }
}

fn described(writing: &Writing) -> Result<HeaderMap, OpenError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut set = |name: &'static str, value: &str| {
        let text = HeaderValue::try_from(value).map_err(|_| OpenError::Header(value.to_owned()))?;
        headers.insert(HeaderName::from_static(name), text);
        Ok::<_, OpenError>(())
    };
    match &writing.encryption {
        Encryption::Bucket => {}
        Encryption::Aes256 => set("x-amz-server-side-encryption", "AES256")?,
        Encryption::Kms { key_id } => {
            set("x-amz-server-side-encryption", "aws:kms")?;
            set("x-amz-server-side-encryption-aws-kms-key-id", key_id)?;
        }
    }
    if let Some(class) = &writing.storage_class {
        set("x-amz-storage-class", class)?;
    }
    if let Some(acl) = &writing.acl {
        set("x-amz-acl", acl)?;
    }
    Ok(headers)
}
