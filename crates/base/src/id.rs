//! Identifiers.
//!
//! An identifier that *we* choose is a UUIDv7, which sorts by the time it was made. An identifier of work that another
//! service will do for us is *derived* (UUIDv5) from what the work is, and committed before the call, so that a second
//! call after a crash names the same work and "exists already" means done.

use uuid::Uuid;

/// A fresh identifier that sorts after those made before it in this process.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// The identifier of the thing that `parts` describe. Same parts, same identifier, on every machine.
///
/// Parts are separated unambiguously: `["ab", "c"]` and `["a", "bc"]` differ.
pub fn derived_id(parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_repeat_and_do_not_run_together() {
        assert_eq!(derived_id(&["enso", "1980-01"]), derived_id(&["enso", "1980-01"]));
        assert_ne!(derived_id(&["ab", "c"]), derived_id(&["a", "bc"]));
    }

    #[test]
    fn new_ids_sort_by_time() {
        let first = new_id();
        let second = new_id();
        assert!(first < second);
    }
}
