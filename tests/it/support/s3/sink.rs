//! An S3 endpoint that checks what it is given and forgets it: for more bytes than a disk wants to take.
//!
//! Of small objects it keeps the bytes, as of links and journals; of large ones and of parts only lengths and hashes.
//! Whatever a strict store would refuse it refuses, and remembers as a [`Sink::complaints`].

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::support::{
    digest::hexadecimal,
    s3::{
        operation::{Operation, Target},
        serve::{Body, Failure, empty, full, serve},
    },
};

mod listing;

/// The largest object whose bytes are kept.
const KEPT_MAX: usize = 16 << 20;

/// What is kept of all objects together.
const KEPT_TOTAL_MAX: usize = 2 << 30;

/// The smallest part that need not be the last.
const PART_MIN: u64 = 5 << 20;

/// What is known of some bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub length: u64,
    /// SHA-256 in hexadecimal; `None` of a range that was copied out of the middle of something.
    pub hash: Option<String>,
}

/// A stored object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub pieces: Vec<Piece>,
    /// Where they are few enough.
    content: Option<Bytes>,
    modified: OffsetDateTime,
}

impl Object {
    pub(crate) fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// What the bytes `start..end` are made of.
    fn cut(&self, start: u64, end: u64) -> Vec<Piece> {
        let (mut at, mut cut) = (0, Vec::new());
        for piece in &self.pieces {
            let (from, to) = (start.max(at), end.min(at + piece.length));
            if from < to {
                let whole = to - from == piece.length;
                cut.push(Piece { length: to - from, hash: piece.hash.clone().filter(|_| whole) });
            }
            at += piece.length;
        }
        cut
    }
}

#[derive(Debug)]
struct Upload {
    key: String,
    started: OffsetDateTime,
    /// Each by its number, with its tag.
    parts: BTreeMap<u32, (String, Vec<Piece>)>,
}

#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, Upload>,
    /// Uploads so far, for their names.
    begun: u64,
    complaints: Vec<String>,
    /// Bytes of parts and objects that came in.
    taken: u64,
    listing: UploadListing,
}

/// Which unfinished uploads a listing below a prefix shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum UploadListing {
    /// All whose keys begin with it, as S3 says.
    #[default]
    Prefix,
    /// Those whose key it is, as `MinIO` does.
    WholeKey,
}

/// A running sink.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

/// What a store refuses with.
struct Refusal(StatusCode, &'static str, String);

type Outcome = Result<Response<Body>, Refusal>;

impl Sink {
    pub(crate) fn start() -> Self {
        Self::start_listing(UploadListing::Prefix)
    }

    pub(crate) fn start_listing(listing: UploadListing) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf { listing, ..Shelf::default() }));
        let serving = Arc::clone(&shelf);
        let address = serve(move |_, request| {
            let shelf = Arc::clone(&serving);
            async move { answer(&shelf, request).await }
        });
        Self { address, shelf }
    }

    /// What it refused so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.shelf.lock().unwrap().complaints.clone()
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Object> {
        self.shelf.lock().unwrap().objects.clone()
    }

    /// Keys of uploads in parts that nobody has completed or aborted.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.shelf.lock().unwrap().uploads.values().map(|upload| upload.key.clone()).collect()
    }

    /// Bytes of all bodies that were stored.
    pub(crate) fn taken(&self) -> u64 {
        self.shelf.lock().unwrap().taken
    }
}

async fn answer(shelf: &Mutex<Shelf>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let target = Target::of(&head.method, &head.uri, &head.headers);
    // A body that breaks off leaves nothing behind.
    let taken = Taken::of(body, KEPT_MAX).await?;
    let mut shelf = shelf.lock().unwrap();
    let outcome = judge(&target, &head.headers, &taken).and_then(|()| shelf.act(&target, &head.headers, taken));
    Ok(outcome.unwrap_or_else(|Refusal(status, code, message)| {
        // What a client may well ask without having done wrong.
        let expected = ["NoSuchKey", "NoSuchUpload", "PreconditionFailed"].contains(&code);
        if !expected {
            shelf.complaints.push(format!("{} {}: {code}: {message}", target.operation, target.key));
        }
        let body = if target.operation == Operation::HeadObject {
            empty()
        } else {
            full(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        answer
    }))
}

/// A body that came in: its hash, and its bytes where they are few.
struct Taken {
    piece: Piece,
    content: Option<Bytes>,
}

impl Taken {
    async fn of(mut body: Incoming, kept_max: usize) -> Result<Self, Failure> {
        let (mut length, mut hasher, mut content) = (0, Sha256::new(), Some(BytesMut::new()));
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            length += data.len() as u64;
            hasher.update(&data);
            content = content.filter(|content| content.len() + data.len() <= kept_max);
            if let Some(content) = &mut content {
                content.extend_from_slice(&data);
            }
        }
        let piece = Piece { length, hash: Some(hexadecimal(&hasher.finalize())) };
        Ok(Self { piece, content: content.map(BytesMut::freeze) })
    }
}

impl Shelf {
    fn act(&mut self, target: &Target, headers: &HeaderMap, taken: Taken) -> Outcome {
        match target.operation {
            Operation::PutObject => self.put(target, headers, taken),
            Operation::CopyObject => self.copy(target, headers),
            Operation::CreateMultipartUpload => Ok(self.begin(target)),
            Operation::UploadPart => self.put_part(target, taken),
            Operation::UploadPartCopy => self.copy_part(target, headers),
            Operation::CompleteMultipartUpload => self.complete(target, &taken),
            Operation::AbortMultipartUpload => {
                self.upload(target)?;
                self.uploads.remove(target.query("uploadId").unwrap_or_default());
                Ok(status(StatusCode::NO_CONTENT))
            }
            Operation::HeadObject => self.head(target),
            Operation::GetObject => self.get(target, headers),
            Operation::DeleteObject => {
                self.objects.remove(&target.key);
                Ok(status(StatusCode::NO_CONTENT))
            }
            Operation::DeleteObjects => Ok(self.delete(&taken)),
            Operation::ListObjectsV2 => Ok(listing::objects(target, &self.objects)),
            Operation::ListMultipartUploads => Ok(listing::uploads(target, self.listing, &self.uploads)),
            Operation::Bucket => Ok(status(StatusCode::OK)),
            Operation::ListParts | Operation::ListObjects | Operation::Unknown => {
                Err(refuse(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "not by this sink"))
            }
        }
    }

    fn put(&mut self, target: &Target, headers: &HeaderMap, taken: Taken) -> Outcome {
        if headers.contains_key(header::IF_NONE_MATCH) && self.objects.contains_key(&target.key) {
            return Err(refuse(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "it stands already"));
        }
        let kept: usize = self.objects.values().filter_map(|object| object.content.as_ref()).map(Bytes::len).sum();
        if kept > KEPT_TOTAL_MAX {
            return Err(refuse(StatusCode::INSUFFICIENT_STORAGE, "InternalError", "too many small objects"));
        }
        self.taken += taken.piece.length;
        let answer = tagged(&taken.piece);
        self.place(&target.key, vec![taken.piece], taken.content);
        Ok(answer)
    }

    fn place(&mut self, key: &str, pieces: Vec<Piece>, content: Option<Bytes>) {
        self.objects.insert(key.to_owned(), Object { pieces, content, modified: OffsetDateTime::now_utc() });
    }

    fn copy(&mut self, target: &Target, headers: &HeaderMap) -> Outcome {
        let source = self.source(headers)?.clone();
        let answer = xml("<CopyObjectResult><ETag>&quot;copied&quot;</ETag></CopyObjectResult>");
        self.place(&target.key, source.pieces, source.content);
        Ok(answer)
    }

    fn begin(&mut self, target: &Target) -> Response<Body> {
        self.begun += 1;
        let id = format!("upload-{}", self.begun);
        let upload = Upload { key: target.key.clone(), started: OffsetDateTime::now_utc(), parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        let (bucket, key) = (&target.bucket, &target.key);
        xml(&format!(
            "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>"
        ))
    }

    fn upload(&mut self, target: &Target) -> Result<&mut Upload, Refusal> {
        let upload = self.uploads.get_mut(target.query("uploadId").unwrap_or_default());
        let upload = upload.filter(|upload| upload.key == target.key);
        upload.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "NoSuchUpload", "no such upload"))
    }

    fn put_part(&mut self, target: &Target, taken: Taken) -> Outcome {
        let length = taken.piece.length;
        let answer = tagged(&taken.piece);
        let tag = tag(&taken.piece);
        self.upload(target)?.parts.insert(part_number(target)?, (tag, vec![taken.piece]));
        self.taken += length;
        Ok(answer)
    }

    fn copy_part(&mut self, target: &Target, headers: &HeaderMap) -> Outcome {
        let source = self.source(headers)?;
        let range = header_text(headers, "x-amz-copy-source-range").map(|range| copied_range(&range, source.size()));
        let Some((start, end)) = range.unwrap_or_else(|| Some((0, source.size()))) else {
            return Err(refuse(StatusCode::BAD_REQUEST, "InvalidArgument", "no such range"));
        };
        let pieces = source.cut(start, end);
        let tag = format!("\"copy-{start}-{end}\"");
        let answer = xml(&format!("<CopyPartResult><ETag>{}</ETag></CopyPartResult>", tag.replace('"', "&quot;")));
        self.upload(target)?.parts.insert(part_number(target)?, (tag, pieces));
        Ok(answer)
    }

    fn complete(&mut self, target: &Target, order: &Taken) -> Outcome {
        let order = String::from_utf8_lossy(order.content.as_deref().unwrap_or_default()).into_owned();
        let pieces = self.upload(target)?.assemble(&order)?;
        self.uploads.remove(target.query("uploadId").unwrap_or_default());
        self.place(&target.key, pieces, None);
        let (bucket, key) = (&target.bucket, &target.key);
        Ok(xml(&format!(
            "<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>&quot;joined&quot;</ETag>\
             </CompleteMultipartUploadResult>"
        )))
    }

    fn object(&self, key: &str) -> Result<&Object, Refusal> {
        self.objects.get(key).ok_or_else(|| refuse(StatusCode::NOT_FOUND, "NoSuchKey", "no such key"))
    }

    /// The object that a copy is made of.
    fn source(&self, headers: &HeaderMap) -> Result<&Object, Refusal> {
        let source = header_text(headers, "x-amz-copy-source").unwrap_or_default();
        let source = percent_encoding::percent_decode_str(&source).decode_utf8_lossy().into_owned();
        let (_, key) = source.trim_start_matches('/').split_once('/').unwrap_or_default();
        self.object(key)
    }

    fn head(&self, target: &Target) -> Outcome {
        let object = self.object(&target.key)?;
        let mut answer = described(object);
        answer.headers_mut().insert(header::CONTENT_LENGTH, object.size().into());
        Ok(answer)
    }

    fn get(&self, target: &Target, headers: &HeaderMap) -> Outcome {
        let object = self.object(&target.key)?;
        let Some(content) = &object.content else {
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "its bytes were not kept"));
        };
        let mut answer = described(object);
        let Some(range) = header_text(headers, "range") else {
            *answer.body_mut() = full(content.clone());
            return Ok(answer);
        };
        let Some((start, end)) = copied_range(&range, object.size()) else {
            return Err(refuse(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "no such range"));
        };
        let said = format!("bytes {start}-{}/{}", end - 1, object.size());
        answer.headers_mut().insert(header::CONTENT_RANGE, said.parse().unwrap());
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        *answer.body_mut() = full(content.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()));
        Ok(answer)
    }

    fn delete(&mut self, order: &Taken) -> Response<Body> {
        let order = String::from_utf8_lossy(order.content.as_deref().unwrap_or_default()).into_owned();
        for key in elements(&order, "Key") {
            self.objects.remove(&key);
        }
        xml("<DeleteResult></DeleteResult>")
    }
}

/// What is asked of every request.
fn judge(target: &Target, headers: &HeaderMap, taken: &Taken) -> Result<(), Refusal> {
    if !headers.contains_key(header::AUTHORIZATION) && target.query("X-Amz-Signature").is_none() {
        return Err(refuse(StatusCode::FORBIDDEN, "AccessDenied", "not signed"));
    }
    let stores = matches!(target.operation, Operation::PutObject | Operation::UploadPart);
    if stores
        && header_text(headers, "content-length").and_then(|length| length.parse().ok()) != Some(taken.piece.length)
    {
        return Err(refuse(StatusCode::LENGTH_REQUIRED, "MissingContentLength", "no such length"));
    }
    if header_text(headers, "content-encoding").is_some_and(|encoding| encoding.contains("aws-chunked")) {
        return Err(refuse(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "aws-chunked"));
    }
    Ok(())
}

impl Upload {
    /// What the object becomes: the parts that were named, each of which must be here under its tag.
    fn assemble(&self, order: &str) -> Result<Vec<Piece>, Refusal> {
        let invalid = |message: &str| refuse(StatusCode::BAD_REQUEST, "InvalidPart", message);
        let numbers: Vec<u32> = elements(order, "PartNumber").iter().filter_map(|number| number.parse().ok()).collect();
        let tags = elements(order, "ETag");
        if numbers.is_empty() || numbers.len() != tags.len() || !numbers.is_sorted_by(|one, next| one < next) {
            return Err(refuse(StatusCode::BAD_REQUEST, "InvalidPartOrder", order));
        }
        let mut parts = Vec::new();
        for (number, named) in numbers.iter().zip(tags) {
            let (tag, pieces) = self.parts.get(number).ok_or_else(|| invalid("a part is missing"))?;
            if tag.trim_matches('"') != named.trim_matches('"') {
                return Err(invalid("a part has another tag"));
            }
            parts.push(pieces);
        }
        let sizes: Vec<u64> = parts.iter().map(|pieces| pieces.iter().map(|piece| piece.length).sum()).collect();
        let (last, others) = sizes.split_last().ok_or_else(|| invalid("no part"))?;
        if others.iter().any(|size| *size < PART_MIN) {
            return Err(refuse(StatusCode::BAD_REQUEST, "EntityTooSmall", &format!("{sizes:?}")));
        }
        // S3 itself takes parts of any size; others do not.
        if others.iter().any(|size| *size != others[0] || last > size) {
            return Err(invalid(&format!("parts are not equal: {sizes:?}")));
        }
        Ok(parts.into_iter().flatten().cloned().collect())
    }
}

fn refuse(status: StatusCode, code: &'static str, message: &str) -> Refusal {
    Refusal(status, code, message.to_owned())
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn part_number(target: &Target) -> Result<u32, Refusal> {
    let number = target.part().filter(|number| (1..=10_000).contains(number));
    number.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "InvalidArgument", "no such part number"))
}

/// `bytes=FIRST-LAST` as a half-open range within an object; a range without a last byte goes to its end.
fn copied_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.saturating_add(1).min(size) };
    (start < end).then_some((start, end))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(empty());
    *answer.status_mut() = status;
    answer
}

fn xml(body: &str) -> Response<Body> {
    let mut answer = Response::new(full(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}")));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn tag(piece: &Piece) -> String {
    format!("\"{}\"", &piece.hash.as_deref().unwrap_or_default()[..32])
}

fn tagged(piece: &Piece) -> Response<Body> {
    let mut answer = status(StatusCode::OK);
    answer.headers_mut().insert(header::ETAG, tag(piece).parse().unwrap());
    answer
}

fn described(object: &Object) -> Response<Body> {
    let mut answer = status(StatusCode::OK);
    let modified = object.modified.format(&Rfc2822).unwrap().replace("+0000", "GMT");
    let headers = answer.headers_mut();
    headers.insert(header::LAST_MODIFIED, modified.parse().unwrap());
    headers.insert(header::ETAG, HeaderValue::from_static("\"an-object\""));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

/// The texts of all elements of a name.
fn elements(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let texts = document.split(&open).skip(1).filter_map(|rest| rest.split_once(&close));
    texts.map(|(text, _)| text.replace("&quot;", "\"").replace("&#34;", "\"").replace("&amp;", "&")).collect()
}

#[test]
fn it_joins_checks_and_forgets_parts() {
    use crate::support::{digest, s3::client::Client};
    let sink = Sink::start();
    let client = Client::to(sink.address);
    let part = vec![1; usize::try_from(PART_MIN).unwrap()];
    let begun = client.send("POST", "/bucket/big", &[("uploads", "")], b"");
    let id = &elements(&String::from_utf8_lossy(&begun.body), "UploadId")[0];
    let put = |number: &str, content: &[u8]| {
        client.send("PUT", "/bucket/big", &[("partNumber", number), ("uploadId", id)], content).status
    };
    let complete = |numbers: &[(u32, &[u8])]| {
        let parts = numbers.iter().map(|(number, content)| {
            let digest = digest::of(content);
            let tag = &digest::hex(&digest)[..32];
            format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;{tag}&quot;</ETag></Part>")
        });
        let order = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
        client.send("POST", "/bucket/big", &[("uploadId", id)], order.as_bytes()).status
    };

    assert_eq!((put("1", &part), put("2", &part), put("3", b"short"), put("4", b"last")), (200, 200, 200, 200));
    assert_eq!(sink.unfinished(), ["big"]);
    for refused in [
        vec![(1, &*part), (3, b"short"), (4, b"last")],
        vec![(2, &part), (1, &part)],
        vec![(1, &part), (2, b"another")],
        vec![(1, &part), (9, b"none")],
    ] {
        assert_eq!(complete(&refused), 400);
    }
    assert_eq!(sink.complaints().len(), 4);
    assert_eq!(complete(&[(1, &part), (2, &part), (4, b"last")]), 200);
    assert_eq!(complete(&[(1, &part)]), 404, "it is gone");
    let hashes: Vec<_> = [&*part, &*part, b"last"].map(|content| digest::hex(&digest::of(content)).to_owned()).into();
    let big = &sink.objects()["big"];
    assert_eq!(big.pieces.iter().map(|piece| piece.hash.clone().unwrap()).collect::<Vec<_>>(), hashes);
    assert_eq!(big.size(), 2 * PART_MIN + 4);
    assert_eq!(
        (big.cut(0, PART_MIN)[0].hash.as_ref(), big.cut(1, PART_MIN)[0].hash.as_ref()),
        (Some(&hashes[0]), None)
    );
}

#[test]
fn it_keeps_and_lists_what_is_small() {
    use crate::support::s3::client::Client;
    let sink = Sink::start();
    let client = Client::to(sink.address);
    for key in ["a/1", "a/2/x", "a/2/y", "a/2-b", "b/3"] {
        assert_eq!(client.send("PUT", &format!("/bucket/{key}"), &[], key.as_bytes()).status, 200);
    }
    assert_eq!(client.send("GET", "/bucket/a/2/x", &[], b"").body, b"a/2/x");
    assert_eq!(client.send("HEAD", "/bucket/a/none", &[], b"").status, 404);
    assert_eq!(client.send("DELETE", "/bucket/a/none", &[], b"").status, 204);
    let list = |limit: &str, after: &str| {
        let query =
            [("delimiter", "/"), ("list-type", "2"), ("max-keys", limit), ("prefix", "a/"), ("start-after", after)];
        let page = String::from_utf8(client.send("GET", "/bucket", &query, b"").body).unwrap();
        let prefixes = elements(&page, "CommonPrefixes").concat();
        (elements(&page, "Key"), elements(&prefixes, "Prefix"), elements(&page, "IsTruncated").concat())
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(list("10", ""), (names(&["a/1", "a/2-b"]), names(&["a/2/"]), "false".to_owned()));
    assert_eq!(list("2", ""), (names(&["a/1", "a/2-b"]), names(&[]), "true".to_owned()));
    // What lies in it comes after its folded name.
    assert_eq!(list("10", "a/2/"), (names(&[]), names(&["a/2/"]), "false".to_owned()));
    assert_eq!(sink.complaints(), [""; 0]);
}
