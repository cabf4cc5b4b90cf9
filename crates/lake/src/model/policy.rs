//! Who may do what (Rucio's generic policy): administrators everything, an account what is in its own scopes; reading
//! needs a valid token only.

use dte_protocol_rucio::{Class, Exception};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The Rucio account: `root` is the administrator of the engine.
    pub account: String,
    pub admin: bool,
}

/// The account of the user `name`: the engine's first user is Rucio's `root`.
pub fn account_of(name: &str) -> String {
    if name == "admin" { "root".to_owned() } else { name.to_owned() }
}

impl Caller {
    fn denied(&self, what: &str) -> Exception {
        Exception::new(Class::AccessDenied, format!("Account {} can not {what}", self.account))
    }

    /// Only administrators.
    pub fn needs_admin(&self, what: &str) -> Result<(), Exception> {
        if self.admin { Ok(()) } else { Err(self.denied(what)) }
    }

    /// The account itself, and administrators.
    pub fn needs_account(&self, account: &str, what: &str) -> Result<(), Exception> {
        if self.admin || self.account == account { Ok(()) } else { Err(self.denied(what)) }
    }

    /// The owner of a scope, and administrators. Anyone writes in the scope `mock`.
    pub fn needs_scope(&self, scope: &str, owner: &str, what: &str) -> Result<(), Exception> {
        if scope == "mock" { Ok(()) } else { self.needs_account(owner, what) }
    }

    /// May a scope be made: one's own `user.NAME`, or any by administrators.
    pub fn may_make_scope(&self, scope: &str, owner: &str) -> Result<(), Exception> {
        let own = owner == self.account && scope == format!("user.{}", self.account);
        if self.admin || own { Ok(()) } else { Err(self.denied("add scope")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights() {
        let alice = Caller { account: "alice".into(), admin: false };
        let root = Caller { account: account_of("admin"), admin: true };
        assert_eq!(root.account, "root");
        assert!(alice.may_make_scope("user.alice", "alice").is_ok());
        assert!(alice.may_make_scope("user.bob", "bob").is_err());
        assert!(alice.may_make_scope("enso", "alice").is_err());
        assert!(root.may_make_scope("enso", "alice").is_ok());
        assert!(alice.needs_scope("enso", "alice", "x").is_ok());
        assert!(alice.needs_scope("enso", "bob", "x").is_err());
        assert!(alice.needs_scope("mock", "bob", "x").is_ok());
        assert!(alice.needs_admin("x").is_err());
    }
}
