//! Addresses of our own pages.

/// Letters that may stand in a path as they are; every other byte is written `%XX`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// One component of a path.
pub fn component(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// The page of a twin.
pub fn twin(name: &str) -> String {
    format!("/ui/twins/{}", component(name))
}

/// The page of a pod.
pub fn pod(uid: &str) -> String {
    format!("/ui/pods/{}", component(uid))
}

/// The page of a pod with the log of one of its containers.
pub fn pod_log(uid: &str, container: &str) -> String {
    format!("/ui/pods/{}?container={}", component(uid), component(container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_one_component() {
        assert_eq!(twin("enso"), "/ui/twins/enso");
        assert_eq!(twin("../a b\"<x>?#é"), "/ui/twins/..%2Fa%20b%22%3Cx%3E%3F%23%C3%A9");
    }
}
