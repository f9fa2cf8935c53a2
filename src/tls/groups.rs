//! The groups of a key exchange. Of those that both sides have, the one that the client names first is taken, and
//! clients that have the post-quantum hybrid name it first.

use rustls::{NamedGroup, crypto::SupportedKxGroup};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Group {
    /// X25519 together with ML-KEM-768, which quantum computers would not break.
    X25519MlKem768,
    X25519,
    P256,
    P384,
}

impl Group {
    const fn name(self) -> NamedGroup {
        match self {
            Self::X25519MlKem768 => NamedGroup::X25519MLKEM768,
            Self::X25519 => NamedGroup::X25519,
            Self::P256 => NamedGroup::secp256r1,
            Self::P384 => NamedGroup::secp384r1,
        }
    }
}

/// Leaves in `groups` what is `wanted`, in that order. An empty list changes nothing.
pub(super) fn restrict(groups: &mut Vec<&'static dyn SupportedKxGroup>, wanted: &[Group]) {
    if wanted.is_empty() {
        return;
    }
    let place = |group: &&dyn SupportedKxGroup| wanted.iter().position(|wanted| wanted.name() == group.name());
    groups.retain(|group| place(group).is_some());
    groups.sort_by_key(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_kept_as_wanted() {
        let check = |wanted: &[Group], expected: &[NamedGroup]| {
            let mut groups = crate::tls::provider().kx_groups;
            restrict(&mut groups, wanted);
            assert_eq!(groups.iter().map(|group| group.name()).collect::<Vec<_>>(), expected);
        };
        let all = [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
        check(&[], &all);
        check(&[Group::P384, Group::X25519MlKem768], &[NamedGroup::secp384r1, NamedGroup::X25519MLKEM768]);
        check(&[Group::X25519MlKem768, Group::X25519, Group::P256, Group::P384], &all);
    }
}
