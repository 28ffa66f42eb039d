//! One scenario after the other, drawn by a seed. The same seed draws the same ones; what comes of them is real and never quite
//! the same.

use crate::lab::{Lab, Outcome};
use crate::record::Moment;
use crate::{play as play_one, scenarios};
use roost_proto::retry::Jitter;
use std::time::Duration;

/// Plays for so many minutes. The first that does not end as it should ends it, with the lab as it is then.
pub fn play(lab: &Lab, minutes: u64, seed: u64) -> Outcome {
    let all: Vec<_> = scenarios::all().into_iter().filter(|scenario| scenario.chaos).collect();
    let mut random = Jitter::new(seed);
    let end = lab.record.now() + Duration::from_secs(minutes * 60);
    while lab.record.now() < end {
        let drawn = usize::try_from((random.draw() >> 16) % all.len() as u64).expect("below a length");
        play_one(lab, &all[drawn])?;
    }
    lab.record.wrongs(Moment::ZERO).first().map_or(Ok(()), |wrong| Err(wrong.clone()))
}
