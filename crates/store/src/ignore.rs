//! `.afreshignore` of a directory that is packed: what of it is no code. One name or path a line, `*` stands for any characters; a line with
//! a `/` is a path from the directory, another the name of files and directories anywhere in it. Pure, but for reading that one file.

use disk::files;
use model::Fault;
use std::fs;
use std::io::Read;
use std::path::Path;

pub const FILE: &str = ".afreshignore";
const BYTES_MAX: u64 = 64 << 10;
const LINES_MAX: usize = 1_000;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    names: Vec<String>,
    paths: Vec<String>,
}

impl Ignore {
    /// Of this directory; where it has no such file, nothing is left out.
    pub fn read(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join(FILE);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => {}
            // A link might lead to a file that the caller would not show.
            Ok(_) => {
                return Err(
                    Fault::yours("bad-ignore", format!("{} is not a regular file", path.display())).hint("put the list there itself")
                );
            }
            Err(_) => return Ok(Self::default()),
        }
        let mut text = String::new();
        let file = fs::File::open(&path).map_err(files::at("cannot read", &path))?;
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(files::at("cannot read", &path))?;
        Self::parse(&text).map_err(|(number, why)| Fault::yours("bad-ignore", format!("{}:{number}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        if text.len() as u64 > BYTES_MAX || text.lines().count() > LINES_MAX {
            return Err((LINES_MAX, format!("it has more than {LINES_MAX} lines or {BYTES_MAX} bytes")));
        }
        let mut ignore = Self { names: vec![FILE.to_string()], paths: Vec::new() };
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('!') || line.contains("**") {
                return Err((n + 1, format!("{:?}: neither ! nor ** is known here", model::text::shown(line, 80))));
            }
            match line.trim_end_matches('/') {
                path if path.contains('/') => ignore.paths.push(path.trim_start_matches('/').to_string()),
                name => ignore.names.push(name.to_string()),
            }
        }
        Ok(ignore)
    }

    /// Whether this path, from the directory, is left out. Its directories were asked about before.
    pub fn leaves_out(&self, place: &Path) -> bool {
        let (Some(name), Some(path)) = (place.file_name().and_then(|name| name.to_str()), place.to_str()) else { return false };
        self.names.iter().any(|pattern| fits(pattern, name)) || self.paths.iter().any(|pattern| fits(pattern, path))
    }
}

/// `*` stands for any characters but `/`. Time in proportion to both lengths together, for each star.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            (p, t) = (p + 1, t + 1);
        } else {
            match star {
                Some((after, from)) if text[from] != b'/' => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_left_out_anywhere_and_paths_where_they_lie() {
        let ignore = Ignore::parse("# none\n\n.git\n*.pyc\nnode_modules/\n/build/cache\ndata/*.db\n.env.*\n").unwrap();
        for out in
            [".git", "a/b/.git", "x.pyc", "a/x.pyc", "node_modules", "a/node_modules", "build/cache", "data/x.db", ".env.local", FILE]
        {
            assert!(ignore.leaves_out(Path::new(out)), "{out}");
        }
        for kept in ["git", ".gitignore", "x.py", "a/build/cache", "build", "data/a/x.db", "x.db", ".env"] {
            assert!(!ignore.leaves_out(Path::new(kept)), "{kept}");
        }
        assert!(!Ignore::default().leaves_out(Path::new(".git")));
        assert_eq!(Ignore::parse("a\n!b\n").unwrap_err().0, 2);
        assert!(Ignore::parse("a/**/b").is_err() && Ignore::parse(&"x\n".repeat(2_000)).is_err());
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        assert!(!fits(&"*a".repeat(200), &"a".repeat(150)));
        assert!(fits(&"*a".repeat(100), &"a".repeat(150)));
        assert!(fits("*", "") && fits("", "") && !fits("", "a") && fits("a*c", "abbc") && !fits("a*c", "ab/c"));
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Ignore::read(dir.path()).unwrap(), Ignore::default());
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        assert_eq!(Ignore::read(dir.path()).unwrap_err().code, "bad-ignore");
    }
}
