//! Pushing: every flow that real clients have.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;

use crate::{
    client::{
        Call, Client, Content, Error, Framing,
        download::{self, discard},
    },
    content::{Blob, digest},
};

/// How a blob goes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    /// POST, then one PUT with its bytes: containerd, current Docker, `BuildKit`, oras, helm.
    Put,
    /// POST, one PATCH of unknown length, PUT: older Docker.
    Patch,
    /// POST with digest and bytes; where a registry begins an upload instead, PUT.
    Post,
    /// POST, a PATCH with `Content-Range` for each so many bytes, PUT: regctl.
    Chunks(u64),
}

impl Flow {
    /// Takes down what it does under this name.
    pub(crate) const fn operation(self) -> &'static str {
        match self {
            Self::Put => "blob push (POST, PUT)",
            Self::Patch => "blob push (POST, PATCH, PUT)",
            Self::Post => "blob push (POST)",
            Self::Chunks(_) => "blob push (chunks)",
        }
    }
}

/// An upload that goes on: where to.
#[derive(Debug)]
pub(crate) struct Upload {
    repository: String,
    location: String,
}

impl Client {
    /// Pushes a blob; the registry has it when this returns.
    pub(crate) async fn push(&mut self, repository: &str, blob: &Blob, flow: Flow) -> Result<(), Error> {
        match flow {
            Flow::Put => {
                let upload = self.begin(repository).await?;
                self.put(&upload, blob, whole(blob, Framing::Length)).await
            }
            Flow::Patch => {
                let mut upload = self.begin(repository).await?;
                self.patch(&mut upload, whole(blob, Framing::Chunked), None).await?;
                self.put(&upload, blob, Content::Empty).await
            }
            Flow::Post => self.post(repository, blob).await,
            Flow::Chunks(size) => self.push_chunks(repository, blob, size).await,
        }
    }

    async fn push_chunks(&mut self, repository: &str, blob: &Blob, size: u64) -> Result<(), Error> {
        let mut upload = self.begin(repository).await?;
        let mut start = 0;
        while start < blob.size {
            let end = blob.size.min(start + size.max(1));
            let content = Content::Blob { blob: blob.clone(), start, end, framing: Framing::Length, pace: None };
            self.patch(&mut upload, content, Some((start, end))).await?;
            start = end;
        }
        self.put(&upload, blob, Content::Empty).await
    }

    async fn post(&mut self, repository: &str, blob: &Blob) -> Result<(), Error> {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
        let answer =
            self.send(&octets(Method::POST, path, whole(blob, Framing::Length)).scope(repository, "pull,push")).await?;
        if answer.status() == StatusCode::ACCEPTED {
            let upload = Upload { repository: repository.to_owned(), location: location(&answer)? };
            discard(answer).await?;
            return self.put(&upload, blob, whole(blob, Framing::Length)).await;
        }
        expect(answer, StatusCode::CREATED, "POST of a blob").await
    }

    /// Takes a blob over from another repository; whether that could be done.
    pub(crate) async fn mount(&mut self, repository: &str, digest: &str, from: &str) -> Result<bool, Error> {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let mut call = Call::new(Method::POST, path).header(header::CONTENT_LENGTH, "0");
        call.scope = Some(format!("repository:{repository}:pull,push repository:{from}:pull"));
        let answer = self.send(&call).await?;
        let status = answer.status();
        discard(answer).await?;
        match status {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => Ok(false),
            status => Err(Error::Status { what: "mount of a blob", status }),
        }
    }

    pub(crate) async fn begin(&mut self, repository: &str) -> Result<Upload, Error> {
        let call = Call::new(Method::POST, format!("/v2/{repository}/blobs/uploads/"))
            .header(header::CONTENT_LENGTH, "0")
            .scope(repository, "pull,push");
        let answer = self.send(&call).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(Error::Status { what: "POST of an upload", status: answer.status() });
        }
        let location = location(&answer)?;
        discard(answer).await?;
        Ok(Upload { repository: repository.to_owned(), location })
    }

    /// Sends bytes to an upload; `range` is where they lie, where the client says so.
    pub(crate) async fn patch(
        &mut self,
        upload: &mut Upload,
        content: Content,
        range: Option<(u64, u64)>,
    ) -> Result<(), Error> {
        let mut call = octets(Method::PATCH, upload.location.clone(), content).scope(&upload.repository, "pull,push");
        if let Some((start, end)) = range {
            call = call.header(header::CONTENT_RANGE, &format!("{start}-{}", end.saturating_sub(1)));
        }
        let answer = self.send(&call).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(Error::Status { what: "PATCH of an upload", status: answer.status() });
        }
        upload.location = location(&answer)?;
        discard(answer).await
    }

    /// Ends an upload.
    pub(crate) async fn put(&mut self, upload: &Upload, blob: &Blob, content: Content) -> Result<(), Error> {
        let joint = if upload.location.contains('?') { '&' } else { '?' };
        let path = format!("{}{joint}digest={}", upload.location, blob.digest);
        let mut call = octets(Method::PUT, path, content).scope(&upload.repository, "pull,push");
        if matches!(call.content, Content::Empty) {
            call = call.header(header::CONTENT_LENGTH, "0");
        }
        expect(self.send(&call).await?, StatusCode::CREATED, "PUT of an upload").await
    }

    /// Pushes a manifest; its digest.
    pub(crate) async fn push_manifest(
        &mut self,
        repository: &str,
        tag: &str,
        manifest: Bytes,
    ) -> Result<String, Error> {
        use sha2::Digest as _;
        let digest = digest(sha2::Sha256::new_with_prefix(&manifest));
        let call = Call::new(Method::PUT, format!("/v2/{repository}/manifests/{tag}"))
            .header(header::CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")
            .content(Content::Bytes(manifest))
            .scope(repository, "pull,push");
        expect(self.send(&call).await?, StatusCode::CREATED, "PUT of a manifest").await?;
        Ok(digest)
    }
}

fn whole(blob: &Blob, framing: Framing) -> Content {
    Content::Blob { blob: blob.clone(), start: 0, end: blob.size, framing, pace: None }
}

fn octets(method: Method, path: String, content: Content) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    Call { method, path, headers, content, scope: None }
}

/// Path and query of `Location`: the way in is the one that was taken before.
fn location(answer: &Response<Incoming>) -> Result<String, Error> {
    let missing = || Error::Answer { what: "an upload", why: "it has no usable Location".to_owned() };
    let uri: Uri = download::header(answer, "location").and_then(|text| text.parse().ok()).ok_or_else(missing)?;
    uri.path_and_query().map(|path| path.as_str().to_owned()).ok_or_else(missing)
}

async fn expect(answer: Response<Incoming>, status: StatusCode, what: &'static str) -> Result<(), Error> {
    if answer.status() == status { discard(answer).await } else { Err(Error::Status { what, status: answer.status() }) }
}
