//! Secrets of recipes with the lines of the user's own file that hold them. The recipe itself is judged by `bake`.

use crate::context::Context;
use crate::failure::Failure;
use bake::{Part, RecipeSecret};
use guard::secrets::Detector;
use model::{Fault, ImageName, ImageSpec};

/// Refuses the recipes before anything of them is built.
pub fn refuse_secrets(context: &Context, specs: &[&ImageSpec]) -> Result<(), Failure> {
    let mut found: Vec<RecipeSecret> = Vec::new();
    for spec in specs {
        // A base is found once for each image on it.
        found.extend(bake::recipe_secrets(spec)?);
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut seen = Vec::new();
    found.retain(|secret| {
        let is_new = !seen.contains(secret);
        seen.push(secret.clone());
        is_new
    });
    // A file that is gone by now has no lines to name.
    let text = context.read().unwrap_or_default();
    let detector = Detector::built_in().map_err(|e| Fault::ours("bad-rules", e.to_string()))?;
    let place = |secret: &RecipeSecret| {
        let content = specs.iter().find_map(|spec| line_of_part(spec, secret));
        let line = line_in_file(&text, &detector, secret, content.as_deref())?;
        Some(format!("{}:{line}", context.file.display()))
    };
    bake::refusal(&found, &place).map_or(Ok(()), |fault| Err(fault.into()))
}

/// The line of the secret as its part has it.
fn line_of_part(spec: &ImageSpec, secret: &RecipeSecret) -> Option<String> {
    let level = spec.levels().into_iter().find(|level| level.name == secret.image)?;
    let text = match &secret.part {
        Part::Script => level.custom.script.clone()?,
        Part::File(path) => level.custom.files.get(path)?.content.clone(),
        Part::Argument(name) => level.custom.args.get(name)?.clone(),
        Part::Check(_) | Part::Address => return None,
    };
    text.lines().nth(secret.line.saturating_sub(1)).map(|line| line.trim().to_string())
}

/// None: the file does not have it, as an argument of the command line.
fn line_in_file(text: &str, detector: &Detector, secret: &RecipeSecret, content: Option<&str>) -> Option<usize> {
    if let Some(fingerprint) = &secret.fingerprint
        && let Some(leak) = detector.scan(text.as_bytes()).into_iter().find(|leak| &leak.fingerprint == fingerprint)
    {
        return Some(leak.line);
    }
    let lines: Vec<&str> = text.lines().collect();
    let block = block_of(&lines, &secret.image)?;
    let header = match &secret.part {
        Part::Script => "script".to_string(),
        Part::File(path) => format!("\"{path}\""),
        Part::Argument(name) => name.clone(),
        Part::Check(name) => format!("\"{name}\""),
        Part::Address => "allow_unsigned".to_string(),
    };
    let head = (block..lines.len()).find(|n| lines[*n].contains(&header))?;
    let exact = content.filter(|content| content.len() >= 4).and_then(|content| (head..lines.len()).find(|n| lines[*n].contains(content)));
    // The value of an argument may come from the command line.
    let is_argument = matches!(secret.part, Part::Argument(_));
    exact.or((!is_argument).then_some(head)).map(|n| n + 1)
}

fn block_of(lines: &[&str], image: &ImageName) -> Option<usize> {
    let label = format!("\"{image}\"");
    lines.iter().position(|line| line.trim_start().starts_with("image") && line.contains(&label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_that_of_the_users_own_file() {
        let token = ["gl", "pat-", "Zx8mQ2wErT5yUi9oPa3s"].concat();
        let text = format!(
            "image \"base\" {{\n  debian = \"bookworm\"\n  packages = []\n  file \"/root/.netrc\" {{\n    content = <<-EOT\n      machine x\n      \
             login ann password tr0ub4dor\n    EOT\n  }}\n  script = <<-EOT\n    true\n    echo {token}\n  EOT\n  args {{ DB_PASSWORD = \"tr0ub4dor2\" }}\n}}\n"
        );
        let file = config::parse(&text, "afresh.hcl").unwrap();
        let spec = file.images.values().next().unwrap();
        let detector = Detector::built_in().unwrap();
        let mut lines: Vec<_> = bake::recipe_secrets(spec)
            .unwrap()
            .iter()
            .map(|secret| line_in_file(&text, &detector, secret, line_of_part(spec, secret).as_deref()))
            .collect();
        lines.sort();
        assert_eq!(lines, [Some(7), Some(12), Some(14)]);
    }
}
