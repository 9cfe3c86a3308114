//! The finished tree of an image is scanned before it is packed, signed or used: an image with a secret, or with a program of root's that
//! everybody can change, is not made. It reads, and changes nothing.

use disk::files;
use disk::within::Root;
use guard::Finding;
use guard::root::{Purpose, blocks_image};
use guard::waiver::{Standing, Waiver};
use model::{Fault, ImageName};
use std::path::Path;
use std::time::{Duration, Instant};

/// A tree of a few GB needs a minute. One that was made to take hours is unknown, and refused.
const WITHIN: Duration = Duration::from_secs(20 * 60);
/// More findings than these are counted.
const SHOWN: usize = 20;
/// Whoever has more than these has no false alarm.
const WAIVERS_SHOWN: usize = 5;
const LIST_MAX: u64 = 16 << 20;

/// What else is exposed, and what of it is waived, for the notes of the image's manifest. `origin`: what brought a path into the image, as far as
/// that is known.
pub fn refuse(
    image: &ImageName,
    root: &Path,
    waivers: &[Waiver],
    origin: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<Vec<String>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = scan::Options { purpose: Purpose::Image, threads, until: Instant::now().checked_add(WITHIN) };
    let now_s = i64::try_from(files::now().0 / 1000).unwrap_or(i64::MAX);
    let (mut refused, mut noted, mut notes) = (Findings::default(), Findings::default(), Vec::new());
    scan::scan(root, &options, &mut |event| {
        let scan::Event::Finding(finding) = event else { return };
        match blocks_image(finding).then(|| accepted(finding, waivers, now_s)) {
            None => noted.add(finding, ""),
            Some(Ok(note)) => notes.push(note),
            Some(Err(void)) => refused.add(finding, &void),
        }
    })?;
    if refused.count > 0 {
        return Err(fault(image, &refused, origin));
    }
    notes.extend(noted.first.iter().map(|(finding, _)| format!("exposed: {} (fix: {})", finding.why, finding.fix)));
    if noted.count > noted.first.len() {
        notes.push(format!("exposed: {} more, which `afresh guard scan image {image}` shows", noted.count - noted.first.len()));
    }
    Ok(notes)
}

/// The note that a live waiver leaves in the manifest. Err: there is none; with why those of this finding are void.
fn accepted(finding: &Finding, waivers: &[Waiver], now_s: i64) -> Result<String, String> {
    let mut void = String::new();
    for waiver in waivers.iter().filter(|w| w.rule == finding.via && w.resource == finding.id) {
        let standing = waiver.standing(&finding.fingerprint, finding.severity, now_s);
        let phrase = standing.phrase(waiver);
        match standing {
            Standing::Live => return Ok(format!("{phrase} ({}: {}): {}", waiver.ticket, waiver.reason, finding.why)),
            // A path may hold several secrets, each with its own waiver.
            Standing::EvidenceChanged => {}
            Standing::NotYet | Standing::Expired | Standing::TooLong { .. } => void = format!(" ({phrase})"),
        }
    }
    Err(void)
}

/// What wrote a path of a tree of packages.
pub fn origin(root: &Root, path: &str) -> String {
    let info = Path::new("var/lib/dpkg/info");
    let lists = root.list(info).unwrap_or_default();
    for (name, _) in &lists {
        let Some(package) = name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
        let is_owner = root.read(&info.join(name), LIST_MAX).is_ok_and(|list| list.split(|b| *b == b'\n').any(|l| l == path.as_bytes()));
        if is_owner {
            return format!("of the package {package}");
        }
    }
    "of no package: a script of the recipe or of a package wrote it".to_string()
}

/// The first findings, each with what its waiver is worth, and how many there are.
#[derive(Default)]
struct Findings {
    first: Vec<(Finding, String)>,
    count: usize,
}

impl Findings {
    fn add(&mut self, finding: &Finding, void: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push((finding.clone(), void.to_string()));
        }
    }
}

fn fault(image: &ImageName, refused: &Findings, origin: &mut dyn FnMut(&str) -> Option<String>) -> Fault {
    let sentence = |(finding, void): &(Finding, String)| {
        let from = origin(&finding.id).map_or_else(String::new, |origin| format!(" ({origin})"));
        format!("{}{from}{void}", finding.why)
    };
    let mut text = format!("image {image} is not made: {}", refused.first.iter().map(sentence).collect::<Vec<_>>().join("; "));
    let more = refused.count - refused.first.len();
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    let fix = refused.first.first().map_or("", |(finding, _)| finding.fix.as_str());
    let waive = |(finding, _): &(Finding, String)| {
        format!("`afresh guard waive {} {} --evidence {} --control-plane`", finding.via, quoted(&finding.id), finding.fingerprint)
    };
    let waive = refused.first.iter().take(WAIVERS_SHOWN).map(waive).collect::<Vec<_>>().join(", ");
    Fault::yours("exposed-in-image", text).hint(format!(
        "{fix}; a secret that was in an image is to be revoked, and given to the service by a block secret \"NAME\" {{ file = \"/etc/NAME\" }}; \
         a false alarm is waived by {waive}, for as long as the waiver lasts"
    ))
}

/// For a shell.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+:@%=-".contains(c);
    if path.chars().all(is_plain) { path.to_string() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}
