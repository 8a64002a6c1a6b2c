//! The ring against a plain linear scan, written from the rule's own sentence; and the hash against
//! what Python's `hashlib` says.

#[path = "common/data.rs"]
mod data;
#[path = "common/twin.rs"]
mod twin;

use std::collections::BTreeSet;

use data::{read_data, unescape};
use dht::core::hash::{SLOT_COUNT, Slot, slot_of};
use dht::core::ring::{REPLICA_COUNT, Ring};
use proptest::collection::btree_map;
use proptest::prelude::*;
use twin::{Server, twin};

fn ring(servers: &[Server]) -> Ring<String> {
    Ring::new(servers.iter().map(|(position, name)| (name.clone(), *position)))
}

/// Rings of 0 to 40 servers; positions are often equal, neighbours or at the ends.
fn servers() -> impl Strategy<Value = Vec<Server>> {
    let position = prop_oneof![
        4 => 0..SLOT_COUNT,
        1 => 0..4u16,
        1 => SLOT_COUNT - 4..SLOT_COUNT,
        1 => 5000..5003u16,
    ];
    btree_map(0..60u16, position, 0..40).prop_map(|drawn| {
        let name = |number| format!("10.0.0.{number}:38000");
        drawn.into_iter().map(|(number, position)| (position, name(number))).collect()
    })
}

fn all_slots(servers: &[Server]) -> Vec<Vec<String>> {
    let ring = ring(servers);
    (0..SLOT_COUNT).map(|slot| ring.replicas(slot)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replicas_are_what_the_rule_says(servers in servers(), drawn in 0..SLOT_COUNT) {
        let ring = ring(&servers);
        let near = servers.iter().flat_map(|(at, _)| [at.saturating_sub(1), *at, at + 1]);
        for slot in near.chain([0, 1, SLOT_COUNT - 1, drawn]) {
            prop_assert_eq!(ring.replicas(slot), twin(&servers, slot, REPLICA_COUNT));
        }
    }

    #[test]
    fn a_walk_passes_every_server_once_in_ring_order(servers in servers(), slot in 0..SLOT_COUNT) {
        let ring = ring(&servers);
        let walk: Vec<String> = ring.walk(slot).collect();
        prop_assert_eq!(&walk, &twin(&servers, slot, servers.len()));
        prop_assert_eq!(walk.iter().collect::<BTreeSet<_>>().len(), servers.len());
        prop_assert_eq!(ring.replicas(slot), &walk[..walk.len().min(REPLICA_COUNT)]);
        prop_assert_eq!(ring.len(), servers.len());
        prop_assert_eq!(ring.is_empty(), servers.is_empty());
        let listed: Vec<Server> = ring.servers().map(|(name, at)| (at, name.clone())).collect();
        let mut sorted = servers;
        sorted.sort();
        prop_assert_eq!(listed, sorted);
    }

    #[test]
    fn nothing_changes_between_two_boundaries(servers in servers()) {
        let boundaries: BTreeSet<Slot> = ring(&servers).boundaries().into_iter().collect();
        prop_assert_eq!(ring(&servers).boundaries(), boundaries.iter().copied().collect::<Vec<_>>());
        prop_assert!(boundaries.iter().all(|start| (1..SLOT_COUNT).contains(start)));
        let placed = all_slots(&servers);
        for slot in 1..SLOT_COUNT {
            if !boundaries.contains(&slot) {
                let at = usize::from(slot);
                prop_assert_eq!(&placed[at], &placed[at - 1], "slot {}", slot);
            }
        }
    }

    #[test]
    fn a_join_moves_only_what_the_new_server_takes(servers in servers(), at in 0..SLOT_COUNT) {
        let new = "10.0.1.1:38000".to_string();
        let before = all_slots(&servers);
        let joined: Vec<Server> = servers.iter().cloned().chain([(at, new.clone())]).collect();
        for (old, now) in before.iter().zip(all_slots(&joined)) {
            let (old, now): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), now.iter().collect());
            prop_assert!(now.iter().all(|server| old.contains(server) || **server == new));
            let must_leave = now.contains(&new) && old.len() == REPLICA_COUNT;
            prop_assert_eq!(old.difference(&now).count(), usize::from(must_leave));
        }
    }

    #[test]
    fn a_failure_moves_only_what_the_lost_server_had(servers in servers(), pick in any::<prop::sample::Index>()) {
        prop_assume!(!servers.is_empty());
        let before = all_slots(&servers);
        let (_, lost) = pick.get(&servers).clone();
        let left: Vec<Server> = servers.iter().filter(|(_, name)| *name != lost).cloned().collect();
        for (old, now) in before.iter().zip(all_slots(&left)) {
            if old.contains(&lost) {
                let survivors: Vec<_> = old.iter().filter(|server| **server != lost).collect();
                prop_assert!(survivors.iter().all(|server| now.contains(server)));
            } else {
                prop_assert_eq!(old, &now);
            }
        }
    }
}

#[test]
fn servers_of_equal_position_stand_in_the_order_of_their_addresses() {
    let ring = Ring::new([("b", 5000), ("a", 5000), ("c", 100), ("d", 9000)]);
    assert_eq!(ring.replicas(5001), ["b", "d", "c"]);
    assert_eq!(ring.replicas(5000), ["c", "a", "b"]);
    assert_eq!(ring.boundaries(), [101, 5001, 9001]);
}

#[test]
fn a_server_at_the_last_slot_makes_no_boundary() {
    let ring = Ring::new([("a", SLOT_COUNT - 1), ("b", 0)]);
    assert_eq!(ring.boundaries(), [1]);
    assert_eq!(ring.replicas(0), ["a", "b"]);
    assert_eq!(ring.replicas(SLOT_COUNT - 1), ["b", "a"]);
}

#[test]
fn hashes_are_pythons() {
    let cases = read_data("strings.txt");
    assert!(cases.len() > 100);
    for case in cases {
        let [slot, text, _] = &case[..] else { panic!("not slot, text, json: {case:?}") };
        assert_eq!(slot_of(&unescape(text)).to_string(), *slot, "{text}");
    }
}
