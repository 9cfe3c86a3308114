//! Texts with units: durations, sizes, shares, waves, addresses and the like. Pure: a text in, a value or what was expected out.

use jiff::tz::TimeZoneDatabase;
pub(crate) use model::ValidationError;
use model::{FewRequests, Overlap, Wave};
use model::{path_validation, validation};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

type Read<T> = Result<T, ValidationError>;

/// `number` with up to 6 digits behind the point, times `unit`, if that is a whole number.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 15 || part.len() > 6 || !digits(whole) || !digits(part) || number.ends_with('.') {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(part.len()).ok()?);
    let all: u128 = format!("{whole}{part}").parse().ok()?;
    let product = all * u128::from(unit);
    product.is_multiple_of(scale).then(|| u64::try_from(product / scale).ok()).flatten()
}

/// A number and the word behind it.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// Milliseconds. `500ms`, `1.5s`, `5m`, `1h30m`, `7d`.
pub(crate) fn duration(text: &str) -> Read<u64> {
    let wrong = |hint: Option<String>| ValidationError {
        hint,
        ..ValidationError::new(
            "bad-duration",
            format!("`{text}` is no duration"),
            "expected a number with ms, s, m, h or d, such as \"500ms\", \"3s\", \"5m\"",
        )
    };
    let mut rest = text;
    let (mut sum, mut last) = (0u64, u64::MAX);
    while !rest.is_empty() {
        let (number, tail) = split_unit(rest);
        let word = &tail[..tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len())];
        let unit = match word {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(wrong(Some(format!("say in which unit: \"{text}s\" are seconds, \"{text}ms\" milliseconds")))),
            other => return Err(wrong(duration_word(other).map(|unit| format!("did you mean \"{number}{unit}\"?")))),
        };
        let ms = times(number, unit).ok_or_else(|| wrong(None))?;
        if unit >= last {
            return Err(wrong(Some("the larger unit comes first, and each once".to_string())));
        }
        (sum, last) = (sum.checked_add(ms).ok_or_else(|| wrong(None))?, unit);
        rest = &tail[word.len()..];
    }
    if text.is_empty() { Err(wrong(None)) } else { Ok(sum) }
}

fn duration_word(word: &str) -> Option<&'static str> {
    match word.trim().to_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => Some("s"),
        "min" | "mins" | "minute" | "minutes" => Some("m"),
        "hour" | "hours" | "hr" | "hrs" | "h" => Some("h"),
        "day" | "days" | "d" => Some("d"),
        "milli" | "millis" | "msec" | "milliseconds" | "ms" => Some("ms"),
        _ => None,
    }
}

/// Bytes. `256MiB`, `1g` and `64k` count by 1024, `1GB` and `64kB` by 1000.
pub(crate) fn size(text: &str) -> Read<u64> {
    let wrong = || {
        ValidationError::new(
            "bad-size",
            format!("`{text}` is no size"),
            "expected a number with KiB, MiB, GiB (or k, m, g) or kB, MB, GB, such as \"256MiB\"",
        )
    };
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.trim().to_lowercase().as_str() {
        "" => return Err(if number.is_empty() { wrong() } else { wrong().hint(format!("say in which unit: \"{number}MiB\"")) }),
        "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    times(number, factor).ok_or_else(wrong)
}

/// What a soak does that saw too few requests.
pub(crate) fn few_requests(text: &str) -> Read<FewRequests> {
    match text {
        "go-on" => Ok(FewRequests::GoOn),
        "wait" => Ok(FewRequests::Wait),
        _ => Err(ValidationError::new("bad-few-requests", format!("`{text}` is not known here"), "expected \"go-on\" or \"wait\"")),
    }
}

/// Parts per million. `1%`, `0.5%`.
pub(crate) fn percent(text: &str) -> Read<u32> {
    let wrong = || {
        ValidationError::new("bad-percentage", format!("`{text}` is no percentage"), "expected a share of 100, such as \"1%\" or \"0.5%\"")
    };
    let Some(number) = text.strip_suffix('%') else {
        let hint = if times(text, 10_000).is_some() { format!("did you mean \"{text}%\"?") } else { "it ends in %".to_string() };
        return Err(wrong().hint(hint));
    };
    let ppm = times(number.trim(), 10_000).ok_or_else(wrong)?;
    if ppm > 1_000_000 {
        return Err(ValidationError::new("out-of-range", format!("`{text}` is more than everything"), "expected at most \"100%\""));
    }
    u32::try_from(ppm).map_err(|_| wrong())
}

/// `1` server, `50%` of them.
pub(crate) fn wave(text: &str) -> Read<Wave> {
    let wrong = || {
        ValidationError::new(
            "bad-wave",
            format!("`{text}` is no wave"),
            "expected a number of servers or a whole share of them, such as \"1\" or \"50%\"",
        )
    };
    let share = text.strip_suffix('%');
    let number: u32 = share.unwrap_or(text).parse().map_err(|_| wrong())?;
    match share {
        _ if number == 0 => Err(wrong().hint("a wave has at least one server")),
        Some(_) if number > 100 => Err(wrong().hint("the whole is \"100%\"")),
        Some(_) => Ok(Wave::Percent(number)),
        None => Ok(Wave::Count(number)),
    }
}

/// `:8080` (all IPv4 addresses of the machine), `127.0.0.1:8080`, `[::1]:80`.
pub(crate) fn address(text: &str) -> Read<SocketAddr> {
    let wrong = || {
        ValidationError::new(
            "bad-address",
            format!("`{text}` is no address to listen on"),
            "expected an IP address and a port, such as \":8080\" or \"127.0.0.1:8080\"",
        )
    };
    let address = match text.strip_prefix(':') {
        Some(port) => port.parse::<u16>().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
        None => text.parse::<SocketAddr>().ok(),
    };
    match address {
        Some(address) if address.port() == 0 => Err(wrong().hint("port 0 is none: name one from 1 to 65535")),
        Some(address) => Ok(address),
        None if text.parse::<u16>().is_ok() => Err(wrong().hint(format!("did you mean \":{text}\"?"))),
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            Err(wrong().hint(format!("an IPv6 address stands in brackets, with a port: \"[{text}]:8080\"")))
        }
        None if text.parse::<IpAddr>().is_ok() => Err(wrong().hint(format!("the port is missing: \"{text}:8080\""))),
        None if text.starts_with("localhost:") => {
            Err(wrong().hint(format!("names are not looked up: \"{}\"", text.replacen("localhost", "127.0.0.1", 1))))
        }
        None if text.contains("://") => Err(wrong().hint("leave the scheme out")),
        None => Err(wrong()),
    }
}

const SIGNALS: &[&str] = &["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"];

/// Without SIG.
pub(crate) fn signal(text: &str) -> Read<String> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if SIGNALS.contains(&name) {
        return Ok(name.to_string());
    }
    let wrong =
        ValidationError::new("bad-signal", format!("`{text}` is no signal to end with"), format!("expected one of {}", SIGNALS.join(", ")));
    Err(match (name, model::near::nearest(name, SIGNALS.iter().copied())) {
        ("KILL" | "9", _) => wrong.hint("a server that does not end in time is killed anyway: `within` says when"),
        (_, Some(near)) => wrong.hint(format!("did you mean \"{near}\"?")),
        _ => wrong,
    })
}

/// `uid` or `uid:gid`, as numbers.
pub(crate) fn user(text: &str) -> Read<String> {
    let wrong = ValidationError::new("bad-user", format!("`{text}` is no user"), "expected numbers, uid or uid:gid, such as \"1000:1000\"");
    let id = |part: &str| part.parse::<u32>().ok().filter(|id| *id != u32::MAX && part.bytes().all(|b| b.is_ascii_digit()));
    let read = match text.split_once(':') {
        Some((uid, gid)) => id(uid).zip(id(gid)).map(|(uid, gid)| format!("{uid}:{gid}")),
        None => id(text).map(|uid| uid.to_string()),
    };
    read.ok_or(match text {
        "root" => wrong.hint("root is \"0:0\""),
        "nobody" => wrong.hint("nobody is \"65534:65534\", which is also the default"),
        _ => wrong,
    })
}

/// Thousandths of a core. `500m`, `0.5`, `2`.
pub(crate) fn cpu(text: &str) -> Read<u64> {
    let wrong = || {
        ValidationError::new(
            "bad-cpu",
            format!("`{text}` is no share of a processor"),
            "expected cores or thousandths of one, such as 0.5, 2 or \"500m\"",
        )
    };
    match text.strip_suffix('m') {
        Some(milli) => milli.parse().map_err(|_| wrong()),
        None => times(text, 1_000).ok_or_else(wrong),
    }
}

pub(crate) fn package(text: &str) -> Read<String> {
    validation::package(text).map(|()| text.to_string())
}

const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
    "oldoldstable",
    "buster",
    "jammy",
    "noble",
];

pub(crate) fn component(text: &str) -> Read<String> {
    validation::component(text).map(|()| text.to_string())
}

/// The name of a suite; one that is nearly a well-known one is taken for a typing error.
pub(crate) fn suite(text: &str) -> Read<String> {
    let near = model::near::nearest(text, SUITES.iter().copied());
    let wrong =
        ValidationError::new("bad-suite", format!("`{text}` is no suite"), "expected the name of a Debian suite, such as \"bookworm\"");
    match (validation::suite(text), near) {
        (Ok(()), None) => Ok(text.to_string()),
        (Ok(()), Some(near)) if near == text => Ok(text.to_string()),
        (_, Some(near)) => Err(wrong.hint(format!("did you mean \"{near}\"?"))),
        (Err(wrong), None) => Err(match text {
            "12" => wrong.hint("Debian 12 is \"bookworm\""),
            "13" => wrong.hint("Debian 13 is \"trixie\""),
            _ => wrong,
        }),
    }
}

/// `hourly`, `daily`, `weekly`, or five fields of cron: minute, hour, day, month, weekday.
pub(crate) fn rebuild(text: &str) -> Read<String> {
    const RANGES: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let cron = fields.len() == 5 && fields.iter().zip(RANGES).all(|(field, range)| field.split(',').all(|part| cron_part(part, range)));
    if cron || matches!(text, "hourly" | "daily" | "weekly") {
        return Ok(fields.join(" "));
    }
    let wrong = ValidationError::new(
        "bad-schedule",
        format!("`{text}` is no schedule"),
        "expected \"hourly\", \"daily\", \"weekly\" or five fields of cron, such as \"0 4 * * 1\"",
    );
    Err(match model::near::nearest(text, ["hourly", "daily", "weekly"]) {
        Some(near) => wrong.hint(format!("did you mean \"{near}\"?")),
        None => wrong,
    })
}

/// One of the time zones that the program has.
pub(crate) fn timezone(text: &str) -> Read<String> {
    let known = TimeZoneDatabase::bundled();
    let wrong = || ValidationError::new("bad-timezone", format!("`{text}` is no time zone"), "expected one such as \"Europe/Berlin\"");
    // In its own spelling: other spellings of one zone would be other calendars.
    let spelled = known.available().find(|name| name.as_str().eq_ignore_ascii_case(text)).map(|name| name.as_str().to_string());
    match spelled {
        Some(name) if name == text => Ok(name),
        Some(name) => Err(wrong().hint(format!("did you mean \"{name}\"?"))),
        None => {
            let city = |name: &str| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text));
            let near = known.available().map(|name| name.as_str().to_string()).find(|name| city(name));
            Err(match near {
                Some(near) => wrong().hint(format!("did you mean \"{near}\"?")),
                None => wrong(),
            })
        }
    }
}

pub(crate) fn overlap(text: &str) -> Read<Overlap> {
    match text {
        "forbid" => Ok(Overlap::Forbid),
        "replace" => Ok(Overlap::Replace),
        other => {
            let wrong = ValidationError::new("bad-overlap", format!("`{other}` is no overlap"), "expected \"forbid\" or \"replace\"");
            Err(match model::near::nearest(other, ["forbid", "replace"]) {
                Some(near) => wrong.hint(format!("did you mean \"{near}\"?")),
                None => wrong.hint("\"forbid\" waits for the run before, \"replace\" stops it"),
            })
        }
    }
}

/// `*`, `7`, `1-5`, each with an optional `/step`.
fn cron_part(part: &str, (low, high): (u32, u32)) -> bool {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| (low..=high).contains(n) && text.len() <= 2);
    let range_good = match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => number(from).zip(number(to)).is_some_and(|(from, to)| from <= to),
        None => number(range).is_some(),
    };
    range_good && step.is_none_or(|step| step.parse::<u32>().is_ok_and(|n| n >= 1 && n <= high))
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// `04:30`, `24:00` only as an end.
fn clock(text: &str, end: bool) -> bool {
    let Some((hour, minute)) = text.split_once(':') else { return false };
    let two = |t: &str| (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u32>().ok()).flatten();
    match (two(hour), two(minute)) {
        (Some(h), Some(m)) => (h < 24 && m < 60) || (end && h == 24 && m == 0),
        _ => false,
    }
}

/// Hours of each day, UTC: `02:00-05:00`, `22:00-04:00`.
pub(crate) fn hours(text: &str) -> Read<String> {
    let wrong = ValidationError::new(
        "bad-hours",
        format!("`{text}` are no hours of the day"),
        "expected a beginning and an end, such as \"02:00-05:00\"",
    );
    match text.split_once('-') {
        Some((from, to)) if clock(from, false) && clock(to, true) && from != to => Ok(text.to_string()),
        Some((from, to)) if from == to => Err(wrong.hint("it would have no length; leave it out if any time will do")),
        _ => Err(wrong),
    }
}

/// As [`hours`], or with a day of the week before both: `Fri 18:00-Mon 06:00`.
pub(crate) fn hours_of_week(text: &str) -> Read<String> {
    let wrong = ValidationError::new(
        "bad-hours",
        format!("`{text}` is no time of the week"),
        "expected a beginning and an end, such as \"Fri 18:00-Mon 06:00\" or \"08:00-18:00\"",
    );
    if hours(text).is_ok() {
        return Ok(text.to_string());
    }
    let side = |part: &str, end| part.split_once(' ').is_some_and(|(day, time)| DAYS.contains(&day) && clock(time, end));
    match text.split_once('-') {
        Some((from, to)) if side(from, false) && side(to, true) && from != to => Ok(text.to_string()),
        _ => Err(wrong.hint(format!("days are {}", DAYS.join(", ")))),
    }
}

/// From the root, without `.` and `..`.
pub(crate) fn whole_path(text: &str) -> Read<String> {
    validation::whole_path(text).map(|()| text.to_string())
}

/// The name of a user or a group.
pub(crate) fn account(text: &str, what: &str) -> Read<String> {
    validation::account(text, what).map(|()| text.to_string())
}

/// A path in an image that something is to be written to.
pub(crate) fn file_path(text: &str) -> Read<String> {
    path_validation::file_path(text).map(|()| text.to_string())
}

/// As it can stand in `/etc/passwd`.
pub(crate) fn account_path(text: &str) -> Read<String> {
    path_validation::account_path(text).map(|()| text.to_string())
}

/// Permission bits, in octal: `0644`, `755`, `4755`.
pub(crate) fn mode(text: &str) -> Read<u32> {
    let wrong = ValidationError::new(
        "bad-mode",
        format!("`{text}` are no permissions"),
        "expected three or four digits from 0 to 7, such as \"0644\" or \"0755\"",
    );
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match (digits, u32::from_str_radix(text, 8)) {
        (true, Ok(mode)) => Ok(mode),
        _ if text.contains(['r', 'w', 'x']) => {
            Err(wrong.hint("r is 4, w is 2, x is 1; their sums, for the owner, the group and the others"))
        }
        _ => Err(wrong),
    }
}
