//! The way in: whichever login method is configured.

use std::fmt;

use crate::auth::{
    access::Access,
    challenge::Refusal,
    grant::Grant,
    htpasswd::PasswordFile,
    token::{Grace, Presented, Verifier},
};

/// Decides on every request.
#[derive(Debug)]
pub enum Authority {
    /// `auth.token`
    Token(Verifier),
    /// `auth.htpasswd`: every user may do everything.
    Htpasswd(PasswordFile),
    /// No `auth` section: everybody may do everything.
    Open,
}

/// What a request brings that decides who sent it.
#[derive(Clone, Default)]
pub struct Credentials<'a> {
    /// The value of `Authorization`, as it was sent.
    pub authorization: Option<&'a [u8]>,
    /// The host (and port) that the client asked for: the realm's, under `autoredirect`.
    pub host: Option<&'a str>,
    /// `http` or `https`, as the client sees it; anything else counts as `https`.
    pub scheme: &'a str,
    /// For PATCH and PUT of an upload only: the token that its state holds.
    pub grace: Option<Grace>,
}

impl fmt::Debug for Credentials<'_> {
    /// Neither token nor password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut credentials = f.debug_struct("Credentials");
        credentials.field("host", &self.host).field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Authority {
    /// The proof that these credentials reach as far as `access`, or what to tell the client.
    pub async fn authorise(&self, credentials: &Credentials<'_>, access: &Access) -> Result<Grant, Refusal> {
        let Credentials { authorization, host, scheme, ref grace } = *credentials;
        match self {
            Self::Token(verifier) => {
                verifier.authorise(Presented { authorization, host, scheme, grace: grace.as_ref() }, access)
            }
            Self::Htpasswd(file) => file.authorise(authorization, access).await,
            Self::Open => Ok(Grant::unlimited(None, access)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show_themselves() {
        let credentials = Credentials { authorization: Some(b"canary"), host: Some("shown"), ..Default::default() };
        let debug = format!("{credentials:?}");
        // As text or as a list of bytes, which is how a slice shows itself: 99 is the first byte.
        assert!(debug.contains("shown") && !debug.contains("canary") && !debug.contains("99"), "{debug}");
    }
}
