//! The account at the authority: one for all gateways with the same store, made once.

use std::sync::atomic::Ordering;

use instant_acme::{Account, AccountBuilder, AccountCredentials, ExternalAccountKey, NewAccount};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Acme, failure::AcmeError, http_client::AcmeHttp, lease::Held, store};
use crate::config::acme::AcmeConfig;

/// In the store.
#[derive(Deserialize, Serialize)]
struct AccountRow {
    /// The credentials as JSON, as the sealer has written them.
    credentials: String,
    contact: Vec<String>,
}

/// Ready for orders.
pub(super) struct OpenAccount {
    pub(super) account: Account,
    pub(super) http: AcmeHttp,
}

impl OpenAccount {
    /// Turns an error of the library into one that says what the authority answered.
    pub(super) fn error(&self, error: &instant_acme::Error) -> AcmeError {
        AcmeError::of_authority(error, self.http.last_refusal())
    }
}

impl Acme {
    /// The account of the store, or a new one. `None`: another gateway is making it.
    ///
    /// # Errors
    /// When the store or the authority is away, or refuses.
    pub(super) async fn account(&self) -> Result<Option<OpenAccount>, AcmeError> {
        let name = account_name(&self.config);
        let http = self.http.apart();
        if !self.asks_account.load(Ordering::Relaxed)
            && let Some(row) = self.stored_account(&name).await?
            && row.contact == self.config.contact
            && self.sealer.is_current(&row.credentials)
            && let Some(account) = self.restore(&name, &row, &http).await?
        {
            return Ok(Some(OpenAccount { account, http }));
        }
        let _turn = self.account_turn.lock().await;
        let held = Held::acquire(&self.store, name.clone(), &self.owner).await?;
        let Some(held) = held else {
            return Ok(None);
        };
        let account = held.during(self.make_account(&name, &http, &held)).await;
        held.release().await;
        Ok(Some(OpenAccount {
            account: account?,
            http,
        }))
    }

    async fn stored_account(&self, name: &str) -> Result<Option<AccountRow>, AcmeError> {
        let text = self.store.load(name).await?;
        let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
        parsed.map_err(unreadable)
    }

    /// `None`: the authority does not know it any more.
    async fn restore(
        &self,
        name: &str,
        row: &AccountRow,
        http: &AcmeHttp,
    ) -> Result<Option<Account>, AcmeError> {
        let credentials = self.sealer.open(name, &row.credentials);
        let credentials = credentials.map_err(unreadable)?;
        let credentials: AccountCredentials =
            serde_json::from_slice(&credentials).map_err(unreadable)?;
        let restored = builder(http).from_credentials(credentials).await;
        let account = restored.map_err(|error| failed(&error, http))?;
        Ok(Some(account))
    }

    /// Under the lease: another gateway may have made it meanwhile.
    async fn make_account(
        &self,
        name: &str,
        http: &AcmeHttp,
        held: &Held<'_>,
    ) -> Result<Account, AcmeError> {
        let contact: Vec<&str> = self.config.contact.iter().map(String::as_str).collect();
        if !self.asks_account.load(Ordering::Relaxed)
            && let Some(row) = self.stored_account(name).await?
            && let Some(account) = self.restore(name, &row, http).await?
        {
            let is_current = self.sealer.is_current(&row.credentials);
            if row.contact == self.config.contact && is_current {
                return Ok(account);
            }
            if row.contact != self.config.contact {
                let updated = account.update_contacts(&contact).await;
                updated.map_err(|error| failed(&error, http))?;
            }
            let credentials = self.sealer.open(name, &row.credentials)?;
            self.put_account(name, &credentials, held).await?;
            return Ok(account);
        }
        let external = external_account(&self.config);
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.config.directory_url.to_string();
        let made = builder(http)
            .create(&new, directory, external.as_ref())
            .await;
        let (account, credentials) = made.map_err(|error| failed(&error, http))?;
        let credentials = serde_json::to_vec(&credentials)
            .map_err(|error| AcmeError::Unusable(error.to_string()))?;
        self.put_account(name, &credentials, held).await?;
        self.asks_account.store(false, Ordering::Relaxed);
        tracing::info!(target: "quartet", account_url = account.id(), "an ACME account was made");
        Ok(account)
    }

    async fn put_account(
        &self,
        name: &str,
        credentials: &[u8],
        held: &Held<'_>,
    ) -> Result<(), AcmeError> {
        let row = AccountRow {
            credentials: self.sealer.seal(name, credentials)?,
            contact: self.config.contact.clone(),
        };
        held.put(&serde_json::to_string(&row).expect("texts are JSON"))
            .await
    }

    /// Forgets an account that the authority does not know, so that the next attempt makes another one.
    pub(super) async fn forget_account(&self) -> Result<(), AcmeError> {
        let name = account_name(&self.config);
        let _turn = self.account_turn.lock().await;
        if let Some(held) = Held::acquire(&self.store, name, &self.owner).await? {
            let forgotten = held.put(store::NO_ROW).await;
            held.release().await;
            forgotten?;
        }
        Ok(())
    }
}

/// Such as after `acme.encryption_key` was lost. No other account is made unasked: the key may only be missing
/// here, and authorities allow few new accounts.
fn unreadable(error: impl ToString) -> AcmeError {
    AcmeError::Unusable(format!(
        "the stored account cannot be read: {}. It needs the acme.encryption_key (or \
         previous_encryption_key) that it was stored with; \
         `quartet-gateway acme renew NAME --new-account` makes another account in its place",
        error.to_string()
    ))
}

fn builder(http: &AcmeHttp) -> AccountBuilder {
    Account::builder_with_http(Box::new(http.clone()))
}

fn failed(error: &instant_acme::Error, http: &AcmeHttp) -> AcmeError {
    AcmeError::of_authority(error, http.last_refusal())
}

fn external_account(config: &AcmeConfig) -> Option<ExternalAccountKey> {
    let external = config.external_account.as_ref()?;
    let key = external.key.expose_secret();
    Some(ExternalAccountKey::new(external.id.clone(), key))
}

/// Of the row in the store: authorities and external accounts have one each.
fn account_name(config: &AcmeConfig) -> String {
    let mut hash = Sha256::new();
    hash.update(config.directory_url.as_str());
    if let Some(external) = &config.external_account {
        hash.update(["\n", &external.id].concat());
    }
    format!("account-{}", hex::encode(&hash.finalize()[..8]))
}
