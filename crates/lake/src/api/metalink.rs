//! Metalink 4: the form in which downloads ask for replicas.

use super::replicas_list::Pfn;
use crate::store::contents::Child;

pub(super) const MEDIA_TYPE: &str = "application/metalink4+xml";
pub(super) const HEAD: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\n";
pub(super) const TAIL: &str = "</metalink>\n";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One file with its sources.
pub(super) fn file(file: &Child, pfns: &[Pfn], parents: Option<&[String]>) -> String {
    let name = escaped(&file.did.name);
    let did = escaped(&file.did.to_string());
    let mut text = format!(" <file name=\"{name}\">\n");
    if let Some(parents) = parents {
        text.push_str("  <parents>\n");
        for parent in parents {
            text.push_str(&format!("   <did>{}</did>\n", escaped(parent)));
        }
        text.push_str("  </parents>\n");
    }
    text.push_str(&format!("  <identity>{did}</identity>\n"));
    for (kind, hash) in [("adler32", &file.adler32), ("md5", &file.md5)] {
        if let Some(hash) = hash {
            text.push_str(&format!("  <hash type=\"{kind}\">{hash}</hash>\n"));
        }
    }
    if let Some(bytes) = file.bytes {
        text.push_str(&format!("  <size>{bytes}</size>\n"));
    }
    text.push_str(&format!("  <glfn name=\"/generic/rucio/{did}\"></glfn>\n"));
    for pfn in pfns {
        text.push_str(&format!(
            "  <url location=\"{}\" domain=\"{}\" priority=\"{}\" client_extract=\"false\">{}</url>\n",
            escaped(&pfn.rse),
            pfn.domain,
            pfn.priority,
            escaped(&pfn.url)
        ));
    }
    text.push_str(" </file>\n");
    text
}
