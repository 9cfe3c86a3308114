//! One scan: threads that judge what one thread walks, and their answers in the order of the walk.

use crate::job::{Job, Judge, Outcome};
use crate::tree::{Answers, INCLUDED_MAX, LISTS_MAX};
use crate::walk::{self, Stopped};
use crate::{Event, Options, Totals, is_over};
use disk::within::Root;
use guard::root::{Exposure, Survey};
use guard::secrets::Detector;
use model::Fault;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Instant;

/// Files that are open and not yet reported, at most.
const AHEAD: usize = 128;
/// How often progress is reported: after these entries, or these bytes.
const PROGRESS: (u64, u64) = (2000, 64 << 20);

/// Scans the tree at `root`, which may change meanwhile; `show` gets what is found.
pub fn scan(root: &Path, options: &Options, show: &mut dyn FnMut(Event)) -> Result<Totals, Fault> {
    let detector = Detector::built_in().map_err(|e| Fault::ours("bad-rules", format!("the rules for secrets are refused: {e}")))?;
    let beneath = Root::open(root)?;
    let top = beneath.open_dir(Path::new(""), OFlags::RDONLY).map_err(|e| disk::files::fault("cannot read", root, &e.into()))?;
    let survey = Survey::of(&Answers::new(&beneath, LISTS_MAX, options.until), options.purpose);
    let mut report = Report { show, totals: Totals::default(), shown: Totals::default(), unread: None };
    report.exposures(&survey.unknown());
    let judge = || Judge {
        survey: &survey,
        detector: &detector,
        purpose: options.purpose,
        until: options.until,
        tree: Answers::new(&beneath, INCLUDED_MAX, options.until),
        buffer: Vec::new(),
    };
    std::thread::scope(|scope| {
        let (ticket, tickets) = sync_channel(AHEAD);
        let (job, jobs) = sync_channel(AHEAD);
        let (outcome, outcomes) = channel();
        let jobs = std::sync::Arc::new(Mutex::new(jobs));
        for _ in 0..options.threads.max(1) {
            let (jobs, outcome, judge) = (jobs.clone(), outcome.clone(), judge());
            scope.spawn(move || work(&jobs, &outcome, judge));
        }
        drop((jobs, outcome));
        scope.spawn(move || walk(top, &ticket, &job, options.until));
        report.all(&outcomes, &tickets);
    });
    report.flush();
    Ok(report.totals)
}

fn walk(top: OwnedFd, ticket: &SyncSender<()>, job: &SyncSender<(u64, Job)>, until: Option<Instant>) {
    let mut number = 0;
    let mut give = |next: Job| {
        ticket.send(()).map_err(|_| Stopped)?;
        if is_over(until) {
            // Whoever takes it is told that, and nothing more.
            let _ = job.send((number, Job::out_of_time(next.path)));
            return Err(Stopped);
        }
        job.send((number, next)).map_err(|_| Stopped)?;
        number += 1;
        Ok(())
    };
    // Who stopped it says why.
    let _ = walk::walk(top, &mut give);
}

fn work(jobs: &Mutex<Receiver<(u64, Job)>>, outcome: &Sender<(u64, Outcome)>, mut judge: Judge) {
    loop {
        let next = jobs.lock().map(|jobs| jobs.recv());
        let Ok(Ok((number, job))) = next else { return };
        if outcome.send((number, judge.judge(job))).is_err() {
            return;
        }
    }
}

/// Files of one directory that could not be read are one row.
struct Unread {
    directory: String,
    count: u64,
    first: String,
    cause: String,
}

struct Report<'a> {
    show: &'a mut dyn FnMut(Event),
    totals: Totals,
    /// When progress was last reported.
    shown: Totals,
    unread: Option<Unread>,
}

impl Report<'_> {
    fn all(&mut self, outcomes: &Receiver<(u64, Outcome)>, tickets: &Receiver<()>) {
        let (mut next, mut waiting) = (0, BTreeMap::new());
        for (number, outcome) in outcomes {
            waiting.insert(number, outcome);
            while let Some(outcome) = waiting.remove(&next) {
                self.one(outcome);
                next += 1;
                // One for each that was given.
                let _ = tickets.try_recv();
            }
        }
    }

    fn one(&mut self, outcome: Outcome) {
        let totals = &mut self.totals;
        totals.files += outcome.files;
        totals.directories += outcome.directories;
        totals.bytes += outcome.bytes;
        let entries = |t: &Totals| t.files + t.directories;
        if entries(totals) - entries(&self.shown) >= PROGRESS.0 || totals.bytes - self.shown.bytes >= PROGRESS.1 {
            self.shown = *totals;
            (self.show)(Event::Progress(*totals));
        }
        match outcome.unread {
            Some((path, errno)) => self.unread(path, errno.to_string()),
            None if outcome.exposures.is_empty() => {}
            None => self.flush(),
        }
        self.exposures(&outcome.exposures);
    }

    fn unread(&mut self, path: String, cause: String) {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        match &mut self.unread {
            Some(unread) if unread.directory == directory && unread.cause == cause => unread.count += 1,
            _ => {
                let directory = directory.to_string();
                self.flush();
                self.unread = Some(Unread { directory, count: 1, first: path, cause });
            }
        }
    }

    fn flush(&mut self) {
        let Some(Unread { directory, count, first, cause }) = self.unread.take() else { return };
        let fix = "run the scan as root";
        let exposure = if count == 1 {
            Exposure::unread(&first, &format!("the file cannot be read: {cause}"), fix)
        } else {
            Exposure::unread(&directory, &format!("{count} files in it cannot be read: {cause}"), fix)
        };
        self.exposures(&[exposure]);
    }

    fn exposures(&mut self, exposures: &[Exposure]) {
        exposures.iter().for_each(|exposure| (self.show)(Event::Finding(&exposure.finding())));
    }
}
