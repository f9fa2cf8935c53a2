//! From nothing to the bucket: credentials, the way there, and the first request that is signed.

use bytes::Bytes;
use http::Request;
use object_store::client::HttpRequestBody;

use crate::store::{
    doctor::Verdict,
    s3::{
        S3,
        doctor::{
            Examination, Said,
            advice::{Access, Advice, SKEW_MAX_SECS, advise, apart},
            identity::{kind, remedy},
            nonsense,
            step::Step,
            way::{Greeting, Host, greet, handshake},
        },
        failure::{BODY_MAX, Failure, Trouble},
        settings::{Addressing, Credentials, Settings},
        wire::beginning,
    },
};

/// How far clocks may be apart without a word, in seconds.
const SKEW_QUIET_SECS: u64 = 60;

/// What a listing of a bucket begins with, unlike one of all buckets.
const LISTING: &str = "<ListBucketResult";

impl Examination<'_> {
    /// Whether anything can be asked of the bucket.
    pub(super) async fn enter(&mut self) -> bool {
        self.credentials().await && self.way().await && self.bucket().await
    }

    async fn credentials(&mut self) -> bool {
        let store = self.store.clone();
        let kind = kind(&self.settings.credentials);
        let found = self.timed(async {
            let failed = |trouble| Failure { method: http::Method::GET, trouble };
            store.transport.signer.credential().await.map_err(failed)
        });
        match found.await {
            Ok(_) => {
                self.record.note(Step::Credentials.name(), Verdict::Fine, kind);
                true
            }
            Err(failure) => {
                let why = match &failure.trouble {
                    Trouble::Credentials(what) => what.clone(),
                    trouble => trouble.to_string(),
                };
                let why = why.trim_start_matches("Generic S3 error: ");
                let remedy = remedy(&self.settings.credentials);
                let advice = Advice::failure(format!("{kind}, but there are none ({why}): {remedy}"));
                self.heed(Step::Credentials, advice);
                false
            }
        }
    }

    async fn way(&mut self) -> bool {
        let base = self.store.bucket.base().to_owned();
        let Ok(uri) = base.parse() else { return false };
        let host = Host::of(&uri);
        let Some(stream) = self.connection(&host).await else { return false };
        if host.secure {
            let tls = self.settings.tls.clone();
            match host.secure(stream, &tls).await {
                Ok(version) => {
                    self.record.note(Step::Tls.name(), Verdict::Fine, format!("{version} with {}", host.name));
                }
                Err(error) => {
                    let in_host = self.settings.addressing == Addressing::VirtualHost;
                    let sentence = handshake(&error, &host.name, in_host);
                    self.heed(Step::Tls, Advice::failure(sentence));
                    return false;
                }
            }
        }
        self.answer(&host).await
    }

    async fn connection(&mut self, host: &Host) -> Option<tokio::net::TcpStream> {
        let addresses = match host.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                let mut sentence = format!("{} has no address ({error})", host.name);
                if let Some(remedy) = self.other_addressing().await {
                    sentence = format!("{sentence}, but the bucket answers otherwise: write {remedy}");
                } else if self.settings.addressing == Addressing::VirtualHost {
                    sentence = format!(
                        "{sentence}: correct regionendpoint, region and bucket, or write forcepathstyle: true if the \
                         store does not know buckets by host names"
                    );
                } else {
                    sentence = format!("{sentence}: correct regionendpoint or region, or this machine's name service");
                }
                self.heed(Step::Name, Advice::failure(sentence));
                return None;
            }
        };
        let listed: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
        if listed != [host.name.as_str()] {
            self.record.note(Step::Name.name(), Verdict::Fine, format!("{} is {}", host.name, listed.join(", ")));
        }
        match host.connect(&addresses).await {
            Ok((address, stream)) => {
                self.record.note(Step::Connection.name(), Verdict::Fine, format!("{address} accepts"));
                Some(stream)
            }
            Err(why) => {
                let sentence = format!(
                    "nothing accepts at {} port {} ({why}): is the port in regionendpoint right, does the store run, and \
                     does a firewall let this machine through?",
                    host.name, host.port
                );
                self.heed(Step::Connection, Advice::failure(sentence));
                None
            }
        }
    }

    /// Any answer of a server that speaks HTTP: it says what time it is, and perhaps where the bucket is.
    async fn answer(&mut self, host: &Host) -> bool {
        let greeting = self.timed(greet(&self.wire, &self.store)).await;
        let odd = greeting.as_ref().map_or(true, |greeting| greeting.status == 400 && !greeting.is_s3);
        if odd && !host.secure && host.speaks_tls(&self.settings.tls).await {
            let sentence = format!(
                "{} speaks TLS at port {}: write https:// in regionendpoint (or leave secure: false away)",
                host.name, host.port
            );
            self.heed(Step::Answer, Advice::failure(sentence));
            return false;
        }
        match greeting {
            Ok(greeting) => {
                let (verdict, sentence) = welcome(&greeting, &self.settings.credentials);
                self.record.note(Step::Answer.name(), verdict, sentence);
                self.clocks(&greeting);
                self.seen.region = greeting.region;
                true
            }
            Err(failure) => {
                let advice = advise(Step::Answer, &failure, &self.place, &self.seen);
                self.heed(Step::Answer, advice);
                false
            }
        }
    }

    fn clocks(&mut self, greeting: &Greeting) {
        let Some(theirs) = greeting.date else {
            return self.skip(Step::Clock, "the store does not say what time it is");
        };
        let skew = (theirs - self.clock.now()).whole_seconds();
        self.seen.skew_secs = skew;
        let (verdict, sentence) = match skew.unsigned_abs() {
            apart_secs if apart_secs > SKEW_MAX_SECS => (
                Verdict::Warning,
                format!(
                    "{}, more than S3 accepts (15 min): requests are signed by the store's time, but set the clock (NTP)",
                    apart(skew)
                ),
            ),
            apart_secs if apart_secs > SKEW_QUIET_SECS => {
                (Verdict::Warning, format!("{}: set the clock (NTP)", apart(skew)))
            }
            apart_secs => (Verdict::Fine, format!("{apart_secs} s apart")),
        };
        self.record.note(Step::Clock.name(), verdict, sentence);
    }

    /// Whether there is a bucket that knows us. One that may not be listed is one.
    async fn bucket(&mut self) -> bool {
        let store = self.store.clone();
        let prefix = format!("{}/", store.bucket.full(&self.plan.scratch));
        let found = self.timed(look(&store, &prefix)).await;
        self.seen.list = found.as_ref().map_or_else(Access::of, |()| Access::Granted);
        if let Err(failure) = &found
            && may_be_misaddressed(failure)
            && let Some(remedy) = self.other_addressing().await
        {
            let sentence = format!("{}: the bucket answers otherwise: write {remedy}", failure.trouble);
            self.heed(Step::Bucket, Advice::failure(sentence));
            return false;
        }
        let (bucket, region) = (&self.settings.bucket, &self.settings.region);
        let said = Said::fine(format!("{bucket} can be listed, with signatures for {region}"));
        self.judge(Step::Bucket, found.map(|()| said));
        self.seen.list != Access::Unknown
    }

    /// What to write where the bucket answers when its name stands elsewhere.
    async fn other_addressing(&self) -> Option<&'static str> {
        let (addressing, remedy) = match self.settings.addressing {
            Addressing::Path => (Addressing::VirtualHost, "forcepathstyle: false"),
            Addressing::VirtualHost => (Addressing::Path, "forcepathstyle: true"),
        };
        let settings = Settings { addressing, ..self.settings.clone() };
        let uri = &settings.endpoint;
        if addressing == Addressing::VirtualHost && Host::of(uri).name.parse::<std::net::IpAddr>().is_ok() {
            return None;
        }
        let store = S3::open(settings, self.clock.clone()).ok()?;
        let prefix = format!("{}/", store.bucket.full(&self.plan.scratch));
        self.timed(look(&store, &prefix)).await.ok().map(|()| remedy)
    }
}

/// What an answer to somebody unknown comes to.
fn welcome(greeting: &Greeting, credentials: &Credentials) -> (Verdict, String) {
    let public = (200..300).contains(&greeting.status) && !matches!(credentials, Credentials::Anonymous);
    if public {
        let sentence = "the bucket answers whoever does not even say who they are: is it meant to be public?";
        return (Verdict::Warning, sentence.to_owned());
    }
    (Verdict::Fine, format!("{} speaks HTTP", greeting.server.as_deref().unwrap_or("the server")))
}

/// One name of what lies below a prefix, from an answer that is about this bucket.
async fn look(store: &S3, prefix: &str) -> Result<(), Failure> {
    let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)];
    let request = Request::get(store.bucket.bucket(&query)).body(HttpRequestBody::from(Bytes::new()));
    let answer = store.transport.send(request.map_err(nonsense)?).await?;
    let body = beginning(answer.into_body(), BODY_MAX).await.map_err(nonsense)?;
    if String::from_utf8_lossy(&body).contains(LISTING) {
        return Ok(());
    }
    Err(nonsense("a listing was asked for, and something else came"))
}

/// Whether a failure can come of a bucket's name that stands where the store does not look for it.
fn may_be_misaddressed(failure: &Failure) -> bool {
    match &failure.trouble {
        Trouble::Nonsense(_) => true,
        Trouble::Answer(answer) => match answer.code.as_str() {
            "NoSuchBucket"
            | "NoSuchKey"
            | "SecondLevelDomainForbidden"
            | "MethodNotAllowed"
            | "InvalidBucketName"
            | "InvalidURI"
            | "SignatureDoesNotMatch" => true,
            code => code.is_empty() && matches!(answer.status, 301 | 400 | 403 | 404 | 405),
        },
        _ => false,
    }
}
