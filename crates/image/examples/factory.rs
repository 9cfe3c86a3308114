//! The image factory by hand, for measuring: `cargo run -p image --example factory -- DATA bake NAME PACKAGE...` or `DATA pack PATH`.

use image::{Store, bake, pack};
use model::{ImageName, ImageSpec, Layout};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let store = Store::open(&Layout::new(&args[0])).unwrap_or_else(|f| fail(f));
    match args[1].as_str() {
        "bake" => {
            let spec = ImageSpec {
                name: ImageName::new(args[2].clone()).unwrap(),
                debian: "bookworm".into(),
                packages: args[3..].to_vec(),
                rebuild: None,
                max_age_ms: None,
            };
            let baked = bake(&store, &spec, &mut |p| eprintln!("{} {:?} {}", p.step, p.percent(), p.text)).unwrap_or_else(|f| fail(f));
            println!("{} {:?} {} {} packages {:?}", baked.digest, baked.did, baked.why, baked.packages.len(), baked.steps);
        }
        _ => println!("{:?}", pack(&store, args[2].as_ref()).unwrap_or_else(|f| fail(f))),
    }
}

fn fail(f: model::Fault) -> ! {
    eprintln!("{}: {}\nhint: {:?}", f.code, f.message, f.hint);
    std::process::exit(1)
}
