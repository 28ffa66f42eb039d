//! Asking other hosts, for an operator who waits: questions, the pages of their answers, and when it is over.
//!
//! A question is sent until all of its answer is there, or the time for it is over: either way the operator hears something.
//! Nothing is sent while nobody asks. Who is asked keeps its answer for a while, so that pages that were lost can be had again;
//! beyond that it keeps nothing.

use super::keeper::RequestId;
use core::time::Duration;
use roost_proto::cluster::{HostId, Message, Question};
use roost_proto::time::Instant;
use std::collections::VecDeque;

/// How long an operator's question may take: with the way to the daemon and back, less than the two seconds after which a
/// person wonders. Hosts of one cluster answer in milliseconds.
pub const WITHIN: Duration = Duration::from_millis(1500);
/// Operators that ask at the same time, at most.
pub const MAX_OPEN: usize = 8;
/// Hosts that are asked for one operator, at most: more answers than these would be a burst that a switch drops.
pub const MAX_ASKED: usize = 32;
/// What is lacking is asked for again after so long.
const AGAIN: Duration = Duration::from_millis(100);
/// Bytes of an answer in one datagram: with its head it fits.
const PAGE: usize = 1000;
/// Pages that are sent at once, at most: as many as a question can name, and less than a socket takes in.
const PAGES_AT_ONCE: u16 = 32;
/// Pages of one answer, at most: as much as an operator is told in one line; see [`roost_proto::control::MAX_LINE`].
const MAX_PAGES: usize = 1024;
/// The longest answer, in bytes.
pub const MAX_ANSWER: usize = PAGE * MAX_PAGES;
/// Answers that are kept, at most; the oldest goes first, and is made anew if it is still asked for.
const MAX_KEPT: usize = 8;
/// An answer is kept so long: longer than anybody asks for it.
const KEEP: Duration = Duration::from_secs(3);

/// A question to one host.
#[derive(Debug)]
struct Inquiry {
    to: HostId,
    number: u32,
    question: Question,
    edition: Option<u32>,
    pages: Vec<Option<Vec<u8>>>,
    /// The pages that were asked for the last time end before this one.
    asked_to: u16,
    again: Instant,
}

impl Inquiry {
    /// The first page that is lacking.
    fn first(&self) -> u16 {
        let lacking = self.pages.iter().position(Option::is_none).unwrap_or(self.pages.len());
        u16::try_from(lacking).unwrap_or(u16::MAX)
    }

    /// Which of the pages from the first on are lacking; all, as long as it is not known how many there are.
    fn lacks(&self) -> u32 {
        if self.pages.is_empty() {
            return u32::MAX;
        }
        let from = self.pages.iter().skip(usize::from(self.first())).take(usize::from(PAGES_AT_ONCE));
        from.enumerate().filter(|(_, page)| page.is_none()).fold(0, |bits, (nth, _)| bits | 1 << nth)
    }

    fn is_whole(&self) -> bool {
        !self.pages.is_empty() && self.pages.iter().all(Option::is_some)
    }

    fn take(&mut self, now: Instant, edition: u32, (page, pages): (u16, u16), bytes: Vec<u8>) {
        if page >= pages || usize::from(pages) > MAX_PAGES || bytes.len() > PAGE {
            return; // no answer of ours
        }
        if self.edition != Some(edition) || self.pages.len() != usize::from(pages) {
            if self.is_whole() || self.edition.is_some_and(|known| known > edition) {
                return;
            }
            self.edition = Some(edition);
            self.pages = vec![None; usize::from(pages)];
        }
        if let Some(place) = self.pages.get_mut(usize::from(page)) {
            *place = Some(bytes);
        }
        if !self.is_whole() && self.first() >= self.asked_to {
            self.again = now;
        }
    }
}

/// What one operator waits for.
#[derive(Debug)]
pub struct Consultation<P> {
    /// Whose question it is.
    pub request: RequestId,
    /// What for.
    pub purpose: P,
    until: Instant,
    /// There is no leader to be asked, and there may be one soon.
    pub awaits_leader: bool,
    inquiries: Vec<Inquiry>,
}

impl<P> Consultation<P> {
    /// Whether a host is asked this.
    pub fn asks(&self, host: HostId, question: &Question) -> bool {
        self.inquiries.iter().any(|inquiry| inquiry.to == host && inquiry.question == *question)
    }

    /// What a host answered to a question, if all of it came.
    pub fn answer(&self, host: HostId, question: &Question) -> Option<Vec<u8>> {
        let found = self.inquiries.iter().find(|one| one.to == host && one.question == *question)?;
        found.is_whole().then(|| found.pages.iter().flatten().flatten().copied().collect())
    }

    /// Everyone who was asked, what, and whether all of the answer came.
    pub fn asked(&self) -> impl Iterator<Item = (HostId, &Question, bool)> {
        self.inquiries.iter().map(|inquiry| (inquiry.to, &inquiry.question, inquiry.is_whole()))
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.until || (!self.awaits_leader && self.inquiries.iter().all(Inquiry::is_whole))
    }
}

/// An answer that was given.
#[derive(Debug)]
struct Kept {
    to: HostId,
    start: u32,
    number: u32,
    edition: u32,
    bytes: Vec<u8>,
    until: Instant,
}

/// What is asked and answered in one life of this host.
#[derive(Debug)]
pub struct Consult<P> {
    start: u32,
    next: u32,
    open: Vec<Consultation<P>>,
    kept: VecDeque<Kept>,
    editions: u32,
}

impl<P> Consult<P> {
    /// Nobody asks yet. `start` is the number of this life.
    pub const fn new(start: u32) -> Self {
        Self { start, next: 1, open: Vec::new(), kept: VecDeque::new(), editions: 0 }
    }

    /// An operator asks. False when too many do.
    pub fn begin(&mut self, now: Instant, request: RequestId, purpose: P) -> bool {
        if self.open.len() >= MAX_OPEN {
            return false;
        }
        let until = now + WITHIN;
        let inquiries = Vec::new();
        self.open.push(Consultation { request, purpose, until, awaits_leader: false, inquiries });
        true
    }

    /// What operators wait for.
    pub fn open(&self) -> &[Consultation<P>] {
        &self.open
    }

    /// The same, to be changed.
    pub fn open_mut(&mut self) -> &mut [Consultation<P>] {
        &mut self.open
    }

    /// Asks one more host for the operator who waits in that place; not when it is asked already, or too many are.
    pub fn ask(&mut self, now: Instant, place: usize, to: HostId, question: Question) {
        let Some(consultation) = self.open.get_mut(place) else { return };
        if consultation.asks(to, &question) || consultation.inquiries.len() >= MAX_ASKED {
            return;
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        consultation.inquiries.push(Inquiry {
            to,
            number,
            question,
            edition: None,
            pages: Vec::new(),
            asked_to: 0,
            again: now,
        });
    }

    /// A page of an answer arrived.
    pub fn answered(
        &mut self,
        now: Instant,
        from: HostId,
        (start, number): (u32, u32),
        edition: u32,
        page: (u16, u16),
        bytes: Vec<u8>,
    ) {
        if start != self.start {
            return;
        }
        let mut asked = self.open.iter_mut().flat_map(|consultation| &mut consultation.inquiries);
        if let Some(inquiry) = asked.find(|inquiry| inquiry.number == number && inquiry.to == from) {
            inquiry.take(now, edition, page, bytes);
        }
    }

    /// What is to be sent now.
    pub fn due(&mut self, now: Instant) -> Vec<(HostId, Message)> {
        let start = self.start;
        let asked = self.open.iter_mut().flat_map(|consultation| &mut consultation.inquiries);
        let due = asked.filter(|inquiry| !inquiry.is_whole() && now >= inquiry.again);
        due.map(|inquiry| {
            inquiry.again = now + AGAIN;
            let (number, first, lacks) = (inquiry.number, inquiry.first(), inquiry.lacks());
            inquiry.asked_to = first.saturating_add(PAGES_AT_ONCE);
            (
                inquiry.to,
                Message::Question { start, number, first, lacks, question: inquiry.question.clone() },
            )
        })
        .collect()
    }

    /// One that is over: everything is there, or its time is.
    pub fn over(&mut self, now: Instant) -> Option<Consultation<P>> {
        let place = self.open.iter().position(|consultation| consultation.is_over(now))?;
        Some(self.open.remove(place))
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Instant> {
        let lacking = |consultation: &Consultation<P>| {
            let again = consultation.inquiries.iter().filter(|inquiry| !inquiry.is_whole());
            again.map(|inquiry| inquiry.again).chain([consultation.until]).min()
        };
        self.open.iter().filter_map(lacking).min()
    }

    /// Forgets answers that nobody asks for any more.
    pub fn forget(&mut self, now: Instant) {
        self.kept.retain(|kept| now < kept.until);
    }

    /// Whether the answer to this question of that host is kept.
    pub fn keeps(&self, to: HostId, start: u32, number: u32) -> bool {
        self.kept.iter().any(|kept| kept.to == to && kept.start == start && kept.number == number)
    }

    /// Keeps an answer, which is at most [`MAX_ANSWER`] long and not empty.
    pub fn keep(&mut self, now: Instant, to: HostId, start: u32, number: u32, bytes: Vec<u8>) {
        assert!(!bytes.is_empty() && bytes.len() <= MAX_ANSWER, "an answer of {} bytes", bytes.len());
        self.editions = self.editions.wrapping_add(1);
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        let edition = self.editions;
        self.kept.push_back(Kept { to, start, number, edition, bytes, until: now + KEEP });
    }

    /// The pages of a kept answer that are lacking: those from `first` on that `lacks` has a bit for.
    pub fn pages(&self, to: HostId, (start, number): (u32, u32), first: u16, lacks: u32) -> Vec<Message> {
        let mut all = self.kept.iter();
        let kept = all.find(|kept| kept.to == to && kept.start == start && kept.number == number);
        let Some(kept) = kept else { return Vec::new() };
        let pages = u16::try_from(kept.bytes.len().div_ceil(PAGE)).unwrap_or(u16::MAX);
        let chunks = (0_u16..).zip(kept.bytes.chunks(PAGE)).skip(usize::from(first));
        chunks
            .take(usize::from(PAGES_AT_ONCE))
            .filter(|(page, _)| lacks >> (page - first) & 1 == 1)
            .map(|(page, bytes)| {
                let (edition, bytes) = (kept.edition, bytes.to_vec());
                Message::Answer { start, number, edition, page, pages, bytes }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId(1);
    const B: HostId = HostId(2);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    fn asking(question: Question) -> Consult<()> {
        let mut asker = Consult::new(7);
        assert!(asker.begin(at(0), RequestId(1), ()));
        asker.ask(at(0), 0, B, question);
        asker
    }

    /// Delivers what is due to `b`, which answers with `bytes`, but for the datagrams that `loses` names.
    fn exchange(
        now: Instant,
        asker: &mut Consult<()>,
        other: &mut Consult<()>,
        bytes: &[u8],
        mut loses: impl FnMut() -> bool,
    ) {
        for (to, message) in asker.due(now) {
            let Message::Question { start, number, first, lacks, .. } = message else {
                panic!("{message:?}")
            };
            assert_eq!(to, B);
            if loses() {
                continue;
            }
            if !other.keeps(A, start, number) {
                other.keep(now, A, start, number, bytes.to_vec());
            }
            for page in other.pages(A, (start, number), first, lacks) {
                assert!(page.encoded_len() < 1100, "it fits a datagram with a beat");
                let Message::Answer { start, number, edition, page, pages, bytes } = page else { panic!() };
                if !loses() {
                    asker.answered(now, B, (start, number), edition, (page, pages), bytes);
                }
            }
        }
    }

    #[test]
    fn a_long_answer_comes_whole_though_much_of_it_is_lost() {
        let (mut asker, mut other) = (asking(Question::Cluster), Consult::new(3));
        let bytes: Vec<u8> = (0..60_000_u32).map(|nth| (nth % 251) as u8).collect();
        let mut nth = 0_u32;
        let mut now = at(0);
        let over = loop {
            exchange(now, &mut asker, &mut other, &bytes, || {
                nth = nth.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                nth >> 29 == 0 // one in eight
            });
            if let Some(over) = asker.over(now) {
                break over;
            }
            now = asker.deadline().expect("it waits").max(now);
        };
        assert!(over.answer(B, &Question::Cluster).is_some_and(|told| told == bytes), "{now:?}");
        assert!(now < at(1500), "{now:?}");
        assert_eq!(asker.deadline(), None, "nothing is sent when nobody asks");
        assert_eq!(asker.due(at(5000)), []);
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_for_ever_and_is_asked_a_few_times() {
        let mut asker = asking(Question::Own);
        let mut asked = 0;
        let mut now = at(0);
        while asker.over(now).is_none_or(|over| over.answer(B, &Question::Own).is_some()) {
            asked += asker.due(now).len();
            now = asker.deadline().expect("it waits");
        }
        assert_eq!((now, asked), (at(1500), 15));
    }

    #[test]
    fn an_answer_that_was_made_anew_is_not_mixed_with_the_one_before() {
        let mut asker = asking(Question::Cluster);
        asker.due(at(0));
        asker.answered(at(1), B, (7, 1), 1, (0, 2), b"old ".to_vec());
        asker.answered(at(1), B, (7, 1), 2, (1, 2), b"new".to_vec());
        asker.answered(at(1), B, (7, 1), 1, (0, 2), b"old ".to_vec());
        assert!(asker.over(at(2)).is_none(), "a page of the new one is lacking");
        asker.answered(at(3), B, (7, 1), 2, (0, 2), b"the ".to_vec());
        let over = asker.over(at(3)).expect("it is whole");
        assert_eq!(over.answer(B, &Question::Cluster), Some(b"the new".to_vec()));
    }

    #[test]
    fn answers_of_others_and_to_other_lives_and_nonsense_count_for_nothing() {
        let mut asker = asking(Question::Cluster);
        let text = || b"x".to_vec();
        asker.answered(at(1), A, (7, 1), 1, (0, 1), text());
        asker.answered(at(1), B, (6, 1), 1, (0, 1), text());
        asker.answered(at(1), B, (7, 2), 1, (0, 1), text());
        asker.answered(at(1), B, (7, 1), 1, (1, 1), text());
        asker.answered(at(1), B, (7, 1), 1, (0, 0), text());
        asker.answered(at(1), B, (7, 1), 1, (0, u16::MAX), text());
        asker.answered(at(1), B, (7, 1), 1, (0, 1), vec![0; PAGE + 1]);
        assert!(asker.over(at(1)).is_none());
        asker.answered(at(1), B, (7, 1), 1, (0, 1), text());
        assert!(asker.over(at(1)).is_some());
    }

    #[test]
    fn there_are_limits_to_who_asks_whom_and_to_what_is_kept() {
        let mut asker = Consult::new(1);
        assert!((0..MAX_OPEN).all(|nth| asker.begin(at(0), RequestId(nth as u64), ())));
        assert!(!asker.begin(at(0), RequestId(99), ()));
        (0..100).for_each(|nth| asker.ask(at(0), 0, HostId(nth), Question::Own));
        asker.ask(at(0), 0, HostId(0), Question::Own);
        assert_eq!(asker.due(at(0)).len(), MAX_ASKED);
        for number in 0..20 {
            asker.keep(at(0), A, 1, number, b"x".to_vec());
        }
        assert!(!asker.keeps(A, 1, 11) && asker.keeps(A, 1, 12));
        assert_eq!(asker.kept.len(), MAX_KEPT);
        asker.forget(at(3000));
        assert!(asker.kept.is_empty(), "they are forgotten in time");
    }
}
