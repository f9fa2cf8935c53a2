//! Pulling: manifests, blobs, and ranges of them.

use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    client::{Call, Client, Error},
    content::digest,
};

/// Largest manifest or answer in JSON that is read, in bytes.
const SMALL_MAX: usize = 8 << 20;

/// What is accepted as a manifest.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest as far as a client that pulls needs it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl Client {
    /// Whether there is a manifest; its digest.
    pub(crate) async fn manifest_head(&mut self, repository: &str, reference: &str) -> Result<Option<String>, Error> {
        let call = manifest(Method::HEAD, repository, reference);
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::OK => Ok(header(&answer, "docker-content-digest")),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Error::Status { what: "HEAD of a manifest", status }),
        }
    }

    /// A manifest's bytes, checked against the digest that was asked for, or else the one that the registry says.
    pub(crate) async fn manifest(&mut self, repository: &str, reference: &str) -> Result<Vec<u8>, Error> {
        let digest = reference.contains(':').then_some(reference);
        self.manifest_of(&manifest(Method::GET, repository, reference), digest).await
    }

    /// The answer to a question that was put together before.
    pub(crate) async fn manifest_of(&mut self, call: &Call, expected: Option<&str>) -> Result<Vec<u8>, Error> {
        let what = "GET of a manifest";
        let answer = self.send(call).await?;
        if answer.status() != StatusCode::OK {
            return Err(Error::Status { what, status: answer.status() });
        }
        let told = answer.headers().get("docker-content-digest").cloned();
        let body = small(answer).await?;
        let expected = expected.map(str::as_bytes).or_else(|| told.as_ref().map(HeaderValue::as_bytes));
        match expected {
            Some(expected) if digest(Sha256::new_with_prefix(&body)).as_bytes() != expected => {
                Err(Error::Digest { what })
            }
            Some(_) => Ok(body),
            None => Err(Error::Answer { what, why: "it has no Docker-Content-Digest".to_owned() }),
        }
    }

    /// Whether a blob is there.
    pub(crate) async fn blob_head(&mut self, repository: &str, digest: &str) -> Result<bool, Error> {
        let answer = self.send(&blob(Method::HEAD, repository, digest)).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            // Some registries redirect HEAD, too: the blob is there.
            StatusCode::TEMPORARY_REDIRECT => discard(answer).await.map(|()| true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(Error::Status { what: "HEAD of a blob", status }),
        }
    }

    /// Pulls a blob and checks every byte; how many there were.
    pub(crate) async fn blob(&mut self, repository: &str, digest: &str) -> Result<u64, Error> {
        let what = "GET of a blob";
        let answer = self.send_following(&blob(Method::GET, repository, digest)).await?;
        if answer.status() != StatusCode::OK {
            return Err(Error::Status { what, status: answer.status() });
        }
        let (size, actual) = hash(answer).await?;
        if actual == digest { Ok(size) } else { Err(Error::Digest { what }) }
    }

    /// Asks for everything from a byte on, takes so many bytes and drops the rest, as containerd does when it pulls a blob
    /// over several connections. Gives what came.
    pub(crate) async fn blob_range(
        &mut self,
        repository: &str,
        digest: &str,
        start: u64,
        wanted: u64,
    ) -> Result<Vec<u8>, Error> {
        let what = "GET of a blob's range";
        let call = blob(Method::GET, repository, digest).header(header::RANGE, &format!("bytes={start}-"));
        let answer = self.send_following(&call).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Error::Status { what, status: answer.status() });
        }
        let expected = format!("bytes {start}-");
        if !header(&answer, "content-range").is_some_and(|range| range.starts_with(&expected)) {
            return Err(Error::Answer { what, why: "its Content-Range is another".to_owned() });
        }
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let (mut body, mut taken) = (answer.into_body(), Vec::new());
        let mut ended = false;
        while taken.len() < wanted {
            let Some(frame) = body.frame().await else {
                ended = true;
                break;
            };
            if let Ok(data) = frame?.into_data() {
                taken.extend_from_slice(&data);
            }
        }
        taken.truncate(wanted);
        drop(body);
        if !ended {
            // What was not read stands on the connection still.
            self.disconnect();
        }
        Ok(taken)
    }
}

/// What asks for a manifest.
pub(crate) fn manifest(method: Method, repository: &str, reference: &str) -> Call {
    Call::new(method, format!("/v2/{repository}/manifests/{reference}"))
        .header(header::ACCEPT, MANIFESTS)
        .scope(repository, "pull")
}

fn blob(method: Method, repository: &str, digest: &str) -> Call {
    Call::new(method, format!("/v2/{repository}/blobs/{digest}")).scope(repository, "pull")
}

pub(crate) fn header(answer: &Response<Incoming>, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// Length and digest of a body.
async fn hash(answer: Response<Incoming>) -> Result<(u64, String), Error> {
    let (mut body, mut hasher, mut size) = (answer.into_body(), Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            hasher.update(&data);
            size += data.len() as u64;
        }
    }
    Ok((size, digest(hasher)))
}

/// A small body as a whole.
pub(crate) async fn small(answer: Response<Incoming>) -> Result<Vec<u8>, Error> {
    let (mut body, mut whole) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > SMALL_MAX {
            return Err(Error::Answer { what: "an answer", why: format!("it is larger than {SMALL_MAX} bytes") });
        }
    }
    Ok(whole)
}

/// Reads an answer away, so that its connection can be used again.
pub(crate) async fn discard(answer: Response<Incoming>) -> Result<(), Error> {
    small(answer).await.map(drop)
}
