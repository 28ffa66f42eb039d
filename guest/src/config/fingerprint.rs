//! A digest of what a resource starts, the same in every version: FNV-1a with 64 bits
//! (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>) over the kind's number and its texts, each behind its
//! length.
//!
//! It tells a changed configuration from an unchanged one and nothing else; nobody gains by a collision.

use super::{Kind, Output};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

struct Digest(u64);

impl Digest {
    const fn new(kind: u8) -> Self {
        Self(0xcbf2_9ce4_8422_2325).byte(kind)
    }

    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let length = (bytes.len() as u64).to_le_bytes();
        length.iter().chain(bytes).fold(self, |digest, &byte| digest.byte(byte))
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn path(self, path: &Path) -> Self {
        self.bytes(path.as_os_str().as_bytes())
    }

    /// So many texts follow.
    fn texts<'a>(self, texts: impl ExactSizeIterator<Item = &'a String>) -> Self {
        let counted = self.bytes(&(texts.len() as u64).to_le_bytes());
        texts.fold(counted, |digest, text| digest.text(text))
    }
}

/// The digest. What a probe looks at is not started, so a changed probe is the same as before.
pub(super) fn of(kind: &Kind) -> u64 {
    let digest = match kind {
        Kind::Process(process) => {
            let digest = Digest::new(1)
                .texts(process.command.iter())
                .path(&process.directory)
                .text(process.user.as_deref().unwrap_or_default())
                .texts(process.environment.keys().collect::<Vec<_>>().into_iter())
                .texts(process.environment.values().collect::<Vec<_>>().into_iter());
            match &process.output {
                Output::Capture => digest.byte(0),
                Output::File(path) => digest.byte(1).path(path),
            }
        }
        Kind::Systemd { unit } => Digest::new(2).text(unit),
        Kind::Ocf { provider, agent, parameters } => Digest::new(3)
            .text(provider)
            .text(agent)
            .texts(parameters.keys().collect::<Vec<_>>().into_iter())
            .texts(parameters.values().collect::<Vec<_>>().into_iter()),
        Kind::Lsb { script } => Digest::new(4).text(script),
        Kind::Exec { start, .. } => Digest::new(5).texts(start.iter()),
        Kind::Tcp { .. } | Kind::Http(_) | Kind::File { .. } => Digest::new(6),
        Kind::Mount { source, target, fstype, options } => {
            Digest::new(7).text(source).path(target).text(fstype).text(options)
        }
    };
    digest.0.max(1) // 0 is kept for "not known"
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn the_digest_is_fnv_1a() {
        // From the draft's test vectors.
        let basis = || Digest(0xcbf2_9ce4_8422_2325);
        assert_eq!(basis().byte(b'a').0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(
            b"foobar".iter().fold(basis(), |digest, &byte| digest.byte(byte)).0,
            0x8594_4171_f739_67e8
        );
    }
}
