//! The network: what each host can say to each other one, and how long it takes.

use crate::random::Random;
use core::time::Duration;
use std::collections::BTreeMap;

/// The way from one host to another.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// How many faults cut it at the moment.
    cuts: u32,
    /// Datagrams lost, per mille.
    loss: u32,
    /// The longest delay that is added.
    delay: Duration,
}

/// What a link is like without faults: a switch and two kernels.
const FASTEST: Duration = Duration::from_micros(50);
const SLOWEST: Duration = Duration::from_millis(2);
/// Datagrams that come twice on a bad link, per mille, and how late the second may be: the sealing refuses it, unless the
/// daemon was started anew meanwhile, and the engine must not need that.
const DOUBLED: u32 = 50;
const LATE: Duration = Duration::from_secs(5);

/// All links. Those that are as they should be are not in it.
#[derive(Debug, Default)]
pub struct Net {
    links: BTreeMap<(usize, usize), Link>,
}

impl Net {
    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        self.links.entry((from, to)).or_insert(Link { cuts: 0, loss: 0, delay: Duration::ZERO })
    }

    /// Nothing gets from one host to another, until it is mended as often.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.link(from, to).cuts += 1;
    }

    /// Takes one cut back.
    pub fn mend(&mut self, from: usize, to: usize) {
        let link = self.link(from, to);
        link.cuts = link.cuts.saturating_sub(1);
    }

    /// How bad a link is from now on.
    pub fn worsen(&mut self, from: usize, to: usize, loss: u32, delay: Duration) {
        let link = self.link(from, to);
        (link.loss, link.delay) = (loss, delay);
    }

    /// Whether anything gets from one host to another.
    pub fn is_open(&self, from: usize, to: usize) -> bool {
        self.links.get(&(from, to)).is_none_or(|link| link.cuts == 0)
    }

    /// All links are well.
    pub fn heal(&mut self) {
        self.links.clear();
    }

    /// After how long a second copy of it comes, if one does.
    pub fn doubles(&self, from: usize, to: usize, random: &mut Random) -> Option<Duration> {
        let link = self.links.get(&(from, to))?;
        let bad = link.loss > 0 || !link.delay.is_zero();
        (bad && random.permille(DOUBLED)).then(|| random.time(FASTEST, LATE))
    }

    /// How long a datagram takes; `None` if it is lost.
    pub fn send(&self, from: usize, to: usize, random: &mut Random) -> Option<Duration> {
        let usual = random.time(FASTEST, SLOWEST);
        let Some(link) = self.links.get(&(from, to)) else { return Some(usual) };
        if link.cuts > 0 || random.permille(link.loss) {
            return None;
        }
        Some(
            usual
                + if link.delay.is_zero() { Duration::ZERO } else { random.time(Duration::ZERO, link.delay) },
        )
    }
}
