//! Who are you, and may you: credentials and an `Access` in, a `Grant` or a `Refusal` out.
//!
//! 1. A route says what it needs: an [`access::Access`] (a repository and a verb, a mount, the catalog, or just a
//!    valid login).
//! 2. [`authority::Authority::authorise`] looks at the `Authorization` header: a signed token (`token`, `claims`,
//!    `keys`), a password (`htpasswd`), or nothing at all when the registry is open.
//! 3. What comes back is a [`grant::Grant`], which only this module can make and from which a handler takes the
//!    repository's name, or a [`challenge::Refusal`], which holds the challenge, the detail and the reason.
//!
//! Nothing here knows of HTTP answers, reads the environment or fetches anything: keys come from files, read once.
//! A token's `jwk`, `jku` and `x5u` headers never bring a key.

pub mod access;
pub mod authority;
pub mod challenge;
pub mod grant;
pub mod htpasswd;
pub mod pair;
pub mod rules;
pub mod token;

mod cache;
mod claims;
mod keys;
