//! Writes the pages with sample data to a folder, to look at them in a browser: `cargo run --example sketch -- OUT`.

#[path = "../tests/sample/mod.rs"]
mod sample;

use dte_dashboard::assets::{ICON, SCRIPT, STYLE};
use dte_dashboard::model::view::{View, Wanted};
use dte_dashboard::page::frame::Viewer;
use dte_dashboard::page::{door, engine, twin};

fn main() -> std::io::Result<()> {
    let out = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "sketch".to_owned()));
    std::fs::create_dir_all(&out)?;
    let viewer = Viewer { name: "admin".to_owned(), csrf: "x".to_owned() };
    let write = |name: &str, html: String| {
        let mut html = html;
        for asset in [&STYLE, &SCRIPT, &ICON] {
            html = html.replace(&asset.address(), asset.name);
        }
        std::fs::write(out.join(name), html)
    };
    for asset in [&STYLE, &SCRIPT, &ICON] {
        std::fs::write(out.join(asset.name), asset.content)?;
    }
    let whole = sample::twin(3, "2010-12");
    write("twin.html", twin::whole(&whole, View::of(&whole, &Wanted::default()).as_ref(), &viewer).into_string())?;
    let near = Wanted {
        from: Some("1996-01".to_owned()),
        to: Some("1999-12".to_owned()),
        scale: Some("value".to_owned()),
        lead: Some("6".to_owned()),
    };
    let early = sample::twin(6, "2002-03");
    write("zoom.html", twin::whole(&early, View::of(&early, &near).as_ref(), &viewer).into_string())?;
    let empty = dte_dashboard::model::twin::Twin { name: "<b>\"new\"&'".to_owned(), ..Default::default() };
    write("empty.html", twin::whole(&empty, None, &viewer).into_string())?;
    write("engine.html", engine::whole(&sample::engine(), &viewer).into_string())?;
    write("closed.html", door::closed(None).into_string())
}
