//! The image specification's "Applying Changesets" in memory, as plainly as it can be said: no descriptors, no kernel. It is what random
//! layers are judged by.

use crate::images::Item;
use crate::seen::{Seen, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Id = usize;

#[derive(Clone, Debug)]
enum What {
    Dir(BTreeMap<String, Id>),
    File(Vec<u8>),
    Link(String),
    Fifo,
}

#[derive(Clone, Debug)]
struct Node {
    what: What,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    xattrs: BTreeMap<String, Vec<u8>>,
}

pub struct Model {
    nodes: Vec<Node>,
}

/// Why a layer is refused; only that it is refused is compared.
type Refused = &'static str;

fn parts(name: &[u8]) -> Vec<String> {
    String::from_utf8(name.to_vec()).unwrap().split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_string).collect()
}

impl Model {
    pub fn new() -> Model {
        let root = Node { what: What::Dir(BTreeMap::new()), mode: 0o755, owner: (0, 0), mtime: 0, xattrs: BTreeMap::new() };
        Model { nodes: vec![root] }
    }

    fn children(&mut self, dir: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.nodes[dir].what {
            What::Dir(children) => children,
            other => panic!("{other:?} is no directory"),
        }
    }

    fn get(&self, dir: Id, name: &str) -> Option<Id> {
        match &self.nodes[dir].what {
            What::Dir(children) => children.get(name).copied(),
            _ => None,
        }
    }

    fn is_dir(&self, id: Id) -> bool {
        matches!(self.nodes[id].what, What::Dir(_))
    }

    /// Follows links, with the tree's root as the root, and `..` never above it. None: there is no such directory.
    fn directory(&self, path: &[String]) -> Option<Id> {
        let mut todo: Vec<String> = path.iter().rev().cloned().collect();
        let (mut trail, mut links) = (vec![0], 0);
        while let Some(part) = todo.pop() {
            if part == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let id = self.get(*trail.last().unwrap(), &part)?;
            match &self.nodes[id].what {
                What::Link(to) => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    if to.starts_with('/') {
                        trail = vec![0];
                    }
                    todo.extend(to.split('/').filter(|p| !p.is_empty() && *p != ".").rev().map(str::to_string));
                }
                What::Dir(_) => trail.push(id),
                _ => return None,
            }
        }
        trail.last().copied()
    }

    /// Without following the last part.
    fn lookup(&self, path: &[String]) -> Option<Id> {
        let (last, up) = path.split_last()?;
        self.get(self.directory(up)?, last)
    }

    fn is_link(&self, path: &[String]) -> bool {
        self.lookup(path).is_some_and(|id| matches!(self.nodes[id].what, What::Link(_)))
    }

    pub fn apply(&mut self, items: &[Item]) -> Result<(), Refused> {
        let own: BTreeSet<Vec<String>> = items.iter().filter(|i| i.kind == b'5').map(|i| parts(&i.name)).collect();
        let replaced = |model: &Model, path: &[String]| (1..=path.len()).any(|n| own.contains(&path[..n]) && model.is_link(&path[..n]));
        let (mut whiteouts, mut opaques) = (Vec::new(), Vec::new());
        for item in items {
            let mut path = parts(&item.name);
            let Some(last) = path.last().cloned() else { continue };
            if last == ".wh..wh..opq" {
                path.pop();
                opaques.push(path);
            } else if let Some(hidden) = last.strip_prefix(".wh.") {
                *path.last_mut().unwrap() = hidden.to_string();
                whiteouts.push(path);
            }
        }
        for path in opaques {
            let id = if path.is_empty() { Some(0) } else { self.lookup(&path) };
            if let Some(id) = id.filter(|id| self.is_dir(*id) && !replaced(self, &path)) {
                self.children(id).clear();
            }
        }
        for path in whiteouts {
            let (last, up) = path.split_last().unwrap();
            if !replaced(self, up)
                && let Some(dir) = self.directory(up)
            {
                self.children(dir).remove(last);
            }
        }
        items.iter().try_for_each(|item| self.add(item))
    }

    fn add(&mut self, item: &Item) -> Result<(), Refused> {
        let path = parts(&item.name);
        let Some((last, up)) = path.split_last() else {
            self.describe(0, item);
            return Ok(());
        };
        if last.starts_with(".wh.") {
            return Ok(());
        }
        let dir = self.make(up)?;
        let there = self.get(dir, last);
        match item.kind {
            b'5' if there.is_some_and(|id| self.is_dir(id)) => self.describe(there.unwrap(), item),
            b'1' => {
                let target = self.lookup(&parts(&item.link)).ok_or("no target")?;
                if self.is_dir(target) {
                    return Err("a hard link to a directory");
                }
                // What is in the place goes first, and the target may be below it.
                self.children(dir).remove(last);
                let target = if there == Some(target) { Some(target) } else { self.lookup(&parts(&item.link)) };
                self.children(dir).insert(last.clone(), target.ok_or("the target is gone")?);
            }
            b'3' => drop(self.children(dir).remove(last)),
            kind => {
                let what = match kind {
                    b'5' => What::Dir(BTreeMap::new()),
                    b'0' => What::File(item.data.clone()),
                    b'2' => What::Link(String::from_utf8(item.link.clone()).unwrap()),
                    _ => What::Fifo,
                };
                self.nodes.push(Node { what, mode: 0, owner: (0, 0), mtime: 0, xattrs: BTreeMap::new() });
                let id = self.nodes.len() - 1;
                self.describe(id, item);
                self.children(dir).insert(last.clone(), id);
            }
        }
        Ok(())
    }

    fn make(&mut self, path: &[String]) -> Result<Id, Refused> {
        if let Some(dir) = self.directory(path) {
            return Ok(dir);
        }
        for n in 1..=path.len() {
            let up = self.directory(&path[..n - 1]).ok_or("a parent is no directory")?;
            if self.get(up, &path[n - 1]).is_none() {
                self.nodes.push(Node { what: What::Dir(BTreeMap::new()), mode: 0o755, owner: (0, 0), mtime: 0, xattrs: BTreeMap::new() });
                let id = self.nodes.len() - 1;
                self.children(up).insert(path[n - 1].clone(), id);
            }
        }
        self.directory(path).ok_or("a parent is no directory")
    }

    fn describe(&mut self, id: Id, item: &Item) {
        let node = &mut self.nodes[id];
        let is_link = matches!(node.what, What::Link(_));
        node.mode = if is_link { 0 } else { item.mode };
        node.owner = (u32::try_from(item.uid).unwrap(), u32::try_from(item.gid).unwrap());
        node.mtime = i64::try_from(item.mtime).unwrap();
        let kept = |key: &[u8]| {
            let name = String::from_utf8(key.strip_prefix(b"SCHILY.xattr.")?.to_vec()).unwrap();
            let keeps = !is_link && (name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay."));
            keeps.then_some(name)
        };
        node.xattrs = item.pax.iter().filter_map(|(key, value)| Some((kept(key)?, value.clone()))).collect();
    }

    pub fn tree(&self) -> Tree {
        let (mut all, mut first) = (Tree::new(), BTreeMap::new());
        self.show(0, Path::new(""), &mut all, &mut first);
        // The first name in the order of whole paths, as a walk over a finished list finds it.
        let mut names: BTreeMap<Id, PathBuf> = BTreeMap::new();
        for (path, id) in &first {
            names.entry(*id).or_insert_with(|| path.clone());
        }
        for (path, seen) in &mut all {
            seen.same_as = names[&first[path]].clone();
        }
        all
    }

    fn show(&self, id: Id, at: &Path, all: &mut Tree, ids: &mut BTreeMap<PathBuf, Id>) {
        let node = &self.nodes[id];
        let what = match &node.what {
            What::Dir(_) => "dir".to_string(),
            What::File(bytes) => format!("file {}", String::from_utf8_lossy(bytes)),
            What::Link(to) => format!("link {to}"),
            What::Fifo => "fifo".to_string(),
        };
        let seen =
            Seen { what, mode: node.mode, owner: node.owner, mtime: node.mtime, xattrs: node.xattrs.clone(), same_as: PathBuf::new() };
        all.insert(at.to_path_buf(), seen);
        ids.insert(at.to_path_buf(), id);
        if let What::Dir(children) = &node.what {
            for (name, id) in children {
                self.show(*id, &at.join(name), all, ids);
            }
        }
    }
}
