//! What is sent to a web server, and how its answer's head is read (RFC 9112).

use super::words;
use crate::config::Http;
use crate::subcluster::Outcome;

/// Bytes of an answer that are read, at most: the status line is what counts.
pub const MAX_HEAD: usize = 4096;

/// The request. The server closes the connection after its answer.
pub fn request(http: &Http) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: roost-guest\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        http.path, http.host
    )
}

/// What the head so far says; `None` when more is needed. `ended` when no more comes.
pub fn outcome(http: &Http, head: &[u8], ended: Ended) -> Option<Outcome> {
    let is_whole = head.contains(&b'\n');
    if !is_whole && ended == Ended::No && head.len() < MAX_HEAD {
        return None;
    }
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Some(status) = status(line).filter(|_| is_whole) else {
        return Some(Outcome::Failed(words("the answer is none of HTTP/1")));
    };
    let is_good = http.status.map_or((200..400).contains(&status), |wanted| wanted == status);
    Some(if is_good {
        Outcome::Running
    } else {
        Outcome::Failed(words(format!("GET '{}' was answered with status {status}", http.path)))
    })
}

/// Whether more of an answer may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It may.
    No,
    /// The server closed the connection.
    Yes,
}

/// `HTTP/1.x SSS …`
fn status(line: &[u8]) -> Option<u16> {
    let line = core::str::from_utf8(line.get(..12)?).ok()?;
    let (version, status) = line.split_once(' ')?;
    (version.starts_with("HTTP/1.") && status.len() == 3).then(|| status.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: Option<u16>) -> Http {
        Http {
            address: "127.0.0.1:80".parse().expect("an address"),
            host: "localhost:80".to_owned(),
            path: "/health?x=1".to_owned(),
            status,
        }
    }

    #[test]
    fn answers_are_judged_by_their_status() {
        let of = |wanted, head: &[u8]| outcome(&http(wanted), head, Ended::No);
        assert_eq!(of(None, b"HTTP/1.1 200 OK\r\n"), Some(Outcome::Running));
        assert_eq!(of(None, b"HTTP/1.0 399\r\n"), Some(Outcome::Running));
        assert_eq!(of(Some(404), b"HTTP/1.1 404 Not Found\r\n"), Some(Outcome::Running));
        assert!(matches!(of(Some(404), b"HTTP/1.1 200 OK\r\n"), Some(Outcome::Failed(_))));
        assert!(matches!(of(None, b"HTTP/1.1 503 Busy\r\n"), Some(Outcome::Failed(_))));
        assert_eq!(of(None, b"HTTP/1.1 20"), None);
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        let none = http(None);
        for head in [&b"SSH-2.0-x\r\n"[..], b"\n", b"HTTP/1.1 2x0 OK\n", b"HTTP/2 200\n", &[b'x'; MAX_HEAD]] {
            assert!(matches!(outcome(&none, head, Ended::No), Some(Outcome::Failed(_))));
        }
        assert!(matches!(outcome(&none, b"HTTP/1.1 200", Ended::Yes), Some(Outcome::Failed(_))));
        assert!(matches!(outcome(&none, b"", Ended::Yes), Some(Outcome::Failed(_))));
    }

    #[test]
    fn the_request_asks_for_path_and_query() {
        let request = request(&http(None));
        assert!(request.starts_with("GET /health?x=1 HTTP/1.1\r\nHost: localhost:80\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n"));
    }
}
