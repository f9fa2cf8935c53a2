//! What an examination of a store tells its operator.
//!
//! Each backend tries its own calls, one by one, at keys of its own; what they find has one form. An examination never
//! stops at the first thing that is wrong: whoever has to ask somebody else for permissions asks once.

use std::fmt;

/// One thing that was tried, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// A word or two.
    pub step: &'static str,
    pub verdict: Verdict,
    /// What was found and, where something is wrong, what to change. Never a secret.
    pub sentence: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    Fine,
    /// A registry works, but not as well as it could.
    Warning,
    /// A registry would fail.
    Failure,
    /// Something that is wrong already stands before it.
    Untried,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// The smallest policy, as Amazon writes them in JSON, that allows what was refused.
    pub policy: Option<String>,
}

/// Hears of each finding as soon as there is one.
pub type Listener<'a> = dyn FnMut(&Finding) + Send + 'a;

/// A report that is being written.
pub(in crate::store) struct Record<'a> {
    listener: &'a mut Listener<'a>,
    findings: Vec<Finding>,
}

impl<'a> Record<'a> {
    pub(in crate::store) const fn new(listener: &'a mut Listener<'a>) -> Self {
        Self { listener, findings: Vec::new() }
    }

    pub(in crate::store) fn note(&mut self, step: &'static str, verdict: Verdict, sentence: impl Into<String>) {
        let finding = Finding { step, verdict, sentence: sentence.into() };
        (self.listener)(&finding);
        self.findings.push(finding);
    }

    pub(in crate::store) fn close(self, policy: Option<String>) -> Report {
        Report { findings: self.findings, policy }
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("findings", &self.findings).finish_non_exhaustive()
    }
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.count(Verdict::Failure) == 0
    }

    /// All of it in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let named = |verdict, one: &str, many: &str| match self.count(verdict) {
            0 => String::new(),
            1 => format!(", {one}"),
            count => format!(", {count} {many}"),
        };
        format!(
            "{} in order{}{}{}",
            self.count(Verdict::Fine),
            named(Verdict::Warning, "1 warning", "warnings"),
            named(Verdict::Failure, "1 failed", "failed"),
            named(Verdict::Untried, "1 not tried", "not tried")
        )
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4}  {:<16}  {}", self.verdict, self.step, self.sentence)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fine => "ok",
            Self::Warning => "warn",
            Self::Failure => "FAIL",
            Self::Untried => "-",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_what_it_has() {
        let mut heard = Vec::new();
        let mut listener = |finding: &Finding| heard.push(finding.to_string());
        let mut record = Record::new(&mut listener);
        record.note("put", Verdict::Fine, "18 bytes");
        record.note("get", Verdict::Failure, "403");
        record.note("range", Verdict::Untried, "nothing to read");
        record.note("head", Verdict::Failure, "403");
        let report = record.close(None);
        assert_eq!(heard[1], "FAIL  get               403");
        assert_eq!(report.summary(), "1 in order, 2 failed, 1 not tried");
        assert!(!report.is_sound() && Report::default().is_sound());
    }
}
