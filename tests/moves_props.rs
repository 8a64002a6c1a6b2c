//! What a change of the ring moves, against a plain twin that looks at every slot alone.

#[path = "common/twin.rs"]
mod twin;

use std::collections::{BTreeMap, BTreeSet};

use dht::core::hash::{SLOT_COUNT, Slot};
use dht::core::moves::{copies, ranges, transfers};
use dht::core::ring::{REPLICA_COUNT, Ring};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use twin::{Server, twin};

fn ring(servers: &[Server]) -> Ring<String> {
    Ring::new(servers.iter().map(|(position, name)| (name.clone(), *position)))
}

/// Servers of which some numbers may stand in a second drawing too; positions are often equal or at
/// the ends.
fn servers(most: usize) -> impl Strategy<Value = Vec<Server>> {
    let position = prop_oneof![
        4 => 0..SLOT_COUNT,
        1 => 0..4u16,
        1 => SLOT_COUNT - 4..SLOT_COUNT,
        1 => 5000..5003u16,
    ];
    btree_map(0..24u16, position, 0..most).prop_map(|drawn| {
        let name = |number| format!("10.0.0.{number}:38000");
        drawn.into_iter().map(|(number, position)| (position, name(number))).collect()
    })
}

/// Who holds each slot.
fn placed(servers: &[Server]) -> Vec<BTreeSet<String>> {
    let holders = |slot| twin(servers, slot, REPLICA_COUNT).into_iter().collect();
    (0..SLOT_COUNT).map(holders).collect()
}

/// Carries a change out slot by slot: whoever gets a copy must get it from somebody who has it, or,
/// where nobody has it, from nobody. Returns who holds what then, and how many copies were made.
fn carried_out(
    before: &[Server],
    after: &[Server],
    lost: &BTreeSet<String>,
) -> (Vec<BTreeSet<String>>, usize) {
    let mut holders = placed(before);
    for held in &mut holders {
        held.retain(|server| !lost.contains(server));
    }
    let givers = holders.clone();
    let mut made = 0;
    for transfer in transfers(&ring(before), &ring(after), lost) {
        assert!(transfer.start < transfer.end && transfer.end <= SLOT_COUNT);
        for slot in usize::from(transfer.start)..usize::from(transfer.end) {
            match &transfer.source {
                Some(source) => assert!(givers[slot].contains(source), "{source} has no {slot}"),
                None => assert!(givers[slot].is_empty(), "somebody has {slot}"),
            }
            assert!(holders[slot].insert(transfer.target.clone()), "{slot} is given twice");
            made += 1;
        }
    }
    (holders, made)
}

/// The fewest copies: one for each slot and each holder that it did not have.
fn fewest(before: &[Server], after: &[Server]) -> usize {
    let (before, after) = (placed(before), placed(after));
    before.iter().zip(&after).map(|(old, new)| new.difference(old).count()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_plan_leads_to_the_new_ring_with_the_fewest_copies(
        before in servers(12),
        after in servers(12),
    ) {
        let (holders, made) = carried_out(&before, &after, &BTreeSet::new());
        for (held, wanted) in holders.iter().zip(placed(&after)) {
            prop_assert!(held.is_superset(&wanted));
        }
        prop_assert_eq!(made, fewest(&before, &after));
    }

    #[test]
    fn after_a_failure_survivors_give(before in servers(12), picks in btree_set(0..12usize, 0..4)) {
        let failed = picks.iter().filter_map(|pick| before.get(*pick));
        let lost: BTreeSet<String> = failed.map(|(_, name)| name.clone()).collect();
        let after: Vec<Server> =
            before.iter().filter(|(_, name)| !lost.contains(name)).cloned().collect();
        let (holders, made) = carried_out(&before, &after, &lost);
        // Nobody has to give up anything: what survives stays, and only what is missing is copied.
        prop_assert_eq!(holders, placed(&after));
        prop_assert_eq!(made, fewest(&before, &after));
    }

    #[test]
    fn the_new_primary_gives_where_it_can(
        before in servers(8),
        after in servers(8),
        slot in 0..SLOT_COUNT,
    ) {
        let (old, new) =
            (twin(&before, slot, REPLICA_COUNT), twin(&after, slot, REPLICA_COUNT));
        for (source, target) in copies(&ring(&before), &ring(&after), slot, &BTreeSet::new()) {
            prop_assert!(new.contains(&target) && !old.contains(&target));
            let stays = new.iter().find(|server| old.contains(server));
            prop_assert_eq!(source.as_ref(), stays.or(old.first()));
        }
    }

    #[test]
    fn transfers_are_as_few_and_as_long_as_can_be(before in servers(8), after in servers(8)) {
        let mut ends: BTreeMap<_, Vec<(Slot, Slot)>> = BTreeMap::new();
        let plan = transfers(&ring(&before), &ring(&after), &BTreeSet::new());
        prop_assert!(plan.windows(2).all(|pair| pair[0].start <= pair[1].start));
        for each in plan {
            ends.entry((each.source, each.target)).or_default().push((each.start, each.end));
        }
        for spans in ends.values() {
            prop_assert!(spans.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", spans);
        }
    }

    #[test]
    fn ranges_hold_exactly_the_slots_that_they_should(servers in servers(8)) {
        let ring = ring(&servers);
        for (_, name) in &servers {
            let found = ranges(&ring, |replicas| replicas.contains(name));
            prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
            for slot in 0..SLOT_COUNT {
                let held = found.iter().any(|range| range.contains(&slot));
                prop_assert_eq!(held, twin(&servers, slot, REPLICA_COUNT).contains(name));
            }
        }
    }
}

#[test]
fn a_first_server_gets_every_slot_from_nobody() {
    let plan = transfers(&Ring::new([]), &ring(&[(5000, "a".into())]), &BTreeSet::new());
    assert_eq!(plan.len(), 1);
    assert_eq!((plan[0].start, plan[0].end), (0, SLOT_COUNT));
    assert_eq!((plan[0].source.as_deref(), plan[0].target.as_str()), (None, "a"));
}
