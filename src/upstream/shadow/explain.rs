//! The differences that are meant to be, each with the name of its reason: pure. The architecture page says why, under
//! "Where Distribution and the specification differ".

use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::upstream::shadow::{
    Question, Subject,
    compare::{Kind, without_null_lists},
    record::Side,
};

/// One reason and when it holds.
struct Reason {
    name: &'static str,
    holds: fn(&Question, &Side, &Side, Kind) -> bool,
}

const REASONS: &[Reason] = &[
    // They know no referrers.
    Reason {
        name: "no_referrers",
        holds: |question, theirs, ours, kind| {
            question.subject == Subject::Referrers
                && kind == Kind::Status
                && theirs.status == StatusCode::NOT_FOUND
                && ours.status == StatusCode::OK
        },
    },
    // They hide, or convert, a manifest whose type `Accept` does not name; we serve what was pushed.
    Reason {
        name: "accept",
        holds: |question, theirs, ours, kind| {
            let hidden = kind == Kind::Status && theirs.status == StatusCode::NOT_FOUND;
            let converted =
                matches!(kind, Kind::Digest | Kind::EntityTag | Kind::ContentType | Kind::Length | Kind::Body);
            question.subject == Subject::Manifest
                && ours.status == StatusCode::OK
                && (hidden || converted)
                && !accepts(&question.headers, ours)
        },
    },
    // They send a client to their storage; the shadow reads from ours.
    Reason {
        name: "redirect",
        holds: |_, theirs, ours, kind| {
            kind == Kind::Status && matches!(theirs.status.as_u16(), 302 | 303 | 307 | 308) && ours.status.is_success()
        },
    },
    // Theirs is null where ours is a list of nothing.
    Reason {
        name: "no_list",
        holds: |question, theirs, ours, kind| {
            question.subject.is_document()
                && kind == Kind::Body
                && theirs.document().map(without_null_lists) == ours.document()
                && ours.document().is_some()
        },
    },
    // The specification wants names in their order; theirs come as the directory has them.
    Reason {
        name: "order",
        holds: |question, theirs, ours, kind| {
            question.subject.is_document()
                && kind == Kind::Body
                && theirs
                    .document()
                    .map(in_order)
                    .is_some_and(|document| ours.document().map(in_order) == Some(document))
        },
    },
    // JSON has one encoding, and names no other (RFC 8259 section 11).
    Reason {
        name: "charset",
        holds: |_, theirs, ours, kind| {
            let json = |side: &Side| {
                let media_type = side.header("content-type").unwrap_or_default().to_lowercase();
                matches!(media_type.as_str(), "application/json" | "application/json; charset=utf-8")
            };
            kind == Kind::ContentType && json(theirs) && json(ours)
        },
    },
    // Theirs leads to one more page, which is empty.
    Reason {
        name: "last_page",
        holds: |question, theirs, ours, kind| {
            question.subject.is_document()
                && kind == Kind::Link
                && theirs.headers.contains_key(header::LINK)
                && !ours.headers.contains_key(header::LINK)
                && theirs.document() == ours.document()
        },
    },
    // Version 2.8 lists all tags at once, whatever is asked for.
    Reason {
        name: "tag_pages",
        holds: |question, theirs, _, kind| {
            let paged = question.uri.query().unwrap_or_default().split('&').any(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                matches!(name, "n" | "last")
            });
            question.subject == Subject::Tags
                && paged
                && !theirs.headers.contains_key(header::LINK)
                && matches!(kind, Kind::Body | Kind::Link | Kind::Status)
        },
    },
    // They refuse digests of sha512, which we serve.
    Reason {
        name: "sha512",
        holds: |question, theirs, ours, kind| {
            question.uri.path().contains("sha512:")
                && kind == Kind::Status
                && theirs.status.is_client_error()
                && ours.status == StatusCode::OK
        },
    },
    // Each makes up its own boundary between several ranges.
    Reason {
        name: "boundary",
        holds: |_, theirs, ours, kind| {
            let multipart = |side: &Side| {
                side.header("content-type").is_some_and(|media_type| media_type.starts_with("multipart/"))
            };
            matches!(kind, Kind::ContentType | Kind::Length | Kind::Body) && multipart(theirs) && multipart(ours)
        },
    },
    // They answer a slash at the end with a way to the same path without it, and the other way round.
    Reason {
        name: "slash",
        holds: |_, theirs, _, kind| kind == Kind::Status && theirs.status == StatusCode::MOVED_PERMANENTLY,
    },
];

/// The name of the reason for a difference, if it is meant to be.
pub(in crate::upstream::shadow) fn reason(
    question: &Question,
    theirs: &Side,
    ours: &Side,
    kind: Kind,
) -> Option<&'static str> {
    REASONS.iter().find(|reason| (reason.holds)(question, theirs, ours, kind)).map(|reason| reason.name)
}

/// The document with its lists of names sorted.
fn in_order(mut document: Value) -> Value {
    for list in document.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_array_mut) {
        list.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    }
    document
}

/// Whether a request names the type of an answer.
fn accepts(headers: &HeaderMap, answer: &Side) -> bool {
    let Some(answered) = answer.header("content-type") else { return false };
    let names = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    names
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .any(|name| name.eq_ignore_ascii_case(&answered))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, Method};
    use uuid::Uuid;

    use super::*;
    use crate::{
        api::{Body, Connection, Log, Reply, Scheme},
        upstream::shadow::{Admission, compare::differences, record::Recorder},
    };

    const LIST: &str = "content-type: application/json";

    fn headers(lines: &str) -> HeaderMap {
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.lines().map(pair).collect()
    }

    fn question(subject: Subject, target: &str, lines: &str) -> Question {
        Question {
            id: Uuid::nil(),
            method: Method::GET,
            uri: target.parse().unwrap(),
            headers: headers(lines),
            connection: Connection { peer: None, scheme: Scheme::Http, origin: None },
            subject,
            admission: Admission::Unknown,
        }
    }

    fn side(subject: Subject, (status, lines, body): (u16, &str, &'static str)) -> Side {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers(lines),
            body: Body::Empty,
            log: Log::default(),
        };
        let mut recorder = Recorder::new(subject, &reply);
        recorder.note(&Bytes::from_static(body.as_bytes()));
        recorder.finish()
    }

    /// What differs, each as `kind` or `kind=reason`.
    #[track_caller]
    fn check(
        question: &Question,
        theirs: (u16, &str, &'static str),
        ours: (u16, &str, &'static str),
        expected: &[&str],
    ) {
        let (theirs, ours) = (side(question.subject, theirs), side(question.subject, ours));
        let found: Vec<_> = differences(question, &theirs, &ours)
            .iter()
            .map(|found| match found.explained {
                Some(reason) => format!("{}={reason}", found.kind.label()),
                None => found.kind.label().to_owned(),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_are_told_apart() {
        let names: BTreeSet<_> = REASONS.iter().map(|reason| reason.name).collect();
        assert_eq!(names.len(), REASONS.len());
    }

    #[test]
    fn answers_that_say_the_same() {
        let tags = question(Subject::Tags, "/v2/a/tags/list", "");
        let spaced =
            (200, "content-type: application/json\ncontent-length: 31", "{ \"name\": \"a\", \"tags\": [\"x\"] }\n");
        check(&tags, spaced, (200, LIST, "{\"name\":\"a\",\"tags\":[\"x\"]}"), &[]);
        let blob = question(Subject::Blob, "/v2/a/blobs/sha256:00", "");
        check(
            &blob,
            (404, LIST, "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"a\"}]}"),
            (404, LIST, "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\"}]}"),
            &[],
        );
        check(&blob, (304, "etag: a", ""), (304, "etag: a\ncache-control: x", ""), &[]);
    }

    #[test]
    fn answers_that_do_not() {
        let blob = question(Subject::Blob, "/v2/a/blobs/sha256:00", "");
        check(&blob, (200, "content-length: 1", "a"), (200, "content-length: 1", "b"), &["body"]);
        check(&blob, (200, "content-length: 1", "a"), (200, "content-length: 2", "ab"), &["length"]);
        check(&blob, (200, "", ""), (404, "", ""), &["status"]);
        check(
            &blob,
            (200, "docker-content-digest: a\netag: b\ncontent-type: c", ""),
            (200, "", ""),
            &["digest", "etag", "content_type"],
        );
        check(
            &blob,
            (404, LIST, "{\"errors\":[{\"code\":\"A\"}]}"),
            (404, LIST, "{\"errors\":[{\"code\":\"B\"}]}"),
            &["code"],
        );
        let tags = question(Subject::Tags, "/v2/a/tags/list", "");
        check(&tags, (200, LIST, "{\"tags\":[\"x\"]}"), (200, LIST, "{\"tags\":[\"y\"]}"), &["body"]);
        check(&tags, (200, LIST, "{\"tags\":[\"x\"]}"), (404, LIST, ""), &["status"]);
    }

    #[test]
    fn who_is_let_in() {
        let asked = |admission| Question { admission, ..question(Subject::Tags, "/v2/a/tags/list", "") };
        check(&asked(Admission::Granted), (401, "", ""), (200, "", ""), &["access"]);
        check(&asked(Admission::Refused), (200, LIST, "{}"), (200, LIST, "{}"), &["access"]);
        check(&asked(Admission::Refused), (401, "", ""), (200, "", ""), &[]);
    }

    #[test]
    fn each_reason_holds_where_it_should() {
        let tags = question(Subject::Tags, "/v2/a/tags/list", "");
        check(&tags, (200, LIST, "{\"tags\":null}"), (200, LIST, "{\"tags\":[]}"), &["body=no_list"]);
        check(&tags, (200, LIST, "{\"tags\":[\"b\",\"a\"]}"), (200, LIST, "{\"tags\":[\"a\",\"b\"]}"), &["body=order"]);
        check(&tags, (200, LIST, "{\"tags\":[\"b\",\"b\"]}"), (200, LIST, "{\"tags\":[\"a\",\"b\"]}"), &["body"]);
        let charset = "content-type: application/json; charset=utf-8";
        check(&tags, (200, charset, "{}"), (200, LIST, "{}"), &["content_type=charset"]);
        check(&tags, (301, "", ""), (200, LIST, "{}"), &["status=slash"]);
        let paged = question(Subject::Tags, "/v2/a/tags/list?n=1", "");
        check(
            &paged,
            (200, LIST, "{\"tags\":[\"a\",\"b\"]}"),
            (200, "content-type: application/json\nlink: x", "{\"tags\":[\"a\"]}"),
            &["link=tag_pages", "body=tag_pages"],
        );
        let catalog = question(Subject::Catalog, "/v2/_catalog?n=1", "");
        check(&catalog, (200, "content-type: application/json\nlink: x", "{}"), (200, LIST, "{}"), &["link=last_page"]);

        let referrers = question(Subject::Referrers, "/v2/a/referrers/sha256:00", "");
        check(&referrers, (404, "", "404 page not found"), (200, LIST, "{}"), &["status=no_referrers"]);
        let blob = question(Subject::Blob, "/v2/a/blobs/sha256:00", "");
        check(&blob, (307, "location: x", ""), (200, "", "a"), &["status=redirect"]);
        check(&blob, (304, "", ""), (200, "", "a"), &["status"]);
        let sha512 = question(Subject::Blob, "/v2/a/blobs/sha512:00", "");
        check(&sha512, (404, "", ""), (200, "", "a"), &["status=sha512"]);
        let (one, other) =
            ("content-type: multipart/byteranges; boundary=a", "content-type: multipart/byteranges; boundary=bc");
        check(&blob, (206, one, "a"), (206, other, "bc"), &["content_type=boundary", "body=boundary"]);

        let manifest = |accept: &str| question(Subject::Manifest, "/v2/a/manifests/x", accept);
        let ours = (200, "content-type: application/vnd.oci.image.index.v1+json\netag: i", "i");
        check(&manifest(""), (404, "", ""), ours, &["status=accept"]);
        let theirs = (200, "content-type: application/vnd.oci.image.manifest.v1+json\netag: m", "m");
        let named = "accept: application/vnd.oci.image.manifest.v1+json;q=0.5, a/b";
        check(&manifest(named), theirs, ours, &["etag=accept", "content_type=accept", "body=accept"]);
        let both = "accept: a/b\naccept: application/vnd.oci.image.index.v1+json";
        check(&manifest(both), theirs, ours, &["etag", "content_type", "body"]);
        check(&manifest(both), (404, "", ""), ours, &["status"]);
    }
}
