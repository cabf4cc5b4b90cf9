//! The pages as text: well formed, nothing that came from outside stands in them unescaped, nothing that the content
//! security policy would refuse.

mod sample;

use dte_dashboard::model::period::Period;
use dte_dashboard::model::twin::{Alert, Run, SetAside, Twin};
use dte_dashboard::model::view::{View, Wanted};
use dte_dashboard::page::frame::Viewer;
use dte_dashboard::page::{door, engine, twin};
use quick_xml::Reader;
use quick_xml::events::Event;

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='x'>&amp;\u{202e}";

fn viewer() -> Viewer {
    Viewer { name: HOSTILE.to_owned(), csrf: "token".to_owned() }
}

fn whole(twin: &Twin, wanted: &Wanted) -> String {
    twin::whole(twin, View::of(twin, wanted).as_ref(), &viewer()).into_string()
}

/// All SVG elements of a page.
fn pictures(html: &str) -> Vec<&str> {
    html.match_indices("<svg")
        .map(|(start, _)| &html[start..start + html[start..].find("</svg>").expect("an end") + 6])
        .collect()
}

fn assert_well_formed(svg: &str) {
    let mut reader = Reader::from_str(svg);
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Eof => return,
            Event::Start(element) | Event::Empty(element) => {
                let mut names = Vec::new();
                for attribute in element.attributes() {
                    let attribute = attribute.expect("a well-formed attribute");
                    let value = attribute.value.to_string();
                    assert!(!value.contains("NaN") && !value.contains("inf"), "{value}");
                    names.push(attribute.key.as_ref().to_owned());
                }
                assert!(!names.iter().any(|name| name == "style" || name.starts_with("on")), "{names:?}");
            }
            _ => {}
        }
    }
}

fn assert_safe(html: &str) {
    assert!(!html.contains("<script>") && !html.contains("<img"), "something is not escaped");
    assert!(!html.contains(" style=") && !html.contains("<style"), "inline styles are refused by the policy");
    assert!(!html.contains("http://") && !html.contains("https://"), "external addresses");
    let scripts = html.matches("<script").count();
    assert_eq!(scripts, html.matches("<script src=\"/ui/assets/").count());
    // Every id stands once, or labels and links go astray.
    let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id stands twice");
}

#[test]
fn a_full_page() {
    let twin = sample::twin(3, "2010-12");
    let html = whole(&twin, &Wanted::default());
    assert_safe(&html);
    let pictures = pictures(&html);
    assert_eq!(pictures.len(), 5, "mark, newest, skill, record, lineage");
    pictures.iter().for_each(|svg| assert_well_formed(svg));
    let record = pictures.iter().find(|svg| svg.contains("plot record")).expect("the record");
    // The year before the start, and 1980 to 2010.
    assert_eq!(record.matches("circle class=\"observed\"").count(), 12 + 372);
    assert!(html.contains("level with reality") && html.contains("372 files"));
    assert!(html.len() < 260_000, "{}", html.len());
}

#[test]
fn values_zoomed() {
    let twin = sample::twin(6, "2002-03");
    let text = |text: &str| Some(text.to_owned());
    let wanted = Wanted { lead: text("6"), from: text("1997-01"), to: text("1998-12"), scale: text("value") };
    let html = whole(&twin, &wanted);
    assert_safe(&html);
    let record = pictures(&html).into_iter().find(|svg| svg.contains("plot record")).expect("the record");
    assert_well_formed(record);
    assert_eq!(record.matches("circle class=\"observed\"").count(), 24);
    assert!(record.contains("data-from=\"1997-01\"") && record.contains("class=\"normal\""));
}

#[test]
fn twins_at_every_age() {
    for until in ["1980-01", "1980-02", "1980-12"] {
        let html = whole(&sample::twin(1, until), &Wanted::default());
        assert_safe(&html);
        pictures(&html).into_iter().for_each(assert_well_formed);
    }
    let history = Twin { observed: sample::observations("1950-03"), ..Twin::default() };
    for observed in [0, 1, 3] {
        let twin = Twin { observed: history.observed[..observed].to_vec(), ..history.clone() };
        let html = whole(&twin, &Wanted::default());
        assert_safe(&html);
        pictures(&html).into_iter().for_each(assert_well_formed);
    }
}

#[test]
fn figures_beyond_measure() {
    let mut twin = sample::twin(3, "1985-12");
    twin.observed[400].value = 1e300;
    twin.observed[401].value = -1e300;
    twin.newest[0].interval_80 = Some((1e300, -1e300));
    let html = whole(&twin, &Wanted::default());
    pictures(&html).into_iter().for_each(assert_well_formed);
}

#[test]
fn hostile_texts_are_only_texts() {
    let hostile = || HOSTILE.to_owned();
    let period: Period = sample::period("1980-02");
    let mut twin = sample::twin(3, "1980-06");
    twin.name = hostile();
    twin.title = hostile();
    twin.description = hostile();
    twin.unit = hostile();
    twin.reason = Some(hostile());
    twin.newest_did = Some(hostile());
    twin.alerts = vec![Alert {
        name: hostile(),
        issue: period.clone(),
        target: Some(period),
        until: None,
        is_open: false,
        text: hostile(),
        detail: hostile(),
        raised: None,
    }];
    twin.runs = vec![Run {
        uid: hostile(),
        arrival: hostile(),
        state: hostile(),
        site: Some(hostile()),
        why: Some(hostile()),
        reason: Some(hostile()),
        ..Run::default()
    }];
    twin.held = vec![SetAside { name: hostile(), reason: hostile(), since: None }];
    twin.missing = ["head", "newest", "skill", "record", "lineage", "alerts", "run", "cost", "books"]
        .map(|part| (part, hostile()))
        .to_vec();
    let lineage = twin.lineage.as_mut().expect("a lineage");
    lineage.run.label = hostile();
    lineage.inputs[0].label = hostile();
    lineage.document = Some(hostile());
    let html = whole(
        &twin,
        &Wanted { lead: Some(hostile()), from: Some(hostile()), to: Some(hostile()), scale: Some(hostile()) },
    );
    assert_safe(&html);
    pictures(&html).into_iter().for_each(assert_well_formed);

    let mut state = sample::engine();
    state.twins[0].name = hostile();
    state.twins[0].title = hostile();
    state.queues[0].name = hostile();
    state.pods[0].name = hostile();
    state.missing = vec![("sites", hostile())];
    assert_safe(&engine::whole(&state, &viewer()).into_string());
    assert_safe(&door::closed(Some(HOSTILE)).into_string());
    assert_safe(&door::confirm(HOSTILE).into_string());
    assert_safe(&door::problem(HOSTILE, HOSTILE, Some(&viewer())).into_string());
}
