//! Debian's order of versions (deb-version(7)). Pure.

use std::cmp::Ordering;

pub fn compare(a: &str, b: &str) -> Ordering {
    let (ea, a) = epoch(a);
    let (eb, b) = epoch(b);
    let (ua, ra) = revision(a);
    let (ub, rb) = revision(b);
    ea.cmp(&eb).then_with(|| part(ua, ub)).then_with(|| part(ra, rb))
}

fn epoch(v: &str) -> (u64, &str) {
    v.split_once(':').and_then(|(e, rest)| Some((e.parse().ok()?, rest))).unwrap_or((0, v))
}

fn revision(v: &str) -> (&str, &str) {
    v.rsplit_once('-').unwrap_or((v, "0"))
}

/// `~` before the end, the end before letters, letters before the rest.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
        Some(b) => i32::from(*b) + 256,
    }
}

fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let text = |v: &[u8]| v.iter().take_while(|c| !c.is_ascii_digit()).count();
        let (n, m) = (text(a), text(b));
        for k in 0..n.max(m) {
            let order = weight(a[..n].get(k)).cmp(&weight(b[..m].get(k)));
            if order != Ordering::Equal {
                return order;
            }
        }
        (a, b) = (&a[n..], &b[m..]);
        let digits = |v: &[u8]| v.iter().take_while(|c| c.is_ascii_digit()).count();
        let (n, m) = (digits(a), digits(b));
        let bare = |v: &[u8]| v.iter().position(|c| *c != b'0').unwrap_or(v.len());
        let (x, y) = (&a[..n][bare(&a[..n])..], &b[..m][bare(&b[..m])..]);
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[n..], &b[m..]);
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dpkg is the oracle.
    #[test]
    fn the_order_is_dpkgs() {
        let versions = [
            "1.0",
            "1.0-1",
            "1.0~rc1-1",
            "1:0.1",
            "1.0+dfsg-1",
            "1.10-1",
            "1.9-1",
            "1.0-1+b1",
            "1.0-1+deb12u1",
            "1.0-1~bpo1",
            "1.0a",
            "0",
            "1.00",
            "7.88.1-10+deb12u14",
            "7.88.1-10+deb12u9",
            "2026f-0+deb12u1",
        ];
        for a in versions {
            for b in versions {
                let says = |op: &str| std::process::Command::new("dpkg").args(["--compare-versions", a, op, b]).status().unwrap().success();
                let order = if says("lt") {
                    Ordering::Less
                } else if says("gt") {
                    Ordering::Greater
                } else {
                    Ordering::Equal
                };
                assert_eq!(compare(a, b), order, "{a} {b}");
            }
        }
    }
}
