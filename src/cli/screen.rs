//! A terminal that is taken over for a while and given back as it was: the alternate screen, on which only what changed is
//! written anew.

use nix::errno::Errno;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use std::fmt::Write as _;
use std::io::{self, Stdin, Write};

/// Onto the alternate screen, without a cursor, and without lines that go on in the next.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// Back.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal, while it is ours.
pub struct Screen<W: Write> {
    out: W,
    stdin: Stdin,
    before: Termios,
    painter: Painter,
}

impl<W: Write> Screen<W> {
    /// Takes the terminal: keys come one by one, and are not shown.
    pub fn take(out: W) -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut ours = before.clone();
        ours.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
        ours.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        ours.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(&stdin, SetArg::TCSADRAIN, &ours)?;
        let mut screen = Self { out, stdin, before, painter: Painter::default() };
        screen.out.write_all(ENTER.as_bytes())?;
        screen.out.flush()?;
        Ok(screen)
    }

    /// Shows these lines, of which as many stand on the screen as it has rows.
    pub fn show(&mut self, lines: &[String], rows: usize) -> io::Result<()> {
        let text = self.painter.paint(lines, rows);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The terminal has another size: everything is written anew.
    pub fn resized(&mut self) {
        self.painter = Painter::default();
    }

    /// The keys that were pressed.
    pub fn keys(&self) -> Result<Vec<u8>, Errno> {
        let mut keys = vec![0; 64];
        let count = nix::unistd::read(&self.stdin, &mut keys)?;
        keys.truncate(count);
        Ok(keys)
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // A terminal that is gone cannot be given back.
        let _ = self.out.write_all(LEAVE.as_bytes()).and_then(|()| self.out.flush());
        let _ = tcsetattr(&self.stdin, SetArg::TCSADRAIN, &self.before);
    }
}

/// What stands on the screen.
#[derive(Debug, Default)]
struct Painter {
    /// Nothing is known of a screen that was never painted.
    shown: Option<Vec<String>>,
}

impl Painter {
    /// What has to be written so that these lines stand there.
    fn paint(&mut self, lines: &[String], rows: usize) -> String {
        let mut text = String::new();
        if self.shown.is_none() {
            text += "\x1b[2J";
        }
        let before = self.shown.take().unwrap_or_default();
        let mut now: Vec<String> = lines.iter().take(rows).cloned().collect();
        if lines.len() > rows
            && let Some(last) = now.last_mut()
        {
            *last = format!("... and {} more lines: make the terminal higher", lines.len() + 1 - rows);
        }
        for row in 0..now.len().max(before.len()).min(rows) {
            let (old, new) = (before.get(row), now.get(row).map_or("", String::as_str));
            if old.map_or("", String::as_str) != new {
                let _ = write!(text, "\x1b[{};1H{new}\x1b[0m\x1b[K", row + 1);
            }
        }
        self.shown = Some(now);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut painter = Painter::default();
        let first = painter.paint(&lines("one\ntwo\nthree"), 10);
        assert_eq!(
            first,
            "\x1b[2J\x1b[1;1Hone\x1b[0m\x1b[K\x1b[2;1Htwo\x1b[0m\x1b[K\x1b[3;1Hthree\x1b[0m\x1b[K"
        );
        assert_eq!(painter.paint(&lines("one\ntwo\nthree"), 10), "", "nothing, when nothing did");
        assert_eq!(painter.paint(&lines("one\nTWO"), 10), "\x1b[2;1HTWO\x1b[0m\x1b[K\x1b[3;1H\x1b[0m\x1b[K");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut painter = Painter::default();
        painter.paint(&lines("1\n2\n3\n4\n5"), 3);
        let shown = painter.shown.clone().expect("it was painted");
        assert_eq!(shown, ["1", "2", "... and 3 more lines: make the terminal higher"]);
    }
}
