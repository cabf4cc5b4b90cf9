//! What is sent with a job: its description in ADL, and the script that starts the runner. Golden: a change of their text is a
//! change of the tests below.

use std::io;
use std::path::Path;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use uuid::Uuid;

use crate::batch::resources::Wanted;
use crate::host::POD_SHIM;
use crate::host::folder::{EXIT, INPUTS, OUTPUTS, TMP, WORK};

const ADL: &str = "http://www.eu-emi.eu/es/2010/12/adl";
const MEBIBYTE: u64 = 1 << 20;
const SECONDS_OF_A_MINUTE: u64 = 60;
/// Names in the session folder.
pub const SCRIPT: &str = "job.sh";
pub const RUNNER: &str = "runner";
pub const SPEC: &str = "spec.json";
pub const LOGS: &str = "logs";
pub const STARTED: &str = "started";
pub const JOB_OUTPUT: &str = "job.out";
/// What stays in the session folder when the job has ended.
const KEPT: [&str; 3] = [OUTPUTS, LOGS, EXIT];

/// A file that a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Beneath the session folder.
    pub name: String,
    pub is_program: bool,
}

impl Input {
    pub fn new(name: impl Into<String>, is_program: bool) -> Input {
        Input { name: name.into(), is_program }
    }
}

/// Makes the rest of a run folder and becomes the runner. `on_nodes`: where the runner is, if it is not sent; of plain characters
/// ([`crate::place::check_folder`]).
pub fn script(on_nodes: Option<&Path>) -> String {
    let runner = on_nodes.map_or_else(|| format!("./{RUNNER}"), |path| path.display().to_string());
    let folders = [INPUTS, OUTPUTS, WORK, TMP, LOGS].join(" ");
    format!("#!/bin/sh\nset -e\numask 077\nmkdir -p {folders}\nexec {runner} {POD_SHIM} \"$PWD\"\n")
}

/// The description of a pod's job.
pub fn render(uid: Uuid, queue: Option<&str>, wanted: &Wanted, inputs: &[Input]) -> Result<String, String> {
    if wanted.gpus > 0 {
        return Err("resources.limits: how a computing element gives GPUs is not known here".into());
    }
    let mut out = Vec::new();
    write(&mut Writer::new_with_indent(&mut out, b' ', 2), uid, queue, wanted, inputs)
        .map_err(|error| format!("the description cannot be written: {error}"))?;
    String::from_utf8(out).map_err(|error| format!("the description cannot be written: {error}"))
}

type Xml<'a> = Writer<&'a mut Vec<u8>>;

fn write(xml: &mut Xml<'_>, uid: Uuid, queue: Option<&str>, wanted: &Wanted, inputs: &[Input]) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = xml.create_element("ActivityDescription").with_attribute(("xmlns", ADL));
    root.write_inner_content(|xml| {
        within(xml, "ActivityIdentification", |xml| text(xml, "Name", &uid.to_string()))?;
        within(xml, "Application", |xml| {
            within(xml, "Executable", |xml| {
                text(xml, "Path", "/bin/sh")?;
                text(xml, "Argument", SCRIPT)
            })?;
            text(xml, "Output", JOB_OUTPUT)?;
            text(xml, "Error", JOB_OUTPUT)
        })?;
        within(xml, "Resources", |xml| resources(xml, queue, wanted))?;
        within(xml, "DataStaging", |xml| {
            for input in inputs {
                within(xml, "InputFile", |xml| {
                    text(xml, "Name", &input.name)?;
                    if input.is_program { text(xml, "IsExecutable", "true") } else { Ok(()) }
                })?;
            }
            for name in KEPT {
                let name = if name == EXIT { name.to_owned() } else { format!("{name}/") };
                within(xml, "OutputFile", |xml| text(xml, "Name", &name))?;
            }
            Ok(())
        })
    })?;
    Ok(())
}

/// Memory is asked for by slot there.
fn resources(xml: &mut Xml<'_>, queue: Option<&str>, wanted: &Wanted) -> io::Result<()> {
    let slots = wanted.cpus.unwrap_or(1);
    if let Some(queue) = queue {
        text(xml, "QueueName", queue)?;
    }
    let bytes = |mebibytes: u64| mebibytes.saturating_mul(MEBIBYTE).to_string();
    if let Some(memory) = wanted.memory_mebibytes {
        text(xml, "IndividualPhysicalMemory", &bytes(memory.div_ceil(slots)))?;
    }
    if let Some(storage) = wanted.storage_mebibytes {
        text(xml, "DiskSpaceRequirement", &bytes(storage))?;
    }
    within(xml, "SlotRequirement", |xml| {
        text(xml, "NumberOfSlots", &slots.to_string())?;
        text(xml, "SlotsPerHost", &slots.to_string())
    })?;
    if let Some(minutes) = wanted.minutes {
        text(xml, "WallTime", &minutes.saturating_mul(SECONDS_OF_A_MINUTE).to_string())?;
    }
    Ok(())
}

fn within(xml: &mut Xml<'_>, name: &str, inner: impl FnOnce(&mut Xml<'_>) -> io::Result<()>) -> io::Result<()> {
    xml.create_element(name).write_inner_content(inner).map(drop)
}

fn text(xml: &mut Xml<'_>, name: &str, value: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(value)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let wanted =
            Wanted { cpus: Some(2), memory_mebibytes: Some(3), storage_mebibytes: Some(1), minutes: Some(3), gpus: 0 };
        let inputs = [Input::new("job.sh", false), Input::new("runner", true), Input::new("inputs/a <&b>/c]]>", false)];
        let made = render(Uuid::from_u128(1), Some("gridlong"), &wanted, &inputs).expect("made");
        let wanted = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<ActivityDescription xmlns=\"http://www.eu-emi.eu/es/2010/12/adl\">
  <ActivityIdentification>
    <Name>00000000-0000-0000-0000-000000000001</Name>
  </ActivityIdentification>
  <Application>
    <Executable>
      <Path>/bin/sh</Path>
      <Argument>job.sh</Argument>
    </Executable>
    <Output>job.out</Output>
    <Error>job.out</Error>
  </Application>
  <Resources>
    <QueueName>gridlong</QueueName>
    <IndividualPhysicalMemory>2097152</IndividualPhysicalMemory>
    <DiskSpaceRequirement>1048576</DiskSpaceRequirement>
    <SlotRequirement>
      <NumberOfSlots>2</NumberOfSlots>
      <SlotsPerHost>2</SlotsPerHost>
    </SlotRequirement>
    <WallTime>180</WallTime>
  </Resources>
  <DataStaging>
    <InputFile>
      <Name>job.sh</Name>
    </InputFile>
    <InputFile>
      <Name>runner</Name>
      <IsExecutable>true</IsExecutable>
    </InputFile>
    <InputFile>
      <Name>inputs/a &lt;&amp;b&gt;/c]]&gt;</Name>
    </InputFile>
    <OutputFile>
      <Name>outputs/</Name>
    </OutputFile>
    <OutputFile>
      <Name>logs/</Name>
    </OutputFile>
    <OutputFile>
      <Name>exit.json</Name>
    </OutputFile>
  </DataStaging>
</ActivityDescription>";
        assert_eq!(made, wanted);
        assert!(render(Uuid::nil(), None, &Wanted { gpus: 1, ..Wanted::default() }, &[]).is_err());
    }

    #[test]
    fn the_script() {
        let wanted =
            "#!/bin/sh\nset -e\numask 077\nmkdir -p inputs outputs work tmp logs\nexec ./runner pod-shim \"$PWD\"\n";
        assert_eq!(script(None), wanted);
        assert!(script(Some(Path::new("/cvmfs/dte/bin/dte"))).ends_with("exec /cvmfs/dte/bin/dte pod-shim \"$PWD\"\n"));
    }
}
