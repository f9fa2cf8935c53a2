//! What is tried, and what the store's owner must allow for it.

use crate::store::s3::doctor::policy::{Grant, Resource};

/// One step; those of the way to the store are judged where they are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Credentials,
    Name,
    Connection,
    Tls,
    Answer,
    Clock,
    /// A listing, as the first request that is signed.
    Bucket,
    Put,
    Head,
    /// HEAD of a key that is not there.
    HeadMissing,
    Get,
    Range,
    Create,
    Copy,
    Begin,
    Part,
    Complete,
    PartCopy,
    /// Unfinished uploads in parts.
    Uploads,
    Abort,
    List,
    Encryption,
    StorageClass,
    Versioning,
    Abandoned,
    Redirect,
    Delete,
    DeleteMissing,
    CleanUp,
}

impl Step {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Answer => "answer",
            Self::Clock => "clock",
            Self::Bucket => "bucket",
            Self::Put => "put",
            Self::Head => "head",
            Self::HeadMissing => "head, missing",
            Self::Get => "get",
            Self::Range => "get, range",
            Self::Create => "put, create only",
            Self::Copy => "copy",
            Self::Begin => "begin parts",
            Self::Part => "put part",
            Self::Complete => "complete parts",
            Self::PartCopy => "copy part",
            Self::Uploads => "list parts",
            Self::Abort => "abort parts",
            Self::List => "list",
            Self::Encryption => "encryption",
            Self::StorageClass => "storage class",
            Self::Versioning => "versioning",
            Self::Abandoned => "abandoned parts",
            Self::Redirect => "redirect",
            Self::Delete => "delete",
            Self::DeleteMissing => "delete, missing",
            Self::CleanUp => "clean-up",
        }
    }

    /// What allows it (API reference, "Permissions" of each call); several where it takes them together.
    pub(super) fn grants(self) -> Vec<Grant> {
        let (bucket, objects) =
            (|action| Grant::new(action, Resource::Bucket), |action| Grant::new(action, Resource::Objects));
        match self {
            Self::Bucket | Self::List => vec![bucket("s3:ListBucket")],
            Self::Put | Self::Create | Self::Begin | Self::Part | Self::Complete => vec![objects("s3:PutObject")],
            Self::Head | Self::HeadMissing | Self::Get | Self::Range | Self::Redirect => vec![objects("s3:GetObject")],
            Self::Copy | Self::PartCopy => vec![objects("s3:GetObject"), objects("s3:PutObject")],
            Self::Uploads | Self::Abandoned => vec![bucket("s3:ListBucketMultipartUploads")],
            Self::Abort => vec![objects("s3:AbortMultipartUpload")],
            Self::Delete | Self::DeleteMissing | Self::CleanUp => vec![objects("s3:DeleteObject")],
            Self::Versioning => vec![bucket("s3:GetBucketVersioning")],
            Self::Credentials
            | Self::Name
            | Self::Connection
            | Self::Tls
            | Self::Answer
            | Self::Clock
            | Self::Encryption
            | Self::StorageClass => Vec::new(),
        }
    }
}
