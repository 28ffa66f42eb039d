//! Walks at random: everything may be lost, doubled, late; hosts crash with writes undone; voters change.

use super::*;

struct Walk {
    net: Net,
    random: Jitter,
    proposed: u32,
}

impl Walk {
    fn below(&mut self, limit: u64) -> u64 {
        (self.random.draw() >> 16) % limit
    }

    fn any(&mut self) -> u32 {
        let number = self.below(self.net.nodes.len() as u64);
        1 + u32::try_from(number).expect("few hosts")
    }

    fn step(&mut self) {
        match self.below(100) {
            0..=54 => self.deliver_one(),
            55..=74 => self.pass(),
            75..=84 => self.propose(),
            85..=86 => {
                let number = self.any();
                if self.net.nodes[&host(number)].up {
                    self.net.crash(number);
                }
            }
            87..=91 => {
                let number = self.any();
                if !self.net.nodes[&host(number)].up {
                    self.net.restart(number);
                }
            }
            92 => {
                let (a, b) = (self.any(), self.any());
                self.net.cut.insert((host(a), host(b)));
            }
            93..=94 => self.net.mend(),
            95 => {
                let number = self.any();
                let node = self.net.nodes.get_mut(&host(number)).expect("it exists");
                node.writes = if node.writes == Disk::Prompt { Disk::Hangs } else { Disk::Prompt };
                self.net.drain(host(number));
            }
            96..=97 => self.change_voters(),
            _ => self.compact(),
        }
    }

    fn deliver_one(&mut self) {
        if self.net.wires.is_empty() {
            return;
        }
        let nth = usize::try_from(self.below(self.net.wires.len() as u64)).expect("few messages");
        let fate = self.below(10);
        let (from, to, message) =
            if fate == 0 { self.net.wires[nth].clone() } else { self.net.wires.swap_remove(nth) };
        if fate != 1 {
            self.net.give(from, to, message);
        }
        if self.net.wires.len() > 400 {
            self.net.wires.drain(..200);
        }
    }

    fn pass(&mut self) {
        let number = self.any();
        self.net.now = self.net.now + Duration::from_millis(self.below(120));
        let now = self.net.now;
        if self.net.nodes[&host(number)].up {
            self.net.raft(number).handle_timeout(now);
            self.net.raft(number).beat(now);
            self.net.drain(host(number));
        }
    }

    fn propose(&mut self) {
        let leaders = self.net.leaders_now();
        if !leaders.is_empty() {
            self.proposed += 1;
            let nth = usize::try_from(self.below(leaders.len() as u64)).expect("few leaders");
            let text = format!("entry {}", self.proposed);
            self.net.propose(leaders[nth], &text);
        }
    }

    fn change_voters(&mut self) {
        let number = self.any();
        if let [leader, ..] = self.net.leaders_now().as_slice() {
            let now = self.net.now;
            let leader = *leader;
            let raft = &mut self.net.nodes.get_mut(&leader).expect("it exists").raft;
            let mut voters = raft.voters().clone();
            if voters.remove(&host(number)).is_none() {
                voters.insert(host(number), storage(number));
            }
            raft.set_learners((1..=5).map(host).collect());
            let _ = raft.change_voters(now, voters); // it may refuse
            self.net.drain(leader);
        }
    }

    fn compact(&mut self) {
        let number = self.any();
        let now = self.net.now;
        let raft = self.net.raft(number);
        let index = raft.applied;
        raft.compact(now, index, vec![7; 700].into());
        self.net.drain(host(number));
    }
}

fn walk(seed: u64, steps: u32) -> u32 {
    let mut walk =
        Walk { net: Net::new(&[1, 2, 3], &[4, 5], seed), random: Jitter::new(seed + 1), proposed: 0 };
    for _ in 0..steps {
        walk.step();
    }
    // Everything heals: one leads, and what is proposed now reaches every voter.
    walk.net.mend();
    for number in 1..=5 {
        walk.net.disk(number, Disk::Prompt);
        if walk.net.nodes[&host(number)].up {
            walk.net.drain(host(number));
        } else {
            walk.net.restart(number);
        }
    }
    let leader = walk.net.elect();
    walk.net.ticks(20);
    let leader = walk.net.leaders_now().first().copied().unwrap_or(leader);
    walk.net.propose(leader, "the end");
    walk.net.ticks(20);
    let voting: Vec<u32> = walk.net.nodes[&leader].raft.voters().keys().map(|id| id.0).collect();
    for number in voting {
        assert!(
            walk.net.has_applied(number, "the end"),
            "seed {seed}: host {number} misses the end:\n{}",
            walk.net.describe()
        );
    }
    walk.proposed
}

#[test]
fn whatever_happens_the_logs_agree_and_in_the_end_all_is_well() {
    let mut proposed = 0;
    for seed in 0..300 {
        proposed += walk(seed, 1500);
    }
    assert!(proposed > 3000, "the walks went through little: {proposed} proposals");
}
