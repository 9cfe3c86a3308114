//! The example shop, carried in the binary, so that the demo works from anywhere; and its versions, good and bad.

use crate::failure;
use model::Fault;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const FILE: &str = include_str!("../../../../examples/shop/afresh.hcl");
/// Of each version, beside its `release.json`.
const CODE: &[(&str, &str)] = &[
    ("http11.py", include_str!("../../../../examples/shop/app/http11.py")),
    ("release.py", include_str!("../../../../examples/shop/app/release.py")),
    ("web.py", include_str!("../../../../examples/shop/app/web.py")),
    ("worker.py", include_str!("../../../../examples/shop/app/worker.py")),
];
/// The response of a release with an intended fault: it distinguishes it from a release that must not fail.
pub const CONFESSION: &str = "it was made with that fault";
/// Where the file's route listens; the demo takes a free port instead.
const LISTEN: &str = "127.0.0.1:8080";

/// What is wrong with a version of the shop's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    NeverHealthy,
    FailsUnderTraffic,
}

impl Flaw {
    fn name(self) -> Option<&'static str> {
        match self {
            Flaw::None => None,
            Flaw::NeverHealthy => Some("never-healthy"),
            Flaw::FailsUnderTraffic => Some("fails-under-traffic"),
        }
    }
}

/// Writes the service file into the folder and gives its path.
pub fn service_file(folder: &Path, listen: SocketAddr) -> Result<PathBuf, Fault> {
    if !FILE.contains(LISTEN) {
        return Err(Fault::ours("bad-example", format!("the example's file does not listen on {LISTEN}")));
    }
    write(&folder.join("afresh.hcl"), &FILE.replace(LISTEN, &listen.to_string()))
}

/// Writes one version of the code, beside the service file, and gives its folder.
pub fn version(folder: &Path, version: u64, flaw: Flaw) -> Result<PathBuf, Fault> {
    let app = folder.join(format!("v{version}"));
    for (name, text) in CODE {
        write(&app.join(name), text)?;
    }
    write(&app.join("release.json"), &serde_json::json!({ "version": version, "fault": flaw.name() }).to_string())?;
    Ok(app)
}

fn write(path: &Path, text: &str) -> Result<PathBuf, Fault> {
    let folder = path.parent().expect("every path here has a folder");
    std::fs::create_dir_all(folder).map_err(|e| failure::io("cannot make", folder, &e))?;
    std::fs::write(path, text).map_err(|e| failure::io("cannot write", path, &e))?;
    Ok(path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_good_and_listens_where_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = service_file(folder.path(), "127.0.0.1:4711".parse().unwrap()).unwrap();
        let file = config::parse(&std::fs::read_to_string(path).unwrap(), "afresh.hcl").unwrap();
        let web = &file.services[&model::ServiceName::new("web").unwrap()];
        assert_eq!(web.route.as_ref().unwrap().listen.to_string(), "127.0.0.1:4711");
        assert_eq!(file.services.len(), 2);
    }

    #[test]
    fn the_code_is_whole_and_confesses() {
        let app = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/app");
        let mut there: Vec<String> = std::fs::read_dir(app).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        there.retain(|name| name.ends_with(".py"));
        there.sort();
        assert_eq!(there, CODE.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert!(CODE.iter().any(|(_, text)| text.contains(CONFESSION)));
    }
}
