//! One order, from its begin or from where another gateway has left it, to a certificate.

use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::{
    Acme,
    account::OpenAccount,
    failure::AcmeError,
    issued::Issued,
    lease::Held,
    row::{OpenOrder, Row, StoredCertificate},
};
use crate::config::acme::OrderedCertificate;

/// Until the first question how an order is; it grows by a quarter each time.
const FIRST_QUESTION: Duration = Duration::from_millis(300);

/// What an order needs.
pub(super) struct Ordering<'o> {
    pub(super) acme: &'o Acme,
    pub(super) certificate: &'o OrderedCertificate,
    pub(super) held: &'o Held<'o>,
    pub(super) open: &'o OpenAccount,
    /// That the new one takes the place of.
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
}

impl Ordering<'_> {
    /// The row has the open order at any time, so that it can be resumed.
    ///
    /// # Errors
    /// When the store or the authority is away, or the authority refuses.
    pub(super) async fn run(
        &self,
        row: &mut Row,
    ) -> Result<(StoredCertificate, Issued), AcmeError> {
        self.check_profile()?;
        let (mut order, key) = match self.resumed(row).await? {
            Some(resumed) => resumed,
            None => self.begin(row).await?,
        };
        if order.state().status == OrderStatus::Pending {
            self.prove(&mut order).await?;
        }
        if order.state().status == OrderStatus::Ready {
            let request = self.signing_request(&key)?;
            let finalized = order.finalize_csr(&request).await;
            finalized.map_err(|error| self.open.error(&error))?;
        }
        let chain = order.poll_certificate(&self.questions()).await;
        let chain = chain.map_err(|error| self.open.error(&error))?;
        let secret = key.serialize_der();
        let issued = Issued::parse(&chain, &secret)?;
        if !issued.covers(&self.certificate.hosts) {
            return Err(AcmeError::Unusable(format!(
                "the new certificate is for {} only",
                issued.names.join(", ")
            )));
        }
        let stored = StoredCertificate {
            chain,
            key: self.acme.sealer.seal(&self.certificate.name, &secret)?,
            profile: self.certificate.profile.clone(),
            directory_url: self.directory_url().to_owned(),
            issued_at: self.acme.clock.now(),
        };
        Ok((stored, issued))
    }

    fn directory_url(&self) -> &str {
        self.acme.config.directory_url.as_str()
    }

    /// The authority may take one that it does not have for none, or refuse with a text of its own.
    fn check_profile(&self) -> Result<(), AcmeError> {
        let Some(asked) = &self.certificate.profile else {
            return Ok(());
        };
        let mut offered: Vec<_> = self.open.account.profiles().map(|it| it.name).collect();
        if offered.contains(&asked.as_str()) {
            return Ok(());
        }
        offered.sort_unstable();
        let offered = match offered.as_slice() {
            [] => "the default".to_owned(),
            names => names.join(", "),
        };
        let asked = asked.clone();
        Err(AcmeError::Profile { asked, offered })
    }

    /// The open order of the row, if it is for what is wanted now, and can still succeed.
    async fn resumed(&self, row: &mut Row) -> Result<Option<(Order, KeyPair)>, AcmeError> {
        let Some(open) = row.order.take() else {
            return Ok(None);
        };
        if !open.is_for(self.certificate, self.directory_url()) {
            return Ok(None);
        }
        let key = self.acme.sealer.open(&self.certificate.name, &open.key);
        let Some(key) = key.ok().and_then(|key| parse_key(&key)) else {
            return Ok(None);
        };
        let order = self.open.account.order(open.url.clone()).await;
        let mut order = match order.map_err(|error| self.open.error(&error)) {
            Ok(order) => order,
            // The authority has forgotten it, or it is of an account before.
            Err(error) if error.outcome() == "refused" => return Ok(None),
            Err(error) => {
                row.order = Some(open);
                return Err(error);
            }
        };
        if order.state().status == OrderStatus::Invalid {
            return Ok(None);
        }
        row.order = Some(open);
        Ok(Some((order, key)))
    }

    /// A new order. Its key is stored with it, so that another gateway can resume it and use the certificate.
    async fn begin(&self, row: &mut Row) -> Result<(Order, KeyPair), AcmeError> {
        let key = KeyPair::generate().map_err(unusable)?;
        let hosts = self.certificate.hosts.iter().cloned();
        let identifiers: Vec<_> = hosts.map(Identifier::Dns).collect();
        let order = match self.new_order(&identifiers, self.replaces.clone()).await {
            Err(error) if self.replaces.is_some() && is_about_replaces(&error) => {
                // A half-done order may have taken the place already, and would do so indefinitely.
                self.new_order(&identifiers, None).await
            }
            order => order,
        };
        let order = order.map_err(|error| self.open.error(&error))?;
        let name = &self.certificate.name;
        row.order = Some(OpenOrder {
            url: order.url().to_owned(),
            key: self.acme.sealer.seal(name, &key.serialize_der())?,
            hosts: self.certificate.hosts.clone(),
            profile: self.certificate.profile.clone(),
            directory_url: self.directory_url().to_owned(),
        });
        self.held.put(&row.to_text()).await?;
        Ok((order, key))
    }

    async fn new_order(
        &self,
        identifiers: &[Identifier],
        replaces: Option<CertificateIdentifier<'static>>,
    ) -> Result<Order, Error> {
        let mut new = NewOrder::new(identifiers);
        if let Some(profile) = &self.certificate.profile {
            new = new.profile(profile);
        }
        if let Some(replaces) = replaces {
            new = new.replaces(replaces);
        }
        self.open.account.new_order(&new).await
    }

    /// Proves every host that is not proved yet.
    async fn prove(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut tokens = Vec::new();
        let proved = self.answer_challenges(order, &mut tokens).await;
        for token in tokens {
            self.acme.challenges.remove(&token).await;
        }
        proved
    }

    async fn answer_challenges(
        &self,
        order: &mut Order,
        tokens: &mut Vec<String>,
    ) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.open.error(&error))?;
            let host = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => {
                    return Err(AcmeError::Refused(format!("{host} is {status:?}")));
                }
            }
            let challenge = authorization.challenge(ChallengeType::Http01);
            let mut challenge = challenge
                .ok_or_else(|| AcmeError::Refused(format!("{host} cannot be proved by HTTP-01")))?;
            let token = challenge.token.clone();
            let answer = challenge.key_authorization();
            tokens.push(token.clone());
            self.acme.challenges.add(token, answer.as_str()).await?;
            let ready = challenge.set_ready().await;
            ready.map_err(|error| self.open.error(&error))?;
        }
        let problem = match order.poll_ready(&self.questions()).await {
            Ok(OrderStatus::Invalid) => None,
            // The answer is no refusal, but the order in it has failed.
            Err(Error::Api(problem)) if self.open.http.last_refusal().status.is_none() => {
                Some(problem.to_string())
            }
            Ok(_) => return Ok(()),
            Err(error) => return Err(self.open.error(&error)),
        };
        let reason = self.refusal(order).await.or(problem);
        Err(AcmeError::Refused(reason.unwrap_or_default()))
    }

    /// What the authority says about the challenges that it refused.
    async fn refusal(&self, order: &mut Order) -> Option<String> {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let host = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let errors = state.challenges.iter().filter_map(|it| it.error.as_ref());
            reasons.extend(errors.map(|error| format!("{host}: {error}")));
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn questions(&self) -> RetryPolicy {
        RetryPolicy::new()
            .initial_delay(FIRST_QUESTION)
            .backoff(1.25)
            .timeout(self.acme.config.times.order)
    }

    fn signing_request(&self, key: &KeyPair) -> Result<Vec<u8>, AcmeError> {
        let mut params =
            CertificateParams::new(self.certificate.hosts.clone()).map_err(unusable)?;
        // The names are all that counts.
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(key).map_err(unusable)?;
        Ok(request.der().to_vec())
    }
}

/// The authority does not let this order take the place of the certificate, such as that of another account,
/// but may accept it otherwise.
fn is_about_replaces(error: &Error) -> bool {
    match error {
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            let text = problem.detail.as_deref().unwrap_or_default();
            kind.ends_with(":alreadyReplaced") || text.contains("replace")
        }
        Error::Unsupported(_) => true,
        // The library compares the field of the order with what it asked for.
        Error::Other(error) => error.to_string().contains("replaces"),
        _ => false,
    }
}

fn parse_key(der: &[u8]) -> Option<KeyPair> {
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).ok()
}

fn unusable(error: rcgen::Error) -> AcmeError {
    AcmeError::Unusable(error.to_string())
}
