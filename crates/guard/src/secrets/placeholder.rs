//! What has the form of a secret and is none: examples of documentation, placeholders, text with little in it.

/// Words of examples. A random token of forty characters holds one of them about once in a hundred million.
const WORDS: &[&str] = &[
    "example",
    "placeholder",
    "changeme",
    "change_me",
    "redacted",
    "your-",
    "your_",
    "yourtoken",
    "insert",
    "replace",
    "dummy",
    "sample",
    "123456789",
    "0123456",
    "abcdefg",
];

/// Keys that are published for emulators and documentation and open nothing.
const DOCUMENTED: &[&str] = &[
    // Azurite: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq",
    // Signatures of the tokens that https://jwt.io and RFC 7519 show.
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
];

const DISTINCT_MIN: usize = 8;
const RUN_MIN: usize = 8;

pub fn is_placeholder(secret: &[u8]) -> bool {
    let lower = secret.to_ascii_lowercase();
    let holds = |text: &[u8], word: &str| text.windows(word.len()).any(|w| w == word.as_bytes());
    WORDS.iter().any(|word| holds(&lower, word))
        || DOCUMENTED.iter().any(|key| holds(secret, key))
        || distinct(secret) < DISTINCT_MIN
        || longest_run(secret) >= RUN_MIN
}

/// Bits a byte.
pub fn entropy(secret: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    secret.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let total = secret.len() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / total).map(|p| -p * p.log2()).sum()
}

fn distinct(secret: &[u8]) -> usize {
    let mut seen = [false; 256];
    secret.iter().for_each(|b| seen[usize::from(*b)] = true);
    seen.iter().filter(|s| **s).count()
}

/// Runs of `A` are zero bytes in base 64, as private keys have them; every other run fills a blank.
fn longest_run(secret: &[u8]) -> usize {
    let (mut longest, mut run, mut last) = (0, 0, 0);
    for byte in secret {
        run = if *byte == last && *byte != b'A' { run + 1 } else { 1 };
        longest = longest.max(run);
        last = *byte;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_no_secrets() {
        for text in ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "ghp_your-token-goes-here", "npm_aaaaaaaaaaaa"] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
    }
}
