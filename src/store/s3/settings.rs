//! What there is to say about a bucket and the way to it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::Uri;

use crate::secret::Secret;

/// Everything that [`crate::store::s3::S3::open`] needs; nothing is read from the environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme and host, perhaps with a port, without the bucket.
    pub endpoint: Uri,
    /// Names the bucket's region in signatures.
    pub region: String,
    pub bucket: String,
    pub addressing: Addressing,
    /// Prepended to every key with a slash; empty for none.
    pub root: String,
    pub credentials: Credentials,
    pub writing: Writing,
    pub transfer: Transfer,
    pub copying: Copying,
    pub presigning: Presigning,
    /// What authorities and versions connections to the store go by.
    pub tls: Arc<rustls::ClientConfig>,
    /// The same for services that hand out credentials: nobody who vouches for the store vouches for them.
    pub credentials_tls: Arc<rustls::ClientConfig>,
    pub user_agent: String,
    pub patience: Patience,
}

/// Where the bucket's name stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    VirtualHost,
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    Static {
        key_id: String,
        secret: Secret<String>,
        session_token: Option<Secret<String>>,
    },
    /// A token in a file, changed for a role's keys at the security token service.
    WebIdentity {
        token_file: PathBuf,
        role: String,
        session_name: String,
        endpoint: Uri,
    },
    Profile(Profile),
    Container(Container),
    /// The metadata service of a machine, version 2.
    Instance {
        endpoint: Uri,
    },
    /// Requests are not signed.
    Anonymous,
}

/// A profile of the files that AWS's tools share, read again every few minutes.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    /// `~/.aws/credentials` and `~/.aws/config`: one that is missing is passed over.
    pub files: Vec<PathBuf>,
    /// Where there is no such profile; `None` makes that an error.
    pub otherwise: Option<Box<Credentials>>,
}

/// An agent beside us that hands out keys, as ECS and EKS have.
#[derive(Clone, Debug)]
pub struct Container {
    pub uri: Uri,
    pub authorization: Authorization,
}

/// The `Authorization` header for a container's agent.
#[derive(Clone, Debug)]
pub enum Authorization {
    Nothing,
    Text(Secret<String>),
    /// Read before each request: somebody renews its content.
    File(PathBuf),
}

/// What goes with every object that is written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Writing {
    pub encryption: Encryption,
    /// `x-amz-storage-class`; `None` leaves it to the bucket.
    pub storage_class: Option<String>,
    /// A canned `x-amz-acl`; `None` leaves it to the bucket.
    pub acl: Option<String>,
    pub checksum: Checksum,
}

/// Encryption at rest, by the store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Encryption {
    /// As the bucket says.
    #[default]
    Bucket,
    /// SSE-S3.
    Aes256,
    /// SSE-KMS with this key.
    Kms { key_id: String },
}

/// Whether the store is told what it must have received.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Checksum {
    #[default]
    None,
    /// CRC-64/NVME of each request's body.
    Crc64Nvme,
    /// SHA-256 of each request's body: every byte is hashed once more.
    Sha256,
}

/// How uploads are cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// Of every part but the last, in bytes.
    pub part_size: u64,
}

/// How objects are copied inside the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Copying {
    /// Up to this many bytes an object is copied by one request.
    pub threshold: u64,
    /// Bytes of one copied part above that.
    pub part_size: u64,
    /// Parts copied at once.
    pub concurrency: usize,
}

/// How addresses for clients are signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presigning {
    /// How long an address is good for at least.
    pub lifetime: Duration,
    /// How long the same address is given for one object, so that caches in between can know it again.
    pub window: Duration,
    /// Scheme and host that clients see instead of the endpoint's.
    pub endpoint: Option<Uri>,
}

/// How long the store may take, and how often it is asked again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    pub connect: Duration,
    /// Without a byte moving either way, during a request or its answer's body.
    pub stall: Duration,
    /// The same where the store has work of its own to do before it can answer: copies and completions.
    pub work: Duration,
    /// For one operation with all its attempts, until its answer begins; time in which a body moves does not count.
    pub operation: Duration,
    /// Most attempts of one request.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            work: Duration::from_mins(5),
            operation: Duration::from_mins(1),
            attempts: 5,
        }
    }
}
