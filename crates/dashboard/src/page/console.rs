//! The console on the page of a pod: a program in one of its containers. It needs the script, and is not shown without.

use maud::{Markup, html};

use crate::address;
use crate::model::compute::Pod;

/// Of a pod that has not ended.
pub fn console(pod: &Pod) -> Markup {
    let main = || pod.containers.iter().filter(|one| !one.is_init);
    html! {
        @if !pod.line.has_ended() && main().next().is_some() {
            section #console.card hidden data-exec=(format!("{}/exec", address::pod(&pod.line.uid))) aria-labelledby="console-h" {
                h2 #console-h { "Console" }
                form.start {
                    @if main().nth(1).is_some() {
                        label { "Container " select name="container" { @for one in main() { option selected[one.name == pod.shown] { (one.name) } } } }
                    } @else {
                        @for one in main() { input type="hidden" name="container" value=(one.name); }
                    }
                    label { "Program " input name="command" value="/bin/sh" autocomplete="off" spellcheck="false" autocapitalize="off"; }
                    button { "Start" }
                }
                pre.output tabindex="0" aria-label="What it writes" {}
                form.talk hidden {
                    label { span.unseen { "A line for it" } input name="line" autocomplete="off" spellcheck="false" autocapitalize="off"; }
                    button { "Send" }
                    button type="button" name="eof" { "End of input" }
                    button type="button" name="hang" { "Hang up" }
                }
                p.note role="status" {}
            }
        }
    }
}
