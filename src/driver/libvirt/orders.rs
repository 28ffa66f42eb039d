//! Orders: which runs when, and one answer for each, in time. Pure: the calls are the shell's.
//!
//! A call that libvirt does not finish cannot be taken back. It keeps its slot, its order is answered as timed out, and
//! when it ends after all, that alone is told. The last slot is for pulling plugs alone: that is what ends the calls that hang
//! on a stuck QEMU, so it must not wait behind them.
//!
//! To kill a VM's process needs no libvirt. So it has slots of its own, and is begun whether libvirt answers or not.

use crate::engine::keeper::vm::{ActionError, LibvirtInput, Order, VmAction};
use roost_proto::time::Instant;
use std::collections::VecDeque;

/// Calls under way at once, each on a connection of its own that is made when it is first needed.
pub const SLOTS: usize = 4;
/// Calls under way at once that do not pull a plug.
const MAX_ORDINARY: usize = SLOTS - 1;
/// Kills under way at once. One takes milliseconds, or seconds where a process is stuck in the kernel.
pub const KILL_SLOTS: usize = 4;
/// Where the slots for kills begin; their numbers follow on those of the calls.
const KILLS: usize = SLOTS;
/// Orders that wait for a slot, at most: more than one for each VM of a large host.
const MAX_WAITING: usize = 256;

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
    slots: [Option<Running>; SLOTS + KILL_SLOTS],
    waiting: VecDeque<(Order, Instant)>,
    out: VecDeque<LibvirtInput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Up,
}

const fn pulls_plug(order: &Order) -> bool {
    matches!(order.action, VmAction::Destroy)
}

const fn kills(order: &Order) -> bool {
    matches!(order.action, VmAction::Kill)
}

impl Orders {
    /// None yet, and no connection.
    pub const fn new() -> Self {
        Self {
            link: Link::Down,
            slots: [const { None }; SLOTS + KILL_SLOTS],
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
        let (kills, others): (VecDeque<_>, _) =
            core::mem::take(&mut self.waiting).into_iter().partition(|(order, _)| kills(order));
        self.waiting = kills;
        for (order, _) in others {
            self.answer(&order, Err(ActionError::NotConnected));
        }
    }

    /// Takes an order.
    pub fn submit(&mut self, now: Instant, order: Order) {
        let alike = self.waiting.iter().filter(|(other, _)| kills(other) == kills(&order)).count();
        if self.link == Link::Down && !kills(&order) {
            self.answer(&order, Err(ActionError::NotConnected));
        } else if alike >= MAX_WAITING || self.would_hang(&order) {
            self.answer(&order, Err(ActionError::Busy));
        } else {
            let deadline = now + order.limit;
            self.waiting.push_back((order, deadline));
        }
    }

    /// Whether the call would only join those that hang: one for its domain does, or all that may be made do.
    fn would_hang(&self, order: &Order) -> bool {
        let stuck = |running: &&Running| running.answer == Answered::TimedOut && !pulls_plug(&running.order);
        let mut hanging = self.slots[..KILLS].iter().flatten().filter(stuck);
        let same = hanging.clone().any(|running| running.order.domain == order.domain);
        !pulls_plug(order) && !kills(order) && (same || hanging.nth(MAX_ORDINARY - 1).is_some())
    }

    /// The next order to carry out, with what is left of its limit, and its slot.
    pub fn poll_order(&mut self, now: Instant) -> Option<(usize, Order)> {
        let (next, slot) = (0..self.waiting.len()).find_map(|index| Some((index, self.slot_for(index)?)))?;
        let (mut order, deadline) = self.waiting.remove(next)?;
        order.limit = deadline.since(now);
        self.slots[slot] = Some(Running { order: order.clone(), deadline, answer: Answered::No });
        Some((slot, order))
    }

    /// Orders for one domain run one at a time, as they came; pulling its plug waits for nothing but another such, and
    /// killing it for nothing at all.
    fn slot_for(&self, index: usize) -> Option<usize> {
        let (order, _) = &self.waiting[index];
        let free = |slot: &usize| self.slots[*slot].is_none();
        if kills(order) {
            return (KILLS..self.slots.len()).find(free);
        }
        let plug = pulls_plug(order);
        let in_its_way = |other: &Order| other.domain == order.domain && (!plug || pulls_plug(other));
        let running = || self.slots.iter().flatten().map(|running| &running.order);
        let ordinary = running().filter(|other| !pulls_plug(other) && !kills(other)).count();
        let may_run = (plug || ordinary < MAX_ORDINARY) && !running().any(in_its_way);
        if may_run { (0..KILLS).find(free) } else { None }
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
    use crate::engine::keeper::vm::Ticket;
    use core::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

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

    #[test]
    fn more_than_can_wait_is_refused() {
        let mut orders = up();
        for ticket in 0..=MAX_WAITING as u64 {
            orders.submit(at(0), order(ticket, "a", VmAction::Start));
        }
        assert_eq!(answers(&mut orders), [(MAX_WAITING as u64, Err(ActionError::Busy))]);
    }
}
