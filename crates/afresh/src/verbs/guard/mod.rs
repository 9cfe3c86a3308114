//! `guard`: what is exposed, what a gate denies, and who waived it. It is the shell around the crate of that name: it reads, asks, prints.

mod again;
mod carry_out;
mod changes;
mod check;
mod connection;
mod consent;
mod contain;
mod exposed;
mod host_target;
mod incident;
mod input;
mod progress;
mod reach;
mod report;
mod rules;
mod scan;
mod scan_aws;
mod scan_host;
mod scan_image;
mod scan_instance;
mod scan_root;
mod scan_tree;
mod service_facts;
mod session;
mod settings;
mod sockets;
mod stop;
mod target;
mod undo;
mod waivers;
mod words;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use clap::{Args, Subcommand};

/// Find exposed data and secrets, contain them, and check changes against rules
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes:
  0  clean
  1  denied: something is exposed, or a rule refuses it
  2  unknown: nothing is known to be exposed, and something could not be read; each line says what would answer it
  3  error: a flag, a file, or the machine

Example:
  afresh guard scan root /srv/image --json
  afresh guard check plan.json --format sarif")]
pub struct GuardVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Scan(scan::ScanVerb),
    Check(check::Check),
    Rules(rules::Rules),
    Explain(rules::Explain),
    Waive(waivers::Waive),
    Waivers(waivers::Waivers),
    Contain(contain::Contain),
    Contained(undo::Contained),
    Undo(undo::Undo),
    StopTheBleeding(stop::Stop),
    Incident(incident::IncidentVerb),
    Answer(incident::Answer),
    SecurityTxt(incident::SecurityTxt),
}

impl GuardVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Scan(verb) => verb.run(context),
            Verb::Check(verb) => verb.run(context),
            Verb::Rules(verb) => verb.run(context),
            Verb::Explain(verb) => verb.run(context),
            Verb::Waive(verb) => verb.run(context),
            Verb::Waivers(verb) => verb.run(context),
            Verb::Contain(verb) => verb.run(context),
            Verb::Contained(verb) => verb.run(context),
            Verb::Undo(verb) => verb.run(context),
            Verb::StopTheBleeding(verb) => verb.run(context),
            Verb::Incident(verb) => verb.run(context),
            Verb::Answer(verb) => verb.run(context),
            Verb::SecurityTxt(verb) => verb.run(context),
        }
    }
}
