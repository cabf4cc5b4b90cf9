//! Signing in at another provider and coming back: authorisation code with PKCE (RFC 7636), `state` bound to the browser,
//! `nonce`, and the answer's issuer (RFC 9207). Each provider has a redirect address of its own, so that an answer of one
//! is never taken for another's (RFC 9700 section 4.4).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use super::AccountError;
use super::attempts::{BEGUN, address_key};
use super::provider::{Person, Provider};
use super::sign_in::Caller;
use crate::Identity;

/// Codes and states of other providers that are longer are not looked at.
const LONGEST_PARAMETER: usize = 4_096;

/// What the person wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// To sign in, and go there.
    SignIn { next: String },
    /// To have the identity belong to this account, too.
    Link { name: String },
}

/// A login at another provider that has begun.
#[derive(Serialize, Deserialize)]
struct Begun {
    provider: String,
    browser: Vec<u8>,
    nonce: String,
    verifier: String,
    purpose: Purpose,
}

/// What the provider sends back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// Somebody has come back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) person: Person,
    pub(crate) purpose: Purpose,
}

impl Identity {
    pub(crate) fn login_provider(&self, name: &str) -> Option<&Provider> {
        self.0.accounts.providers.iter().find(|provider| provider.name == name)
    }

    fn callback(&self, provider: &Provider) -> String {
        self.0.client.url_of(&format!("/oidc/login/callback/{}", provider.name))
    }

    fn browser_hash(&self, browser: &str) -> Vec<u8> {
        self.0.vault.hash_secret(&format!("browser of a login {browser}"))
    }

    /// Where to send the browser that has the secret `browser`.
    pub(crate) async fn begin_login(
        &self,
        provider: &Provider,
        purpose: Purpose,
        browser: &str,
        caller: &Caller,
    ) -> Result<String, AccountError> {
        let address = format!("begun {}", address_key(caller.address));
        self.0.accounts.attempts.take(&address, BEGUN).map_err(AccountError::Wait)?;
        let metadata = provider.metadata(&self.0.client).await.map_err(|_| {
            AccountError::refused(format!("{} cannot be reached now. Try again later.", provider.title))
        })?;
        let state = hex::encode(rand::random::<[u8; 16]>());
        let nonce = hex::encode(rand::random::<[u8; 16]>());
        let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut url = Url::parse(&metadata.authorization_endpoint).map_err(AccountError::internal)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", &self.callback(provider))
            .append_pair("scope", &provider.scopes)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let browser = self.browser_hash(browser);
        let begun = Begun { provider: provider.name.clone(), browser, nonce, verifier, purpose };
        self.put_step(&step_of(&state), &begun).await?;
        Ok(url.into())
    }

    /// Takes the provider's answer, once. What is refused says why in words for the person; the log says more.
    pub(crate) async fn finish_login(
        &self,
        provider: &Provider,
        answer: &Answer,
        browser: Option<&str>,
    ) -> Result<Returned, AccountError> {
        let parts = [&answer.code, &answer.state, &answer.iss, &answer.error];
        if parts.iter().any(|part| part.as_ref().is_some_and(|text| text.len() > LONGEST_PARAMETER)) {
            return Err(AccountError::refused("The answer of the other provider is too long."));
        }
        let stale = || {
            AccountError::refused(
                "This sign-in was not begun in this browser, has been used, or took too long. Begin again.",
            )
        };
        let state = answer.state.as_deref().ok_or_else(stale)?;
        let begun: Begun = self.take_step(&step_of(state)).await?.ok_or_else(stale)?;
        let here = self.browser_hash(browser.ok_or_else(stale)?);
        if !bool::from(here.ct_eq(&begun.browser)) {
            return Err(stale());
        }
        let mixed_up = |what: &str| {
            tracing::warn!(provider = %provider.name, what, "an answer of a login provider was refused");
            AccountError::refused("The answer came from another provider than the one that was asked.")
        };
        if begun.provider != provider.name {
            return Err(mixed_up("the redirect address is another provider's"));
        }
        let metadata = provider.metadata(&self.0.client).await.map_err(AccountError::internal)?;
        match &answer.iss {
            Some(issuer) if *issuer != provider.issuer => return Err(mixed_up("iss is another issuer")),
            None if metadata.says_issuer => return Err(mixed_up("iss is missing")),
            _ => {}
        }
        if let Some(error) = &answer.error {
            tracing::info!(provider = %provider.name, %error, "a login provider refused");
            return Err(AccountError::refused(format!("{} did not let you in.", provider.title)));
        }
        let code = answer.code.as_deref().ok_or_else(stale)?;
        let unusable = |error: String| {
            tracing::warn!(provider = %provider.name, %error, "a login at another provider failed");
            AccountError::refused(format!("{} gave an answer that is not good for this sign-in.", provider.title))
        };
        let id_token = self.exchange(provider, &metadata, code, &begun.verifier).await.map_err(unusable)?;
        let person = provider.person(&self.0.client, &id_token, &begun.nonce).await.map_err(unusable)?;
        Ok(Returned { person, purpose: begun.purpose })
    }

    /// The code for an ID token.
    async fn exchange(
        &self,
        provider: &Provider,
        metadata: &super::provider::Metadata,
        code: &str,
        verifier: &str,
    ) -> Result<String, String> {
        let callback = self.callback(provider);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &callback),
            ("code_verifier", verifier),
        ];
        let mut request = self.0.client.post(&metadata.token_endpoint).header("accept", "application/json");
        match &provider.secret {
            None => form.push(("client_id", &provider.client_id)),
            Some(secret) if metadata.secret_in_body => {
                form.extend([("client_id", provider.client_id.as_str()), ("client_secret", secret.expose())]);
            }
            Some(secret) => {
                let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let pair = format!("{}:{}", part(&provider.client_id), part(secret.expose()));
                request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
            }
        }
        let reply = request.form(&form).send().await.map_err(|error| error.to_string())?;
        let reply = reply.ok().await.map_err(|error| error.to_string())?;
        let body = reply.bytes(1 << 20).await.map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let token = body.get("id_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| "there is no ID token in the answer".to_owned())
    }
}

fn step_of(state: &str) -> String {
    format!("state {state}")
}
