//! The image factory by hand, for measuring: `factory DATA bake|fresh|mm NAME PACKAGE...`, `factory DATA pack PATH`, `factory DATA diff A B`.

use image::{Builder, Options, Store, bake_with, pack};
use model::{ImageName, ImageSpec, Layout};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let store = Store::open(&Layout::new(&args[0])).unwrap_or_else(|f| fail(f));
    match args[1].as_str() {
        "pack" => println!("{:?}", pack(&store, args[2].as_ref()).unwrap_or_else(|f| fail(f))),
        "diff" => {
            let digest = |n: usize| model::Digest::new(format!("sha256:{}", args[n].trim_start_matches("sha256:"))).unwrap();
            for d in image::compare_images(&store, &digest(2), &digest(3)).unwrap_or_else(|f| fail(f)) {
                println!("{}: {}", d.path.display(), d.what);
            }
        }
        how => {
            let spec = ImageSpec {
                name: ImageName::new(args[2].clone()).unwrap(),
                debian: "bookworm".into(),
                packages: args[3..].to_vec(),
                rebuild: None,
                max_age_ms: None,
                window: None,
                jitter_ms: 0,
                checks: Vec::new(),
            };
            let builder = if how == "mm" { Builder::Mmdebstrap } else { Builder::Own };
            let options = Options { fresh: how != "bake", builder, key: None };
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
