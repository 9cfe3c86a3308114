//! A service file as HCL text: from the model back to text. Every key is written out, defaults too.

use model::{
    ContainerSource, Egress, FewRequests, Health, ImageCheck, ImageCustom, ImageProbe, ImageSpec, Job, LeftToImage, Network, Overlap,
    Probe, RouteAddress, SecretSource, SecretSpec, ServiceFile, ServiceSpec, Wave,
};
use std::fmt::Write;

/// `parse(write(file))` gives `file` again, if its values are within the limits that [`crate::parse`] keeps.
pub fn write(file: &ServiceFile) -> String {
    written(file).text()
}

/// Lines, each with the place in the model (and so in JSON) that it was written from.
pub(crate) struct Written {
    lines: Vec<(String, Vec<String>)>,
    indent: usize,
}

impl Written {
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|(line, _)| [line.as_str(), "\n"]).collect()
    }

    /// The place of a line, from 1.
    pub fn path(&self, line: usize) -> &[String] {
        self.lines.get(line.saturating_sub(1)).map_or(&[], |(_, path)| path)
    }

    fn line(&mut self, path: &[&str], text: &str) {
        let line = format!("{}{text}", "  ".repeat(self.indent));
        self.lines.push((line, path.iter().map(|p| (*p).to_string()).collect()));
    }

    fn open(&mut self, path: &[&str], head: &str) {
        self.line(path, &format!("{head} {{"));
        self.indent += 1;
    }

    fn close(&mut self) {
        self.indent -= 1;
        self.line(&[], "}");
    }
}

pub(crate) fn written(file: &ServiceFile) -> Written {
    let mut out = Written { lines: Vec::new(), indent: 0 };
    for (name, image) in &file.images {
        write_image(&mut out, name.as_str(), image);
    }
    for (name, secret) in &file.secrets {
        write_secret(&mut out, name.as_str(), secret);
    }
    for (name, service) in &file.services {
        write_service(&mut out, name.as_str(), service);
    }
    if !file.tiers.is_empty() {
        out.open(&["tiers"], "rollout");
        let tiers: Vec<String> = file.tiers.iter().map(ToString::to_string).collect();
        out.line(&["tiers"], &format!("tiers = {}", list(&tiers)));
        out.close();
    }
    for (i, moved) in file.moved.iter().enumerate() {
        let i = i.to_string();
        out.open(&["moved", &i], "moved");
        out.line(&["moved", &i, "from"], &format!("from = service.{}", moved.from));
        out.line(&["moved", &i, "to"], &format!("to = service.{}", moved.to));
        out.close();
    }
    out
}

fn write_image(out: &mut Written, name: &str, image: &ImageSpec) {
    let at = |key| ["images", name, key];
    out.open(&at("name"), &format!("image {}", quoted(name)));
    if let Some(source) = &image.oci {
        return write_container(out, name, image, source);
    }
    match &image.base {
        Some(base) => out.line(&at("base"), &format!("base = image.{}", base.name)),
        None => out.line(&at("debian"), &format!("debian = {}", quoted(&image.debian))),
    }
    if image.base.is_none() && !image.custom.suites.is_empty() {
        out.line(&["images", name, "custom", "suites"], &format!("suites = {}", list(&image.custom.suites)));
    }
    if image.base.is_none() && !image.custom.components.is_empty() {
        out.line(&["images", name, "custom", "components"], &format!("components = {}", list(&image.custom.components)));
    }
    if image.base.is_none() && !image.custom.allow_unsigned.is_empty() {
        let text = format!("allow_unsigned = {}", list(&image.custom.allow_unsigned));
        out.line(&["images", name, "custom", "allow_unsigned"], &text);
    }
    out.line(&at("packages"), &format!("packages = {}", list(&image.packages)));
    write_upkeep(out, name, image);
    write_custom(out, name, &image.custom);
    write_checks(out, name, image);
    out.close();
}

/// Values that do not belong beside it are written too: the reader reports them.
fn write_container(out: &mut Written, name: &str, image: &ImageSpec, source: &ContainerSource) {
    let at = |key| ["images", name, key];
    let within = |key| ["images", name, "oci", key];
    out.line(&within("reference"), &format!("oci = {}", quoted(&source.reference)));
    if source.auth.is_some() || source.ca.is_some() || source.plain_http {
        out.open(&at("oci"), "registry");
        for (key, path) in [("auth", &source.auth), ("ca", &source.ca)] {
            if let Some(path) = path {
                out.line(&within(key), &format!("{key} = {}", quoted(path)));
            }
        }
        out.line(&within("plain_http"), &format!("plain_http = {}", source.plain_http));
        out.close();
    }
    if let Some(base) = &image.base {
        out.line(&at("base"), &format!("base = image.{}", base.name));
    }
    if !image.debian.is_empty() {
        out.line(&at("debian"), &format!("debian = {}", quoted(&image.debian)));
    }
    if !image.packages.is_empty() {
        out.line(&at("packages"), &format!("packages = {}", list(&image.packages)));
    }
    for (key, values) in
        [("suites", &image.custom.suites), ("components", &image.custom.components), ("allow_unsigned", &image.custom.allow_unsigned)]
    {
        if !values.is_empty() {
            out.line(&["images", name, "custom", key], &format!("{key} = {}", list(values)));
        }
    }
    write_upkeep(out, name, image);
    write_custom(out, name, &image.custom);
    write_checks(out, name, image);
    out.close();
}

fn write_upkeep(out: &mut Written, name: &str, image: &ImageSpec) {
    let at = |key| ["images", name, key];
    if let Some(rebuild) = &image.rebuild {
        out.line(&at("rebuild"), &format!("rebuild = {}", quoted(rebuild)));
    }
    if let Some(ms) = image.max_age_ms {
        out.line(&at("max_age_ms"), &format!("max_age = \"{ms}ms\""));
    }
    if let Some(window) = &image.window {
        out.line(&at("window"), &format!("window = {}", quoted(window)));
    }
    out.line(&at("jitter_ms"), &format!("jitter = \"{}ms\"", image.jitter_ms));
}

fn write_checks(out: &mut Written, name: &str, image: &ImageSpec) {
    for (n, check) in image.checks.iter().enumerate() {
        write_image_check(out, &["images", name, "checks", &n.to_string()], check);
    }
}

/// Long texts stand on one line, with `\n` in them: a line is what errors of the JSON are traced back by.
fn write_custom(out: &mut Written, name: &str, custom: &ImageCustom) {
    for (who, user) in &custom.users {
        let at = |key| ["images", name, "custom", "users", who, key];
        out.open(&at("")[..5], &format!("user {}", quoted(who)));
        out.line(&at("uid"), &format!("uid = {}", user.uid));
        if let Some(home) = &user.home {
            out.line(&at("home"), &format!("home = {}", quoted(home)));
        }
        if let Some(shell) = &user.shell {
            out.line(&at("shell"), &format!("shell = {}", quoted(shell)));
        }
        out.line(&at("groups"), &format!("groups = {}", list(&user.groups)));
        out.close();
    }
    for (path, file) in &custom.files {
        let at = |key| ["images", name, "custom", "files", path, key];
        out.open(&at("")[..5], &format!("file {}", quoted(path)));
        out.line(&at("content"), &format!("content = {}", quoted(&file.content)));
        out.line(&at("mode"), &format!("mode = \"{:04o}\"", file.mode));
        out.close();
    }
    if !custom.args.is_empty() {
        out.open(&["images", name, "custom", "args"], "args =");
        for (key, value) in &custom.args {
            out.line(&["images", name, "custom", "args", key], &format!("{} = {}", quoted(key), quoted(value)));
        }
        out.close();
    }
    if let Some(script) = &custom.script {
        out.line(&["images", name, "custom", "script"], &format!("script = {}", quoted(script)));
    }
}

fn write_image_check(out: &mut Written, path: &[&str; 4], check: &ImageCheck) {
    let at = |key| [path[0], path[1], path[2], path[3], key];
    out.open(&at("name"), &format!("check {}", quoted(&check.name)));
    match &check.what {
        ImageProbe::Run { command } => out.line(&at("what"), &format!("run = {}", list(command))),
        ImageProbe::Port { command, port } => {
            out.line(&at("what"), &format!("run = {}", list(command)));
            out.line(&at("what"), &format!("port = {port}"));
        }
        ImageProbe::File { path } => out.line(&at("what"), &format!("file = {}", quoted(path))),
        ImageProbe::Absent { path } => out.line(&at("what"), &format!("absent = {}", quoted(path))),
    }
    out.line(&at("within_ms"), &format!("within = \"{}ms\"", check.within_ms));
    out.close();
}

fn write_secret(out: &mut Written, name: &str, secret: &SecretSpec) {
    let at = |key| ["secrets", name, key];
    out.open(&at("name"), &format!("secret {}", quoted(name)));
    let source = match &secret.source {
        SecretSource::File { path } => format!("file = {}", quoted(path)),
        SecretSource::Command { command } => format!("command = {}", list(command)),
        SecretSource::Age { path } => format!("age = {}", quoted(path)),
    };
    out.line(&at("source"), &source);
    out.close();
}

fn write_service(out: &mut Written, name: &str, service: &ServiceSpec) {
    let at = |key| ["services", name, key];
    out.open(&at("name"), &format!("service {}", quoted(name)));
    out.line(&at("tier"), &format!("tier = {}", quoted(service.tier.as_str())));
    out.line(&at("image"), &format!("image = image.{}", service.image));
    if let Some(artifact) = &service.artifact {
        out.line(&at("artifact"), &format!("artifact = {}", quoted(artifact)));
    }
    let own = |one| !service.from_image.contains(&one);
    // One that is missing in the values is missing in the file.
    if own(LeftToImage::Run) && !service.run.is_empty() {
        out.line(&at("run"), &format!("run = {}", list(&service.run)));
    }
    if !service.env.is_empty() || !service.secrets.env.is_empty() {
        out.open(&at("env"), "env =");
        for (key, value) in &service.env {
            out.line(&["services", name, "env", key], &format!("{} = {}", quoted(key), quoted(value)));
        }
        for (key, secret) in &service.secrets.env {
            out.line(&["services", name, "secrets", "env", key], &format!("{} = secret.{secret}", quoted(key)));
        }
        out.close();
    }
    if !service.secrets.files.is_empty() {
        let files: Vec<String> = service.secrets.files.iter().map(|secret| format!("secret.{secret}")).collect();
        out.line(&["services", name, "secrets", "files"], &format!("secrets = [{}]", files.join(", ")));
    }
    if own(LeftToImage::User) {
        out.line(&at("user"), &format!("user = {}", quoted(&service.user)));
    }
    if let Some(port) = service.port.filter(|_| own(LeftToImage::Port)) {
        out.line(&at("port"), &format!("port = {port}"));
    }
    out.line(&at("count"), &format!("count = {}", service.count));
    if service.exclusive {
        out.line(&at("exclusive"), "exclusive = true");
    }
    write_parts(out, name, service);
    out.close();
}

fn write_parts(out: &mut Written, name: &str, service: &ServiceSpec) {
    let at = |block, key| ["services", name, block, key];
    let own = |one| !service.from_image.contains(&one);
    if own(LeftToImage::Health) {
        write_health(out, name, &service.health);
    }
    out.open(&["services", name, "drain"], "drain");
    if own(LeftToImage::Signal) {
        out.line(&at("drain", "signal"), &format!("signal = {}", quoted(&service.drain.signal)));
    }
    out.line(&at("drain", "within_ms"), &format!("within = \"{}ms\"", service.drain.within_ms));
    out.close();
    out.open(&["services", name, "limits"], "limits");
    out.line(&at("limits", "memory_bytes"), &format!("memory = \"{}B\"", service.limits.memory_bytes));
    out.line(&at("limits", "cpu_milli"), &format!("cpu = \"{}m\"", service.limits.cpu_milli));
    out.line(&at("limits", "pids"), &format!("pids = {}", service.limits.pids));
    if let Some(bytes) = service.limits.scratch_bytes {
        out.line(&at("limits", "scratch_bytes"), &format!("scratch = \"{bytes}B\""));
    }
    out.close();
    for (i, volume) in service.volumes.iter().enumerate() {
        let i = i.to_string();
        let at = |key| ["services", name, "volumes", &i, key];
        out.open(&at("name"), &format!("volume {}", quoted(volume.name.as_str())));
        out.line(&at("source"), &format!("source = {}", quoted(&volume.source)));
        out.line(&at("at"), &format!("at = {}", quoted(&volume.at)));
        out.line(&at("read_only"), &format!("read_only = {}", volume.read_only));
        out.close();
    }
    write_network(out, name, &service.network);
    if let Some(route) = &service.route {
        out.open(&["services", name, "route"], "route");
        match route.listen {
            RouteAddress::Edge(address) => out.line(&at("route", "listen"), &format!("listen = \"{address}\"")),
            RouteAddress::Internal(port) => {
                out.line(&at("route", "listen"), "internal = true");
                out.line(&at("route", "listen"), &format!("port = {port}"));
            }
        }
        out.line(&at("route", "connect_timeout_ms"), &format!("connect_timeout = \"{}ms\"", route.connect_timeout_ms));
        out.line(&at("route", "answer_timeout_ms"), &format!("answer_timeout = \"{}ms\"", route.answer_timeout_ms));
        out.close();
    }
    for (i, check) in service.checks.iter().enumerate() {
        let i = i.to_string();
        out.open(&["services", name, "checks", &i, "name"], &format!("check {}", quoted(&check.name)));
        out.line(&["services", name, "checks", &i, "run"], &format!("run = {}", list(&check.run)));
        out.line(&["services", name, "checks", &i, "within_ms"], &format!("within = \"{}ms\"", check.within_ms));
        out.close();
    }
    if let Some(migrate) = &service.migrate {
        out.open(&["services", name, "migrate"], "migrate");
        out.line(&at("migrate", "run"), &format!("run = {}", list(&migrate.run)));
        out.line(&at("migrate", "within_ms"), &format!("within = \"{}ms\"", migrate.within_ms));
        out.close();
    }
    for (i, job) in service.jobs.iter().enumerate() {
        write_job(out, &["services", name, "jobs", &i.to_string()], job);
    }
    let rollout = &service.rollout;
    out.open(&["services", name, "rollout"], "rollout");
    let waves: Vec<String> = rollout.waves.iter().map(wave).collect();
    out.line(&at("rollout", "waves"), &format!("waves = {}", list(&waves)));
    out.line(&at("rollout", "soak_ms"), &format!("soak = \"{}ms\"", rollout.soak_ms));
    let (whole, part) = (rollout.errors_ppm / 10_000, rollout.errors_ppm % 10_000);
    out.line(&at("rollout", "errors_ppm"), &format!("errors = \"{whole}.{part:04}%\""));
    out.line(&at("rollout", "min_requests"), &format!("min_requests = {}", rollout.min_requests));
    let few = match rollout.few_requests {
        FewRequests::GoOn => "go-on",
        FewRequests::Wait => "wait",
    };
    out.line(&at("rollout", "few_requests"), &format!("few_requests = \"{few}\""));
    out.line(&at("rollout", "within_ms"), &format!("within = \"{}ms\"", rollout.within_ms));
    out.line(&at("rollout", "freeze"), &format!("freeze = {}", list(&rollout.freeze)));
    out.close();
}

fn write_health(out: &mut Written, name: &str, health: &Health) {
    let at = |block, key| ["services", name, block, key];
    out.open(&at("health", "probe"), "health");
    match &health.probe {
        Probe::Http { path } => out.line(&["services", name, "health", "probe", "http", "path"], &format!("path = {}", quoted(path))),
        Probe::Exec { command } => {
            out.line(&["services", name, "health", "probe", "exec", "command"], &format!("exec = {}", list(command)))
        }
        Probe::Tcp => out.line(&at("health", "probe"), "tcp = true"),
        Probe::Running => {}
    }
    out.line(&at("health", "every_ms"), &format!("every = \"{}ms\"", health.every_ms));
    out.line(&at("health", "timeout_ms"), &format!("timeout = \"{}ms\"", health.timeout_ms));
    out.line(&at("health", "healthy_for_ms"), &format!("healthy_for = \"{}ms\"", health.healthy_for_ms));
    out.line(&at("health", "unhealthy_after"), &format!("unhealthy_after = {}", health.unhealthy_after));
    out.close();
}

fn write_job(out: &mut Written, place: &[&str; 4], job: &Job) {
    let [services, name, jobs, i] = *place;
    let at = |key| [services, name, jobs, i, key];
    out.open(&at("name"), &format!("job {}", quoted(job.name.as_str())));
    out.line(&at("schedule"), &format!("schedule = {}", quoted(&job.schedule)));
    if let Some(timezone) = &job.timezone {
        out.line(&at("timezone"), &format!("timezone = {}", quoted(timezone)));
    }
    out.line(&at("run"), &format!("run = {}", list(&job.run)));
    let overlap = match job.overlap {
        Overlap::Forbid => "forbid",
        Overlap::Replace => "replace",
    };
    out.line(&at("overlap"), &format!("overlap = \"{overlap}\""));
    out.line(&at("deadline_ms"), &format!("deadline = \"{}ms\"", job.deadline_ms));
    out.line(&at("within_ms"), &format!("within = \"{}ms\"", job.within_ms));
    out.line(&at("retries"), &format!("retries = {}", job.retries));
    out.close();
}

fn write_network(out: &mut Written, name: &str, network: &Network) {
    out.open(&["services", name, "network"], "network");
    let egress = match &network.egress {
        Egress::Any => quoted("any"),
        Egress::None => quoted("none"),
        Egress::Only(all) => list(&all.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    out.line(&["services", name, "network", "egress"], &format!("egress = {egress}"));
    let allow = list(&network.allow.iter().map(ToString::to_string).collect::<Vec<_>>());
    out.line(&["services", name, "network", "allow"], &format!("allow = {allow}"));
    out.close();
}

fn wave(wave: &Wave) -> String {
    match wave {
        Wave::Count(n) => n.to_string(),
        Wave::Percent(p) => format!("{p}%"),
    }
}

pub(crate) fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// HCL's escapes; `${` and `%{` would begin an interpolation.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if chars.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() || c == '\u{feff}' => write!(out, "\\U{:08x}", c as u32).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
