//! Bytes of an object, in order, beyond what one connection brings.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore as _, aws::AmazonS3, path::Path};
use time::OffsetDateTime;

use crate::store::{
    Meta, Object, Result,
    error::{Error, Kind, Operation},
    key::Key,
    s3::{S3, failure::translate},
};

/// Most times that one download goes on behind a cut without a byte in between.
const CUTS_MAX: u32 = 3;

/// A download under way.
struct Download {
    objects: AmazonS3,
    key: Key,
    path: Path,
    /// Names the bytes of the first answer: a later one must bring the same.
    tag: Option<String>,
    /// What is still to come.
    range: Range<u64>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    cuts: u32,
}

impl S3 {
    pub(super) async fn download(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        let outside = || Error::new(Operation::Get, key, Kind::Range);
        if range.as_ref().is_some_and(Range::is_empty) {
            return Err(outside());
        }
        let path = self.path(key)?;
        let found = fetch(&self.objects, &path, range.clone(), None).await;
        let found = found.map_err(|error| translate(error, Operation::Get, key))?;
        let meta = meta(&found.meta);
        // S3 cuts a range to what there is.
        if range.as_ref().is_some_and(|range| range.end > meta.size) {
            return Err(outside());
        }
        let download = Download {
            objects: self.objects.clone(),
            key: key.clone(),
            path,
            tag: found.meta.e_tag.clone(),
            range: range.unwrap_or(0..meta.size),
            stream: found.into_stream(),
            cuts: 0,
        };
        let content = stream::try_unfold(download, |mut download| async move {
            Ok(download.next().await?.map(|chunk| (chunk, download)))
        });
        Ok(Object { meta, content: content.boxed() })
    }
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.range.is_empty() {
            let broken = match self.stream.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => return self.take(chunk).map(Some),
                Some(Err(error)) => translate(error, Operation::Get, &self.key),
                None => Error::new(Operation::Get, &self.key, Kind::Unavailable).with_source("the body ended early"),
            };
            self.go_on(broken).await?;
        }
        Ok(None)
    }

    fn take(&mut self, chunk: Bytes) -> Result<Bytes> {
        let length = chunk.len() as u64;
        if length > self.range.end - self.range.start {
            let error = Error::new(Operation::Get, &self.key, Kind::Corrupt);
            return Err(error.with_source("more bytes than were asked for"));
        }
        self.range.start += length;
        self.cuts = 0;
        Ok(chunk)
    }

    /// Asks for the rest.
    async fn go_on(&mut self, broken: Error) -> Result<()> {
        self.cuts += 1;
        if self.cuts > CUTS_MAX {
            return Err(broken);
        }
        tracing::debug!(storage.key = %self.key, err.message = %broken, "a download was cut and goes on");
        let rest = fetch(&self.objects, &self.path, Some(self.range.clone()), self.tag.clone()).await;
        self.stream = rest.map_err(|error| translate(error, Operation::Get, &self.key))?.into_stream();
        Ok(())
    }
}

async fn fetch(
    objects: &AmazonS3,
    path: &Path,
    range: Option<Range<u64>>,
    tag: Option<String>,
) -> object_store::Result<GetResult> {
    let options = GetOptions { range: range.map(GetRange::Bounded), if_match: tag, ..GetOptions::default() };
    objects.get_opts(path, options).await
}

pub(super) fn meta(meta: &ObjectMeta) -> Meta {
    let modified = OffsetDateTime::from_unix_timestamp(meta.last_modified.timestamp());
    Meta { size: meta.size, modified: modified.unwrap_or(OffsetDateTime::UNIX_EPOCH) }
}
