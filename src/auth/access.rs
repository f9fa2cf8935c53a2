//! What a request needs: repositories and actions, as distribution's token scopes name them.

use serde::Serialize;

use crate::oci::name::RepositoryName;

/// What a route asks of whoever calls it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Any valid login: `/v2/`.
    Base,
    Repository {
        name: RepositoryName,
        verb: Verb,
    },
    /// Push to `to`, and pull from `from` when the same login may: a mount that it may not is a plain upload.
    Mount {
        to: RepositoryName,
        from: Option<RepositoryName>,
    },
    /// `registry:catalog:*`
    Catalog,
}

/// What is done to a repository.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    Pull,
    /// Needs `pull` and `push`, as distribution asks.
    Push,
    /// Never implied by push.
    Delete,
    /// Any valid login (OPTIONS): the repository is named, nothing of it is shown.
    Any,
}

impl Verb {
    /// The actions that must all be granted, in the order in which a challenge names them.
    pub(super) const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
            Self::Delete => &["delete"],
            Self::Any => &[],
        }
    }
}

/// One action on one resource, in the form in which distribution lists it in the detail of a 401 body.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequiredAction {
    pub r#type: &'static str,
    /// Always empty: classes are ignored.
    pub class: &'static str,
    pub name: String,
    pub action: &'static str,
}

/// All actions that are wanted on one resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    pub(super) actions: &'static [&'static str],
}

pub(super) const REPOSITORY: &str = "repository";

impl<'a> Want<'a> {
    pub(super) fn repository(name: &'a RepositoryName, actions: &'static [&'static str]) -> Self {
        Self { kind: REPOSITORY, name: name.as_str(), actions }
    }
}

impl Access {
    /// What a client should ask its token server for: for a mount also pull on the source.
    pub(super) fn wants(&self) -> Vec<Want<'_>> {
        match self {
            Self::Base | Self::Repository { verb: Verb::Any, .. } => Vec::new(),
            Self::Repository { name, verb } => vec![Want::repository(name, verb.actions())],
            Self::Mount { to, from } => {
                let source = from.iter().map(|from| Want::repository(from, Verb::Pull.actions()));
                std::iter::once(Want::repository(to, Verb::Push.actions())).chain(source).collect()
            }
            Self::Catalog => vec![Want { kind: "registry", name: "catalog", actions: &["*"] }],
        }
    }

    /// What must be granted for the request to go on: everything wanted but a mount's source.
    pub(super) fn needs(&self) -> Option<Want<'_>> {
        self.wants().into_iter().next()
    }

    pub(super) const fn is_push(&self) -> bool {
        matches!(self, Self::Repository { verb: Verb::Push, .. })
    }

    /// The same as a list of single actions; `None` where a valid login is enough.
    pub(super) fn detail(&self) -> Option<Vec<RequiredAction>> {
        let wants = self.wants();
        let single = |want: &Want<'_>| {
            let (kind, name) = (want.kind, want.name.to_owned());
            want.actions.iter().map(move |action| RequiredAction {
                r#type: kind,
                class: "",
                name: name.clone(),
                action,
            })
        };
        (!wants.is_empty()).then(|| wants.iter().flat_map(single).collect())
    }

    /// The `scope` parameter of a challenge: `repository:a/b:pull,push repository:c:pull`.
    pub(super) fn scope(&self) -> Option<String> {
        let wants = self.wants();
        let one = |want: &Want<'_>| format!("{}:{}:{}", want.kind, want.name, want.actions.join(","));
        (!wants.is_empty()).then(|| wants.iter().map(one).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, scope: Option<&str>, detail: &str) {
        assert_eq!(access.scope().as_deref(), scope);
        assert_eq!(serde_json::to_string(&access.detail()).unwrap(), detail);
    }

    #[test]
    fn scopes_and_details() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let repository = |verb| Access::Repository { name: name("foo/bar"), verb };
        let one = |name: &str, action: &str| {
            format!(r#"{{"Type":"repository","Class":"","Name":"{name}","Action":"{action}"}}"#)
        };
        let (pull, push) = (one("foo/bar", "pull"), one("foo/bar", "push"));
        check(&Access::Base, None, "null");
        check(&repository(Verb::Any), None, "null");
        check(&repository(Verb::Pull), Some("repository:foo/bar:pull"), &format!("[{pull}]"));
        check(&repository(Verb::Push), Some("repository:foo/bar:pull,push"), &format!("[{pull},{push}]"));
        let delete = format!("[{}]", one("foo/bar", "delete"));
        check(&repository(Verb::Delete), Some("repository:foo/bar:delete"), &delete);
        let mount = |from| Access::Mount { to: name("foo/bar"), from };
        check(&mount(None), Some("repository:foo/bar:pull,push"), &format!("[{pull},{push}]"));
        check(
            &mount(Some(name("src/img"))),
            Some("repository:foo/bar:pull,push repository:src/img:pull"),
            &format!("[{pull},{push},{}]", one("src/img", "pull")),
        );
        check(
            &Access::Catalog,
            Some("registry:catalog:*"),
            r#"[{"Type":"registry","Class":"","Name":"catalog","Action":"*"}]"#,
        );
    }
}
