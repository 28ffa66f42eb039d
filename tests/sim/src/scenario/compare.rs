//! Whether an outcome is the one that was expected: the same words, and times that are near.
//!
//! A time, and who leads, depend on how many random numbers were drawn before, and so on each message of the engine. What must
//! be exact is expected in the script; the log shows that nothing else changed.

/// Times may differ by so much, in seconds, or by a sixth of themselves, whichever is more: a guest boots in 2 to 9 s.
const NEAR: f64 = 8.0;
/// What stands behind the host that leads.
const LEADS: &str = ", leads";

/// The first difference, if there is one.
pub fn difference(expected: &str, is: &str) -> Option<String> {
    let (mut expected, mut is) = (expected.lines(), is.lines());
    for line in 1.. {
        match (expected.next(), is.next()) {
            (None, None) => break,
            (Some(expected), Some(is)) if alike(expected, is) => {}
            (expected, is) => {
                let (expected, is) = (expected.unwrap_or("(nothing more)"), is.unwrap_or("(nothing more)"));
                return Some(format!("line {line} was '{}' and is '{}'", expected.trim(), is.trim()));
            }
        }
    }
    None
}

fn alike(expected: &str, is: &str) -> bool {
    let but = |line| str::strip_suffix(line, LEADS).unwrap_or(line);
    let (expected, is) = (but(expected), but(is));
    let (expected, is) = (expected.split_whitespace(), is.split_whitespace());
    expected.clone().count() == is.clone().count() && expected.zip(is).all(|(a, b)| same(a, b))
}

fn same(a: &str, b: &str) -> bool {
    match (time(a), time(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= NEAR.max(a.max(b) / 6.0),
        _ => a == b,
    }
}

/// A word that is a time: `12.3s`, `4s`, `250ms`.
fn time(word: &str) -> Option<f64> {
    let word = word.trim_end_matches([',', ':', ';', ')', '.']);
    match (word.strip_suffix("ms"), word.strip_suffix('s')) {
        (Some(number), _) => number.parse::<f64>().ok().map(|ms| ms / 1000.0),
        (None, Some(number)) => number.parse().ok(),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_must_be_the_same_and_times_near() {
        assert_eq!(difference("h2  10.0s - 14.2s power\n", "h2  10.9s - 15.0s power\n"), None);
        assert!(difference("h2  10.0s - 14.2s power\n", "h2  10.0s - 27.2s power\n").is_some());
        assert!(difference("h2  10.0s\n", "h3  10.0s\n").is_some());
        assert!(difference("started 1 times\n", "started 2 times\n").is_some());
        assert!(difference("a\nb\n", "a\n").is_some());
        assert_eq!(difference("  h1  in, leads\n  h2  in\n", "  h1  in\n  h2  in, leads\n"), None);
        assert_eq!(difference("will start it in 4s)", "will start it in 5s)"), None);
    }
}
