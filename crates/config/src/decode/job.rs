//! `job "name" { ... }` of a service.

use super::context::Context;
use super::labels::label_name;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::value::Value;
use crate::units;
use model::{Job, JobName, Overlap, RUN_WITHIN_MS, ServiceSpec};

pub(crate) fn jobs(context: &Context, service: &mut Section, sink: &mut Sink) -> Option<Vec<Job>> {
    let mut all: Vec<Option<Job>> = Vec::new();
    for (label, block) in service.named("job", sink) {
        let section = Section::of(context, &schema::JOB, block, sink);
        let name = label_name(context, label.clone(), block, sink, JobName::new);
        if all.len() == ServiceSpec::JOBS_MAX {
            let text = format!("more than {} jobs", ServiceSpec::JOBS_MAX);
            sink.push(Draft::new("too-many", label, text).label("leave this out, or give it to another service"));
        }
        let schedule = section.need("schedule", sink, |v| at(v, units::rebuild(&read::text(v, "a schedule in quotes")?)));
        let timezone = section.or("timezone", None, sink, |v| Ok(Some(at(v, units::timezone(&read::text(v, "a time zone in quotes")?))?)));
        let run = section.need("run", sink, read::command);
        let overlap = section.or("overlap", Overlap::Forbid, sink, overlap);
        let deadline = section.or("deadline", Job::DEADLINE_MS, sink, |v| read::duration(v, "1m", "7d"));
        let within = section.or("within", RUN_WITHIN_MS, sink, |v| read::duration(v, "1s", "24h"));
        let retries =
            section.or("retries", 0, sink, |v| read::number(v, 0, u64::from(Job::RETRIES_MAX))).and_then(|n| u32::try_from(n).ok());
        all.push((|| {
            Some(Job {
                name: name?,
                schedule: schedule?,
                timezone: timezone?,
                run: run?,
                overlap: overlap?,
                deadline_ms: deadline?,
                within_ms: within?,
                retries: retries?,
            })
        })());
    }
    let mut jobs: Vec<Job> = all.into_iter().collect::<Option<_>>()?;
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    Some(jobs)
}

fn overlap(value: &Value) -> Read<Overlap> {
    let expected = "\"forbid\" or \"replace\"";
    let text = read::text(value, expected)?;
    at(value, units::overlap(&text))
}
