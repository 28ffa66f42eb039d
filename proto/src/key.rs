//! Files of keys, as `roost keygen` writes them: a text with one key on a line, `roost-key-1` and 64 hexadecimal digits, and
//! comments after `#`.

use core::fmt;

/// Keys in a file, at most: the old, the new, and room for a mistake in between.
pub const MAX_KEYS: usize = 4;
/// The longest file, in bytes: all keys and a page of comments.
pub const MAX_FILE: usize = 4096;
/// What a line with a key begins with; another kind of key gets another word.
pub const WORD: &str = "roost-key-1";
/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// The bytes of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; KEY_LEN]);

/// Not the key itself: this may come into a log.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a text is no file of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line; 0 stands for the whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl core::error::Error for Malformed {}

/// The keys of a file, in its order: at least one, and at most [`MAX_KEYS`].
pub fn parse(text: &[u8]) -> Result<Vec<Secret>, Malformed> {
    let whole = |what| Malformed { line: 0, what };
    if text.len() > MAX_FILE {
        return Err(whole("it is longer than 4096 bytes, and no file of keys"));
    }
    let text = core::str::from_utf8(text)
        .map_err(|_| whole("it is no text: copy the file that 'roost keygen' made"))?;
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |what| Malformed { line: at + 1, what };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let key = match (words.next(), words.next(), words.next()) {
            (Some(WORD), Some(hex), None) => secret(hex),
            (Some(WORD), ..) => None,
            _ => return Err(wrong("a line is 'roost-key-1' and the key, or a comment after '#'")),
        };
        let key =
            key.ok_or(wrong("a key is 64 hexadecimal digits: copy the file that 'roost keygen' made"))?;
        if keys.len() == MAX_KEYS {
            return Err(wrong("there are more than 4 keys: take out those that are not used any more"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(whole("it holds no key: make one with 'roost keygen' in another file, and copy it here"));
    }
    Ok(keys)
}

fn secret(hex: &str) -> Option<Secret> {
    let mut bytes = [0; KEY_LEN];
    if hex.len() != 2 * KEY_LEN || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Secret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_is_read_or_refused_with_its_line() {
        let (one, two) = ("11".repeat(32), "aB".repeat(32));
        let keys = parse(format!("# new\nroost-key-1 {one}\n\n  roost-key-1\t{two}\n").as_bytes());
        assert_eq!(keys, Ok(vec![Secret([0x11; 32]), Secret([0xab; 32])]));
        let refused = |text: &str| parse(text.as_bytes()).expect_err(text);
        assert!(refused("# nothing\n").what.contains("no key"));
        assert_eq!(refused(&format!("roost-key-1 {one}\nroost-key-2 {one}\n")).line, 2);
        assert_eq!(refused(&format!("roost-key-1 {}\n", &one[1..])).line, 1);
        assert_eq!(refused(&format!("roost-key-1 {one} {one}\n")).line, 1);
        assert_eq!(refused(&format!("roost-key-1 +1{}\n", &one[2..])).line, 1);
        assert_eq!(refused(&format!("roost-key-1 é{}\n", &one[2..])).line, 1);
        assert_eq!(refused(&format!("roost-key-1 {one}\n").repeat(MAX_KEYS + 1)).line, MAX_KEYS + 1);
        assert!(refused(&"#".repeat(MAX_FILE + 1)).what.contains("4096"));
        assert!(parse(&[0xff, 0xfe]).expect_err("no text").what.contains("no text"));
    }

    #[test]
    fn a_secret_does_not_come_into_a_log() {
        let shown = format!("{:?}", Secret([0x5a; KEY_LEN]));
        assert!(!shown.contains("5a") && !shown.contains("90"), "{shown}");
    }
}
