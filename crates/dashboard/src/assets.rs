//! The style sheet, the script and the icon: part of the program, each under an address that changes with its content,
//! so that browsers may keep them for good.

use std::sync::LazyLock;

/// A file that pages refer to.
pub struct Asset {
    pub name: &'static str,
    pub kind: &'static str,
    pub content: &'static str,
}

pub static STYLE: Asset =
    Asset { name: "style.css", kind: "text/css; charset=utf-8", content: include_str!("../assets/style.css") };
pub static SCRIPT: Asset =
    Asset { name: "live.js", kind: "text/javascript; charset=utf-8", content: include_str!("../assets/live.js") };
pub static CONSOLE: Asset =
    Asset { name: "console.js", kind: "text/javascript; charset=utf-8", content: include_str!("../assets/console.js") };
pub static ICON: Asset = Asset { name: "mark.svg", kind: "image/svg+xml", content: include_str!("../assets/icon.svg") };

fn all() -> impl Iterator<Item = &'static Asset> {
    [&STYLE, &SCRIPT, &CONSOLE, &ICON].into_iter()
}

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: Vec<&str> = all().map(|asset| asset.content).collect();
    dte_base::id::derived_id(&all).simple().to_string()[..12].to_owned()
});

impl Asset {
    pub fn address(&self) -> String {
        format!("/ui/assets/{}/{}", *VERSION, self.name)
    }

    pub fn by_name(name: &str) -> Option<&'static Asset> {
        all().find(|asset| asset.name == name)
    }
}
