//! Who may see which event.
//!
//! The rule: an administrator sees all. Anybody else sees an event whose data names them as `owner`, or where there is no
//! owner as `account`, or where there is neither as `user`; and what they published themselves. An event whose data names
//! nobody is for administrators only: what is not known to be yours is not shown to you.

use serde_json::Value;

use super::cloudevent::Envelope;

/// Someone who looks at events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The local account name.
    pub name: String,
    pub is_admin: bool,
}

impl Viewer {
    pub fn may_see(&self, event: &Envelope) -> bool {
        if self.is_admin {
            return true;
        }
        match &event.outer {
            // What others put into the data of their own events gives nobody a right.
            Some(outer) => outer.publisher == self.name,
            None => owner(&event.event.data).is_some_and(|owner| owner == self.name),
        }
    }
}

/// Whose event it is: the first of `owner`, `account`, `user` that is there. Something else than a name there is nobody.
fn owner(data: &Value) -> Option<&str> {
    let named = ["owner", "account", "user"].iter().find_map(|key| data.get(key).filter(|value| !value.is_null()))?;
    match named {
        Value::String(name) => Some(name.as_str()),
        Value::Object(user) => user.get("name").and_then(Value::as_str),
        _ => None,
    }
    .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cloudevent::Outer;
    use dte_store::Event;
    use serde_json::json;

    fn event(data: Value) -> Envelope {
        Envelope::own(Event::new("org.dte.x", "/x", "", data))
    }

    #[test]
    fn the_rule() {
        let alice = Viewer { name: "alice".into(), is_admin: false };
        let admin = Viewer { name: "admin".into(), is_admin: true };
        for data in [json!({"owner": "alice"}), json!({"account": "alice"}), json!({"user": {"name": "alice"}})] {
            assert!(alice.may_see(&event(data.clone())), "{data}");
        }
        let hidden = [
            json!({}),
            json!(null),
            json!([]),
            json!({"owner": "bob", "user": "alice"}),
            json!({"owner": ["alice"]}),
            json!({"owner": ""}),
            json!({"user": {"subject": "alice"}}),
        ];
        for data in hidden {
            assert!(!alice.may_see(&event(data.clone())), "{data}");
            assert!(admin.may_see(&event(data)));
        }
        let nobody = Viewer { name: String::new(), is_admin: false };
        assert!(!nobody.may_see(&event(json!({"owner": ""}))));
        let outer = |publisher: &str| Some(Outer { publisher: publisher.into(), ..Outer::default() });
        assert!(alice.may_see(&Envelope { outer: outer("alice"), ..event(json!({})) }));
        assert!(!alice.may_see(&Envelope { outer: outer("bob"), ..event(json!({"owner": "alice"})) }));
    }
}
