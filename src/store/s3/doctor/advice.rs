//! From what the store said to what its operator should do: no request is made here.

use crate::store::{
    doctor::Verdict,
    s3::{
        doctor::{
            policy::{Grant, Place, Resource},
            step::Step,
        },
        failure::{Answer, Failure, Trouble},
    },
};

/// How far clocks may differ before S3 refuses a signature ("Authenticating Requests").
pub(super) const SKEW_MAX_SECS: u64 = 15 * 60;

/// A verdict with its reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Advice {
    pub(super) verdict: Verdict,
    pub(super) sentence: String,
    /// What would have to be allowed.
    pub(super) grants: Vec<Grant>,
}

/// What earlier steps found.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) list: Access,
    pub(super) put: Access,
    pub(super) head: Access,
    pub(super) get: Access,
    /// Whether objects are encrypted with a key of the key management service.
    pub(super) kms: bool,
    /// Seconds by which the store's clock is ahead of ours.
    pub(super) skew_secs: i64,
    /// The region that the store named without being asked.
    pub(super) region: Option<String>,
}

/// Whether we may do something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Access {
    #[default]
    Unknown,
    Granted,
    Refused,
}

impl Advice {
    pub(super) fn failure(sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failure, sentence: sentence.into(), grants: Vec::new() }
    }

    fn granting(self, grants: impl Into<Vec<Grant>>) -> Self {
        Self { grants: grants.into(), ..self }
    }
}

impl Access {
    pub(super) fn of(failure: &Failure) -> Self {
        if failure.answer().is_some_and(is_refusal) { Self::Refused } else { Self::Unknown }
    }
}

/// Whether a store says no because of who we are, and not because of what we asked.
pub(super) fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403) && (answer.code.is_empty() || by_code(answer, &Seen::default()).is_none())
}

/// What to do about a failed step.
pub(super) fn advise(step: Step, failure: &Failure, place: &Place, seen: &Seen) -> Advice {
    match &failure.trouble {
        Trouble::Answer(answer) => answered(step, answer, place, seen),
        Trouble::Stalled(patience) if patience.is_zero() => {
            Advice { verdict: Verdict::Untried, ..Advice::failure("no time is left: earlier steps took too long") }
        }
        Trouble::Stalled(patience) => Advice::failure(format!("no answer within {} s", patience.as_secs())),
        Trouble::Credentials(what) => Advice::failure(format!("nothing to sign with: {what}")),
        Trouble::Nonsense(what) if step == Step::Bucket => Advice::failure(format!(
            "the answer is none of S3's ({what}): is regionendpoint the address of the S3 API, and not of a console or \
             a proxy before it?"
        )),
        Trouble::Transport(what) if step == Step::Answer => {
            Advice::failure(format!("no answer in HTTP ({what}): is the port in regionendpoint the S3 API's?"))
        }
        Trouble::Transport(what) | Trouble::Nonsense(what) => Advice::failure(what.clone()),
    }
}

fn answered(step: Step, answer: &Answer, place: &Place, seen: &Seen) -> Advice {
    if let Some(told) = Told::read(&answer.message) {
        return told.advise(step, answer, place);
    }
    if let Some(region) = elsewhere(answer, place, seen) {
        let (said, ours) = (said(answer), &place.region);
        return Advice::failure(format!(
            "{said}: the bucket lies in {region} and not in {ours}: write region: {region}"
        ));
    }
    if let Some(sentence) = by_code(answer, seen) {
        return Advice::failure(format!("{}: {sentence}", said(answer)));
    }
    if is_refusal(answer) {
        return refused(step, answer, place, seen);
    }
    Advice::failure(match answer.status {
        404 | 405 if answer.code.is_empty() => {
            format!("{answer}, in words that are none of S3's: is regionendpoint the address of the S3 API?")
        }
        301 | 302 | 307 | 308 => format!("{answer}: the store sends us elsewhere: is regionendpoint its real address?"),
        _ => answer.to_string(),
    })
}

/// Status and code.
pub(super) fn said(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.code).trim_end().to_owned()
}

/// The bucket's region, where the store says that it is not ours.
fn elsewhere<'a>(answer: &'a Answer, place: &Place, seen: &'a Seen) -> Option<&'a str> {
    let about_regions = matches!(answer.status, 301 | 307)
        || matches!(
            answer.code.as_str(),
            "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "TemporaryRedirect"
                | "IllegalLocationConstraintException"
        );
    let expected = || {
        answer.message.split_once("expecting '").and_then(|(_, rest)| rest.split_once('\'')).map(|(region, _)| region)
    };
    let named = answer.region.as_deref().or_else(expected).or(seen.region.as_deref());
    named.filter(|region| about_regions && !region.is_empty() && **region != *place.region)
}

/// What an error's code alone says.
fn by_code(answer: &Answer, seen: &Seen) -> Option<String> {
    let sentence = match answer.code.as_str() {
        "InvalidAccessKeyId" | "UnrecognizedClientException" => {
            "the store does not know this access key: accesskey (or AWS_ACCESS_KEY_ID, or the profile) is wrong, was \
             deleted, or is another store's"
        }
        "SignatureDoesNotMatch" => {
            "the secret is not this access key's: correct secretkey (or AWS_SECRET_ACCESS_KEY); if it is right, \
             something on the way changes requests, such as a proxy that does not hand on Host"
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            "the session token has ended: give a new one, or keys that do not end, or a role that is renewed by itself"
        }
        "InvalidToken" | "InvalidSecurity" => {
            "the session token is not one that this store gave out (sessiontoken, or AWS_SESSION_TOKEN)"
        }
        "RequestTimeTooSkewed" | "RequestExpired" => return Some(clocks(seen)),
        "NoSuchBucket" => "there is no such bucket: correct bucket, or the address in regionendpoint",
        "InvalidBucketName" => "no bucket can have this name: correct bucket",
        "AuthorizationHeaderMalformed" => "the signature names another region than the store's: correct region",
        "SecondLevelDomainForbidden" => "the store wants the bucket in the host's name: write forcepathstyle: false",
        "AccessControlListNotSupported" => {
            "the bucket has access lists turned off: leave objectacl out, or write objectownership: true"
        }
        "InvalidStorageClass" => "the store has no such storage class: leave storageclass out",
        "AllAccessDisabled" | "AccountProblem" | "NotSignedUp" | "OptInRequired" => {
            "the account itself is barred: its owner must ask the store's operator"
        }
        "QuotaExceeded" | "XMinioStorageFull" | "ServiceQuotaExceededException" => "the store is full",
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" => "the store asks to slow down: try again later",
        "InvalidObjectState" => "the object is archived: choose a storage class that can be read at once",
        "NotImplemented" | "MethodNotAllowed" => "the store does not have this call",
        code if code.contains("KMS") => return Some(format!("the key of keyid cannot be used: {}", answer.message)),
        _ if answer.status == 507 => "the store is full",
        _ => return None,
    };
    Some(sentence.to_owned())
}

fn clocks(seen: &Seen) -> String {
    match seen.skew_secs {
        0 => "this machine's clock and the store's differ too much: set the clock (NTP)".to_owned(),
        skew => format!("{}: set the clock (NTP)", apart(skew)),
    }
}

/// How far this machine's clock is from the store's.
pub(super) fn apart(skew_secs: i64) -> String {
    let direction = if skew_secs > 0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {} s {direction} the store's", skew_secs.unsigned_abs())
}

/// A refusal of which only the step says what is missing.
fn refused(step: Step, answer: &Answer, place: &Place, seen: &Seen) -> Advice {
    if seen.skew_secs.unsigned_abs() > SKEW_MAX_SECS {
        return Advice::failure(format!("{}: {}", said(answer), clocks(seen)));
    }
    let (grants, instead) = lacking(step, seen);
    let (what, remark) = (list(&grants, place), instead.unwrap_or_default());
    let remark = if remark.is_empty() { String::new() } else { format!(" {remark}") };
    let missing = match (step, seen.list, seen.head) {
        (Step::HeadMissing, Access::Granted, Access::Granted) => {
            "is granted under a condition only, such as s3:prefix, which no HEAD meets"
        }
        _ if grants.len() > 1 => "are not both granted",
        _ => "is not granted",
    };
    let sentence = format!("{}{remark}: {what} {missing}", said(answer));
    match step {
        Step::Versioning => Advice {
            verdict: Verdict::Fine,
            sentence: format!("not known: {what} {missing}, which only this examination would use"),
            grants: Vec::new(),
        },
        Step::Redirect => Advice::failure(format!(
            "{}: a presigned address is refused although we may read: does the bucket's policy bind reading to a \
             network, or does a proxy at redirectendpoint not hand on its own name as Host?",
            said(answer)
        )),
        _ => Advice::failure(sentence).granting(grants),
    }
}

/// The actions that a step lacks, in the light of earlier ones, and how its refusal shows.
fn lacking(step: Step, seen: &Seen) -> (Vec<Grant>, Option<&'static str>) {
    let objects = |action| vec![Grant::new(action, Resource::Objects)];
    let listing = || vec![Grant::new("s3:ListBucket", Resource::Bucket)];
    let decrypting = || vec![Grant::new("kms:Decrypt", Resource::Key)];
    match step {
        Step::Head => (step.grants(), Some("for HEAD of an object that was just written")),
        Step::HeadMissing => {
            let instead = Some("instead of 404 for HEAD of a key that is not there");
            match (seen.list, seen.head) {
                (Access::Refused, _) | (_, Access::Granted) => (listing(), instead),
                _ => (step.grants(), instead),
            }
        }
        Step::Get | Step::Range if seen.head == Access::Granted && seen.kms => {
            (decrypting(), Some("for an object that HEAD finds"))
        }
        Step::Part | Step::Complete if seen.put == Access::Granted && seen.kms => (decrypting(), None),
        Step::Create if seen.put == Access::Granted => {
            (step.grants(), Some("with If-None-Match, but not without (a condition s3:if-none-match of some policy?)"))
        }
        Step::Copy | Step::PartCopy => match (seen.put, seen.get) {
            (Access::Refused, Access::Granted) => (objects("s3:PutObject"), None),
            (Access::Granted, Access::Refused) => (objects("s3:GetObject"), None),
            (Access::Granted, Access::Granted) if seen.kms => (decrypting(), None),
            _ => (step.grants(), None),
        },
        _ => (step.grants(), None),
    }
}

/// Actions with what they are about.
pub(super) fn list(grants: &[Grant], place: &Place) -> String {
    let named = |grant: &Grant| format!("{} on {}", grant.action, place.arn(&grant.resource));
    grants.iter().map(named).collect::<Vec<_>>().join(" and ")
}

/// A refusal in which the store itself says what is missing, as Amazon does within an account.
struct Told<'a> {
    action: &'a str,
    resource: &'a str,
    /// Why, in the store's words.
    reason: &'a str,
}

impl<'a> Told<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (_, rest) = message.split_once("is not authorized to perform: ")?;
        let (action, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let (resource, reason) = match rest.strip_prefix("on resource: ") {
            Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
            None => ("", rest),
        };
        let action = action.trim_end_matches(['.', ',']);
        let plain = action.contains(':') && action.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '*'));
        plain.then(|| Self { action, resource: resource.trim_matches('"'), reason })
    }

    fn advise(&self, step: Step, answer: &Answer, place: &Place) -> Advice {
        let (said, action) = (said(answer), self.action);
        if self.reason.contains("explicit deny") {
            return Advice::failure(format!(
                "{said}: {action} is denied {}: allowing it elsewhere does not help, what denies it must change{}",
                self.reason,
                if self.reason.contains("resource-based") { " (the bucket's or the key's own policy)" } else { "" }
            ));
        }
        let grant = Grant::new(action, self.subject());
        let sentence = format!("{said}: {} is not granted{}", list(std::slice::from_ref(&grant), place), self.place());
        if step == Step::Versioning {
            let sentence = format!("not known: {action} is not granted, which only this examination would use");
            return Advice { verdict: Verdict::Fine, sentence, grants: Vec::new() };
        }
        Advice::failure(sentence).granting([grant])
    }

    /// A policy for one key of ours would be of no use.
    fn subject(&self) -> Resource {
        match self.action.split_once(':') {
            Some(("s3", _)) if self.resource.contains('/') => Resource::Objects,
            Some(("s3", _)) => Resource::Bucket,
            _ if self.resource.starts_with("arn:") => Resource::Named(self.resource.to_owned()),
            _ => Resource::Key,
        }
    }

    /// Which other policies must allow it besides the identity's own.
    fn place(&self) -> String {
        let others = [
            "VPC endpoint policy",
            "service control policy",
            "resource control policy",
            "session policy",
            "permissions boundary",
        ];
        let other = others.into_iter().find(|other| self.reason.contains(&format!("no {other}")));
        other.map_or_else(String::new, |other| format!(" by the {other}"))
    }
}

#[cfg(test)]
mod tests;
