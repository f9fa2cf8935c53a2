//! Who is let in.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::{
    app::say,
    auth::{
        authority::Authority,
        htpasswd::{self, Notice, PasswordFile},
        token::{self, Verifier},
    },
    clock::Clock,
    config::auth::{Auth, Token},
};

pub(super) fn authority(auth: &Auth, clock: &Arc<dyn Clock>) -> Result<Authority> {
    match auth {
        Auth::Open => Ok(Authority::Open),
        Auth::Token(token) => {
            let verifier = Verifier::load(token_settings(token), Arc::clone(clock)).context("auth.token")?;
            Ok(Authority::Token(verifier))
        }
        Auth::Htpasswd { realm, path } => {
            let settings = htpasswd::Settings { realm: realm.clone(), path: path.clone() };
            let (file, notices) = PasswordFile::load(settings, Arc::clone(clock)).context("auth.htpasswd")?;
            notices.iter().for_each(tell);
            Ok(Authority::Htpasswd(file))
        }
    }
}

/// The same under a running server: a file that is not there was lost, not forgotten, and none is made in its place.
pub(super) fn authority_again(auth: &Auth, clock: &Arc<dyn Clock>) -> Result<Authority> {
    if let Auth::Htpasswd { path, .. } = auth
        && !path.try_exists().with_context(|| format!("auth.htpasswd: {}", path.display()))?
    {
        bail!("auth.htpasswd: {} is not there", path.display());
    }
    authority(auth, clock)
}

/// Reads what [`authority`] would read and makes nothing; returns what an operator should hear.
pub(super) fn check(auth: &Auth, clock: &Arc<dyn Clock>) -> Result<Vec<String>> {
    match auth {
        Auth::Htpasswd { path, .. } if !path.try_exists().with_context(|| path.display().to_string())? => {
            Ok(vec![format!("auth.htpasswd: {} is not there; it is made at start, with one user", path.display())])
        }
        Auth::Htpasswd { realm, path } => {
            let settings = htpasswd::Settings { realm: realm.clone(), path: path.clone() };
            let (_, notices) = PasswordFile::load(settings, Arc::clone(clock)).context("auth.htpasswd")?;
            Ok(notices.iter().filter_map(ignored_line).collect())
        }
        Auth::Token(_) | Auth::Open => authority(auth, clock).map(|_| Vec::new()),
    }
}

fn ignored_line(notice: &Notice) -> Option<String> {
    let Notice::NotBcrypt { path, line, user } = notice else { return None };
    let place = path.display();
    Some(format!("auth.htpasswd: {place} line {line}: {user:?} cannot log in, only bcrypt hashes are accepted"))
}

fn token_settings(token: &Token) -> token::Settings {
    token::Settings {
        realm: token.realm.clone(),
        service: token.service.clone(),
        issuer: token.issuer.clone(),
        rootcertbundle: token.root_cert_bundle.clone(),
        jwks: token.jwks.clone(),
        signingalgorithms: Some(token.algorithms.iter().map(ToString::to_string).collect()),
        autoredirect: token.auto_redirect.is_some(),
        autoredirectpath: token.auto_redirect.clone().unwrap_or_default(),
    }
}

fn tell(notice: &Notice) {
    match notice {
        // The one secret that is ever shown: without it nobody could log in. It is not written to the log.
        Notice::Created { path, user, password } => {
            say(&format!("made {} with user {user} and password {}", path.display(), password.expose()));
        }
        Notice::NotBcrypt { path, line, user } => tracing::warn!(
            auth.user.name = user,
            "{} line {line}: only bcrypt hashes are accepted, this user cannot log in",
            path.display()
        ),
    }
}
