//! Check digits of token formats.

const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>
pub fn github_crc32(token: &[u8]) -> bool {
    let Some(place) = token.iter().position(|b| *b == b'_') else { return false };
    let body = &token[place + 1..];
    let Some(cut) = body.len().checked_sub(6) else { return false };
    let (random, digits) = body.split_at(cut);
    let mut value = crc32(random);
    let mut expected = [b'0'; 6];
    for digit in expected.iter_mut().rev() {
        *digit = BASE_62[(value % 62) as usize];
        value /= 62;
    }
    digits == expected
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_of_the_standard_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_digits_of_a_published_and_revoked_token() {
        let token = ["ghp", "_zQWBuTSOoRi4A9", "spHcVY5ncnsDkxkJ", "0mLq17"].concat();
        assert!(github_crc32(token.as_bytes()));
        assert!(!github_crc32(token.replace("0mLq17", "0mLq18").as_bytes()));
    }
}
