//! In what two answers to one question differ: pure.

use std::fmt;

use http::StatusCode;
use serde_json::Value;

use crate::upstream::shadow::{Admission, Question, explain, record::Side};

/// Headers that mean something to a client, and what a difference in them is called.
const HEADERS: &[(&str, Kind)] = &[
    ("docker-content-digest", Kind::Digest),
    ("etag", Kind::EntityTag),
    ("content-type", Kind::ContentType),
    ("content-range", Kind::Range),
    ("link", Kind::Link),
];

/// Longest value that is shown, in bytes.
const SHOWN_MAX: usize = 256;

/// What differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::upstream::shadow) enum Kind {
    /// Who is let in.
    Access,
    Status,
    /// The code of an error.
    Code,
    Digest,
    EntityTag,
    ContentType,
    Length,
    Range,
    Link,
    Body,
}

impl Kind {
    /// As metrics and log lines name it.
    pub(in crate::upstream::shadow) const fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Status => "status",
            Self::Code => "code",
            Self::Digest => "digest",
            Self::EntityTag => "etag",
            Self::ContentType => "content_type",
            Self::Length => "length",
            Self::Range => "range",
            Self::Link => "link",
            Self::Body => "body",
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::upstream::shadow) struct Difference {
    pub(in crate::upstream::shadow) kind: Kind,
    theirs: String,
    ours: String,
    /// The name of the reason, where it is meant to be so.
    pub(in crate::upstream::shadow) explained: Option<&'static str>,
}

impl Difference {
    pub(in crate::upstream::shadow) const fn is_explained(&self) -> bool {
        self.explained.is_some()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: theirs {}, ours {}", self.kind.label(), self.theirs, self.ours)?;
        self.explained.map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// Everything in which the answers differ; a different status is all there is to say.
pub(in crate::upstream::shadow) fn differences(question: &Question, theirs: &Side, ours: &Side) -> Vec<Difference> {
    let found = found(question, theirs, ours);
    let explain = |(kind, their, our): (Kind, String, String)| Difference {
        kind,
        theirs: shown(&their),
        ours: shown(&our),
        explained: explain::reason(question, theirs, ours, kind),
    };
    found.into_iter().map(explain).collect()
}

fn found(question: &Question, theirs: &Side, ours: &Side) -> Vec<(Kind, String, String)> {
    let refused = matches!(theirs.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    match (refused, question.admission) {
        (true, Admission::Granted) => return vec![(Kind::Access, status(theirs), "let in".to_owned())],
        (false, Admission::Refused) => return vec![(Kind::Access, status(theirs), "refused".to_owned())],
        (true, _) => return Vec::new(),
        (false, _) => {}
    }
    if theirs.status != ours.status {
        return vec![(Kind::Status, status(theirs), status(ours))];
    }
    if theirs.status.is_client_error() {
        return codes(theirs, ours).into_iter().collect();
    }
    let mut found = Vec::new();
    for (name, kind) in HEADERS {
        let (their, our) = (theirs.header(name), ours.header(name));
        if their != our {
            found.push((*kind, told(their), told(our)));
        }
    }
    found.extend(body(question, theirs, ours));
    found
}

/// Which error it is; an answer to HEAD does not say.
fn codes(theirs: &Side, ours: &Side) -> Option<(Kind, String, String)> {
    let code = |side: &Side| {
        let code = side.document()?["errors"][0]["code"].as_str()?.to_owned();
        Some(code)
    };
    if theirs.body.length == 0 && ours.body.length == 0 {
        return None;
    }
    let (their, our) = (code(theirs), code(ours));
    (their != our).then(|| (Kind::Code, told(their), told(our)))
}

/// A document by what it says, everything else byte by byte.
fn body(question: &Question, theirs: &Side, ours: &Side) -> Option<(Kind, String, String)> {
    let differ =
        |their: &dyn fmt::Display, our: &dyn fmt::Display| Some((Kind::Body, their.to_string(), our.to_string()));
    if !ours.is_whole() {
        return differ(&theirs.body.hash, &"broken off");
    }
    if question.subject.is_document() && theirs.body.length > 0 {
        return match (theirs.document(), ours.document()) {
            (Some(their), Some(our)) if their == our => None,
            (Some(their), Some(our)) => differ(&their, &our),
            // Too long to be kept, or no document at all.
            _ if theirs.body.hash == ours.body.hash => None,
            _ => differ(&theirs.body.hash, &ours.body.hash),
        };
    }
    let length = |side: &Side| side.header("content-length");
    if let (Some(their), Some(our)) = (length(theirs), length(ours))
        && their != our
        && !question.subject.is_document()
    {
        return Some((Kind::Length, their, our));
    }
    if theirs.body.hash == ours.body.hash {
        return None;
    }
    differ(&theirs.body.hash, &ours.body.hash)
}

/// The document without what is written differently and means the same.
pub(in crate::upstream::shadow) fn without_null_lists(mut document: Value) -> Value {
    if let Some(entries) = document.as_object_mut() {
        entries.values_mut().filter(|value| value.is_null()).for_each(|value| *value = Value::Array(Vec::new()));
    }
    document
}

fn status(side: &Side) -> String {
    side.status.as_u16().to_string()
}

fn told(value: Option<String>) -> String {
    value.unwrap_or_else(|| "nothing".to_owned())
}

fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}
