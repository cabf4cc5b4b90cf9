//! Names of images, and lists of those that pods of a site may use.
//!
//! A name leaves out what container programs put in by themselves (`docker.io/`, `library/`), so names are compared in full.
//! Where a site has a list, the image is also asked for by its full name: no program has to guess what was meant.

/// The registry of names without one, and its other name.
const USUAL: &str = "docker.io";
const USUAL_TOO: &str = "index.docker.io";
/// In the registry of names without one: whose the images are that nobody is named for.
const OFFICIAL: &str = "library";
const LONGEST: usize = 255;
const LONGEST_TAG: usize = 128;

/// The name by which to ask for `image`, if a site with this list lets pods use it. An empty list allows all, as they are named.
///
/// An entry stands for whole parts of names: a registry (`ghcr.io`), what is beneath a path (`ghcr.io/team`), an image
/// with all or one of its tags (`docker.io/library/alpine:3.20`); or, with `*` at its end, for all names that begin so. Where it
/// names a tag, no digest may follow: container programs go by the digest then, and the tag would say nothing.
pub fn allowed(list: &[String], image: &str) -> Option<String> {
    // What an entry says word for word is what its author wants to be asked for, such as `host`.
    if list.is_empty() || list.iter().any(|entry| entry == image) {
        return Some(image.to_owned());
    }
    let full = full_name(image)?;
    list.iter().any(|entry| fits(&full, entry)).then_some(full)
}

fn fits(full: &str, entry: &str) -> bool {
    let (entry, is_beginning) = entry.strip_suffix('*').map_or((entry, false), |entry| (entry, true));
    let entry = full_entry(entry);
    let Some(rest) = full.strip_prefix(&entry) else { return false };
    let has_tag = entry.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if has_tag && rest.contains('@') {
        return false;
    }
    is_beginning || rest.is_empty() || entry.ends_with('/') || rest.starts_with(['/', ':', '@'])
}

/// An entry of a list with what names leave out. A lone word with a dot is a registry, not an image.
fn full_entry(entry: &str) -> String {
    match entry.split_once('/') {
        Some((host, path)) if is_host(host) => format!("{}/{path}", registry(host)),
        Some(_) => format!("{USUAL}/{entry}"),
        None if entry.split(':').next().is_some_and(is_host) => format!("{}/", registry(entry)),
        None => format!("{USUAL}/{OFFICIAL}/{entry}"),
    }
}

/// The full name of an image: registry, path, and its tag and digest if it has them. None: it is not the name of one.
pub fn full_name(image: &str) -> Option<String> {
    let (named, digest) = image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    let (host, rest) = match named.split_once('/') {
        Some((host, rest)) if is_host(host) => (registry(host), rest),
        _ => (USUAL.to_owned(), named),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    let path = match path.contains('/') || host != USUAL {
        true => path.to_owned(),
        false => format!("{OFFICIAL}/{path}"),
    };
    let is_right = is_registry(&host)
        && path.split('/').all(is_part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && host.len() + path.len() <= LONGEST;
    let after = |mark: char, text: Option<&str>| text.map_or_else(String::new, |text| format!("{mark}{text}"));
    is_right.then(|| format!("{host}/{path}{}{}", after(':', tag), after('@', digest)))
}

/// Container programs take the first part of a name for a registry if it looks like one.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost")
}

fn registry(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host == USUAL_TOO { USUAL.to_owned() } else { host }
}

fn is_registry(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Lower-case letters and digits, with single dots, one or two underscores or any dashes between them.
fn is_part(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut between = part.split(inner).filter(|text| !text.is_empty());
    part.starts_with(inner)
        && part.ends_with(inner)
        && between.all(|text| matches!(text, "." | "_" | "__") || text.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= LONGEST_TAG && tag.starts_with(first) && tag.chars().all(|c| first(c) || ".-".contains(c))
}

fn is_digest(digest: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let wanted = match digest.split_once(':') {
        Some(("sha256", hex)) => (64, hex),
        Some(("sha512", hex)) => (128, hex),
        _ => return false,
    };
    wanted.1.len() == wanted.0 && wanted.1.chars().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn full_names() {
        let by_digest = format!("alpine@{DIGEST}");
        let both = format!("Ghcr.IO/a/b:v1@{DIGEST}");
        for (image, full) in [
            ("alpine", "docker.io/library/alpine".to_owned()),
            ("alpine:3.20", "docker.io/library/alpine:3.20".to_owned()),
            (&by_digest, format!("docker.io/library/alpine@{DIGEST}")),
            ("team/app", "docker.io/team/app".to_owned()),
            ("docker.io/alpine", "docker.io/library/alpine".to_owned()),
            ("index.docker.io/library/alpine", "docker.io/library/alpine".to_owned()),
            ("DOCKER.io/alpine", "docker.io/library/alpine".to_owned()),
            ("localhost/own", "localhost/own".to_owned()),
            ("localhost:5000/a/b__c:X_1", "localhost:5000/a/b__c:X_1".to_owned()),
            ("registry.example.org/a---b.c", "registry.example.org/a---b.c".to_owned()),
            (&both, format!("ghcr.io/a/b:v1@{DIGEST}")),
        ] {
            assert_eq!(full_name(image).as_deref(), Some(&full[..]), "{image}");
        }
    }

    #[test]
    fn what_is_no_name() {
        let short = "alpine@sha256:00ff";
        let upper = format!("alpine@{}", DIGEST.replace("abcdef", "ABCDEF"));
        for odd in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "docker.io/library/../x",
            "docker.io/library/./x",
            "..",
            "a/..",
            ".a/b",
            "Alpine",
            "library/Alpine",
            "docker.io/",
            "docker.io",
            "a:",
            "a:b:c",
            "a:-x",
            "a@",
            short,
            &upper,
            "a@md5:00",
            "a b",
            "a\nb",
            "--privileged",
            "host.org:0/a",
            "host.org:99999/a",
            "host.org:5000:1/a",
            "-host.org/a",
            "host..org/a",
            "a.:80/x",
            "a/b_",
            "a___b",
            "a/b..c",
            "ä/b",
            "user@host.org/a",
            "https://host.org/a",
        ] {
            // A lone word with a dot is an image by that name, as container programs have it.
            if odd == "docker.io" {
                assert_eq!(full_name(odd).as_deref(), Some("docker.io/library/docker.io"));
                continue;
            }
            assert_eq!(full_name(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn lists() {
        let with_digest = |image: &str| format!("{image}@{DIGEST}");
        let allows = |entry: &str, image: &str| allowed(&[entry.to_owned()], image).is_some();
        for (entry, image) in [
            ("docker.io", "alpine"),
            ("docker.io/", "docker.io/team/app:1"),
            ("index.docker.io/library", "alpine"),
            ("library/", "alpine:3"),
            ("alpine", "docker.io/library/alpine:3"),
            ("alpine:3", "alpine:3"),
            ("team", "docker.io/library/team"),
            ("team/", "team/app"),
            ("Registry.example.org", "registry.example.org/a"),
            ("registry.example.org:5000", "registry.example.org:5000/a"),
            ("ghcr.io/team", "ghcr.io/team/app"),
            ("ghcr.io/team/app-*", "ghcr.io/team/app-one:1"),
            ("alpine", &with_digest("alpine")),
            ("alpine", &with_digest("alpine:3.20")),
            ("registry.example.org:5000/a", &with_digest("registry.example.org:5000/a:1")),
            (&with_digest("alpine:3.20"), &with_digest("docker.io/library/alpine:3.20")),
            (&with_digest("alpine"), &with_digest("docker.io/library/alpine")),
            ("alpine:3.*", "alpine:3.20"),
        ] {
            assert!(allows(entry, image), "{entry} {image}");
        }
        for (entry, image) in [
            ("docker.io", "docker.io.evil.com/library/alpine"),
            ("docker.io*", "docker.io.evil.com/alpine"),
            ("docker.io/library", "docker.io/library-evil/x"),
            ("docker.io/library/", "docker.io/library/../x"),
            ("alpine", "evil.org/alpine"),
            ("alpine", "alpine-evil"),
            ("alpine", "team/alpine"),
            ("library/", "evil.org/library/alpine"),
            ("library", "library.evil.org/x"),
            ("team/", "team.evil.org/app"),
            ("ghcr.io/team", "ghcr.io/team-evil/app"),
            ("ghcr.io", "ghcr.io:8443/team/app"),
            ("registry.example.org:5000", "registry.example.org/a"),
            ("registry.example.org:50", "registry.example.org:5000/a"),
            ("localhost", "localhost.evil.com/a"),
            ("alpine:3", "alpine:3.20"),
            ("alpine:3.20", &with_digest("alpine:3.20")),
            ("docker.io/library/alpine:3.20", &with_digest("alpine:3.20")),
            ("registry.example.org:5000/a:1", &with_digest("registry.example.org:5000/a:1")),
            ("alpine:3.*", &with_digest("alpine:3.20")),
            (&with_digest("alpine:3.20"), "alpine:3.20"),
        ] {
            assert!(!allows(entry, image), "{entry} {image}");
        }
        assert_eq!(allowed(&[], "any thing").as_deref(), Some("any thing"));
        assert_eq!(allowed(&["alpine".to_owned()], "alpine").as_deref(), Some("alpine"));
        assert_eq!(allowed(&["library/".to_owned()], "alpine").as_deref(), Some("docker.io/library/alpine"));
    }
}
