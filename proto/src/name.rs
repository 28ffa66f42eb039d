//! Names of clusters, hosts, groups and resources.

/// The longest name, in bytes: it keeps a full report of a group well inside one frame.
pub const MAX_NAME: usize = 64;

/// Whether `name` can name a cluster, a host, a group or a resource: 1 to [`MAX_NAME`] of `A-Z a-z 0-9 . _ -`, the
/// first a letter or digit, so that a name is always safe in a path, an argument and a message.
pub fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What to tell a person whose name was refused.
pub const NAME_RULE: &str =
    "a name is 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web1", "db-1.prod_x", "0"] {
            assert!(is_name(good), "{good}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\n", long.as_str()] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name(&long[1..]));
    }
}
