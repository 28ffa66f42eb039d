//! The order of a group's resources: what is needed comes first.

/// The order in which resources can be started: each after all that it needs, and otherwise as they stand. `needs[r]`
/// holds what resource `r` needs. An error is a cycle: each of it needs the next, and the last the first.
///
/// # Panics
/// If an index is out of range.
pub fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut placed = vec![false; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    while order.len() < needs.len() {
        let ready = |r: &usize| !placed[*r] && needs[*r].iter().all(|&need| placed[need]);
        match (0..needs.len()).find(ready) {
            Some(next) => {
                placed[next] = true;
                order.push(next);
            }
            None => return Err(cycle(needs, &placed)),
        }
    }
    Ok(order)
}

/// A cycle among what is not placed. Each of those needs another one of them, so whoever goes from need to need
/// returns to where he has been.
fn cycle(needs: &[Vec<usize>], placed: &[bool]) -> Vec<usize> {
    let mut at = placed.iter().position(|&placed| !placed).expect("something could not be placed");
    let mut path = Vec::new();
    loop {
        if let Some(start) = path.iter().position(|&seen| seen == at) {
            return path.split_off(start);
        }
        path.push(at);
        at = *needs[at].iter().find(|&&need| !placed[need]).expect("something that it needs is not placed");
    }
}
