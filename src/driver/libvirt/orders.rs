//! Orders: which runs when, and one answer for each, in time. Pure: the calls are the shell's.
//!
//! A call that libvirt does not finish cannot be taken back. It keeps its slot, its order is answered as timed out, and
//! when it ends after all, that alone is told. The last slot of the calls is for pulling plugs alone: that is what ends the
//! calls that hang on a stuck QEMU, so it must not wait behind them.
//!
//! Migrating, saving and restoring take as long as there is memory to move. They have slots of their own, so that no start
//! waits behind them, and what pauses or ends a VM does not wait for the migration or saving of that VM either. All else
//! about that VM is refused until then.
//!
//! To kill a VM's process needs no libvirt, nor does taking away a file. So these have slots of their own, and are begun
//! whether libvirt answers or not.

use crate::engine::keeper::vm::{ActionError, LibvirtInput, Order, Ticket, VmAction};
use core::ops::Range;
use core::time::Duration;
use roost_proto::time::Instant;
use std::collections::VecDeque;

/// Calls under way at once, each on a connection of its own that is made when it is first needed.
pub const CALL_SLOTS: usize = 4;
/// Calls under way at once that do not pull a plug.
const MAX_ORDINARY: usize = CALL_SLOTS - 1;
/// Migrations, savings and restorings under way at once. Each takes a worker of libvirtd's for minutes, and all of a
/// network or a disk; more of them at once would end no sooner.
pub const MOVE_SLOTS: usize = 3;
/// Kills under way at once. One takes milliseconds, or seconds where a process is stuck in the kernel.
pub const KILL_SLOTS: usize = 4;
/// Files that are being taken away at once. One hangs as long as its storage does.
pub const FILE_SLOTS: usize = 2;
/// All of them: the lanes' slots follow on one another, as in [`Lane::slots`].
const SLOTS: usize = CALL_SLOTS + MOVE_SLOTS + KILL_SLOTS + FILE_SLOTS;
/// Orders of a lane that wait for a slot, at most: more than one for each VM of a large host.
const MAX_WAITING: usize = 256;

/// Who carries an order out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Calls that libvirt answers within seconds if it does.
    Call,
    /// Calls that move a VM's memory.
    Move,
    /// Killing, which needs no libvirt.
    Kill,
    /// Taking a file away, which needs none either.
    File,
}

impl Lane {
    const ALL: [Self; 4] = [Self::Call, Self::Move, Self::Kill, Self::File];

    const fn of(action: &VmAction) -> Self {
        match action {
            VmAction::Define { .. }
            | VmAction::Start
            | VmAction::Reboot
            | VmAction::Reset
            | VmAction::Shutdown
            | VmAction::Destroy
            | VmAction::Suspend
            | VmAction::Resume
            | VmAction::Abort
            | VmAction::Screenshot { .. } => Self::Call,
            VmAction::Migrate { .. } | VmAction::Save { .. } | VmAction::Restore { .. } => Self::Move,
            VmAction::Kill => Self::Kill,
            VmAction::Forget { .. } => Self::File,
        }
    }

    const fn slots(self) -> Range<usize> {
        const MOVES: usize = CALL_SLOTS;
        const KILLS: usize = MOVES + MOVE_SLOTS;
        const FILES: usize = KILLS + KILL_SLOTS;
        match self {
            Self::Call => 0..MOVES,
            Self::Move => MOVES..KILLS,
            Self::Kill => KILLS..FILES,
            Self::File => FILES..SLOTS,
        }
    }

    const fn needs_libvirt(self) -> bool {
        matches!(self, Self::Call | Self::Move)
    }
}

/// The lane of a slot, and which of its workers that is.
pub fn lane(slot: usize) -> (Lane, usize) {
    let lane =
        Lane::ALL.into_iter().find(|lane| lane.slots().contains(&slot)).expect("every slot is in a lane");
    (lane, slot - lane.slots().start)
}

#[derive(Debug)]
struct Running {
    order: Order,
    deadline: Instant,
    answer: Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    No,
    /// It took too long, and its order was answered so.
    TimedOut,
}

/// The orders of one libvirt.
#[derive(Debug)]
pub struct Orders {
    link: Link,
    slots: [Option<Running>; SLOTS],
    waiting: VecDeque<(Order, Instant)>,
    out: VecDeque<LibvirtInput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Up,
}

const fn lane_of(order: &Order) -> Lane {
    Lane::of(&order.action)
}

const fn pulls_plug(order: &Order) -> bool {
    matches!(order.action, VmAction::Destroy)
}

/// Whether an order has to wait for another, for the same domain, that came before it.
const fn waits_for(order: &Order, other: &Order, answer: Answered) -> bool {
    match order.action {
        VmAction::Kill => false,
        // What pulls the plug or ends a migration waits for nothing but another such.
        VmAction::Destroy => pulls_plug(other),
        VmAction::Abort => matches!(other.action, VmAction::Abort),
        VmAction::Suspend => !matches!(lane_of(other), Lane::Move | Lane::File),
        // A file is of no use to a call that hangs.
        VmAction::Forget { .. } => matches!(answer, Answered::No),
        VmAction::Define { .. }
        | VmAction::Start
        | VmAction::Reboot
        | VmAction::Reset
        | VmAction::Shutdown
        | VmAction::Resume
        | VmAction::Migrate { .. }
        | VmAction::Save { .. }
        | VmAction::Restore { .. }
        | VmAction::Screenshot { .. } => true,
    }
}

impl Orders {
    /// None yet, and no connection.
    pub const fn new() -> Self {
        Self {
            link: Link::Down,
            slots: [const { None }; SLOTS],
            waiting: VecDeque::new(),
            out: VecDeque::new(),
        }
    }

    /// libvirt answers.
    pub const fn link_up(&mut self) {
        self.link = Link::Up;
    }

    /// libvirt does not answer. What waits for it is refused; what is under way ends by itself, or in time.
    pub fn link_down(&mut self) {
        self.link = Link::Down;
        let (others, kept): (VecDeque<_>, _) = core::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(order, _)| lane_of(order).needs_libvirt());
        self.waiting = kept;
        for (order, _) in others {
            self.answer(&order, Err(ActionError::NotConnected));
        }
    }

    /// Takes an order.
    pub fn submit(&mut self, now: Instant, order: Order) {
        let lane = lane_of(&order);
        let alike = self.waiting.iter().filter(|(other, _)| lane_of(other) == lane).count();
        if self.link == Link::Down && lane.needs_libvirt() {
            self.answer(&order, Err(ActionError::NotConnected));
        } else if alike >= MAX_WAITING || self.is_moving(&order) || self.would_hang(&order) {
            self.answer(&order, Err(ActionError::Busy));
        } else {
            let deadline = now + order.limit;
            self.waiting.push_back((order, deadline));
        }
    }

    /// Whether the order would have to wait until its domain has moved. Nobody wants then what is wanted now, and what
    /// pauses the domain must find nothing that would let it go on later.
    fn is_moving(&self, order: &Order) -> bool {
        let running = self.slots.iter().flatten().map(|running| (&running.order, running.answer));
        let waiting = self.waiting.iter().map(|(other, _)| (other, Answered::No));
        lane_of(order).needs_libvirt()
            && running.chain(waiting).any(|(other, answer)| {
                lane_of(other) == Lane::Move
                    && other.domain == order.domain
                    && waits_for(order, other, answer)
            })
    }

    /// Whether the call would only join those that hang: one for its domain does, or all that may be made do.
    fn would_hang(&self, order: &Order) -> bool {
        let lane = lane_of(order);
        if pulls_plug(order) || !lane.needs_libvirt() {
            return false;
        }
        let stuck = |running: &&Running| running.answer == Answered::TimedOut && !pulls_plug(&running.order);
        let hanging = || self.slots.iter().flatten().filter(stuck).map(|running| &running.order);
        let same = hanging().any(|other| {
            let in_libvirt = lane_of(other).needs_libvirt();
            in_libvirt && other.domain == order.domain && waits_for(order, other, Answered::TimedOut)
        });
        let may_be_made = if lane == Lane::Call { MAX_ORDINARY } else { MOVE_SLOTS };
        same || hanging().filter(|other| lane_of(other) == lane).count() >= may_be_made
    }

    /// The next order to carry out, with what is left of its limit, and its slot.
    pub fn poll_order(&mut self, now: Instant) -> Option<(usize, Order)> {
        let (next, slot) = (0..self.waiting.len()).find_map(|index| Some((index, self.slot_for(index)?)))?;
        let (mut order, deadline) = self.waiting.remove(next)?;
        order.limit = deadline.since(now);
        self.slots[slot] = Some(Running { order: order.clone(), deadline, answer: Answered::No });
        Some((slot, order))
    }

    /// Orders for one domain run one at a time, as they came, but for those that must not wait: see [`waits_for`].
    fn slot_for(&self, index: usize) -> Option<usize> {
        let (order, _) = &self.waiting[index];
        let running = || self.slots.iter().flatten().map(|running| (&running.order, running.answer));
        let earlier = self.waiting.iter().take(index).map(|(other, _)| (other, Answered::No));
        let is_in_its_way = |(other, answer): (&Order, Answered)| {
            other.domain == order.domain && waits_for(order, other, answer)
        };
        if running().chain(earlier).any(is_in_its_way) {
            return None;
        }
        let lane = lane_of(order);
        let is_ordinary = |other: &Order| lane_of(other) == Lane::Call && !pulls_plug(other);
        if is_ordinary(order) && running().filter(|(other, _)| is_ordinary(other)).count() >= MAX_ORDINARY {
            return None;
        }
        lane.slots().find(|slot| self.slots[*slot].is_none())
    }

    /// The migrations and savings that are under way and not answered, with their domains.
    pub fn moving(&self) -> impl Iterator<Item = (Ticket, &str)> {
        let running = self.slots.iter().flatten().filter(|running| running.answer == Answered::No);
        running.map(|running| &running.order).filter_map(|order| match order.action {
            VmAction::Migrate { .. } | VmAction::Save { .. } => Some((order.ticket, order.domain.as_str())),
            _ => None,
        })
    }

    /// The migration in this slot is over, and its domain stood still for so long. Its end follows.
    pub fn stood_still(&mut self, slot: usize, time: Duration) {
        if let Some(running) = self.slots[slot].as_ref().filter(|running| running.answer == Answered::No) {
            self.out.push_back(LibvirtInput::Downtime { ticket: running.order.ticket, time });
        }
    }

    /// A call ended.
    pub fn ended(&mut self, slot: usize, result: Result<(), ActionError>) {
        let running = self.slots[slot].take().expect("a call ends once, in the slot that it was given");
        match running.answer {
            Answered::No => self.answer(&running.order, result),
            Answered::TimedOut => self.out.push_back(LibvirtInput::Ended { ticket: running.order.ticket }),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut late = Vec::new();
        for running in self.slots.iter_mut().flatten() {
            if running.answer == Answered::No && now >= running.deadline {
                running.answer = Answered::TimedOut;
                late.push(running.order.clone());
            }
        }
        for order in late {
            self.answer(&order, Err(ActionError::TimedOut));
        }
        // What was never begun did nothing.
        let (late, waiting): (VecDeque<_>, _) =
            core::mem::take(&mut self.waiting).into_iter().partition(|(_, deadline)| now >= *deadline);
        self.waiting = waiting;
        for (order, _) in late {
            self.answer(&order, Err(ActionError::Busy));
        }
    }

    fn answer(&mut self, order: &Order, result: Result<(), ActionError>) {
        self.out.push_back(LibvirtInput::Done { ticket: order.ticket, result });
    }

    /// When to call [`Orders::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let running = self.slots.iter().flatten().filter(|running| running.answer == Answered::No);
        running
            .map(|running| running.deadline)
            .chain(self.waiting.iter().map(|(_, deadline)| *deadline))
            .min()
    }

    /// What to tell the engine.
    pub fn poll_output(&mut self) -> Option<LibvirtInput> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const LIMIT: Duration = Duration::from_secs(10);
    const MOVES: usize = Lane::Move.slots().start;
    const KILLS: usize = Lane::Kill.slots().start;
    const FILES: usize = Lane::File.slots().start;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn order(ticket: u64, domain: &str, action: VmAction) -> Order {
        Order { ticket: Ticket(ticket), domain: domain.to_owned(), action, limit: LIMIT }
    }

    fn up() -> Orders {
        let mut orders = Orders::new();
        orders.link_up();
        orders
    }

    fn begun(orders: &mut Orders) -> Vec<(usize, u64)> {
        core::iter::from_fn(|| orders.poll_order(at(0))).map(|(slot, order)| (slot, order.ticket.0)).collect()
    }

    fn answers(orders: &mut Orders) -> Vec<(u64, Result<(), ActionError>)> {
        core::iter::from_fn(|| orders.poll_output())
            .map(|input| match input {
                LibvirtInput::Done { ticket, result } => (ticket.0, result),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn an_order_is_answered_once() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Start));
        assert_eq!(begun(&mut orders), [(0, 1)]);
        orders.ended(0, Ok(()));
        orders.handle_timeout(at(99));
        assert_eq!(answers(&mut orders), [(1, Ok(()))]);
        assert_eq!(orders.poll_timeout(), None);
    }

    #[test]
    fn what_takes_too_long_is_answered_in_time_and_not_again() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Start));
        begun(&mut orders);
        assert_eq!(orders.poll_timeout(), Some(at(10)));
        orders.handle_timeout(at(9));
        assert_eq!(answers(&mut orders), []);
        orders.handle_timeout(at(10));
        assert_eq!(answers(&mut orders), [(1, Err(ActionError::TimedOut))]);
        orders.ended(0, Ok(()));
        let ended = orders.poll_output().expect("that it ended is told");
        assert!(matches!(ended, LibvirtInput::Ended { ticket: Ticket(1) }), "{ended:?}");
        assert_eq!(answers(&mut orders), []);
    }

    #[test]
    fn one_domain_takes_one_order_at_a_time_and_others_do_not_wait() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Reset));
        orders.submit(at(0), order(2, "a", VmAction::Start));
        orders.submit(at(0), order(3, "b", VmAction::Start));
        assert_eq!(begun(&mut orders), [(0, 1), (1, 3)]);
        orders.ended(0, Ok(()));
        assert_eq!(begun(&mut orders), [(0, 2)]);
    }

    #[test]
    fn an_order_that_waited_has_less_time() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Reset));
        orders.submit(at(0), order(2, "a", VmAction::Reset));
        begun(&mut orders);
        orders.ended(0, Ok(()));
        let (_, second) = orders.poll_order(at(7)).expect("it waited for the first");
        assert_eq!(second.limit, Duration::from_secs(3));
    }

    #[test]
    fn a_start_waits_for_the_plug_that_was_pulled_before_it() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Destroy));
        orders.submit(at(0), order(2, "a", VmAction::Start));
        assert_eq!(begun(&mut orders), [(0, 1)]);
        orders.ended(0, Ok(()));
        assert_eq!(begun(&mut orders), [(0, 2)]);
    }

    #[test]
    fn a_plug_is_pulled_though_every_other_call_hangs() {
        let mut orders = up();
        for (ticket, domain) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            orders.submit(at(0), order(ticket, domain, VmAction::Reset));
        }
        assert_eq!(begun(&mut orders), [(0, 1), (1, 2), (2, 3)]);
        orders.submit(at(0), order(5, "a", VmAction::Destroy));
        assert_eq!(begun(&mut orders), [(3, 5)]);
        orders.handle_timeout(at(10));
        let busy = Err(ActionError::Busy);
        let late = || Err(ActionError::TimedOut);
        assert_eq!(
            answers(&mut orders),
            [(1, late()), (2, late()), (3, late()), (5, late()), (4, busy.clone())]
        );
        // A further plug may wait for its slot; anything else would only hang.
        orders.submit(at(11), order(6, "e", VmAction::Start));
        orders.submit(at(11), order(7, "b", VmAction::Destroy));
        assert_eq!(answers(&mut orders), [(6, busy)]);
        orders.ended(3, Ok(()));
        assert_eq!(begun(&mut orders), [(3, 7)]);
        orders.ended(0, Ok(()));
        orders.submit(at(11), order(8, "a", VmAction::Start));
        assert_eq!(begun(&mut orders), [(0, 8)]);
    }

    #[test]
    fn a_domain_whose_call_hangs_gets_no_further_one_but_the_plug() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Reset));
        begun(&mut orders);
        orders.handle_timeout(at(10));
        orders.submit(at(11), order(2, "a", VmAction::Reboot));
        orders.submit(at(11), order(3, "a", VmAction::Destroy));
        assert_eq!(answers(&mut orders), [(1, Err(ActionError::TimedOut)), (2, Err(ActionError::Busy))]);
        assert_eq!(begun(&mut orders), [(1, 3)]);
    }

    #[test]
    fn without_libvirt_nothing_is_begun() {
        let mut orders = up();
        for ticket in 0..5 {
            orders.submit(at(0), order(ticket, &ticket.to_string(), VmAction::Start));
        }
        assert_eq!(begun(&mut orders).len(), MAX_ORDINARY);
        orders.link_down();
        orders.submit(at(0), order(9, "z", VmAction::Destroy));
        let lost: Vec<u64> = answers(&mut orders).into_iter().map(|(ticket, _)| ticket).collect();
        assert_eq!(lost, [3, 4, 9]);
        orders.ended(1, Err(ActionError::Failed("gone".to_owned())));
        assert_eq!(answers(&mut orders), [(1, Err(ActionError::Failed("gone".to_owned())))]);
        assert_eq!(begun(&mut orders), []);
    }

    #[test]
    fn a_kill_waits_for_no_libvirt_and_for_no_call() {
        let mut orders = up();
        for (ticket, action) in [(1, VmAction::Reset), (2, VmAction::Destroy)] {
            orders.submit(at(0), order(ticket, "a", action));
        }
        for (ticket, domain) in [(3, "b"), (4, "c"), (5, "d")] {
            orders.submit(at(0), order(ticket, domain, VmAction::Start));
        }
        assert_eq!(begun(&mut orders), [(0, 1), (1, 2), (2, 3), (3, 4)], "all calls are under way");
        orders.submit(at(0), order(6, "a", VmAction::Kill));
        assert_eq!(begun(&mut orders), [(KILLS, 6)]);
        for ticket in 7..=10 {
            orders.submit(at(0), order(ticket, &ticket.to_string(), VmAction::Kill));
        }
        assert_eq!(begun(&mut orders), [(KILLS + 1, 7), (KILLS + 2, 8), (KILLS + 3, 9)]);
        orders.link_down();
        assert_eq!(
            answers(&mut orders),
            [(5, Err(ActionError::NotConnected))],
            "what needs no libvirt waits on"
        );
        orders.submit(at(1), order(11, "z", VmAction::Kill));
        orders.ended(KILLS + 1, Ok(()));
        assert_eq!(answers(&mut orders), [(7, Ok(()))]);
        assert_eq!(begun(&mut orders), [(KILLS + 1, 10)]);
        // However many calls hang.
        orders.handle_timeout(at(11));
        orders.link_up();
        orders.submit(at(11), order(12, "a", VmAction::Kill));
        orders.ended(KILLS + 2, Ok(()));
        assert_eq!(begun(&mut orders), [(KILLS + 2, 12)], "the eleventh was given up on while it waited");
    }

    #[test]
    fn what_is_ordered_behind_a_kill_waits_for_its_end() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Kill));
        orders.submit(at(0), order(2, "a", VmAction::Start));
        assert_eq!(begun(&mut orders), [(KILLS, 1)]);
        orders.ended(KILLS, Ok(()));
        assert_eq!(begun(&mut orders), [(0, 2)]);
    }

    fn migrate() -> VmAction {
        VmAction::Migrate { to: "qemu+ssh://hv2/system".to_owned() }
    }

    fn file() -> PathBuf {
        PathBuf::from("/save/a")
    }

    #[test]
    fn each_slot_is_of_one_lane() {
        let lanes: Vec<_> = (0..SLOTS).map(lane).collect();
        for lane in Lane::ALL {
            let workers: Vec<_> =
                lanes.iter().filter(|(its, _)| *its == lane).map(|(_, worker)| *worker).collect();
            assert_eq!(workers, (0..lane.slots().len()).collect::<Vec<_>>(), "{lane:?}");
        }
    }

    #[test]
    fn long_moves_keep_no_other_vm_waiting() {
        let mut orders = up();
        let save = || VmAction::Save { file: file() };
        let restore = || VmAction::Restore { file: file() };
        for (ticket, domain, action) in
            [(1, "a", migrate()), (2, "b", save()), (3, "c", restore()), (4, "d", migrate())]
        {
            orders.submit(at(0), order(ticket, domain, action));
        }
        assert_eq!(begun(&mut orders), [(MOVES, 1), (MOVES + 1, 2), (MOVES + 2, 3)]);
        for (ticket, domain) in [(5, "e"), (6, "f"), (7, "g")] {
            orders.submit(at(0), order(ticket, domain, VmAction::Start));
        }
        orders.submit(at(0), order(8, "h", VmAction::Destroy));
        assert_eq!(begun(&mut orders), [(0, 5), (1, 6), (2, 7), (3, 8)]);
        assert_eq!(orders.moving().collect::<Vec<_>>(), [(Ticket(1), "a"), (Ticket(2), "b")]);
        orders.ended(MOVES + 1, Ok(()));
        assert_eq!(begun(&mut orders), [(MOVES + 1, 4)]);
    }

    #[test]
    fn what_stops_a_vm_does_not_wait_for_its_migration_and_all_else_is_refused() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", migrate()));
        for (ticket, action) in [
            (2, VmAction::Resume),
            (3, VmAction::Start),
            (4, VmAction::Suspend),
            (5, VmAction::Abort),
            (6, VmAction::Destroy),
            (7, VmAction::Kill),
            (8, migrate()),
        ] {
            orders.submit(at(0), order(ticket, "a", action));
        }
        assert_eq!(begun(&mut orders), [(MOVES, 1), (0, 4), (1, 5), (2, 6), (KILLS, 7)]);
        assert_eq!(answers(&mut orders), [2, 3, 8].map(|ticket| (ticket, Err(ActionError::Busy))));
        orders.ended(MOVES, Err(ActionError::Failed("canceled by client".to_owned())));
        orders.submit(at(0), order(9, "a", VmAction::Resume));
        assert_eq!(begun(&mut orders), [], "the others have not ended");
        for slot in [0, 1, 2, KILLS] {
            orders.ended(slot, Ok(()));
        }
        assert_eq!(begun(&mut orders), [(0, 9)]);
    }

    #[test]
    fn a_migration_that_hangs_can_be_stopped_and_nothing_else() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", migrate()));
        begun(&mut orders);
        orders.handle_timeout(at(10));
        assert_eq!(orders.moving().count(), 0);
        for (ticket, action) in [
            (2, VmAction::Start),
            (3, migrate()),
            (4, VmAction::Forget { file: file() }),
            (5, VmAction::Suspend),
            (6, VmAction::Abort),
            (7, VmAction::Destroy),
        ] {
            orders.submit(at(11), order(ticket, "a", action));
        }
        let busy = || Err(ActionError::Busy);
        assert_eq!(answers(&mut orders), [(1, Err(ActionError::TimedOut)), (2, busy()), (3, busy())]);
        let begun =
            core::iter::from_fn(|| orders.poll_order(at(11))).map(|(slot, order)| (slot, order.ticket.0));
        assert_eq!(begun.collect::<Vec<_>>(), [(FILES, 4), (0, 5), (1, 6), (2, 7)]);
    }

    #[test]
    fn moves_that_all_hang_take_no_more() {
        let mut orders = up();
        for (ticket, domain) in [(1, "a"), (2, "b"), (3, "c")] {
            orders.submit(at(0), order(ticket, domain, migrate()));
        }
        assert_eq!(begun(&mut orders).len(), MOVE_SLOTS);
        orders.handle_timeout(at(10));
        answers(&mut orders);
        orders.submit(at(11), order(4, "d", migrate()));
        orders.submit(at(11), order(5, "d", VmAction::Start));
        assert_eq!(answers(&mut orders), [(4, Err(ActionError::Busy))]);
        assert_eq!(begun(&mut orders), [(0, 5)]);
    }

    #[test]
    fn a_migration_waits_for_what_came_before_it() {
        let mut orders = up();
        for (ticket, domain) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            orders.submit(at(0), order(ticket, domain, VmAction::Start));
        }
        orders.submit(at(0), order(5, "a", migrate()));
        orders.submit(at(0), order(6, "d", migrate()));
        assert_eq!(begun(&mut orders), [(0, 1), (1, 2), (2, 3)]);
        orders.ended(0, Ok(()));
        assert_eq!(begun(&mut orders), [(0, 4), (MOVES, 5)]);
        orders.ended(0, Ok(()));
        assert_eq!(begun(&mut orders), [(MOVES + 1, 6)]);
    }

    #[test]
    fn a_file_is_taken_away_without_libvirt_and_after_what_reads_it() {
        let mut orders = up();
        orders.submit(at(0), order(1, "a", VmAction::Restore { file: file() }));
        orders.submit(at(0), order(2, "a", VmAction::Forget { file: file() }));
        assert_eq!(begun(&mut orders), [(MOVES, 1)]);
        orders.ended(MOVES, Ok(()));
        orders.submit(at(0), order(3, "a", VmAction::Resume));
        assert_eq!(begun(&mut orders), [(FILES, 2)]);
        orders.ended(FILES, Ok(()));
        assert_eq!(begun(&mut orders), [(0, 3)]);
        orders.ended(0, Ok(()));
        answers(&mut orders);
        orders.link_down();
        orders.submit(at(0), order(4, "a", VmAction::Forget { file: file() }));
        orders.submit(at(0), order(5, "a", VmAction::Restore { file: file() }));
        assert_eq!(answers(&mut orders), [(5, Err(ActionError::NotConnected))]);
        assert_eq!(begun(&mut orders), [(FILES, 4)]);
    }

    #[test]
    fn how_long_a_vm_stood_still_is_told_before_the_end_and_not_after_a_timeout() {
        let told = |orders: &mut Orders| core::iter::from_fn(|| orders.poll_output()).collect::<Vec<_>>();
        let time = Duration::from_millis(45);
        let mut orders = up();
        orders.submit(at(0), order(1, "a", migrate()));
        begun(&mut orders);
        orders.stood_still(MOVES, time);
        orders.ended(MOVES, Ok(()));
        let ticket = Ticket(1);
        let done = LibvirtInput::Done { ticket, result: Ok(()) };
        assert_eq!(told(&mut orders), [LibvirtInput::Downtime { ticket, time }, done]);
        orders.submit(at(0), order(2, "a", migrate()));
        begun(&mut orders);
        orders.handle_timeout(at(10));
        told(&mut orders);
        orders.stood_still(MOVES, time);
        orders.ended(MOVES, Ok(()));
        assert_eq!(told(&mut orders), [LibvirtInput::Ended { ticket: Ticket(2) }]);
    }

    #[test]
    fn more_than_can_wait_is_refused() {
        let mut orders = up();
        for ticket in 0..=MAX_WAITING as u64 {
            orders.submit(at(0), order(ticket, "a", VmAction::Start));
        }
        assert_eq!(answers(&mut orders), [(MAX_WAITING as u64, Err(ActionError::Busy))]);
    }
}
