//! `dte sites`: the places where pods run, what they have, and how busy they are.

use serde_json::Value;

use crate::cli::Common;
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

pub async fn sites(common: &Common) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    let list: Value = remote.get("/interlink/sites").await?;
    let sites = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    if common.json {
        return show::json(&sites);
    }
    let cells: Vec<Vec<String>> = sites.iter().map(row).collect();
    show::table(
        &["SITE", "STATE", "CORES", "MEMORY", "PLACES", "FREE", "RUN", "WAIT", "MEAN RUN", "IMAGES", "SANDBOX"],
        &cells,
    );
    for site in sites.iter().filter(|site| !site["problem"].is_null()) {
        show::line(format!("{}: {}", show::cell(&site["name"]), show::cell(&site["problem"])));
    }
    Ok(())
}

fn row(site: &Value) -> Vec<String> {
    let text = |key: &str| show::cell(&site[key]);
    let capacity = &site["capacity"];
    let unknown = || "–".to_owned();
    let cores = capacity["cpu_millis"].as_u64().map_or_else(unknown, |millis| format!("{}", millis as f64 / 1e3));
    let memory = capacity["memory_bytes"].as_u64().map_or_else(unknown, |bytes| format!("{} GiB", bytes >> 30));
    let mean = site["mean_run_seconds"].as_f64().map_or_else(unknown, |seconds| format!("{seconds:.1} s"));
    let (images, places) = (show::cell(&site["capabilities"]["images"]), show::cell(&capacity["pods"]));
    vec![
        text("name"),
        text("state"),
        cores,
        memory,
        places,
        text("free_places"),
        text("running"),
        text("waiting"),
        mean,
        images,
        text("sandbox"),
    ]
}
