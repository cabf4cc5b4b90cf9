//! Which token a server is shown.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use dte_base::secret::Secret;
use url::{Host, Url};

use crate::cli::Common;
use crate::failure::Failure;
use crate::remote::{self, Remote};

/// What a server is shown.
pub enum Token {
    Given(Secret),
    /// From the socket of the engine here, which gives another at any time.
    Own(Secret),
    None,
}

impl Token {
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Token::Given(secret) | Token::Own(secret) => Some(secret),
            Token::None => None,
        }
    }
}

pub struct Tokens {
    common: Common,
    /// For what begins with these URLs.
    rules: Vec<(Url, Secret)>,
    /// For all other servers.
    found: Option<Secret>,
}

impl Tokens {
    pub fn new(common: &Common, rules: &[(Url, PathBuf)]) -> Result<Tokens, Failure> {
        let rules = rules.iter().map(|(url, file)| Ok((url.clone(), remote::read_token(file)?)));
        let found = match remote::given_token(common)? {
            Some(token) => Some(token),
            None => discovered()?,
        };
        Ok(Tokens { rules: rules.collect::<Result<_, Failure>>()?, found, common: common.clone() })
    }

    /// The token for a URL whose scheme is `http` or `https`.
    pub async fn of(&self, url: &Url) -> Result<Token, Failure> {
        if !may_carry_token(url) {
            return Ok(Token::None);
        }
        let fitting = self.rules.iter().filter(|(prefix, _)| is_below(url, prefix));
        if let Some((_, token)) = fitting.max_by_key(|(prefix, _)| prefix.path().len()) {
            return Ok(Token::Given(token.clone()));
        }
        if let Some(found) = &self.found {
            return Ok(Token::Given(found.clone()));
        }
        // Whoever runs an engine here needs no token for its storage.
        let own = remote::known_url(&self.common)?;
        let is_own = own.is_some_and(|own| own.origin() == url.origin());
        if is_own && dte_identity::AdminClient::is_there(&self.common.data_dir) {
            return Ok(Token::Own(Remote::find(&self.common).await?.token));
        }
        Ok(Token::None)
    }
}

/// The last two steps of the WLCG bearer token discovery.
fn discovered() -> Result<Option<Secret>, Failure> {
    let user = nix::unistd::Uid::effective();
    let name = format!("bt_u{user}");
    let folders = [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some(PathBuf::from("/tmp"))];
    for file in folders.into_iter().flatten().map(|folder| folder.join(&name)) {
        // What somebody else left in a folder of everybody is not ours.
        if std::fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file() && meta.uid() == user.as_raw()) {
            return remote::read_token(&file).map(Some);
        }
    }
    Ok(None)
}

/// Over TLS, or without leaving the machine.
fn may_carry_token(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || is_here
}

/// Whether a URL is the prefix or below it: `https://host` covers nothing of `https://host.evil`, `/a` nothing of `/ab`.
fn is_below(url: &Url, prefix: &Url) -> bool {
    let folder = prefix.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(folder);
    url.origin() == prefix.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_borders() {
        let url = |text: &str| text.parse::<Url>().expect("a URL");
        let below = |text: &str, prefix: &str| is_below(&url(text), &url(prefix));
        assert!(below("https://h/a/b", "https://h/a"));
        assert!(below("https://h:443/a/b", "https://h/a/"));
        assert!(below("https://h/x", "https://h"));
        assert!(!below("https://h/ab", "https://h/a"));
        assert!(!below("https://h.evil/a", "https://h/a"));
        assert!(!below("https://h:8443/a", "https://h/a"));
        assert!(!below("http://h/a", "https://h/a"));
    }

    #[test]
    fn no_token_in_the_clear() {
        let may = |text: &str| may_carry_token(&text.parse().expect("a URL"));
        assert!(may("https://h/a") && may("http://127.0.0.1:1/a") && may("http://[::1]/a") && may("http://localhost/"));
        assert!(!may("http://h/a") && !may("http://10.0.0.1/a") && !may("http://localhost.evil/a"));
    }
}
