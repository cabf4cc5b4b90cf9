//! `dte auth explain`: why somebody may, or may not, do something.

use std::io::Read;

use dte_identity::AdminClient;
use dte_identity::explain::{Explanation, Outcome};
use serde_json::json;

use crate::cli::{Common, Explain};
use crate::failure::Failure;
use crate::show;

/// More than any token that would be looked at.
const LONGEST_INPUT: u64 = 64 * 1024;
/// The exit code of a denial.
const DENIED: u8 = 3;

pub async fn explain(common: &Common, wanted: Explain) -> Result<(), Failure> {
    let mut question = json!({"action": wanted.action, "object": wanted.object});
    match wanted.subject {
        Some(subject) => {
            question["subject"] = subject.into();
            question["issuer"] = wanted.issuer.into();
            question["scope"] = wanted.scope.into();
            question["groups"] = wanted.group.into();
        }
        None => {
            let mut token = String::new();
            std::io::stdin().take(LONGEST_INPUT).read_to_string(&mut token)?;
            if token.trim().is_empty() {
                return Err(Failure::new("say --subject, or give a token on standard input"));
            }
            question["token"] = token.trim().into();
        }
    }
    let explanation = AdminClient::new(&common.data_dir).explain(&question).await?;
    if common.json {
        show::json(&explanation)?
    } else {
        print(&explanation)
    }
    if explanation.permitted {
        return Ok(());
    }
    Err(Failure::new(format!("denied: {}", explanation.reason)).with_code(DENIED))
}

fn print(explanation: &Explanation) {
    if let Some(about) = &explanation.about {
        show::line(format!("{} ({}) of {}", about.name, about.standing, about.issuer));
        let list = |name: &str, values: &[String]| {
            if !values.is_empty() {
                show::line(format!("  {name}: {}", values.join(" ")));
            }
        };
        list("scopes", &about.scopes);
        list("groups", &about.groups);
        list("granted", &about.granted);
    }
    let row = |step: &dte_identity::explain::Step| {
        let outcome = match step.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Noted => "noted",
        };
        vec![step.check.clone(), outcome.to_owned(), step.reason.clone().unwrap_or_default(), step.detail.clone()]
    };
    let rows: Vec<Vec<String>> = explanation.steps.iter().map(row).collect();
    show::table(&["CHECK", "OUTCOME", "REASON", "DETAIL"], &rows);
    show::line(if explanation.permitted { "permitted" } else { "denied" });
}
