//! Joining objects inside the store: no byte comes through us.

use std::ops::Range;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Request, request::Builder};
use object_store::{
    MultipartId,
    multipart::{MultipartStore as _, PartId},
};

use crate::store::{
    Multipart, Result, Store as _,
    error::{Error, Operation},
    key::Key,
    s3::{
        S3,
        failure::translate,
        xml::{CopiedPart, Initiated},
    },
};

/// Most bytes that one request copies (API reference, `CopyObject` and `UploadPartCopy`).
const COPY_MAX: u64 = 5 << 30;

/// Most parts that an object is made of.
const PARTS_MAX: u64 = 10_000;

/// Least bytes of a part that is not the last (ibid., "multipart upload limits").
const PIECE_MIN: u64 = 5 << 20;

/// Some bytes of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Piece {
    /// Which source, from 0.
    source: usize,
    range: Range<u64>,
}

impl S3 {
    pub(super) async fn join(&self, sources: &[Key], to: &Key) -> Result<()> {
        let sizes: Vec<_> = sources.iter().map(|source| self.size(source)).collect();
        let sizes: Vec<u64> = stream::iter(sizes).buffered(self.settings.copying.concurrency).try_collect().await?;
        match (sources, sizes.as_slice()) {
            ([source], [size]) if *size <= self.settings.copying.threshold.min(COPY_MAX) => {
                self.copy_whole(source, to).await
            }
            _ => self.copy_parts(sources, &sizes, to).await,
        }
    }

    async fn size(&self, source: &Key) -> Result<u64> {
        self.head(source).await.map(|meta| meta.size).map_err(|error| Error { operation: Operation::Promote, ..error })
    }

    pub(super) async fn copy_whole(&self, source: &Key, to: &Key) -> Result<()> {
        let request = self.describe(self.copy_request(source, to, &[]));
        self.send(request, Operation::Promote, to).await.map(drop)
    }

    pub(super) async fn copy_parts(&self, sources: &[Key], sizes: &[u64], to: &Key) -> Result<()> {
        let id = self.create_for_copies(to).await?;
        let pieces = pieces(sizes, self.settings.transfer.part_size, self.settings.copying.part_size);
        let pending =
            pieces.iter().enumerate().map(|(at, piece)| self.copy_part(&sources[piece.source], to, &id, at + 1, piece));
        let pending: Vec<_> = pending.collect();
        let copied: Result<Vec<PartId>> =
            stream::iter(pending).buffered(self.settings.copying.concurrency).try_collect().await;
        let joined = match copied {
            Ok(parts) => {
                let done = self.objects.complete_multipart(&self.path(to)?, &id, parts).await;
                done.map(drop).map_err(|error| translate(error, Operation::Promote, to))
            }
            Err(error) => Err(error),
        };
        if joined.is_err()
            && let Err(error) = self.abort(&Multipart { key: to.clone(), id }).await
        {
            tracing::warn!(storage.key = %to, err.message = %error, "could not abort a copy that failed; the purge finds it");
        }
        joined
    }

    async fn copy_part(
        &self,
        source: &Key,
        to: &Key,
        id: &MultipartId,
        number: usize,
        piece: &Piece,
    ) -> Result<PartId> {
        let number = number.to_string();
        let request = self
            .copy_request(source, to, &[("partNumber", &number), ("uploadId", id)])
            .header("x-amz-copy-source-range", format!("bytes={}-{}", piece.range.start, piece.range.end - 1));
        let part: CopiedPart = self.ask(request, Operation::Promote, to).await?;
        Ok(PartId { content_id: part.tag })
    }

    /// Without the checksum that other uploads announce: it is the store that reads these bytes.
    async fn create_for_copies(&self, to: &Key) -> Result<MultipartId> {
        let request = self.describe(Request::post(self.bucket.object(to, &[("uploads", "")])));
        let initiated: Initiated = self.ask(request, Operation::Promote, to).await?;
        Ok(initiated.upload_id)
    }

    fn copy_request(&self, source: &Key, to: &Key, query: &[(&str, &str)]) -> Builder {
        Request::put(self.bucket.object(to, query)).header("x-amz-copy-source", self.bucket.copy_source(source))
    }

    /// Adds what goes with every object that is written.
    fn describe(&self, request: Builder) -> Builder {
        self.described.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// Cuts sources into pieces of one size, the last of all excepted where that can be: some stores want parts alike.
/// Sources are made of parts of `unit` bytes, so a multiple of it that divides each leaves no short piece between.
fn pieces(sizes: &[u64], unit: u64, wanted: u64) -> Vec<Piece> {
    let total: u64 = sizes.iter().sum();
    let enough = total.div_ceil(PARTS_MAX).next_multiple_of(unit);
    let most = (wanted / unit * unit).max(unit).max(enough).min((COPY_MAX - PIECE_MIN) / unit * unit);
    let inner = sizes.split_last().map_or(sizes, |(_, inner)| inner);
    let divides = |size: &u64| inner.iter().all(|source| source % size == 0);
    let alike = (1..=most / unit).rev().map(|times| times * unit).find(|size| *size >= enough && divides(size));
    let size = alike.unwrap_or(most);
    let cut = |(source, whole): (usize, &u64)| {
        let whole = *whole;
        // A short rest is not left alone: only the last piece of all may be small.
        let rest = whole % size;
        let count = if rest < PIECE_MIN && whole > size { whole / size } else { whole.div_ceil(size) };
        let piece =
            move |at: u64| Piece { source, range: at * size..if at + 1 == count { whole } else { (at + 1) * size } };
        (0..count).map(piece)
    };
    sizes.iter().enumerate().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The lengths of all pieces, in MiB.
    fn check(sizes: &[u64], wanted: u64, expected: &[u64]) {
        let sizes: Vec<u64> = sizes.iter().map(|size| size * MIB).collect();
        let found = pieces(&sizes, 16 * MIB, wanted * MIB);
        let lengths: Vec<u64> = found.iter().map(|piece| (piece.range.end - piece.range.start) / MIB).collect();
        assert_eq!(lengths, expected, "{sizes:?}");
    }

    #[test]
    fn pieces_are_alike_where_they_can_be() {
        check(&[40], 32, &[32, 8]);
        check(&[64, 3], 32, &[32, 32, 3]);
        check(&[48, 3], 32, &[16, 16, 16, 3]);
        check(&[48, 3], 48, &[48, 3]);
        check(&[32, 32, 1], 32, &[32, 32, 1]);
        check(&[5], 5, &[5]);
        check(&[40], 5, &[16, 16, 8]);
        check(&[34, 9], 16, &[16, 18, 9]);
        check(&[33], 16, &[16, 17]);
    }

    #[test]
    fn there_are_never_too_many() {
        for size in [160 << 30, 1 << 40, 5 << 40] {
            let found = pieces(&[size], 16 * MIB, 32 * MIB);
            assert!(found.len() as u64 <= PARTS_MAX, "{size}: {}", found.len());
            assert_eq!(found.last().map(|piece| piece.range.end), Some(size));
        }
    }
}
