//! Reading a server's log while its shim writes it: parts of it for users, and its last lines for the reason why it ended.
//! Output is foreign text of any length; nothing here keeps more of it than its bound.

use crate::log_file::{Dropped, LOG_BYTES_MAX, Note, TIMES_BYTES_MAX, times, turned_over};
use crate::state_files;
use api::logs::{GREP_BYTES_MAX, LINE_BYTES_MAX, LogLine, LogPart, LogQuery, PART_BYTES_MAX, Stream};
use model::{Fault, InstanceId, LAST_LINES_BYTES_MAX, LAST_LINES_MAX, Time};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is read of the end of a log for its last lines.
const END_BYTES: u64 = 16 << 10;
/// What a line costs beside its text, in memory and in the answer: a program that prints empty lines must not fill either.
const LINE_BYTES: usize = 64;
/// Of one line among the last lines.
const LAST_LINE_BYTES_MAX: usize = 400;

/// One of the two files of a log. Its inode identifies it also after a rotation; as inodes are reused, the time of its first line is part
/// of the name.
struct Segment {
    file: File,
    inode: u64,
    bytes: u64,
    written: Time,
    /// By place, growing.
    notes: Vec<Note>,
}

fn open(log: &Path, with_times: bool) -> Option<Segment> {
    let file = File::open(log).ok()?;
    let meta = file.metadata().ok()?;
    let mut bytes = Vec::new();
    if with_times {
        // A log of an older version has no times.
        let _ = File::open(times(log)).and_then(|file| file.take(2 * TIMES_BYTES_MAX).read_to_end(&mut bytes));
    }
    let notes = bytes.chunks_exact(Note::BYTES).map(Note::decode).collect();
    Some(Segment { file, inode: meta.ino(), bytes: meta.len().min(2 * LOG_BYTES_MAX), written: state_files::time_of(&meta), notes })
}

/// The rotated file, if there is one, then the current one.
fn segments(log: &Path, with_times: bool) -> Vec<Segment> {
    // The current one first: if it is rotated meanwhile, both names lead to it.
    let now = open(log, with_times);
    let before = open(&turned_over(log), with_times).filter(|old| now.as_ref().is_none_or(|now| now.inode != old.inode));
    before.into_iter().chain(now).collect()
}

impl Segment {
    fn begun(&self) -> u64 {
        self.notes.first().map_or(0, |note| note.time.0)
    }

    /// Whether a reader that stopped in the file with this name stopped in this one. Nothing was printed yet, or an older version kept
    /// it: then its beginning has no time.
    fn is(&self, inode: u64, begun: u64) -> bool {
        self.inode == inode && (begun == 0 || begun == self.begun())
    }

    fn place(&self, at: u64) -> String {
        format!("{}:{}:{at}", self.inode, self.begun())
    }

    fn note_of(&self, place: u64) -> Option<&Note> {
        self.notes[..self.notes.partition_point(|note| note.at <= place)].last()
    }
}

/// An expression takes time in proportion to what it reads, and room within a bound.
const GREP_ROOM_BYTES: usize = 1 << 20;

fn compile(grep: &str) -> Result<Regex, Fault> {
    let bad = |why: &str| Fault::yours("bad-regex", format!("{:?} is not a regular expression: {why}", model::text::shown(grep, 80)));
    if grep.len() > GREP_BYTES_MAX {
        return Err(bad(&format!("it has {} bytes, and at most {GREP_BYTES_MAX} are allowed", grep.len())));
    }
    let built = RegexBuilder::new(grep).unicode(false).size_limit(GREP_ROOM_BYTES).dfa_size_limit(GREP_ROOM_BYTES).build();
    built.map_err(|e| {
        let text = e.to_string();
        let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ").trim().to_lowercase();
        bad(&model::text::shown(&why, 200)).hint("a text is found as it is with \\ before each of . + * ? ( ) [ ] { } ^ $ | \\")
    })
}

/// `lives`: its program may print more, so a line without its end is not returned yet.
pub fn part(log: &Path, instance: &InstanceId, query: &LogQuery, lives: bool) -> Result<LogPart, Fault> {
    let grep = query.grep.as_deref().map(compile).transpose()?;
    let dropped = Dropped::read(log);
    let segments = segments(log, true);
    if segments.is_empty() {
        return Err(Fault::yours("no-log", format!("no log of {instance}"))
            .hint("only the logs of the last few servers of each group are kept; show them: `afresh logs SERVICE`"));
    }
    let (mut first, mut place, mut lost) = (0, 0, false);
    if let Some(from) = &query.from {
        let wrong = || Fault::yours("bad-parameter", "from is not the `next` of an earlier answer");
        let numbers: Vec<u64> = from.split(':').map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        let [inode, begun, at] = numbers[..] else { return Err(wrong()) };
        match segments.iter().position(|segment| segment.is(inode, begun)) {
            Some(found) => (first, place) = (found, at),
            None => lost = true,
        }
    }
    let mut taken = Taken { lines: VecDeque::new(), bytes: 0, tail: query.tail };
    if (query.from.is_none() || lost) && query.since.is_none() && grep.is_none() && dropped.lines > 0 {
        let at = segments[0].notes.first().map(|note| note.time);
        let text = format!("{} lines ({} bytes) before these were dropped: a log is bounded", dropped.lines, dropped.bytes);
        taken.take(LogLine { at, stream: Some(Stream::Afresh), text });
    }
    let only = Only { since: query.since, grep };
    let (last, mut next) = (segments.len() - 1, String::new());
    for (n, segment) in segments.into_iter().enumerate().skip(first) {
        let reach = if n == first { place } else { 0 };
        let end = lines(segment, reach, &only, n == last && lives, &mut taken).map_err(|e| state_files::at(log, "reading", e))?;
        next = end.text;
        if end.full {
            return Ok(LogPart {
                instance: instance.clone(),
                lines: taken.lines.into(),
                next,
                more: true,
                lost,
                dropped: dropped.lines,
                lives,
            });
        }
    }
    Ok(LogPart { instance: instance.clone(), lines: taken.lines.into(), next, more: false, lost, dropped: dropped.lines, lives })
}

/// The lines so far.
struct Taken {
    lines: VecDeque<LogLine>,
    bytes: usize,
    tail: Option<usize>,
}

impl Taken {
    /// False: there is no room for it, and nothing may be dropped for it.
    fn take(&mut self, line: LogLine) -> bool {
        let cost = |line: &LogLine| LINE_BYTES + line.text.len();
        let full = |taken: &Self| !taken.lines.is_empty() && taken.bytes + cost(&line) > PART_BYTES_MAX;
        if self.tail.is_none() && full(self) {
            return false;
        }
        while full(self) || self.tail.is_some_and(|tail| self.lines.len() >= tail) {
            match self.lines.pop_front() {
                Some(old) => self.bytes -= cost(&old),
                None => return true,
            }
        }
        self.bytes += cost(&line);
        self.lines.push_back(line);
        true
    }
}

/// Which lines.
struct Only {
    since: Option<Time>,
    grep: Option<Regex>,
}

struct End {
    text: String,
    full: bool,
}

fn lines(segment: Segment, from: u64, only: &Only, grows: bool, taken: &mut Taken) -> std::io::Result<End> {
    // A place comes from the caller, and the kernel refuses some numbers.
    let from = from.min(segment.bytes);
    let mut reader = BufReader::new(&segment.file);
    reader.seek(SeekFrom::Start(from))?;
    let (mut place, mut full, mut line) = (from, false, Vec::new());
    while place < segment.bytes {
        line.clear();
        let most = (LINE_BYTES_MAX as u64).min(segment.bytes - place);
        let read = reader.by_ref().take(most).read_until(b'\n', &mut line)?;
        let ended = line.last() == Some(&b'\n');
        if read == 0 || (!ended && grows && read < LINE_BYTES_MAX) {
            break;
        }
        let note = segment.note_of(place);
        let at = note.map(|note| note.time);
        let bytes = &line[..read - usize::from(ended)];
        let is_new = only.since.is_none_or(|since| at.unwrap_or(segment.written) >= since);
        if is_new && only.grep.as_ref().is_none_or(|grep| grep.is_match(bytes)) {
            let text = String::from_utf8_lossy(bytes);
            let text = text.strip_suffix('\r').unwrap_or(&text).to_string();
            if !taken.take(LogLine { at, stream: note.and_then(|note| note.stream), text }) {
                full = true;
                break;
            }
        }
        place += read as u64;
    }
    Ok(End { text: segment.place(place), full })
}

/// The last lines that were printed, safe to show, oldest first.
pub fn last_lines(log: &Path) -> Vec<String> {
    let mut bytes = Vec::new();
    let mut cut = false;
    for segment in segments(log, false) {
        let from = segment.bytes.saturating_sub(END_BYTES);
        if from > 0 {
            // The rotated file does not continue into this one.
            bytes.clear();
            cut = true;
        }
        let mut file = segment.file;
        // What cannot be read is not known, and nothing depends on it.
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(END_BYTES).read_to_end(&mut bytes));
    }
    shown_lines(&bytes, cut)
}

pub fn last_few_lines(log: &Path, count: usize) -> Vec<String> {
    let mut lines = last_lines(log);
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

/// `cut`: the first line may have begun before these bytes.
fn shown_lines(bytes: &[u8], cut: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut all: Vec<&str> = text.lines().map(str::trim_end).collect();
    if cut && all.len() > 1 {
        all.remove(0);
    }
    let (mut lines, mut room) = (VecDeque::new(), LAST_LINES_BYTES_MAX);
    for line in all.into_iter().rev().skip_while(|line| line.is_empty()).take(LAST_LINES_MAX) {
        let line = model::text::shown(&line.replace('\t', "    "), LAST_LINE_BYTES_MAX);
        let Some(left) = room.checked_sub(line.len()) else { break };
        room = left;
        lines.push_front(line);
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::LogFile;

    struct House {
        dir: tempfile::TempDir,
        log: LogFile,
    }

    fn house() -> House {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::open(dir.path().join("web-r1-1-2.log"));
        House { dir, log }
    }

    impl House {
        fn part(&self, query: &LogQuery, lives: bool) -> LogPart {
            part(&self.dir.path().join("web-r1-1-2.log"), &"web-r1-1-2".parse().unwrap(), query, lives).unwrap()
        }

        fn texts(&self, query: &LogQuery, lives: bool) -> Vec<String> {
            self.part(query, lives).lines.into_iter().map(|line| line.text).collect()
        }
    }

    fn tail(n: usize) -> LogQuery {
        LogQuery { tail: Some(n), ..LogQuery::default() }
    }

    #[test]
    fn a_line_is_given_out_when_it_is_whole_or_nothing_more_can_come() {
        let mut house = house();
        house.log.add(Stream::Stdout, b"one\r\ntwo\nthr");
        assert_eq!(house.texts(&LogQuery::default(), true), ["one", "two"]);
        assert_eq!(house.texts(&LogQuery::default(), false), ["one", "two", "thr"]);
        assert_eq!(house.texts(&tail(1), true), ["two"]);
        assert_eq!(house.texts(&tail(0), true), [""; 0]);
        let next = house.part(&LogQuery::default(), true).next;
        house.log.add(Stream::Stdout, b"ee\nfour\n");
        let more = LogQuery { from: Some(next), ..LogQuery::default() };
        assert_eq!(house.texts(&more, true), ["three", "four"], "it goes on where it was");
    }

    #[test]
    fn lines_have_their_stream_and_are_chosen_by_an_expression() {
        let mut house = house();
        house.log.add(Stream::Stdout, b"GET /a 200\nGET /b 500\n");
        house.log.add(Stream::Stderr, b"ERROR: \xff database\n");
        let all = house.part(&LogQuery::default(), true).lines;
        let streams: Vec<_> = all.iter().map(|line| line.stream.unwrap()).collect();
        assert_eq!(streams, [Stream::Stdout, Stream::Stdout, Stream::Stderr]);
        let grep = |text: &str| LogQuery { grep: Some(text.into()), ..LogQuery::default() };
        assert_eq!(house.texts(&grep(" 5\\d\\d$"), true), ["GET /b 500"]);
        assert_eq!(house.texts(&grep("(?i)error"), true), ["ERROR: \u{fffd} database"]);
        let last = LogQuery { tail: Some(1), ..grep("GET") };
        assert_eq!(house.texts(&last, true), ["GET /b 500"], "the last that matches");
        let fault =
            |text: &str| part(&house.dir.path().join("web-r1-1-2.log"), &"web-r1-1-2".parse().unwrap(), &grep(text), true).unwrap_err();
        for bad in ["(", "a{1000}{1000}", &"a".repeat(2_000), "[", "\\"] {
            let fault = fault(bad);
            assert!(fault.code == "bad-regex" && fault.message.lines().count() == 1, "{fault:?}");
        }
        println!("{}", fault("("));
    }

    /// An expression that costs others exponential time, over all that a log keeps.
    #[test]
    fn a_hostile_expression_takes_its_time_in_proportion() {
        let mut house = house();
        (0..64).for_each(|_| house.log.add(Stream::Stdout, &[&[b'a'; 65_000][..], b"\n"].concat()));
        let query = LogQuery { grep: Some("(a*)*(a|a)*(.*)(.*)b$".into()), ..LogQuery::default() };
        assert_eq!(house.texts(&query, true), [""; 0]);
    }

    #[test]
    fn what_rotations_dropped_stands_before_the_first_line() {
        let mut house = house();
        let line = format!("{}\n", "x".repeat(1023));
        (0..3 * LOG_BYTES_MAX / 1024).for_each(|_| house.log.add(Stream::Stdout, line.as_bytes()));
        let part = house.part(&LogQuery::default(), true);
        assert_eq!(part.lines[0].stream, Some(Stream::Afresh));
        assert_eq!(part.lines[0].text, format!("8192 lines ({LOG_BYTES_MAX} bytes) before these were dropped: a log is bounded"));
        assert_eq!(part.dropped, 8192);
        assert_eq!(house.texts(&tail(1), true), [line.trim_end()]);
    }

    #[test]
    fn lines_have_the_time_of_their_beginning() {
        let mut house = house();
        house.log.add(Stream::Stdout, b"old\n");
        std::thread::sleep(std::time::Duration::from_millis(150));
        let since = disk::files::now();
        house.log.add(Stream::Stdout, b"new\n");
        let all = house.part(&LogQuery::default(), true);
        assert!(all.lines[0].at.unwrap() < since && all.lines[1].at.unwrap() >= since, "{all:?}");
        let after = LogQuery { since: Some(since), ..LogQuery::default() };
        assert_eq!(house.texts(&after, true), ["new"]);
        // Without times, as an older version left it, the file's own time decides.
        std::fs::remove_file(house.dir.path().join("web-r1-1-2.times")).unwrap();
        let before = LogQuery { since: Some(Time(since.0 - 1_000)), ..LogQuery::default() };
        assert_eq!(house.texts(&before, true), ["old", "new"]);
        let later = LogQuery { since: Some(Time(since.0 + 60_000)), ..LogQuery::default() };
        assert_eq!(house.texts(&later, true), [""; 0]);
    }

    #[test]
    fn who_follows_loses_nothing_when_a_log_is_turned_over_once_and_knows_it_when_it_does() {
        let mut house = house();
        house.log.add(Stream::Stdout, b"first\n");
        let from = |house: &House| LogQuery {
            from: Some(house.part(&LogQuery { tail: Some(0), ..LogQuery::default() }, true).next),
            ..LogQuery::default()
        };
        let begin = from(&house);
        let fill = |log: &mut LogFile| {
            let line = format!("{}\n", "x".repeat(1023));
            (0..LOG_BYTES_MAX / 1024 - 1).for_each(|_| log.add(Stream::Stdout, line.as_bytes()));
        };
        fill(&mut house.log);
        house.log.add(Stream::Stdout, &[b'y'; 2_000]);
        house.log.add(Stream::Stdout, b"\nlast\n");
        let (mut query, mut count, mut last) = (begin.clone(), 0, String::new());
        loop {
            let part = house.part(&query, true);
            assert!(!part.lost && part.lines.iter().map(|l| l.text.len()).sum::<usize>() <= PART_BYTES_MAX);
            count += part.lines.len() as u64;
            last = part.lines.last().map_or(last, |line| line.text.clone());
            query.from = Some(part.next);
            if !part.more {
                break;
            }
        }
        assert_eq!((count, last.as_str()), (LOG_BYTES_MAX / 1024 - 1 + 2, "last"));
        fill(&mut house.log);
        fill(&mut house.log);
        assert!(house.part(&begin, true).lost);
    }

    /// Sixteen million empty lines were one answer: 640 MB of the keeper's memory, and more JSON than any client takes.
    #[test]
    fn a_log_of_empty_lines_comes_in_parts_too() {
        let mut house = house();
        (0..3).for_each(|_| house.log.add(Stream::Stdout, &[b'\n'; 1 << 20]));
        let (mut query, mut count, mut parts) = (LogQuery::default(), 0, 0);
        loop {
            let part = house.part(&query, false);
            let bytes = serde_json::to_vec(&part).unwrap().len();
            assert!(bytes <= 8 * PART_BYTES_MAX && part.lines.len() <= 100_000, "{bytes} bytes, {} lines", part.lines.len());
            (count, parts) = (count + part.lines.len(), parts + 1);
            query.from = Some(part.next);
            if !part.more {
                break;
            }
        }
        assert_eq!(count, 3 << 20, "none is lost, in {parts} parts");
        let last = house.part(&tail(usize::MAX), false);
        assert!(last.lines.len() <= 100_000 && !last.more, "{} lines", last.lines.len());
    }

    #[test]
    fn a_place_that_no_file_has_is_the_end() {
        let mut house = house();
        house.log.add(Stream::Stdout, b"one\n");
        let next = house.part(&LogQuery::default(), true).next;
        let (file, _) = next.rsplit_once(':').unwrap();
        let beyond = LogQuery { from: Some(format!("{file}:{}", u64::MAX)), ..LogQuery::default() };
        assert_eq!(house.part(&beyond, true), LogPart { lines: Vec::new(), next, ..house.part(&beyond, true) });
    }

    #[test]
    fn last_lines_are_few_short_and_safe() {
        let mut house = house();
        let path = house.dir.path().join("web-r1-1-2.log");
        assert_eq!(last_lines(&path), [""; 0]);
        house
            .log
            .add(Stream::Stdout, b"Traceback (most recent call last):\n  File \"x\"\n\tin\nModuleNotFoundError: No module named 'x'\n\n");
        let want = ["Traceback (most recent call last):", "  File \"x\"", "    in", "ModuleNotFoundError: No module named 'x'"];
        assert_eq!(last_lines(&path), want);
        assert_eq!(last_few_lines(&path, 3), want[1..]);
        assert_eq!(last_few_lines(&path, 9), want);
        // No line end, escapes, a bidirectional override, no text at all.
        for hostile in
            [vec![b'z'; 9 << 20], b"\x1b[2J\x1b]0;title\x07\xe2\x80\xaegone\n".repeat(5_000), vec![0xff; 100_000], b"\n".repeat(1 << 20)]
        {
            house.log.add(Stream::Stdout, &hostile);
            let lines = last_lines(&path);
            assert!(lines.len() <= LAST_LINES_MAX && lines.iter().map(String::len).sum::<usize>() <= LAST_LINES_BYTES_MAX, "{lines:?}");
            assert!(lines.iter().all(|line| model::text::forbidden(line).is_none()), "{lines:?}");
        }
    }
}
