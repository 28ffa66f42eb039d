//! Fence agents: one for each host that has any; the power that they take is the machine's.

use super::World;
use super::event::Event;
use super::host::Agent;
use core::time::Duration;
use roost::engine::Input;
use roost::engine::fence::{FenceAction, FenceOrder, FenceResult};

/// How long a usual agent takes.
const USUAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1500));
/// The longest that the driver waits for one, if the configuration does not say.
const LIMIT: Duration = Duration::from_secs(60);

impl World {
    pub(super) fn fence_ordered(&mut self, by: usize, order: FenceOrder) {
        let life = self.hosts[by].life;
        self.say(|w| format!("{}: fence agents of {}: {:?}", w.hosts[by].name, order.name, order.action));
        let Some(target) = self.ids.get(&order.host).copied() else { return };
        let usual = self.random.time(USUAL.0, USUAL.1);
        let agents = || order.levels.iter().flat_map(|level| &level.agents);
        let limit = limit(&order);
        let delay = agents().map(|agent| agent.delay).max().filter(|_| order.action == FenceAction::Off);
        let usual = usual + delay.unwrap_or_default();
        let after = match self.hosts[target].agent {
            Agent::Works | Agent::Late(_) => usual,
            Agent::Slow(seconds) if Duration::from_secs(seconds) >= limit => {
                let result = FenceResult::Failed { reason: "it took too long".to_owned() };
                self.push(limit, Event::Answer { order: Box::new(order), by, life, result });
                return;
            }
            Agent::Slow(seconds) => usual + Duration::from_secs(seconds),
            Agent::Fails => {
                let result = FenceResult::Failed { reason: "it does not answer".to_owned() };
                let after = self.random.time(USUAL.0, LIMIT / 4);
                self.push(after, Event::Answer { order: Box::new(order), by, life, result });
                return;
            }
        };
        self.push(after, Event::Agent { order: Box::new(order), by, life });
    }

    /// The agent does what it was asked: even when who asked is gone, since it is a process of its own; not when it
    /// was withdrawn.
    pub(super) fn agent_acts(&mut self, order: FenceOrder, by: usize, life: u64) {
        let Some(target) = self.ids.get(&order.host).copied() else { return };
        if self.hosts[by].withdrawn.contains(&(life, order.ticket)) {
            let (order, result) = (Box::new(order), FenceResult::Withdrawn);
            self.push(Duration::ZERO, Event::Answer { order, by, life, result });
            return;
        }
        match order.action {
            FenceAction::Off => {
                self.check_switching(by, life, target);
                self.say(|w| format!("{}: its power is taken", w.hosts[target].name));
                self.power_off(target);
            }
            FenceAction::On => self.power_on(target),
            FenceAction::Status => {}
        }
        let result = if self.hosts[target].powered { FenceResult::On } else { FenceResult::Off };
        let limit = limit(&order);
        let (after, result) = match self.hosts[target].agent {
            Agent::Late(seconds) if Duration::from_secs(seconds) >= limit => {
                (limit, FenceResult::Failed { reason: "it took too long".to_owned() })
            }
            Agent::Late(seconds) => (Duration::from_secs(seconds), result),
            Agent::Works | Agent::Slow(_) | Agent::Fails => (Duration::from_millis(5), result),
        };
        self.push(after, Event::Answer { order: Box::new(order), by, life, result });
    }

    pub(super) fn agent_answers(&mut self, order: &FenceOrder, by: usize, life: u64, result: FenceResult) {
        let input = Box::new(Input::Fence { ticket: order.ticket, result });
        self.push(Duration::ZERO, Event::Tell { host: by, life, input });
    }
}

/// The longest that the driver waits for one run of the agents.
fn limit(order: &FenceOrder) -> Duration {
    order.levels.iter().flat_map(|level| &level.agents).map(|agent| agent.timeout).max().unwrap_or(LIMIT)
}
