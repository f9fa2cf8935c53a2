//! `n` and `last`: which page of a list is wanted (OCI distribution-spec 1.1, "Listing Tags").

use crate::{api::query::Query, registry::page::Window};

/// A number of entries that no page can have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::api) enum InvalidCount {
    #[error("'{0}' is not a number of entries")]
    NotANumber(String),
    #[error("{asked} entries are more than the {most} that one page may have")]
    TooMany { asked: u64, most: usize },
}

/// The number of entries asked for; `None` where the client leaves it to us. Of several, the first counts.
fn count(query: &Query<'_>) -> Result<Option<u64>, InvalidCount> {
    let Some(text) = query.first("n") else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(InvalidCount::NotANumber(text.chars().take(64).collect()));
    }
    // More than the type can hold is more than any page may have.
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// A page of at most `most` entries: a larger `n` gets that many and a link to the rest.
pub(in crate::api) fn clamped(query: &Query<'_>, most: usize) -> Result<Window, InvalidCount> {
    let asked = count(query)?.map_or(most, |asked| usize::try_from(asked).unwrap_or(most));
    Ok(window(query, asked.min(most)))
}

/// A page of `usual` entries, or of `n`, of which there may not be more than `most`.
pub(in crate::api) fn bounded(query: &Query<'_>, usual: usize, most: usize) -> Result<Window, InvalidCount> {
    let Some(asked) = count(query)? else { return Ok(window(query, usual.min(most))) };
    match usize::try_from(asked) {
        Ok(limit) if limit <= most => Ok(window(query, limit)),
        _ => Err(InvalidCount::TooMany { asked, most }),
    }
}

fn window(query: &Query<'_>, limit: usize) -> Window {
    let after = query.first("last").filter(|last| !last.is_empty()).map(str::to_owned);
    Window { after, limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(query: &str) -> (Option<usize>, Option<usize>) {
        let query = Query::parse(Some(query));
        (clamped(&query, 1000).ok().map(|w| w.limit), bounded(&query, 100, 1000).ok().map(|w| w.limit))
    }

    #[test]
    fn counts() {
        assert_eq!(limits(""), (Some(1000), Some(100)));
        assert_eq!(limits("n=0"), (Some(0), Some(0)));
        assert_eq!(limits("n=7"), (Some(7), Some(7)));
        assert_eq!(limits("n=7&n=8"), (Some(7), Some(7)));
        assert_eq!(limits("n=1000"), (Some(1000), Some(1000)));
        assert_eq!(limits("n=1001"), (Some(1000), None));
        assert_eq!(limits("n=18446744073709551616"), (Some(1000), None));
        for bad in ["n=", "n=-1", "n=a", "n=1e3", "n=%2B1", "n=1.0"] {
            assert_eq!(limits(bad), (None, None), "{bad}");
        }
    }

    #[test]
    fn last() {
        let after = |query| clamped(&Query::parse(Some(query)), 10).unwrap().after;
        assert_eq!(after("last=a%2Fb"), Some("a/b".to_owned()));
        assert_eq!(after("last="), None);
        assert_eq!(after(""), None);
    }
}
