//! `InterLinkConfig.yaml` of upstream's API server: where it listens, who may come, and which plugin is behind it.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_json::Value;
use toml_edit::{Array, InlineTable};
use url::{Host, Url};

use super::{Instead, PODS, Reading, plain, socket_path};
use crate::failure::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct File {
    interlink_address: String,
    interlink_port: Value,
    #[serde(rename = "SidecarURL")]
    sidecar_url: String,
    sidecar_port: Value,
    verbose_logging: bool,
    errors_only_logging: bool,
    #[serde(rename = "TLS")]
    tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tls {
    enabled: bool,
    cert_file: String,
    key_file: String,
    #[serde(rename = "CACertFile")]
    ca_cert_file: String,
}

const KNOWN: &[&str] =
    &["InterlinkAddress", "InterlinkPort", "SidecarURL", "SidecarPort", "VerboseLogging", "ErrorsOnlyLogging", "TLS"];
const INSTEAD: &[Instead] = &[
    ("DataRootFolder", "the engine keeps its state where --data-dir says"),
    ("JobScriptBuildConfig", "sites make their job scripts themselves; see `container` of a site in docs/sites.md"),
    ("JobScriptTemplate", "sites make their job scripts themselves; see `container` of a site in docs/sites.md"),
    ("Pprof", "there is no such profile; figures are at /metrics"),
];
const VARIABLES: &[&str] = &["INTERLINKURL", "INTERLINKPORT", "SIDECARURL", "SIDECARPORT"];

/// `is_plugin`: the engine is the plugin too, so nothing is asked of another.
pub fn apply(reading: &mut Reading<'_>, is_plugin: bool) -> Result<(), Failure> {
    let (all, file) = reading.read::<File>()?;
    reading.tell_of_others(&all, KNOWN, INSTEAD);
    reading.tell_of_variables(VARIABLES);
    reading.log(file.verbose_logging, file.errors_only_logging);
    listen(reading, &file)?;
    if is_plugin {
        reading.note("SidecarURL and SidecarPort are left out: the engine is the Slurm plugin itself");
        return Ok(());
    }
    let url = match socket_path(&file.sidecar_url) {
        Some(_) => file.sidecar_url.clone(),
        None => with_port(reading, "SidecarURL", &file.sidecar_url, &file.sidecar_port)?.to_string(),
    };
    let mut site = InlineTable::new();
    for (key, value) in [("plugin", "interlink"), ("name", "plugin"), ("side", "plugin"), ("url", url.as_str())] {
        site.insert(key, value.into());
    }
    reading.push("compute", "sites", &site)?;
    reading.note(
        "the site `plugin` takes pods of administrators; `open = true` of an own [[compute.sites]] takes everybody's",
    );
    Ok(())
}

fn listen(reading: &mut Reading<'_>, file: &File) -> Result<(), Failure> {
    if let Some(path) = socket_path(&file.interlink_address) {
        if file.tls.enabled {
            return Err(reading.wrong("TLS.Enabled: InterlinkAddress must be https://…"));
        }
        return reading.socket(path, "api");
    }
    let url = with_port(reading, "InterlinkAddress", &file.interlink_address, &file.interlink_port)?;
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::from(ip),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip),
        Some(Host::Domain("localhost")) => IpAddr::from([127, 0, 0, 1]),
        _ => return Err(reading.wrong("InterlinkAddress: write the IP address to listen on, such as https://0.0.0.0")),
    };
    let port = url.port_or_known_default().unwrap_or_default();
    reading.set("listen", "interlink", &SocketAddr::new(ip, port).to_string());
    if !file.tls.enabled {
        if url.scheme() == "https" {
            return Err(reading.wrong("InterlinkAddress is https://…, so TLS.Enabled must be true"));
        }
        reading.note("whoever comes over the network has to show a token: give virtual kubelets one (`dte token`) as VKTokenFile");
        return Ok(());
    }
    if url.scheme() != "https" {
        return Err(reading.wrong("TLS.Enabled: InterlinkAddress must be https://…"));
    }
    tls(reading, &file.tls)
}

fn tls(reading: &mut Reading<'_>, tls: &Tls) -> Result<(), Failure> {
    if tls.cert_file.is_empty() || tls.key_file.is_empty() {
        return Err(reading.wrong("TLS.Enabled: CertFile and KeyFile are missing"));
    }
    reading.set("http", "tls_cert", &tls.cert_file);
    reading.set("http", "tls_key", &tls.key_file);
    if tls.ca_cert_file.is_empty() {
        reading.note("whoever comes over the network has to show a token: give virtual kubelets one (`dte token`) as VKTokenFile");
        return Ok(());
    }
    if reading.is_set("http", "client_ca") {
        let text = "TLS.CACertFile: [http] client_ca names other authorities already, whose certificates would all be let in; leave one of them out";
        return Err(reading.wrong(text));
    }
    reading.set("http", "client_ca", &tls.ca_cert_file);
    let mut holders = InlineTable::new();
    holders.insert("subject", "*".into());
    holders.insert("account", reading.account.into());
    holders.insert("scopes", PODS.into_iter().collect::<Array>().into());
    reading.push("identity", "certificates", &holders)?;
    let account = reading.account;
    reading.note(format_args!(
        "every certificate of {} acts as the account {account} over pods, at sites that keep people's pods apart; \
         [[identity.certificates]] in dte.toml names who may more or less",
        tls.ca_cert_file
    ));
    Ok(())
}

/// `http://host` and a port are one address.
fn with_port(reading: &Reading<'_>, key: &str, address: &str, port: &Value) -> Result<Url, Failure> {
    let mut url: Url = address
        .parse()
        .ok()
        .filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| reading.wrong(format_args!("{key}: {address:?} is not http://…, https://… or unix:///…")))?;
    let text = plain(port);
    if !port.is_null() && !text.is_empty() {
        let number = text.parse().map_err(|_| reading.wrong(format_args!("{text:?} is not a port (for {key})")))?;
        url.set_port(Some(number))
            .map_err(|()| reading.wrong(format_args!("{key}: {address:?} cannot have a port")))?;
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::super::tests::made;
    use dte_http::{HttpConfig, ListenConfig};
    use dte_identity::IdentityConfig;

    #[test]
    fn an_address_with_certificates() {
        let text = "InterlinkAddress: \"https://0.0.0.0\"\nInterlinkPort: \"3000\"\nSidecarURL: \"http://127.0.0.1\"\nSidecarPort: \"4000\"\n\
            VerboseLogging: true\nErrorsOnlyLogging: false\nDataRootFolder: \"~/.interlink\"\nPprof: {Enabled: false}\nOdd: 1\n\
            TLS:\n  Enabled: true\n  CertFile: /c.pem\n  KeyFile: /k.pem\n  CACertFile: /ca.pem\n";
        let (document, notes) = made("", Some(text), None).expect("configured");
        let listen: ListenConfig = document.section("listen").expect("valid");
        assert_eq!(listen.others().next().expect("one").1.to_string(), "0.0.0.0:3000");
        let http: HttpConfig = document.section("http").expect("valid");
        assert_eq!((http.tls_cert, http.client_ca), (Some("/c.pem".into()), Some("/ca.pem".into())));
        let identity: IdentityConfig = document.section("identity").expect("valid");
        let holder = &identity.certificates[0];
        assert_eq!((holder.subject.as_str(), holder.account.as_str(), holder.scopes.len()), ("*", "site", 4));
        for words in
            ["DataRootFolder is left out", "Pprof is left out", "Odd is not known", "every certificate of /ca.pem"]
        {
            assert!(notes.contains(words), "{words}: {notes}");
        }
    }

    #[test]
    fn a_socket_before_and_a_plugin_behind() {
        let text = "InterlinkAddress: unix:///run/api.sock\nInterlinkPort: \"0\"\nSidecarURL: http://localhost\nSidecarPort: 4000\n";
        let (document, notes) = made("", Some(text), None).expect("configured");
        assert!(notes.contains("/run/api.sock lets in"), "{notes}");
        let compute: dte_compute::ComputeConfig = document.section("compute").expect("valid");
        let site = format!("{:?}", compute.sites[0]);
        assert!(site.contains("http://localhost:4000/") && site.contains("Plugin"), "{site}");
    }

    /// Else holders of those would come in as the account of this file.
    #[test]
    fn authorities_of_others_are_not_taken_over() {
        let toml = "[http]\nclient_ca = '/users.pem'\ntls_cert = '/c'\ntls_key = '/k'\n";
        let text = "InterlinkAddress: https://127.0.0.1\nSidecarURL: unix:///p\nTLS: {Enabled: true, CertFile: /c, KeyFile: /k, CACertFile: /ca}\n";
        let error = made(toml, Some(text), None).expect_err("refused");
        assert!(error.contains("client_ca names other authorities"), "{error}");
    }

    #[test]
    fn what_cannot_be() {
        let plugin = "SidecarURL: unix:///p\n";
        for (text, words) in [
            ("InterlinkAddress: ftp://x", "is not http://"),
            ("InterlinkAddress: http://some.host", "write the IP address"),
            ("InterlinkAddress: https://127.0.0.1", "TLS.Enabled must be true"),
            ("InterlinkAddress: http://127.0.0.1\nTLS: {Enabled: true}", "must be https"),
            ("InterlinkAddress: https://127.0.0.1\nTLS: {Enabled: true, CertFile: /c}", "KeyFile are missing"),
            ("InterlinkAddress: http://127.0.0.1\nInterlinkPort: many", "is not a port"),
        ] {
            let error = made("", Some(&format!("{text}\n{plugin}")), None).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
        let error = made("", Some("InterlinkAddress: http://127.0.0.1\n"), None).expect_err("no plugin");
        assert!(error.contains("SidecarURL"), "{error}");
    }
}
