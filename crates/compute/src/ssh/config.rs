//! `ssh = { … }` of a site.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dte_base::units::Span;
use serde::Deserialize;

use crate::site::SiteError;

/// How to reach a login node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshConfig {
    pub host: String,
    #[serde(default = "SshConfig::default_port")]
    pub port: u16,
    pub user: String,
    /// The file with our private key.
    pub key: PathBuf,
    /// The host's public key, `ssh-ed25519 AAAA…`; no other is accepted.
    pub host_key: String,
    /// OpenSSH's client.
    #[serde(default = "SshConfig::default_program")]
    pub program: PathBuf,
    /// How long connecting may take.
    #[serde(default = "SshConfig::default_timeout")]
    pub timeout: Span,
}

impl SshConfig {
    const fn default_port() -> u16 {
        22
    }

    fn default_program() -> PathBuf {
        "ssh".into()
    }

    const fn default_timeout() -> Span {
        Span(Duration::from_secs(15))
    }

    pub(super) fn check(&self, site: &str) -> Result<(), SiteError> {
        let wrong = |text: &str| Err(SiteError::Configuration(format!("site {site}: ssh.{text}")));
        let plain = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(&self.host, ".-:") {
            return wrong("host must be a host name or an address");
        }
        if !plain(&self.user, "._-") {
            return wrong("user has characters that accounts do not have");
        }
        let mut words = self.host_key.split(' ');
        let is_key = match (words.next(), words.next(), words.next()) {
            (Some(kind), Some(key), None) => plain(kind, "-@.") && key.len() > 40 && plain(key, "+/="),
            _ => false,
        };
        if !is_key {
            return wrong("host_key must be the host's public key, as in \"ssh-ed25519 AAAA…\" (ssh-keyscan shows it)");
        }
        if !self.key.is_absolute() {
            return wrong("key must be the absolute path of the private key's file");
        }
        Ok(())
    }

    /// The line of `known_hosts` that pins the host's key.
    pub(super) fn known_host(&self) -> String {
        format!("[{}]:{} {}\n{} {}\n", self.host, self.port, self.host_key, self.host, self.host_key)
    }

    /// Arguments of the client up to the remote command, which is one fixed text of ours.
    pub(super) fn arguments(&self, known_hosts: &Path) -> Vec<OsString> {
        let setting = |name: &str, value: &Path| {
            let mut text = OsString::from(format!("{name}="));
            text.push(value);
            [OsString::from("-o"), text]
        };
        let fixed = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PreferredAuthentications=publickey",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ControlMaster=no",
            "ControlPath=none",
            "ServerAliveInterval=10",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
        ];
        let mut words: Vec<OsString> = vec!["-F".into(), "none".into(), "-T".into()];
        for one in fixed {
            words.extend(["-o".into(), one.into()]);
        }
        words.extend(["-o".into(), format!("ConnectTimeout={}", self.timeout.0.as_secs().max(1)).into()]);
        words.extend(setting("UserKnownHostsFile", known_hosts));
        words.extend(setting("IdentityFile", &self.key));
        words.extend(["-p".into(), self.port.to_string().into(), "-l".into(), (&self.user).into()]);
        words.extend(["--".into(), (&self.host).into()]);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: &str, user: &str, host_key: &str) -> SshConfig {
        SshConfig {
            host: host.into(),
            port: 2222,
            user: user.into(),
            key: "/k".into(),
            host_key: host_key.into(),
            program: "ssh".into(),
            timeout: SshConfig::default_timeout(),
        }
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5mGmUIUyVYsn5UeGnQ1V8bqkzOCLgHjqJ3pTTTTTTT";

    #[test]
    fn what_would_be_an_option_or_another_line_is_refused() {
        assert!(config("login.example.org", "dte", KEY).check("s").is_ok());
        for bad in [
            config("-oProxyCommand=id", "dte", KEY),
            config("a b", "dte", KEY),
            config("login", "-l root", KEY),
            config("login", "dte", ""),
            config("login", "dte", &format!("{KEY}\n* {KEY}")),
            config("login", "dte", "@cert-authority * ssh-rsa"),
        ] {
            assert!(bad.check("s").is_err(), "{bad:?}");
        }
    }
}
