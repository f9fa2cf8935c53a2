//! Proofs: a value of these types exists only because `Authority::authorise` said yes.

use std::sync::Arc;

use crate::{
    auth::{
        access::{Access, REPOSITORY, Verb, Want},
        claims::Claims,
        rules::{InvalidRules, TagRules},
    },
    oci::name::RepositoryName,
};

/// Most repositories that `Identity::readable` names.
pub const READABLE_MAX: usize = 100;

/// The proof that one `Access` was granted; its variants mirror those of `Access`.
#[derive(Clone, Debug)]
pub enum Grant {
    Base(Identity),
    Repository(RepositoryGrant),
    /// `from` is there only if the same login may pull from the source.
    Mount {
        to: RepositoryGrant,
        from: Option<RepositoryGrant>,
    },
    Catalog(Identity),
}

/// The right to do one thing (the `Verb` that was asked for) to one repository.
#[derive(Clone, Debug)]
pub struct RepositoryGrant {
    name: RepositoryName,
    identity: Identity,
}

/// Who was granted something.
#[derive(Clone, Debug)]
pub struct Identity(Login);

#[derive(Clone, Debug)]
enum Login {
    Token { claims: Arc<Claims>, hash: [u8; 32] },
    User(Arc<str>),
    Anyone,
}

/// The repositories that may be pulled from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Readable {
    Everything,
    /// At most `READABLE_MAX`, in the token's order, each once.
    Only(Vec<RepositoryName>),
}

impl Grant {
    /// Whoever the grant was given to.
    pub const fn identity(&self) -> &Identity {
        match self {
            Self::Base(identity) | Self::Catalog(identity) => identity,
            Self::Repository(grant) | Self::Mount { to: grant, .. } => &grant.identity,
        }
    }

    /// The grant for `access`, or `None` where this login does not reach that far.
    pub(super) fn of(identity: Identity, access: &Access) -> Option<Self> {
        let enough = access.needs().is_none_or(|want| identity.may(want));
        enough.then(|| Self::mirror(identity, access))
    }

    /// The grant for `access` of a user who may do everything; `None` is everybody.
    pub(super) fn unlimited(user: Option<Arc<str>>, access: &Access) -> Self {
        Self::mirror(Identity(user.map_or(Login::Anyone, Login::User)), access)
    }

    fn mirror(identity: Identity, access: &Access) -> Self {
        let repository = |name: &RepositoryName| RepositoryGrant { name: name.clone(), identity: identity.clone() };
        match access {
            Access::Repository { name, .. } => Self::Repository(repository(name)),
            Access::Mount { to, from } => {
                let from = from.as_ref().filter(|from| identity.may(pull(from))).map(repository);
                Self::Mount { to: repository(to), from }
            }
            Access::Base => Self::Base(identity),
            Access::Catalog => Self::Catalog(identity),
        }
    }
}

impl RepositoryGrant {
    /// The repository that may be touched: the only source of a repository's name for a handler.
    pub const fn repository(&self) -> &RepositoryName {
        &self.name
    }

    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the token forbids on this repository's tags; an error where its patterns are malformed.
    pub fn tag_rules(&self) -> Result<TagRules, InvalidRules> {
        match &self.identity.0 {
            Login::Token { claims, .. } => TagRules::collect(claims.rules(self.name.as_str())),
            Login::User(_) | Login::Anyone => Ok(TagRules::default()),
        }
    }
}

impl Identity {
    pub(super) const fn token(claims: Arc<Claims>, hash: [u8; 32]) -> Self {
        Self(Login::Token { claims, hash })
    }

    /// The user's name, if the login has one. It comes from outside: escape it wherever it is shown.
    pub fn subject(&self) -> Option<&str> {
        match &self.0 {
            Login::Token { claims, .. } => claims.subject.as_deref(),
            Login::User(name) => Some(name),
            Login::Anyone => None,
        }
    }

    /// SHA-256 of the token as it was sent; `None` without a token.
    pub const fn token_hash(&self) -> Option<&[u8; 32]> {
        match &self.0 {
            Login::Token { hash, .. } => Some(hash),
            Login::User(_) | Login::Anyone => None,
        }
    }

    /// Where this login may pull: a digest that is known does not give access to it elsewhere.
    pub fn readable(&self) -> Readable {
        let Login::Token { claims, .. } = &self.0 else { return Readable::Everything };
        let mut names = Vec::new();
        for name in claims.named(REPOSITORY).filter_map(|name| name.parse::<RepositoryName>().ok()) {
            if names.len() == READABLE_MAX {
                break;
            }
            if self.may(pull(&name)) && !names.contains(&name) {
                names.push(name);
            }
        }
        Readable::Only(names)
    }

    fn may(&self, want: Want<'_>) -> bool {
        match &self.0 {
            Login::Token { claims, .. } => claims.allow(want),
            Login::User(_) | Login::Anyone => true,
        }
    }
}

fn pull(name: &RepositoryName) -> Want<'_> {
    Want::repository(name, Verb::Pull.actions())
}
