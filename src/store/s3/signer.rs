//! Signatures (AWS Signature Version 4) on requests and on addresses for clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
        SigningInstructions, SigningSettings, UriPathNormalizationMode, sign,
    },
    sign::v4::SigningParams,
};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use object_store::aws::AwsCredential;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{
    clock::Clock,
    store::s3::{credentials::Provider, failure::Trouble},
};

/// Signs with whatever credentials are good now, at the store's time.
#[derive(Debug)]
pub(super) struct Signer {
    provider: Provider,
    region: String,
    clock: Arc<dyn Clock>,
    /// Seconds by which the store's clock is ahead of ours.
    skew_secs: AtomicI64,
}

impl Signer {
    pub(super) const fn new(provider: Provider, region: String, clock: Arc<dyn Clock>) -> Self {
        Self { provider, region, clock, skew_secs: AtomicI64::new(0) }
    }

    /// Adds the headers that prove who we are. Bodies are not signed: over TLS the channel vouches for them, and
    /// hashing each part once more would cost more than anything else that we do with it.
    pub(super) async fn sign<B>(&self, request: &mut Request<B>) -> Result<(), Trouble> {
        let Some(credential) = self.credential().await? else { return Ok(()) };
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let uri = request.uri().to_string();
        let signed = request.headers().iter().filter(|(name, _)| is_signed(name));
        let headers = signed.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(request.method().as_str(), &uri, headers, SignableBody::UnsignedPayload);
        let instructions = self.instructions(&credential, self.now(), settings, signable.map_err(unsigned)?)?;
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    /// An address that is its own proof for GET: the same one for a window's length, and good for at least `lifetime`,
    /// unless the credentials end before.
    pub(super) async fn presign(
        &self,
        address: &str,
        lifetime: Duration,
        window: Duration,
    ) -> Result<Option<Uri>, Trouble> {
        let parse = |address: &str| address.parse::<Uri>().map_err(|error| Trouble::Nonsense(error.to_string()));
        let Some(credential) = self.credential().await? else { return parse(address).map(Some) };
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(lifetime + window);
        let body = SignableBody::UnsignedPayload;
        let signable =
            SignableRequest::new(Method::GET.as_str(), address, std::iter::empty(), body).map_err(unsigned)?;
        let begin = floor(self.now(), window);
        let instructions = self.instructions(&credential, begin, settings, signable)?;
        let mut request = Request::new(());
        *request.uri_mut() = parse(address)?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(Some(request.into_parts().0.uri))
    }

    /// Takes the store's `Date` for the time from now on; how far it is from our clock, in seconds.
    pub(super) fn follow(&self, date: Option<&HeaderValue>) -> Option<i64> {
        let date = date?.to_str().ok()?.replace("GMT", "+0000");
        let theirs = OffsetDateTime::parse(&date, &Rfc2822).ok()?;
        let skew = (theirs - self.clock.now()).whole_seconds();
        self.skew_secs.store(skew, Ordering::Relaxed);
        Some(skew)
    }

    /// After the store refused the keys at hand: whether it is worth signing once more.
    pub(super) fn renew(&self) -> bool {
        self.provider.renew()
    }

    pub(super) async fn credential(&self) -> Result<Option<Arc<AwsCredential>>, Trouble> {
        self.provider.get().await.map_err(Trouble::Credentials)
    }

    fn now(&self) -> OffsetDateTime {
        self.clock.now() + time::Duration::seconds(self.skew_secs.load(Ordering::Relaxed))
    }

    fn instructions(
        &self,
        credential: &AwsCredential,
        now: OffsetDateTime,
        mut settings: SigningSettings,
        signable: SignableRequest<'_>,
    ) -> Result<SigningInstructions, Trouble> {
        // S3 reads paths as they are: encoded once, never normalised.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let AwsCredential { key_id, secret_key, token } = credential;
        let identity = Credentials::new(key_id, secret_key, token.clone(), None, "pierhead").into();
        let builder = SigningParams::builder().identity(&identity).region(&self.region).name("s3");
        let params = builder.time(SystemTime::from(now)).settings(settings).build().map_err(unsigned)?;
        Ok(sign(signable, &params.into()).map_err(unsigned)?.into_parts().0)
    }
}

/// What the store insists on; anything else may be changed on the way.
fn is_signed(name: &HeaderName) -> bool {
    name == header::HOST || name.as_str() == "content-md5" || name.as_str().starts_with("x-amz-")
}

fn unsigned(error: impl std::error::Error) -> Trouble {
    Trouble::Credentials(format!("a request cannot be signed: {error}"))
}

/// The beginning of the window in which a moment lies.
fn floor(now: OffsetDateTime, window: Duration) -> OffsetDateTime {
    let length = i64::try_from(window.as_secs()).unwrap_or(i64::MAX).max(1);
    let begin = now.unix_timestamp().div_euclid(length) * length;
    OffsetDateTime::from_unix_timestamp(begin).unwrap_or(now)
}
