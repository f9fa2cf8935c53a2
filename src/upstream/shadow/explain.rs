//! The differences that are meant to be, each with the name of its reason: pure. The architecture page says why, under
//! "Where Distribution and the specification differ".

use http::{HeaderMap, StatusCode, header};

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
            kind == Kind::Status && theirs.status.is_redirection() && ours.status.is_success()
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

/// Whether a request names the type of an answer.
fn accepts(headers: &HeaderMap, answer: &Side) -> bool {
    let Some(answered) = answer.header("content-type") else { return false };
    let names = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    names
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .any(|name| name.eq_ignore_ascii_case(&answered))
}
