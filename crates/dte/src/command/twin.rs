//! `dte twin`: declare a twin, see how it is, follow where its forecasts come from.

use std::path::Path;

use http::Method;
use serde_json::Value;

use crate::cli::{Common, Twin};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const API: &str = "/twins/api/v1/twins";

pub async fn twin(common: &Common, command: Twin) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    let as_json = common.json;
    match command {
        Twin::Apply { file } => {
            let applied = apply_file(&remote, &file).await?;
            if as_json {
                return show::json(&applied);
            }
            show::line(format!(
                "twin {} version {} is {}",
                show::cell(&applied["twin"]),
                show::cell(&applied["version"]),
                show::cell(&applied["state"])
            ));
            print_troubles(&applied);
        }
        Twin::Status { name } => {
            let status = status_of(&remote, &name).await?;
            if as_json { show::json(&status)? } else { print_status(&status) }
        }
        Twin::List => {
            let list: Value = remote.get(API).await?;
            if as_json {
                return show::json(&list);
            }
            let rows = items(&list);
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|t| ["twin", "version", "state", "owner"].iter().map(|key| show::cell(&t[*key])).collect())
                .collect();
            show::table(&["TWIN", "VERSION", "STATE", "OWNER"], &cells);
        }
        Twin::Logs { name, run } => {
            let query = run.map_or_else(String::new, |run| format!("?run={run}"));
            show::line(remote.text(&format!("{API}/{name}/logs{query}")).await?.trim_end());
        }
        Twin::Lineage { name, did } => lineage(&remote, &name, did, as_json).await?,
        Twin::Delete { name } => {
            let _: Value = remote.call(Method::DELETE, &format!("{API}/{name}"), None::<&()>).await?;
            show::line(format!("twin {name} is gone; its data stays in the lake"));
        }
    }
    Ok(())
}

/// Sends a document; its relative paths begin where it lies.
pub async fn apply_file(remote: &Remote, file: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let name = twin_name(&text)
        .ok_or_else(|| Failure::new(format!("{}: there is no line `twin: NAME`", file.display())).with_code(2))?;
    let base = std::path::absolute(file)?.parent().map(|p| p.display().to_string()).unwrap_or_default();
    let mut url = remote.base(&format!("{API}/{name}"))?;
    url.query_pairs_mut().append_pair("base", &base);
    let request = remote.client.put(url.as_str()).bearer(&remote.token).header("content-type", "application/yaml");
    let reply = request.bytes(text).send().await?;
    let answer = reply.ok().await.map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    Ok(answer.json().await?)
}

/// The name is needed for the address before the engine has read the document.
fn twin_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("twin:"))?;
    let value = value.split(" #").next()?.trim().trim_matches(['"', '\'']);
    (!value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')).then(|| value.to_owned())
}

/// The status of a twin, with its alerts in full and the run counts of all models together.
pub async fn status_of(remote: &Remote, name: &str) -> Result<Value, Failure> {
    remote.get(&format!("{API}/{name}/status")).await
}

/// All episodes that raised an alert.
pub async fn alerts_of(remote: &Remote, name: &str) -> Result<Vec<Value>, Failure> {
    let list: Value = remote.get(&format!("{API}/{name}/alerts")).await?;
    Ok(items(&list).to_vec())
}

/// How many runs of all models are in one of these states.
pub fn runs_in(status: &Value, states: &[&str]) -> u64 {
    let models = status["models"].as_array().map_or(&[][..], Vec::as_slice);
    models.iter().flat_map(|model| states.iter().filter_map(|state| model["runs"][*state].as_u64())).sum()
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().or_else(|| list.as_array()).map_or(&[], Vec::as_slice)
}

fn print_troubles(status: &Value) {
    for trouble in status["troubles"].as_array().into_iter().flatten() {
        show::line(format!("trouble     {}", show::cell(trouble)));
    }
}

/// The status for people.
pub fn print_status(status: &Value) {
    let freshness = &status["freshness"];
    show::line(format!("twin        {}  ({})", show::cell(&status["twin"]), show::cell(&status["description"])));
    show::line(format!(
        "state       {}, {} behind reality; newest observation {}, newest forecast {}",
        show::cell(&freshness["state"]),
        show::cell(&freshness["behind"]),
        show::cell(&freshness["newest_observation"]),
        show::cell(&freshness["newest_forecast"])
    ));
    for observes in status["observes"].as_array().into_iter().flatten() {
        show::line(format!(
            "observes    {}: {} files accepted, {} held, {} refused",
            show::cell(&observes["name"]),
            show::cell(&observes["accepted"]),
            show::cell(&observes["held"]["count"]),
            show::cell(&observes["refused"]["count"])
        ));
        for (word, kind) in [("held", "held"), ("refused", "refused")] {
            for file in observes[kind]["newest"].as_array().into_iter().flatten() {
                show::line(format!("  {word:<10}{}: {}", show::cell(&file["file"]), show::cell(&file["reason"])));
            }
        }
    }
    for model in status["models"].as_array().into_iter().flatten() {
        let runs: Vec<String> =
            model["runs"].as_object().into_iter().flatten().map(|(state, count)| format!("{count} {state}")).collect();
        show::line(format!("model       {}: {}", show::cell(&model["name"]), runs.join(", ")));
    }
    for product in status["produces"].as_array().into_iter().flatten() {
        show::line(format!(
            "produces    {}: {} published",
            show::cell(&product["name"]),
            show::cell(&product["published"])
        ));
    }
    let last = &status["last_run"];
    if !last.is_null() {
        show::line(format!(
            "last run    {} {} at {}: {}",
            show::cell(&last["issue_month"]),
            show::cell(&last["state"]),
            show::cell(&last["site"]),
            show::cell(&last["why"])
        ));
        if last["state"] == "failed" {
            show::line(format!("  because   {}", show::cell(&last["reason"])));
        }
    }
    show::line(format!(
        "cost        {} CPU s, {} s at the site",
        show::cell(&status["cost"]["cpu_seconds"]),
        show::cell(&status["cost"]["wall_seconds"])
    ));
    for table in status["skill"].as_array().into_iter().flatten() {
        print_skill(table);
    }
    print_troubles(status);
}

fn print_skill(table: &Value) {
    show::line("");
    show::line(format!(
        "out-of-sample RMSE of {} ({}), climatology and anomalies of {}–{}; gate {}",
        show::cell(&table["forecast"]),
        show::cell(&table["unit"]),
        show::cell(&table["reference"]["from"]),
        show::cell(&table["reference"]["to"]),
        show::cell(&table["gate"])
    ));
    let number = |value: &Value| value.as_f64().map_or_else(|| "–".to_owned(), |n| format!("{n:.3}"));
    let rows: Vec<Vec<String>> = table["leads"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            vec![
                show::cell(&row["lead"]),
                number(&row["model"]),
                number(&row["persistence"]),
                number(&row["climatology"]),
                show::cell(&row["n"]),
            ]
        })
        .collect();
    show::table(&["LEAD (MONTHS)", "MODEL", "PERSISTENCE", "CLIMATOLOGY", "N"], &rows);
}

async fn lineage(remote: &Remote, name: &str, did: Option<String>, as_json: bool) -> Result<(), Failure> {
    let did = match did {
        Some(did) => did,
        None => {
            let status = status_of(remote, name).await?;
            let newest = status["produces"][0]["newest"].as_str().map(str::to_owned);
            newest.ok_or_else(|| Failure::new(format!("{name} has published nothing yet")))?
        }
    };
    let mut url = remote.base("/yprov/api/v0/lineage")?;
    url.query_pairs_mut().append_pair("did", &did).append_pair("direction", "upstream");
    let reply = remote.client.get(url.as_str()).bearer(&remote.token).send().await?;
    let document: Value = reply.ok().await?.json().await?;
    if as_json {
        return show::json(&document);
    }
    show::line(&did);
    let sections = ["activity", "agent", "entity"];
    for section in sections {
        for (id, attributes) in document[section].as_object().into_iter().flatten() {
            let label = show::cell(attributes.get("prov:label").unwrap_or(&Value::Null));
            let checksum = ["dte:adler32", "dte:sha256"]
                .iter()
                .find_map(|key| attributes.get(*key))
                .map_or_else(String::new, |value| format!("  {}", show::cell(value)));
            show::line(format!("  {section:<10}{id}  {label}{checksum}"));
        }
    }
    let count = |relation: &str| document[relation].as_object().map_or(0, serde_json::Map::len);
    show::line(format!(
        "  {} used, {} generated, {} derived; the whole as W3C PROV-JSON: --json",
        count("used"),
        count("wasGeneratedBy"),
        count("wasDerivedFrom")
    ));
    Ok(())
}
