//! One entry of the walk, and what `guard` says of it.

use crate::read;
use crate::tree::Answers;
use guard::root::{Exposure, File, Purpose, Survey, judge};
use guard::secrets::Detector;
use guard::{Fact, Missing};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

pub struct Job {
    /// Absolute in the tree.
    pub path: String,
    pub mode: u32,
    pub owner: u32,
    pub size: u64,
    pub what: What,
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
    pub tree: Answers<'a>,
    pub buffer: Vec<u8>,
}

impl Judge<'_> {
    pub fn judge(&mut self, job: Job) -> Outcome {
        let mut outcome = Outcome::default();
        let of_file = |content| File { path: &job.path, mode: job.mode, owner: job.owner, is_directory: false, content };
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
                let leaks = || read::leaks(&fd, content, job.size, self.detector, &mut beyond);
                outcome.exposures = judge(self.survey, &of_file(Fact::Known(content)), leaks, &self.tree);
                outcome.bytes = content.len() as u64 + beyond;
            }
        }
        outcome
    }

    /// A host's file that nobody else can read exposes nothing by what is in it.
    fn is_unknown(&self, path: &str, mode: u32, outcome: &Outcome) -> bool {
        let is_said = outcome.exposures.iter().any(|e| e.path == path && e.rule == "unread");
        !is_said && (self.purpose == Purpose::Image || mode & 0o004 != 0)
    }
}
