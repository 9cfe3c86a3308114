//! The image factory by hand, for measuring: `factory DATA bake|fresh NAME PACKAGE...`, `factory DATA bake @RECIPE.json`, `factory DATA pack PATH`, `factory DATA diff A B`,
//! `factory DATA verify A`.

#![allow(clippy::disallowed_methods, reason = "its paths are those that it is given")]
#![allow(clippy::unwrap_used, reason = "a tool for whoever measures: a panic tells them enough")]

use attest::pack;
use bake::{Options, bake_with};
use model::{ImageSpec, Layout};
use store::Store;

fn main() {
    bake::enter_sandbox();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let store = Store::open(&Layout::new(&args[0])).unwrap_or_else(|f| fail(f));
    match args[1].as_str() {
        "pack" => println!("{:?}", pack(&store, args[2].as_ref()).unwrap_or_else(|f| fail(f))),
        "verify" => {
            let digest = model::Digest::new(format!("sha256:{}", args[2].trim_start_matches("sha256:"))).unwrap();
            let r = bake::verify_rebuild(&store, &digest, &mut |_| {}).unwrap_or_else(|f| fail(f));
            println!("{} again {} {:?}", r.digest, r.again, r.steps);
            r.differences.iter().for_each(|d| println!("{}: {}", d.path.display(), d.what));
        }
        "diff" => {
            let digest = |n: usize| model::Digest::new(format!("sha256:{}", args[n].trim_start_matches("sha256:"))).unwrap();
            for d in bake::compare_images(&store, &digest(2), &digest(3)).unwrap_or_else(|f| fail(f)) {
                println!("{}: {}", d.path.display(), d.what);
            }
        }
        how => {
            let spec = serde_json::json!({ "name": args[2], "debian": "bookworm", "packages": args[3..] });
            let spec: ImageSpec = match args[2].strip_prefix('@') {
                Some(file) => serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap(),
                None => serde_json::from_value(spec).unwrap(),
            };
            let options = Options { fresh: how != "bake", ..Options::default() };
            let baked = bake_with(&store, &spec, &options, &mut |p| eprintln!("{} {:?} {}", p.step, p.percent(), p.text))
                .unwrap_or_else(|f| fail(f));
            println!("{} {:?} {} {} packages {:?}", baked.digest, baked.did, baked.why, baked.packages.len(), baked.steps);
        }
    }
}

fn fail(f: model::Fault) -> ! {
    eprintln!("{}: {}\nhint: {:?}", f.code, f.message, f.hint);
    std::process::exit(1)
}
