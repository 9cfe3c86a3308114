//! `--arg NAME=VALUE`: another value for a build argument than the service file says. What the file does not declare is refused.

use clap::Args;
use model::{Fault, ImageName, ServiceFile, validation};

#[derive(Args, Clone, Debug, Default)]
pub struct BuildArgs {
    /// Override one of the image's `args` (repeatable): another image is baked
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    pub args: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "a build argument is written NAME=VALUE".to_string())?;
    Ok((name.to_string(), value.to_string()))
}

impl BuildArgs {
    /// Puts the values into the chosen images and their bases, wherever they are declared.
    pub fn apply(&self, file: &mut ServiceFile, chosen: impl Fn(&ImageName) -> bool) -> Result<(), Fault> {
        for (name, value) in &self.args {
            validation::arg_value(name, value)?;
            let mut is_known = false;
            for image in file.images.values_mut().filter(|image| chosen(&image.name)) {
                let mut level = Some(image);
                while let Some(image) = level {
                    if let Some(declared) = image.custom.args.get_mut(name) {
                        declared.clone_from(value);
                        is_known = true;
                    }
                    level = image.base.as_deref_mut();
                }
            }
            if !is_known {
                return Err(unknown(file, chosen, name));
            }
        }
        Ok(())
    }
}

fn unknown(file: &ServiceFile, chosen: impl Fn(&ImageName) -> bool, name: &str) -> Fault {
    let images = || file.images.values().filter(|image| chosen(&image.name));
    let levels = images().flat_map(model::ImageSpec::levels);
    let mut names: Vec<&str> = levels.flat_map(|image| image.custom.args.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let of: Vec<&str> = images().map(|image| image.name.as_str()).collect();
    let fault = Fault::yours("unknown-argument", format!("no build argument {name:?} is declared by image {}", of.join(", ")));
    match (model::near::nearest(name, names.iter().copied()), names.is_empty()) {
        (Some(near), _) => fault.hint(format!("did you mean {near}?")),
        (None, false) => fault.hint(format!("declared are: {}", names.join(", "))),
        (None, true) => fault.hint(format!("declare it in the image block: args = {{ {name} = \"...\" }}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
image "a" {
  debian = "bookworm"
  packages = []
  args = { CHANNEL = "stable", LEVEL = 1 }
  script = "true"
}
image "b" {
  debian = "bookworm"
  packages = []
}
image "c" {
  base = image.a
  packages = []
}
"#;

    fn with(args: &[&str], only: Option<&str>) -> Result<ServiceFile, Fault> {
        let mut file = config::parse(FILE, "afresh.hcl").unwrap();
        let args = args.iter().map(|a| pair(a).unwrap()).collect();
        BuildArgs { args }.apply(&mut file, |name| only.is_none_or(|only| name.as_str() == only))?;
        Ok(file)
    }

    #[test]
    fn what_is_declared_gets_the_value_and_nothing_else_does() {
        let file = with(&["CHANNEL=beta=2", "LEVEL="], None).unwrap();
        let args: Vec<_> = file.images.values().map(|i| i.custom.args.values().cloned().collect::<Vec<_>>()).collect();
        assert_eq!(args, [vec!["beta=2".to_string(), String::new()], Vec::new(), Vec::new()]);
        let file = with(&["CHANNEL=beta"], Some("c")).unwrap();
        let of = |name: &str| file.images.values().find(|i| i.name.as_str() == name).unwrap();
        assert_eq!(of("c").base.as_ref().unwrap().custom.args["CHANNEL"], "beta", "what it stands on is baked with it");
        assert_eq!(of("a").custom.args["CHANNEL"], "stable", "and stays what it is for others");
        for (arg, only, says) in [
            ("CHANEL=x", None, "did you mean CHANNEL?"),
            ("OTHER=x", Some("a"), "declared are: CHANNEL, LEVEL"),
            ("CHANNEL=x", Some("b"), "declare it in the image block"),
        ] {
            let fault = with(&[arg], only).unwrap_err();
            assert!(fault.code == "unknown-argument" && fault.hint.as_ref().unwrap().contains(says), "{fault:?}");
        }
        assert_eq!(with(&["CHANNEL=\0"], None).unwrap_err().code, "nul-byte");
        assert!(pair("CHANNEL").is_err());
    }
}
