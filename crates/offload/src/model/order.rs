//! What a pod's annotations order: which data to stage before it starts, which program, which data to collect after.
//!
//! * `dte.io/inputs`: `[{"did", "path", "bytes", "adler32"}]`
//! * `dte.io/outputs`: `[{"path", "did", "dataset", "rse", "required"}]`
//! * `dte.io/code`: `{"did", "path", "sha256", "bytes", "adler32"}`: with a DID, `path` is the name under which the program is
//!   staged; without one it is a file of this machine.

use dte_protocol_interlink::{RawPod, SITE_SELECTOR};
use dte_protocol_rucio::Did;
use serde::{Deserialize, Serialize};

pub const INPUTS: &str = "dte.io/inputs";
pub const OUTPUTS: &str = "dte.io/outputs";
pub const CODE: &str = "dte.io/code";

/// Files that one pod may have staged or collected.
const MAX_FILES: usize = 100_000;
/// Longest path of a staged file.
const LONGEST_PATH: usize = 1_024;
const LONGEST_NAME: usize = 255;

/// An annotation that cannot be followed, in words for the pod's author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {problem}")]
pub struct BadOrder {
    annotation: &'static str,
    problem: String,
}

/// A file to be staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub did: Did,
    /// Below the folder of inputs.
    pub path: String,
    pub bytes: Option<u64>,
    /// Eight lower-case hexadecimal digits.
    pub adler32: Option<String>,
}

/// A file to be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Below the folder of outputs.
    pub path: String,
    pub did: Did,
    pub dataset: Option<Did>,
    pub rse: String,
    pub required: bool,
}

/// Where the program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeSource {
    Lake(Did),
    /// A file of this machine.
    Machine(String),
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub source: CodeSource,
    /// Its name below the folder of inputs.
    pub name: String,
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
    pub adler32: Option<String>,
}

/// All that is ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The site asked for.
    pub site: Option<String>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    pub code: Option<Code>,
}

/// A number that some write as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

fn number(value: Option<Number>) -> Result<Option<u64>, String> {
    match value {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => text.parse().map(Some).map_err(|_| format!("{text:?} is not a size")),
    }
}

#[derive(Deserialize)]
struct InputWire {
    did: String,
    path: String,
    bytes: Option<Number>,
    adler32: Option<String>,
}

#[derive(Deserialize)]
struct OutputWire {
    path: String,
    did: String,
    dataset: Option<String>,
    rse: String,
    #[serde(default = "yes")]
    required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct CodeWire {
    did: Option<String>,
    path: Option<String>,
    name: Option<String>,
    sha256: Option<String>,
    bytes: Option<Number>,
    adler32: Option<String>,
}

impl Order {
    /// Reads a pod's annotations and node selector.
    pub fn read(pod: &RawPod) -> Result<Order, BadOrder> {
        let bad = |annotation| move |problem: String| BadOrder { annotation, problem };
        let inputs = list::<InputWire>(pod, INPUTS)?
            .into_iter()
            .map(read_input)
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad(INPUTS))?;
        let outputs = list::<OutputWire>(pod, OUTPUTS)?.into_iter().map(read_output);
        let outputs = outputs.collect::<Result<Vec<_>, _>>().map_err(bad(OUTPUTS))?;
        let code = match pod.annotation(CODE).filter(|text| !text.is_empty()) {
            Some(text) => {
                let wire: CodeWire =
                    serde_json::from_str(text).map_err(|error| error.to_string()).map_err(bad(CODE))?;
                read_code(wire).map_err(bad(CODE))?
            }
            None => None,
        };
        let mut paths: Vec<&str> = inputs.iter().map(|input| input.path.as_str()).collect();
        paths.extend(code.iter().map(|code| code.name.as_str()));
        unique(paths).map_err(bad(INPUTS))?;
        unique(outputs.iter().map(|output| output.path.as_str()).collect()).map_err(bad(OUTPUTS))?;
        let site = pod.0.pointer("/spec/nodeSelector").and_then(|selector| selector.get(SITE_SELECTOR));
        let site = site.and_then(|site| site.as_str()).filter(|site| !site.is_empty()).map(str::to_owned);
        Ok(Order { site, inputs, outputs, code })
    }
}

fn list<T: for<'de> Deserialize<'de>>(pod: &RawPod, annotation: &'static str) -> Result<Vec<T>, BadOrder> {
    let Some(text) = pod.annotation(annotation).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let list: Option<Vec<T>> =
        serde_json::from_str(text).map_err(|error| BadOrder { annotation, problem: error.to_string() })?;
    let list = list.unwrap_or_default();
    if list.len() > MAX_FILES {
        return Err(BadOrder { annotation, problem: format!("more than {MAX_FILES} files") });
    }
    Ok(list)
}

fn read_input(wire: InputWire) -> Result<Input, String> {
    Ok(Input {
        did: did(&wire.did)?,
        path: relative(&wire.path)?,
        bytes: number(wire.bytes)?,
        adler32: wire.adler32.as_deref().map(adler32).transpose()?,
    })
}

fn read_output(wire: OutputWire) -> Result<Output, String> {
    if wire.rse.is_empty() || wire.rse.len() > LONGEST_NAME {
        return Err(format!("{:?} is not the name of a storage element", wire.rse));
    }
    Ok(Output {
        path: relative(&wire.path)?,
        did: did(&wire.did)?,
        dataset: wire.dataset.as_deref().filter(|text| !text.is_empty()).map(did).transpose()?,
        rse: wire.rse,
        required: wire.required,
    })
}

fn read_code(wire: CodeWire) -> Result<Option<Code>, String> {
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let (source, default_name) = match (&wire.did, &wire.path) {
        (Some(text), path) => {
            let did = did(text)?;
            let name = path.clone().unwrap_or_else(|| last(&did.name));
            (CodeSource::Lake(did), name)
        }
        (None, Some(path)) if path.starts_with('/') => (CodeSource::Machine(path.clone()), last(path)),
        (None, Some(path)) => return Err(format!("{path:?} is not an absolute path")),
        // Only the checksum of something that is staged otherwise.
        (None, None) => return Ok(None),
    };
    if let Some(sum) = &wire.sha256
        && (sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(format!("{sum:?} is not a SHA-256"));
    }
    Ok(Some(Code {
        source,
        name: relative(&wire.name.unwrap_or(default_name))?,
        sha256: wire.sha256.map(|sum| sum.to_ascii_lowercase()),
        bytes: number(wire.bytes)?,
        adler32: wire.adler32.as_deref().map(adler32).transpose()?,
    }))
}

fn did(text: &str) -> Result<Did, String> {
    text.parse().map_err(|error: dte_protocol_rucio::did::BadDid| error.to_string())
}

/// A path below a folder, component by component.
fn relative(path: &str) -> Result<String, String> {
    let good = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= LONGEST_NAME;
    let whole = path.len() <= LONGEST_PATH && !path.contains(['\0', '\\']) && path.split('/').all(good);
    if whole { Ok(path.to_owned()) } else { Err(format!("{path:?} is not a relative path without dots")) }
}

/// Eight lower-case digits; leading zeros may have been left out.
fn adler32(text: &str) -> Result<String, String> {
    match u32::from_str_radix(text.trim(), 16) {
        Ok(sum) if text.trim().len() <= 8 => Ok(format!("{sum:08x}")),
        _ => Err(format!("{text:?} is not an adler32")),
    }
}

fn unique(mut paths: Vec<&str>) -> Result<(), String> {
    paths.sort_unstable();
    for pair in paths.windows(2) {
        if pair[0] == pair[1] {
            return Err(format!("two files at {:?}", pair[0]));
        }
        if pair[1].strip_prefix(pair[0]).is_some_and(|rest| rest.starts_with('/')) {
            return Err(format!("{:?} is both a file and a folder", pair[0]));
        }
    }
    Ok(())
}

/// An input as it was staged, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedInput {
    pub did: String,
    pub bytes: u64,
    pub adler32: String,
    pub pfn: String,
}

/// An output as it was registered, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedOutput {
    pub did: String,
    pub bytes: u64,
    pub adler32: String,
    pub rse: String,
    pub path: String,
    pub dataset: Option<String>,
    pub pfn: String,
}

/// The program as it was staged, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedCode {
    pub did: Option<String>,
    pub path: String,
    pub sha256: String,
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order(annotations: serde_json::Value) -> Result<Order, BadOrder> {
        Order::read(&RawPod(
            json!({"metadata": {"annotations": annotations}, "spec": {"nodeSelector": {"dte.site": "local"}}}),
        ))
    }

    #[test]
    fn reads_the_agreement() {
        let order = order(json!({
            INPUTS: r#"[{"did":"enso:a.csv","path":"observations/a.csv","bytes":3,"adler32":"1"}]"#,
            OUTPUTS: r#"[{"path":"f.csv","did":"enso:f.csv","dataset":"enso:ds","rse":"LOCAL"}]"#,
            CODE: r#"{"did":"enso:model-1","path":"model","sha256":null}"#,
        }))
        .expect("an order");
        assert_eq!(order.site.as_deref(), Some("local"));
        assert_eq!(order.inputs[0].adler32.as_deref(), Some("00000001"));
        assert!(order.outputs[0].required);
        let code = order.code.expect("code");
        assert_eq!((code.source, code.name.as_str()), (CodeSource::Lake(Did::new("enso", "model-1")), "model"));
        let machine = super::read_code(serde_json::from_str(r#"{"path":"/opt/m/run"}"#).expect("wire")).expect("code");
        assert_eq!(machine.expect("code").name, "run");
    }

    #[test]
    fn refuses_ways_out_and_collisions() {
        let input = |path: &str| json!([{"did": "s:n", "path": path}]).to_string();
        for path in ["/etc/passwd", "../x", "a/../b", "a//b", "", ".", "a/", "a\\b", "a\0b", &"x".repeat(300)] {
            assert!(order(json!({INPUTS: input(path)})).is_err(), "{path:?}");
            let output = json!([{"path": path, "did": "s:n", "rse": "R"}]).to_string();
            assert!(order(json!({OUTPUTS: output})).is_err(), "{path:?}");
            assert!(order(json!({CODE: json!({"did": "s:n", "path": path}).to_string()})).is_err(), "{path:?}");
        }
        let two = r#"[{"did":"s:n","path":"a"},{"did":"s:m","path":"a/b"}]"#;
        assert!(order(json!({INPUTS: two})).is_err());
        let same = r#"[{"did":"s:n","path":"model"}]"#;
        assert!(order(json!({INPUTS: same, CODE: r#"{"did":"s:m","path":"model"}"#})).is_err());
        for text in ["{", r#"[{"did":"nodid","path":"a"}]"#, r#"[{"did":"s:n","path":"a","adler32":"xyz"}]"#] {
            assert!(order(json!({INPUTS: text})).is_err(), "{text}");
        }
        assert!(order(json!({CODE: r#"{"path":"relative"}"#})).is_err());
        assert!(order(json!({CODE: r#"{"path":"/x","sha256":"12"}"#})).is_err());
    }
}
