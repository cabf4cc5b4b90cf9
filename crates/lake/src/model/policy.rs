//! Who may do what (Rucio's generic policy): administrators everything, an account what is in its own scopes; reading
//! needs a valid token only.

use dte_protocol_rucio::{Class, Exception};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The Rucio account: `root` is the administrator of the engine.
    pub account: String,
    /// Administers the lake: by right of the engine, or by the attribute `admin` of the account.
    pub admin: bool,
    /// Administers the engine. Only such a caller decides what touches other people's own storage.
    pub engine_admin: bool,
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

    /// Only administrators of the engine: what is decided gives access to more than the lake.
    pub fn needs_engine_admin(&self, what: &str) -> Result<(), Exception> {
        if self.engine_admin { Ok(()) } else { Err(self.denied(what)) }
    }

    /// The account itself, and administrators of the engine: what is asked for is done with the account's own rights.
    pub fn acts_as(&self, account: &str, what: &str) -> Result<(), Exception> {
        if self.account == account { Ok(()) } else { self.needs_engine_admin(what) }
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
        let alice = Caller { account: "alice".into(), admin: false, engine_admin: false };
        let root = Caller { account: account_of("admin"), admin: true, engine_admin: true };
        let carol = Caller { account: "carol".into(), admin: true, engine_admin: false };
        assert_eq!(root.account, "root");
        assert!(alice.may_make_scope("user.alice", "alice").is_ok());
        assert!(alice.may_make_scope("user.bob", "bob").is_err());
        assert!(alice.may_make_scope("enso", "alice").is_err());
        assert!(root.may_make_scope("enso", "alice").is_ok());
        assert!(alice.needs_scope("enso", "alice", "x").is_ok());
        assert!(alice.needs_scope("enso", "bob", "x").is_err());
        assert!(alice.needs_scope("mock", "bob", "x").is_ok());
        assert!(alice.needs_admin("x").is_err());
        assert!(carol.needs_account("bob", "x").is_ok());
        assert!(carol.acts_as("bob", "x").is_err() && carol.acts_as("carol", "x").is_ok());
        assert!(root.acts_as("bob", "x").is_ok());
    }
}
