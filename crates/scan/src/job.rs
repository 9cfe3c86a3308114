//! One entry of the walk, and what `guard` says of it.

use crate::read;
use crate::tree::Answers;
use guard::root::{Exposure, File, Purpose, Survey, judge};
use guard::secrets::Detector;
use guard::{Fact, Missing};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub struct Job {
    /// Absolute in the tree.
    pub path: String,
    pub mode: u32,
    pub owner: u32,
    pub size: u64,
    /// Not on the filesystem of the root.
    pub is_mounted: bool,
    pub what: What,
}

impl Job {
    /// The place where a scan ended before its end.
    pub fn out_of_time(path: String) -> Job {
        let what = What::Unseen(Exposure::unread(
            "/",
            &format!("the time of the scan was over at {path}"),
            "scan it by itself, which has no time limit: afresh guard scan root DIR",
        ));
        Job { path, mode: 0, owner: 0, size: 0, is_mounted: false, what }
    }
}

pub enum What {
    Directory,
    File(OwnedFd),
    Unreadable(Errno),
    /// The walk could not go on there.
    Unseen(Exposure),
}

#[derive(Default)]
pub struct Outcome {
    pub exposures: Vec<Exposure>,
    /// A file that could not be read, and of which no more is known than that.
    pub unread: Option<(String, Errno)>,
    pub files: u64,
    pub directories: u64,
    pub bytes: u64,
}

/// What each thread has of its own.
pub struct Judge<'a> {
    pub survey: &'a Survey,
    pub detector: &'a Detector,
    pub purpose: Purpose,
    pub until: Option<Instant>,
    pub tree: Answers<'a>,
    pub buffer: Vec<u8>,
}

impl Judge<'_> {
    /// A file that the judging fails on is unknown, and the scan goes on: nobody would wait for its answer else.
    pub fn judge(&mut self, job: Job) -> Outcome {
        let path = job.path.clone();
        self.tree.renew();
        catch_unwind(AssertUnwindSafe(|| self.judged(job))).unwrap_or_else(|_| {
            let unknown = Exposure::unread(&path, "judging it failed, which is a bug of Afresh", "report it, and look at the file by hand");
            Outcome { exposures: vec![unknown], files: 1, ..Outcome::default() }
        })
    }

    fn judged(&mut self, job: Job) -> Outcome {
        let mut outcome = Outcome::default();
        let (mode, owner, is_mounted) = (job.mode, job.owner, job.is_mounted);
        let of_file = |content| File { path: &job.path, mode, owner, is_directory: false, is_mounted, content };
        let unreadable = |errno: Errno| of_file(Fact::Unknown(Missing(errno.to_string())));
        let none = || Fact::Known(Vec::new());
        match job.what {
            What::Unseen(exposure) => outcome.exposures.push(exposure),
            What::Directory => {
                outcome.directories = 1;
                let file = File { is_directory: true, ..of_file(Fact::Known(&[][..])) };
                outcome.exposures = judge(self.survey, &file, none, &self.tree);
            }
            What::Unreadable(errno) => {
                outcome.exposures = judge(self.survey, &unreadable(errno), none, &self.tree);
                outcome.unread = self.is_unknown(&job.path, job.mode, &outcome).then_some((job.path, errno));
            }
            What::File(fd) => {
                outcome.files = 1;
                if let Err(errno) = read::head(&fd, &mut self.buffer) {
                    outcome.exposures = judge(self.survey, &unreadable(errno), none, &self.tree);
                    outcome.unread = self.is_unknown(&job.path, job.mode, &outcome).then_some((job.path, errno));
                    return outcome;
                }
                let (content, mut beyond) = (self.buffer.as_slice(), 0);
                let leaks = || read::leaks(&fd, content, (job.size, self.until), self.detector, &mut beyond);
                outcome.exposures = judge(self.survey, &of_file(Fact::Known(content)), leaks, &self.tree);
                outcome.bytes = content.len() as u64 + beyond;
            }
        }
        // One include that cannot be read may be named a thousand times.
        outcome.exposures.dedup();
        outcome
    }

    /// A host's file that nobody else can read exposes nothing by what is in it.
    fn is_unknown(&self, path: &str, mode: u32, outcome: &Outcome) -> bool {
        let is_said = outcome.exposures.iter().any(|e| e.path == path && e.rule == "unread");
        !is_said && (self.purpose == Purpose::Image || mode & 0o004 != 0)
    }
}
