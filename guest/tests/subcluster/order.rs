//! The order of resources, for graphs drawn at random.

use proptest::prelude::*;
use roost_guest::config;
use roost_guest::config::order::order;

/// Any graph of up to 24 resources, in which each may need any.
fn graph() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1_usize..=24)
        .prop_flat_map(|count| proptest::collection::vec(proptest::collection::vec(0..count, 0..=3), count))
}

/// A graph without cycles: each needs only what comes before it in some hidden order.
fn acyclic() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1_usize..=24)
        .prop_flat_map(|count| {
            let hidden = Just((0..count).collect::<Vec<usize>>()).prop_shuffle();
            let picks = proptest::collection::vec(
                proptest::collection::vec(any::<prop::sample::Index>(), 0..=4),
                count,
            );
            (hidden, picks)
        })
        .prop_map(|(hidden, picks)| {
            let mut needs = vec![Vec::new(); hidden.len()];
            for (place, &resource) in hidden.iter().enumerate().skip(1) {
                needs[resource] = picks[place].iter().map(|pick| hidden[pick.index(place)]).collect();
            }
            needs
        })
}

/// Independently of the code: whether anything can be reached from itself.
fn has_cycle(needs: &[Vec<usize>]) -> bool {
    let count = needs.len();
    let mut reach = vec![vec![false; count]; count];
    for (from, tos) in needs.iter().enumerate() {
        for &to in tos {
            reach[from][to] = true;
        }
    }
    for by in 0..count {
        for from in 0..count {
            for to in 0..count {
                reach[from][to] |= reach[from][by] && reach[by][to];
            }
        }
    }
    (0..count).any(|resource| reach[resource][resource])
}

fn toml(needs: &[Vec<usize>]) -> String {
    let mut text = "[[group]]\nname = \"g\"\n".to_owned();
    for (nth, needs) in needs.iter().enumerate() {
        let mut needs: Vec<String> = needs.iter().map(|need| format!("\"r{need}\"")).collect();
        needs.sort();
        needs.dedup();
        text += &format!(
            "[[group.resource]]\nname = \"r{nth}\"\nkind = \"process\"\ncommand = [\"/d\"]\nneeds = [{}]\n",
            needs.join(", ")
        );
    }
    text
}

proptest! {
    #[test]
    fn an_order_is_found_exactly_when_there_is_no_cycle(needs in graph()) {
        match order(&needs) {
            Ok(order) => {
                prop_assert!(!has_cycle(&needs));
                let mut all = order.clone();
                all.sort_unstable();
                prop_assert_eq!(all, (0..needs.len()).collect::<Vec<_>>());
                for (place, &resource) in order.iter().enumerate() {
                    for need in &needs[resource] {
                        prop_assert!(order[..place].contains(need));
                    }
                }
            }
            Err(cycle) => {
                prop_assert!(has_cycle(&needs));
                for (nth, &resource) in cycle.iter().enumerate() {
                    let next = cycle[(nth + 1) % cycle.len()];
                    prop_assert!(needs[resource].contains(&next), "{} does not need {}", resource, next);
                }
            }
        }
    }

    #[test]
    fn a_graph_without_cycles_is_always_ordered(needs in acyclic()) {
        prop_assert!(order(&needs).is_ok());
        let config = config::parse(&toml(&needs)).expect("a good configuration");
        for (place, resource) in config.groups[0].resources.iter().enumerate() {
            for &need in &resource.needs {
                prop_assert!(need < place);
            }
            let nth: usize = resource.name[1..].parse().expect("rN");
            let mut named: Vec<String> =
                resource.needs.iter().map(|&need| config.groups[0].resources[need].name.clone()).collect();
            let mut wanted: Vec<String> = needs[nth].iter().map(|need| format!("r{need}")).collect();
            named.sort();
            wanted.sort();
            wanted.dedup();
            prop_assert_eq!(named, wanted);
        }
    }

    #[test]
    fn a_configuration_with_a_cycle_is_refused_and_a_true_cycle_named(needs in graph()) {
        prop_assume!(has_cycle(&needs));
        let error = config::parse(&toml(&needs)).expect_err("a cycle").to_string();
        let (_, circle) = error.split_once("circle: ").expect("the circle");
        let (circle, _) = circle.split_once(": take").expect("the remedy");
        let names: Vec<usize> =
            circle.split(" -> ").map(|name| name[1..].parse().expect("rN")).collect();
        prop_assert!(names.len() >= 2 && names.first() == names.last(), "{}", error);
        for pair in names.windows(2) {
            prop_assert!(needs[pair[0]].contains(&pair[1]), "{}", error);
        }
    }
}

#[test]
fn resources_without_needs_stay_as_they_stand() {
    assert_eq!(order(&[vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
    assert_eq!(order(&[vec![2], vec![], vec![]]), Ok(vec![1, 2, 0]));
    assert_eq!(order(&[vec![0]]), Err(vec![0]));
}
