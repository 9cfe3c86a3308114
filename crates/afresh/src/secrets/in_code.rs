//! The source of a secret must not lie among the code that is packed: every server would have it in /app, readable by every user there.

use crate::context::Context;
use model::{Fault, SecretSource, ServiceFile};
use std::path::Path;
use store::Ignore;

/// A file of age may lie there: it is encrypted, and people keep it beside their code.
pub fn must_not_be_packed(context: &Context, file: &ServiceFile, dir: &Path) -> Result<(), Fault> {
    if !dir.is_dir() {
        return Ok(());
    }
    let ignore = Ignore::read(dir)?;
    // By where they lie and not by how they are written. What is not there is said by whoever reads it.
    let Ok(root) = dir.canonicalize() else { return Ok(()) };
    for secret in file.secrets.values() {
        let SecretSource::File { path } = &secret.source else { continue };
        let Ok(whole) = context.beside_file(path).canonicalize() else { continue };
        let Ok(place) = whole.strip_prefix(&root) else { continue };
        let parts = place.ancestors().filter(|part| !part.as_os_str().is_empty());
        if parts.into_iter().any(|part| ignore.leaves_out(part)) {
            continue;
        }
        let text = format!(
            "{}: the file of secret {} lies in the code that is packed: every server would have it in /app",
            whole.display(),
            secret.name
        );
        let hint = format!("leave it out: echo /{} >> {}; or move it elsewhere", place.display(), dir.join(store::IGNORE_FILE).display());
        return Err(Fault::yours("secret-in-code", text).hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const TEXT: &str = "secret \"db\" { file = \"app/conf/db\" }\nimage \"base\" { debian = \"bookworm\"  packages = [\"python3\"] }\n\
                        service \"web\" {\n  tier = \"web\"\n  count = 1\n  image = image.base\n  run = [\"x\"]\n  env { DB = secret.db }\n  artifact = \"app\"\n}\n";

    #[test]
    fn a_secret_among_the_code_is_refused_unless_it_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("app");
        std::fs::create_dir_all(app.join("conf")).unwrap();
        std::fs::write(app.join("conf/db"), "s3cret").unwrap();
        let context = Context::over(dir.path().join("afresh.hcl"), model::Layout::new(dir.path()), false);
        let file = config::parse(TEXT, "afresh.hcl").unwrap();
        let judge = |dir: &Path| must_not_be_packed(&context, &file, dir);
        let fault = judge(&app).unwrap_err();
        assert_eq!(fault.code, "secret-in-code");
        assert!(fault.hint.unwrap().contains("echo /conf/db >> "));
        // By another name of the same directory too.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&app, &link).unwrap();
        assert!(judge(&link).is_err());
        for left_out in ["/conf/db", "conf/", "db"] {
            std::fs::write(app.join(".afreshignore"), left_out).unwrap();
            assert!(judge(&app).is_ok(), "{left_out}");
        }
        let elsewhere: PathBuf = dir.path().join("other");
        std::fs::create_dir(&elsewhere).unwrap();
        assert!(judge(&elsewhere).is_ok());
    }
}
