//! Who we are to the authority: one account for each directory, whose key is in the vault before the account is made.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, Key, NewAccount};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::{
    acme::{
        Failure,
        order::{Authority, BAD_NONCE, NO_ACCOUNT, NONCES_MAX, is_of, patiently},
        vault::records::{self, KeyText, Version1},
    },
    secret::Secret,
};

impl Authority {
    /// The account, made if there is none yet. One that the authority no longer knows is made again.
    pub(super) async fn account(&self) -> Result<Account, Failure> {
        let stored = self.vault.account(&self.settings.directory).await?;
        let binding = self.settings.binding.as_ref().map(|binding| binding.id.clone());
        let record = match stored {
            // Bound to another account of the operator's: that is another account here, too.
            Some(record) if record.binding == binding => record,
            _ if binding.is_some() => return self.bound().await,
            _ => self.new_key().await?,
        };
        match &record.id {
            Some(id) => self.known(&record, id.clone()).await,
            None => self.registered(record).await,
        }
    }

    /// A key that nobody has heard of yet.
    async fn new_key(&self) -> Result<records::Account, Failure> {
        let (_, key) = Key::generate_pkcs8().map_err(Failure::ours)?;
        let record = records::Account {
            version: Version1,
            directory: self.settings.directory.clone(),
            key: KeyText::new(BASE64_STANDARD.encode(key.secret_pkcs8_der())),
            id: None,
            binding: None,
            contacts: Vec::new(),
        };
        self.vault.put_account(&record).await?;
        Ok(record)
    }

    /// Makes the account of a key, or finds it.
    async fn registered(&self, mut record: records::Account) -> Result<Account, Failure> {
        let directory = &self.settings.directory;
        let made = patiently!({
            let key = key(&record)?;
            let key = (key.0, key.1.into());
            Account::builder_with_http(Box::new(self.wire.clone())).create_from_key(key, directory.clone()).await
        });
        let (account, _) = made.map_err(|error| self.failure("the account", &error))?;
        record.id = Some(account.id().to_owned());
        record.contacts = Vec::new();
        self.vault.put_account(&record).await?;
        tracing::info!(
            acme.account = account.id(),
            "an account at {directory} was made; its terms of service are agreed to"
        );
        self.reached_by(&account, record).await?;
        Ok(account)
    }

    /// An account that we know to exist.
    async fn known(&self, record: &records::Account, id: String) -> Result<Account, Failure> {
        let directory = self.settings.directory.clone();
        let (_, key) = key(record)?;
        let builder = Account::builder_with_http(Box::new(self.wire.clone()));
        let account = builder.from_parts(id, key, directory).await;
        let account = account.map_err(|error| self.failure("the authority's directory", &error))?;
        match self.reached_by(&account, record.clone()).await {
            Ok(()) => Ok(account),
            Err(Reached::Unknown) if record.binding.is_some() => self.bound().await,
            Err(Reached::Unknown) => self.registered(record.clone()).await,
            Err(Reached::Failed(failure)) => Err(failure),
        }
    }

    /// Tells the authority whom to write to, where that has changed; asks for nothing otherwise but whether it knows us.
    async fn reached_by(&self, account: &Account, mut record: records::Account) -> Result<(), Reached> {
        let contacts = &self.settings.contacts;
        let texts: Vec<_> = contacts.iter().map(String::as_str).collect();
        match patiently!(account.update_contacts(&texts).await) {
            Ok(()) => {}
            Err(error) if is_of(&error, NO_ACCOUNT) => return Err(Reached::Unknown),
            Err(error) => return Err(Reached::Failed(self.failure("the account", &error))),
        }
        if record.contacts != *contacts {
            record.contacts.clone_from(contacts);
            self.vault.put_account(&record).await.map_err(|error| Reached::Failed(error.into()))?;
        }
        Ok(())
    }

    /// An account that is bound to one that the operator has there already (RFC 8555 section 7.3.4). The library makes
    /// its key; if we die before it is stored, the account is lost and the next one is made.
    async fn bound(&self) -> Result<Account, Failure> {
        let binding = self.settings.binding.as_ref().ok_or_else(|| Failure::ours("no binding"))?;
        let contacts: Vec<_> = self.settings.contacts.iter().map(String::as_str).collect();
        let wanted = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let directory = &self.settings.directory;
        let external = ExternalAccountKey::new(binding.id.clone(), binding.key.expose());
        let made = patiently!(
            Account::builder_with_http(Box::new(self.wire.clone()))
                .create(&wanted, directory.clone(), Some(&external))
                .await
        );
        let (account, credentials): (Account, AccountCredentials) =
            made.map_err(|error| self.failure("the account", &error))?;
        let record = records::Account {
            version: Version1,
            directory: directory.clone(),
            key: KeyText::new(BASE64_STANDARD.encode(credentials.private_key().secret_pkcs8_der())),
            id: Some(account.id().to_owned()),
            binding: Some(binding.id.clone()),
            contacts: self.settings.contacts.clone(),
        };
        self.vault.put_account(&record).await?;
        tracing::info!(
            acme.account = account.id(),
            "an account at {directory} was made; its terms of service are agreed to"
        );
        Ok(account)
    }
}

/// Why the authority could not be told.
enum Reached {
    /// It has forgotten us.
    Unknown,
    Failed(Failure),
}

impl From<Reached> for Failure {
    fn from(reached: Reached) -> Self {
        match reached {
            Reached::Unknown => {
                Self::refused("the account: the authority does not know what it has just made".to_owned())
            }
            Reached::Failed(failure) => failure,
        }
    }
}

fn key(record: &records::Account) -> Result<(Key, PrivatePkcs8KeyDer<'static>), Failure> {
    let der = BASE64_STANDARD.decode(record.key.expose()).map(Secret::new).map_err(Failure::ours)?;
    let key = Key::from_pkcs8_der(PrivatePkcs8KeyDer::from(der.expose().as_slice())).map_err(Failure::ours)?;
    Ok((key, PrivatePkcs8KeyDer::from(der.expose().clone())))
}
