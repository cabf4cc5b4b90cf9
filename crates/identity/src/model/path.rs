//! Storage paths, compared component by component and never as strings (WLCG token profile, "storage" scopes).

/// An absolute path, decoded once, without `.`, `..`, empty components, NUL, backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoragePath {
    components: Vec<String>,
    /// It was written with a slash at the end: it can only be a directory.
    directory: bool,
}

/// A path that nobody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(&'static str);

impl StoragePath {
    /// Reads a path that is decoded already (what a request asks for).
    pub fn parse(path: &str) -> Result<Self, BadPath> {
        let rest = path.strip_prefix('/').ok_or(BadPath("the path must begin with a slash"))?;
        if rest.is_empty() {
            return Ok(StoragePath { components: Vec::new(), directory: true });
        }
        let (rest, directory) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let components = rest.split('/').map(component).collect::<Result<_, _>>()?;
        Ok(StoragePath { components, directory })
    }

    /// Reads the path of a scope: each component is percent-encoded, and decoded exactly once.
    pub fn parse_encoded(path: &str) -> Result<Self, BadPath> {
        if !path.contains('%') {
            return StoragePath::parse(path);
        }
        let rest = path.strip_prefix('/').ok_or(BadPath("the path must begin with a slash"))?;
        let mut decoded = String::with_capacity(path.len());
        for part in rest.split('/') {
            let part = percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .map_err(|_| BadPath("the path is not UTF-8"))?;
            if part.contains('/') {
                return Err(BadPath("a component hides a slash"));
            }
            decoded.push('/');
            decoded.push_str(&part);
        }
        StoragePath::parse(&decoded)
    }

    /// This path beneath `base`.
    pub fn beneath(mut self, base: &StoragePath) -> Self {
        if base.components.is_empty() {
            return self;
        }
        let own = std::mem::take(&mut self.components);
        self.components = base.components.iter().cloned().chain(own).collect();
        self
    }

    /// Whether `self` is `other` or one of its ancestors.
    pub fn covers(&self, other: &StoragePath) -> bool {
        other.components.len() >= self.components.len()
            && self.components.iter().zip(&other.components).all(|(a, b)| a == b)
    }

    /// Whether both name the same place, whatever the slash at the end says.
    pub fn same_place(&self, other: &StoragePath) -> bool {
        self.components == other.components
    }

    /// Whether it was written as a directory.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    pub fn components(&self) -> &[String] {
        &self.components
    }
}

fn component(part: &str) -> Result<String, BadPath> {
    match part {
        "" => Err(BadPath("the path has an empty component")),
        "." | ".." => Err(BadPath("the path has a . or .. component")),
        _ if part.contains(['\0', '\\']) => Err(BadPath("the path has a NUL or a backslash")),
        _ => Ok(part.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> StoragePath {
        StoragePath::parse(text).expect("a path")
    }

    #[test]
    fn what_is_refused() {
        for bad in ["", "x", "//", "/a//b", "/a/../b", "/..", "/.", "/a/./b", "/a\\b", "/a\0"] {
            assert!(StoragePath::parse(bad).is_err(), "{bad:?}");
            assert!(StoragePath::parse_encoded(bad).is_err(), "{bad:?}");
        }
        for bad in ["/a%2Fb", "/%2e%2e/b", "/%2E", "/a%00", "/a%5Cb", "/%ff"] {
            assert!(StoragePath::parse_encoded(bad).is_err(), "{bad:?}");
        }
        // Decoded once: what remains is a literal percent sign.
        assert_eq!(StoragePath::parse_encoded("/%252e%252e").expect("a path").components(), ["%2e%2e"]);
    }

    #[test]
    fn components_not_prefixes() {
        assert!(path("/foo").covers(&path("/foo")));
        assert!(path("/foo").covers(&path("/foo/bar")));
        assert!(!path("/foo").covers(&path("/foobar")));
        assert!(!path("/foo/bar").covers(&path("/foo")));
        assert!(path("/").covers(&path("/anything")));
        assert!(!path("/foo").covers(&path("/FOO")));
    }

    proptest! {
        /// A path covers exactly itself and what is made from it by adding components.
        #[test]
        fn covering_is_extension(a in proptest::collection::vec("[a-c]{1,2}", 0..4), b in proptest::collection::vec("[a-c]{1,2}", 0..4)) {
            let (left, right) = (path(&format!("/{}", a.join("/"))), path(&format!("/{}", b.join("/"))));
            prop_assert_eq!(left.covers(&right), b.starts_with(&a));
        }

        /// No text makes parsing panic, and what is accepted has only plain components.
        #[test]
        fn any_text(text in "\\PC{0,40}") {
            for parsed in [StoragePath::parse(&text), StoragePath::parse_encoded(&text)].into_iter().flatten() {
                for part in parsed.components() {
                    prop_assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\\', '\0']));
                }
            }
        }

        /// Encoding a component and reading it back changes nothing.
        #[test]
        fn encoded_and_back(parts in proptest::collection::vec("[a-z%. ü]{1,6}", 1..4)) {
            prop_assume!(parts.iter().all(|part| part != "." && part != ".."));
            let encoded: Vec<String> = parts.iter()
                .map(|part| percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string())
                .collect();
            let read = StoragePath::parse_encoded(&format!("/{}", encoded.join("/"))).expect("a path");
            prop_assert_eq!(read.components(), &parts[..]);
        }
    }
}
