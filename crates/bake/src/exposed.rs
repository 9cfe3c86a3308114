//! The finished tree of an image is scanned before it is packed, signed or used: an image with a secret, or with a program of root's that
//! everybody can change, is not made. It reads, and changes nothing.

use disk::within::Root;
use guard::Finding;
use guard::root::{Purpose, blocks_image};
use model::{Fault, ImageName};
use std::path::Path;
use std::time::{Duration, Instant};

/// A tree of a few GB needs a minute. One that was made to take hours is unknown, and refused.
const WITHIN: Duration = Duration::from_secs(20 * 60);
/// More findings than these are counted.
const SHOWN: usize = 20;
const LIST_MAX: u64 = 16 << 20;

/// What else is exposed, for the notes of the image's manifest. `origin`: what brought a path into the image, as far as that is known.
pub fn refuse(image: &ImageName, root: &Path, origin: &mut dyn FnMut(&str) -> Option<String>) -> Result<Vec<String>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = scan::Options { purpose: Purpose::Image, threads, until: Instant::now().checked_add(WITHIN) };
    let (mut refused, mut noted) = (Findings::default(), Findings::default());
    scan::scan(root, &options, &mut |event| {
        if let scan::Event::Finding(finding) = event {
            let kind = if blocks_image(finding) { &mut refused } else { &mut noted };
            kind.add(finding);
        }
    })?;
    if refused.count > 0 {
        return Err(fault(image, &refused, origin));
    }
    let note = |finding: &Finding| format!("exposed: {} (fix: {})", finding.why, finding.fix);
    let mut notes: Vec<String> = noted.first.iter().map(note).collect();
    if noted.count > notes.len() {
        notes.push(format!("exposed: {} more, which `afresh guard scan image {image}` shows", noted.count - notes.len()));
    }
    Ok(notes)
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

/// The first findings, and how many there are.
#[derive(Default)]
struct Findings {
    first: Vec<Finding>,
    count: usize,
}

impl Findings {
    fn add(&mut self, finding: &Finding) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(finding.clone());
        }
    }
}

fn fault(image: &ImageName, refused: &Findings, origin: &mut dyn FnMut(&str) -> Option<String>) -> Fault {
    let mut text = format!("image {image} is not made: ");
    for (number, finding) in refused.first.iter().enumerate() {
        let from = origin(&finding.id).map_or_else(String::new, |origin| format!(" ({origin})"));
        let separator = if number == 0 { "" } else { "; " };
        text.push_str(&format!("{separator}{}{from}", finding.why));
    }
    if refused.count > refused.first.len() {
        text.push_str(&format!("; and {} more", refused.count - refused.first.len()));
    }
    let fix = refused.first.first().map_or("", |finding| finding.fix.as_str());
    Fault::yours("exposed-in-image", text).hint(format!(
        "{fix}; a secret that was in an image is to be revoked, and given to the service by a block secret \"NAME\" {{ file = \"/etc/NAME\" }}"
    ))
}
