//! What a document must satisfy beyond its types: names, references, no cycle between models.

use std::collections::{BTreeMap, BTreeSet};

use dte_protocol_rucio::did;
use serde_saphyr::Spanned;

use super::document::{Alert, Checks, Data, Document, Model, Observes, Placement, Produces, SeriesGate};
use super::mistake::Mistake;
use super::names;

/// Most leads that a forecast can have, in months.
pub const MOST_LEADS: u32 = 120;
/// Most parts of each kind in one document.
const MOST_PARTS: usize = 64;

type Checked = Result<(), Mistake>;

/// All rules.
pub fn check(document: &Document) -> Checked {
    name(&document.twin)?;
    if document.observes.is_empty() {
        return Err(Mistake::at(&document.twin, "the twin observes nothing"));
    }
    let parts = [document.observes.len(), document.models.len(), document.produces.len(), document.alerts.len()];
    if parts.iter().any(|count| *count > MOST_PARTS) {
        return Err(Mistake::at(&document.twin, format!("a twin has at most {MOST_PARTS} parts of a kind")));
    }
    distinct(document.observes.iter().map(|one| &one.name).chain(document.produces.iter().map(|one| &one.name)))?;
    distinct(document.models.iter().map(|one| &one.name))?;
    distinct(document.alerts.iter().map(|one| &one.name))?;
    document.observes.iter().try_for_each(observes)?;
    document.models.iter().try_for_each(|one| model(document, one))?;
    document.produces.iter().try_for_each(|one| produces(document, one))?;
    places(document)?;
    cycle(document)?;
    one_root(document)?;
    checks(document, &document.checks)?;
    document.alerts.iter().try_for_each(|one| alert(document, one))
}

fn name(at: &Spanned<String>) -> Checked {
    if names::is_name(&at.value) {
        return Ok(());
    }
    let text = format!("{:?} is not a name: 1 to 25 of a-z, 0-9 and '-', not at the ends", at.value);
    Err(Mistake::at(at, text))
}

fn distinct<'a>(all: impl Iterator<Item = &'a Spanned<String>>) -> Checked {
    let mut seen = BTreeSet::new();
    for one in all {
        name(one)?;
        if !seen.insert(&one.value) {
            return Err(Mistake::at(one, format!("the name {:?} is there twice", one.value)));
        }
    }
    Ok(())
}

fn observes(one: &Observes) -> Checked {
    let pattern = &one.pattern;
    if pattern.value.matches(names::MONTH).count() != 1 || pattern.value.contains(['*', '?', '[', '\\']) {
        let text = format!("a pattern has {} once and no wildcard: nino12-{}.csv", names::MONTH, names::MONTH);
        return Err(Mistake::at(pattern, text));
    }
    lake_file(pattern, &pattern.value.replace(names::MONTH, "1980-01"))?;
    if let Some(history) = &one.history {
        lake_file(&history.file, &history.file.value)?;
        let (before, after) = pattern.value.split_once(names::MONTH).unwrap_or_default();
        let file = &history.file.value;
        let seen = file.len() >= before.len() + after.len() && file.starts_with(before) && file.ends_with(after);
        if !seen || names::month_of(&pattern.value, file).is_some() {
            let text =
                format!("the history's name must fit {:?} and not be that of a month", names::glob(&pattern.value));
            return Err(Mistake::at(&history.file, text));
        }
        if history.from.value >= one.start {
            return Err(Mistake::at(&history.from, format!("the history must begin before {}", one.start)));
        }
    }
    if let Some(range) = &one.series.range
        && !(range.value.0.is_finite() && range.value.1.is_finite() && range.value.0 < range.value.1)
    {
        return Err(Mistake::at(range, "a range is [lowest, highest]"));
    }
    let column = &one.series.value;
    if column.value.is_empty() || column.value == "month" || column.value.contains([',', '"', '\n']) {
        return Err(Mistake::at(column, "the value's column has a name of its own, without commas and quotes"));
    }
    data(&one.data)?;
    placement(&one.name, &one.placement)
}

fn data(data: &Data) -> Checked {
    if let Some(scope) = &data.scope
        && !did::is_scope(&scope.value)
    {
        return Err(Mistake::at(
            scope,
            format!("{:?} is not a scope: 1 to 25 of A-Z, a-z, 0-9, '.', '_', '-'", scope.value),
        ));
    }
    match &data.container {
        Some(container) => lake_file(container, &container.value),
        None => Ok(()),
    }
}

/// Whether a name can be a DID's and a file's.
fn lake_file(at: &Spanned<String>, text: &str) -> Checked {
    if names::is_file_name(text) && did::is_name(text) {
        return Ok(());
    }
    Err(Mistake::at(at, format!("{text:?} is not a file name of A-Z, a-z, 0-9, '.', '_' and '-'")))
}

fn placement(at: &Spanned<String>, placement: &Placement) -> Checked {
    if placement.copies == 0 || placement.copies > 100 {
        return Err(Mistake::at(at, "copies must be 1 to 100"));
    }
    if placement.rses.trim().is_empty() || placement.landing.trim().is_empty() {
        return Err(Mistake::at(at, "rses and landing must name storage elements"));
    }
    Ok(())
}

/// Whether `name` is observed or produced.
fn data_named(document: &Document, at: &Spanned<String>) -> Checked {
    if document.observes(&at.value).is_some() || document.product(&at.value).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = document
        .observes
        .iter()
        .map(|one| one.name.value.as_str())
        .chain(document.produces.iter().map(|one| one.name.value.as_str()))
        .collect();
    Err(Mistake::at(
        at,
        format!("nothing is observed or produced under the name {:?}; there is {}", at.value, known.join(", ")),
    ))
}

fn model(document: &Document, one: &Model) -> Checked {
    data_named(document, &one.on.dataset_ready)?;
    let mut folders = BTreeSet::new();
    for input in &one.inputs {
        data_named(document, &input.data)?;
        if !names::is_file_name(&input.folder.value) {
            return Err(Mistake::at(&input.folder, "an input's folder is one plain name"));
        }
        if !folders.insert(&input.folder.value) {
            return Err(Mistake::at(&input.folder, "two inputs cannot share a folder"));
        }
    }
    if one.timeout.0.is_zero() || one.timeout.0.as_secs() > 30 * 86_400 {
        return Err(Mistake::at(&one.name, "a timeout is between 1ms and 30d"));
    }
    if one.resources.cpu.is_some_and(|cpu| !(cpu > 0.0 && cpu <= 4096.0)) {
        return Err(Mistake::at(&one.name, "cpu is a number of cores above 0"));
    }
    if one.retries > 10 {
        return Err(Mistake::at(&one.name, "retries is at most 10"));
    }
    let program = &one.container.program;
    if program.value.is_empty() || program.value.contains('\0') {
        return Err(Mistake::at(program, "a program is a path or a DID scope:name"));
    }
    let bad_variable =
        one.container.env.keys().find(|key| key.is_empty() || key.contains(['=', '\0']) || key.starts_with("DTE_"));
    match bad_variable {
        Some(key) => {
            Err(Mistake::at(&one.name, format!("{key:?} cannot be set: names beginning with DTE_ are the engine's")))
        }
        None => Ok(()),
    }
}

fn produces(document: &Document, one: &Produces) -> Checked {
    if document.model(&one.model.value).is_none() {
        return Err(Mistake::at(&one.model, format!("there is no model {:?}", one.model.value)));
    }
    if !names::is_file_name(&one.output.value) {
        return Err(Mistake::at(&one.output, "an output is one plain file name"));
    }
    if one.filename.value.matches(names::ISSUE_MONTH).count() != 1 {
        return Err(Mistake::at(&one.filename, format!("a file name has {} once", names::ISSUE_MONTH)));
    }
    lake_file(&one.filename, &one.filename.value.replace(names::ISSUE_MONTH, "1980-01"))?;
    data(&one.data)?;
    placement(&one.name, &one.placement)
}

/// No two series of datasets share a container, no two kinds of files a name.
fn places(document: &Document) -> Checked {
    let mut containers = BTreeSet::new();
    let mut files = BTreeSet::new();
    for one in &document.observes {
        let place = names::Place::of_observes(document, one);
        let pattern = one.pattern.value.replace(names::MONTH, "");
        if !files.insert((place.scope.clone(), pattern)) {
            return Err(Mistake::at(&one.pattern, "another file of this twin has the same name in the lake"));
        }
        if !containers.insert(place.container()) {
            return Err(Mistake::at(&one.name, "two cannot share a container"));
        }
    }
    for one in &document.produces {
        let place = names::Place::of_product(document, one);
        let pattern = one.filename.value.replace(names::ISSUE_MONTH, "");
        if !files.insert((place.scope.clone(), pattern)) {
            return Err(Mistake::at(&one.filename, "another file of this twin has the same name in the lake"));
        }
        if !containers.insert(place.container()) {
            return Err(Mistake::at(&one.name, "two cannot share a container"));
        }
    }
    Ok(())
}

/// What a model reads: its trigger and its inputs.
fn consumes(model: &Model) -> impl Iterator<Item = &Spanned<String>> {
    std::iter::once(&model.on.dataset_ready).chain(model.inputs.iter().map(|input| &input.data))
}

/// No model may wait for what comes of its own output.
fn cycle(document: &Document) -> Checked {
    let mut done = BTreeSet::new();
    for model in &document.models {
        follow(document, model, &mut Vec::new(), &mut done)?;
    }
    Ok(())
}

/// Walks from a model to the models whose products it consumes. `path` alternates models and products.
fn follow<'a>(
    document: &'a Document,
    model: &'a Model,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Checked {
    let own = model.name.value.as_str();
    if let Some(start) = path.iter().step_by(2).position(|seen| *seen == own) {
        let mut round = path[start * 2..].to_vec();
        round.push(own);
        // The path was walked against the flow of data.
        round.reverse();
        let text = format!("the models wait for each other: {}", round.join(" → "));
        return Err(Mistake::at(&model.name, text));
    }
    if done.contains(own) {
        return Ok(());
    }
    path.push(own);
    for product in consumes(model).filter_map(|data| document.product(&data.value)) {
        let Some(maker) = document.model(&product.model.value) else { continue };
        path.push(&product.name.value);
        follow(document, maker, path, done)?;
        path.pop();
    }
    path.pop();
    done.insert(own);
    Ok(())
}

/// The observed series at the beginning of `data`'s chain. The document has no cycle.
pub fn root<'a>(document: &'a Document, data: &str) -> Option<&'a Observes> {
    let mut data = data.to_owned();
    loop {
        if let Some(observed) = document.observes(&data) {
            return Some(observed);
        }
        let maker = document.model(&document.product(&data)?.model.value)?;
        data = maker.on.dataset_ready.value.clone();
    }
}

/// Runs are counted by the arrivals of one observed series, so all inputs of a model must come from the same.
fn one_root(document: &Document) -> Checked {
    for model in &document.models {
        let own = root(document, &model.on.dataset_ready.value).map(|one| &one.name.value);
        for input in &model.inputs {
            if root(document, &input.data.value).map(|one| &one.name.value) != own {
                let text = "an input must come from the same observed series as what starts the model";
                return Err(Mistake::at(&input.data, text));
            }
        }
    }
    Ok(())
}

fn forecast<'a>(document: &'a Document, at: &Spanned<String>) -> Result<&'a Produces, Mistake> {
    match document.product(&at.value) {
        Some(product) if product.format == super::document::ProductFormat::ForecastCsv => Ok(product),
        Some(_) => Err(Mistake::at(at, format!("{:?} is not a forecast: its format is not forecast-csv", at.value))),
        None => Err(Mistake::at(at, format!("nothing is produced under the name {:?}", at.value))),
    }
}

fn checks(document: &Document, checks: &Checks) -> Checked {
    for check in &checks.series {
        if document.observes(&check.of.value).is_none() {
            return Err(Mistake::at(&check.of, format!("nothing is observed under the name {:?}", check.of.value)));
        }
        for gate in [SeriesGate::Numeric, SeriesGate::Contiguous, SeriesGate::Unique] {
            if !check.require.value.contains(&gate) {
                let text = "numeric, contiguous and unique cannot be left out: there is one run a month, in order";
                return Err(Mistake::at(&check.require, text));
            }
        }
    }
    let mut judged: BTreeMap<&str, ()> = BTreeMap::new();
    for check in &checks.skill {
        let product = forecast(document, &check.forecast)?;
        if judged.insert(&check.forecast.value, ()).is_some() {
            return Err(Mistake::at(&check.forecast, "a forecast has one skill check"));
        }
        let Some(observed) = document.observes(&check.against.value) else {
            return Err(Mistake::at(
                &check.against,
                format!("nothing is observed under the name {:?}", check.against.value),
            ));
        };
        let trigger =
            document.model(&product.model.value).and_then(|model| root(document, &model.on.dataset_ready.value));
        if trigger.map(|one| &one.name.value) != Some(&observed.name.value) {
            return Err(Mistake::at(&check.against, "a forecast is judged by the series that its model runs on"));
        }
        let (from, to) = (&check.reference.from, &check.reference.to);
        let months = to.value.since(from.value) + 1;
        if months < 12 || months % 12 != 0 {
            return Err(Mistake::at(to, "a reference is one or more whole years"));
        }
        let known_from = observed.history.as_ref().map_or(observed.start, |history| history.from.value);
        if from.value < known_from || to.value >= observed.start {
            let text = format!("the reference must lie in the history, {known_from} to {}", observed.start.plus(-1));
            return Err(Mistake::at(from, text));
        }
        if check.leads.value.iter().any(|lead| *lead == 0 || *lead > MOST_LEADS) {
            return Err(Mistake::at(&check.leads, format!("a lead is 1 to {MOST_LEADS} months")));
        }
    }
    Ok(())
}

fn alert(document: &Document, alert: &Alert) -> Checked {
    forecast(document, &alert.forecast)?;
    if !document.checks.skill.iter().any(|check| check.forecast.value == alert.forecast.value) {
        let text = "an anomaly needs a reference: give this forecast a skill check";
        return Err(Mistake::at(&alert.forecast, text));
    }
    let leads = alert.when.leads.value;
    if leads.0 == 0 || leads.0 > leads.1 || leads.1 > MOST_LEADS {
        return Err(Mistake::at(&alert.when.leads, "leads are [first, last], from 1"));
    }
    let probability = &alert.when.probability;
    if !(probability.value > 0.0 && probability.value < 1.0) {
        return Err(Mistake::at(probability, "a probability is between 0 and 1"));
    }
    if !alert.over_below.value.is_finite()
        || !alert.when.anomaly_at_least.is_finite()
        || alert.over_below.value > alert.when.anomaly_at_least
    {
        return Err(Mistake::at(&alert.over_below, "over_below cannot be above anomaly_at_least"));
    }
    match &alert.webhook {
        Some(url) if !(url.value.starts_with("https://") || url.value.starts_with("http://")) => {
            Err(Mistake::at(url, "a webhook is an http or https URL"))
        }
        _ => Ok(()),
    }
}
