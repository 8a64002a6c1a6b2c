//! The judge is judged: the linearizability checker on hand-made histories, against a brute-force
//! twin on random ones, and on long ones that are right by construction or wrong by one value.

#[path = "common/register.rs"]
mod register;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use dht::sim::history::{Action, History, HistoryError, Operation, Outcome};
use dht::sim::linearize::{Verdict, Violation, check, check_within};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use register::{Shape, played};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/histories")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn history(name: &str) -> History {
    History::from_json_lines(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn violation(history: &History) -> Violation {
    match check(history) {
        Verdict::Violation(violation) => violation,
        other => panic!("{other:?}\n{}", history.to_json_lines()),
    }
}

/// The hand-made histories: name, text, and the verdict that their first line claims.
fn hand_made() -> Vec<(String, String, String)> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.ends_with(".jsonl"));
    names.sort();
    let with_claim = |name: String| {
        let text = read(&name);
        let claim = text.strip_prefix("# ").and_then(|text| text.split_once(':'));
        let claim = claim.unwrap_or_else(|| panic!("{name} claims nothing")).0.to_string();
        (name, text, claim)
    };
    names.into_iter().map(with_claim).collect()
}

#[test]
fn hand_made_histories_are_judged_as_they_claim() {
    let files = hand_made();
    assert!(files.len() >= 20, "only {} histories", files.len());
    for (name, text, claim) in files {
        let history = History::from_json_lines(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let verdict = match check(&history) {
            Verdict::Linearizable => "linearizable".to_string(),
            Verdict::Violation(violation) => format!("violation of {}", violation.key),
            Verdict::Undecided { keys } => format!("undecided: {keys:?}"),
        };
        assert_eq!(verdict, claim, "{name}");
        assert_eq!(brute_force(&history.operations()), claim == "linearizable", "twin, {name}");
    }
}

#[test]
fn the_json_form_comes_back_as_it_was() {
    for (name, text, _) in hand_made() {
        let events: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let written = history(&name).to_json_lines();
        assert_eq!(written.lines().collect::<Vec<_>>(), events, "{name}");
    }
}

#[test]
fn what_is_recorded_is_what_is_read() {
    let mut recorded = History::new();
    recorded.call(1, 0, "k", Action::Put("v".to_string()));
    recorded.call(2, 1, "k", Action::Get);
    recorded.end(3, 0, Outcome::Done(None));
    recorded.end(3, 1, Outcome::Done(None));
    recorded.call(4, 0, "k", Action::Put("w".to_string()));
    recorded.call(5, 1, "k", Action::Get);
    recorded.end(9, 0, Outcome::Unknown);
    recorded.call(10, 0, "k", Action::Get);
    recorded.end(11, 1, Outcome::Unknown);
    recorded.end(12, 0, Outcome::Done(Some("w".to_string())));
    recorded.call(13, 1, "k", Action::Put("x".to_string()));
    recorded.end(14, 1, Outcome::NotDone);
    let text = recorded.to_json_lines();
    assert!(history("porcupine.jsonl").to_json_lines().starts_with(&text), "{text}");
    assert_eq!(History::from_json_lines(&text), Ok(recorded));
}

#[test]
fn a_broken_history_is_refused_with_the_line() {
    let call = r#"{"at":5,"process":0,"type":"invoke","f":"put","key":"k","value":"v"}"#;
    let second = [
        ("not JSON", "expected"),
        (r#"{"at":5}"#, "missing field"),
        (call, "process 0 is busy"),
        (r#"{"at":4,"process":0,"type":"ok","f":"put","key":"k"}"#, "time goes back from 5 to 4"),
        (r#"{"at":6,"process":1,"type":"ok","f":"put","key":"k"}"#, "process 1 has called nothing"),
        (r#"{"at":6,"process":0,"type":"ok","f":"get","key":"k"}"#, "ends another operation"),
        (r#"{"at":6,"process":0,"type":"ok","f":"put","key":"l"}"#, "ends another operation"),
        (r#"{"at":6,"process":0,"type":"ok","f":"put","key":"k","value":"w"}"#, "does not belong"),
        (r#"{"at":6,"process":1,"type":"invoke","f":"put","key":"k"}"#, "called with a value"),
        (r#"{"at":6,"process":1,"type":"invoke","f":"cas","key":"k"}"#, "unknown variant"),
    ];
    for (line, why) in second {
        let error = History::from_json_lines(&format!("# remark\n{call}\n\n{line}\n"));
        let Err(HistoryError::Line { line: 4, why: told }) = &error else {
            panic!("{line}: {error:?}");
        };
        assert!(told.contains(why), "{line}: {told}");
    }
}

#[test]
fn the_form_of_porcupine_is_as_its_tests_read_it() {
    assert_eq!(history("porcupine.jsonl").to_porcupine().as_deref(), Ok(&*read("porcupine.txt")));
    let mut empty = History::new();
    empty.call(1, 0, "k", Action::Put(String::new()));
    assert_eq!(empty.to_porcupine(), Err(HistoryError::EmptyValue { key: "k".to_string() }));
}

#[test]
fn a_violation_is_told_in_a_few_lines() {
    let shown = violation(&history("stale_read.jsonl")).to_string();
    assert_eq!(shown, read("stale_read.txt").trim_end());
    let shown = violation(&history("unknown_write_overwritten.jsonl")).to_string();
    assert_eq!(shown, read("unknown_write_overwritten.txt").trim_end());
}

/// Whether there is an order, by trying every one. For any number of keys; a register per key.
fn brute_force(operations: &[Operation]) -> bool {
    fn try_all<'a>(left: &[&'a Operation], register: &BTreeMap<&'a str, &'a str>) -> bool {
        let must = |operation: &&&Operation| matches!(operation.outcome, Outcome::Done(_));
        if left.iter().filter(must).count() == 0 {
            return true;
        }
        (0..left.len()).any(|index| {
            let next = left[index];
            let before_it = |other: &&&Operation| {
                must(other) && other.returned.is_some_and(|returned| returned < next.called)
            };
            if left.iter().filter(before_it).count() > 0 {
                return false;
            }
            let mut register = register.clone();
            match (&next.action, &next.outcome) {
                (Action::Put(value), _) => {
                    register.insert(&next.key, value);
                }
                (Action::Erase, _) => {
                    register.remove(&*next.key);
                }
                (Action::Get, Outcome::Done(read)) => {
                    if register.get(&*next.key).copied() != read.as_deref() {
                        return false;
                    }
                }
                (Action::Get, _) => return false,
            }
            let mut rest = left.to_vec();
            rest.remove(index);
            try_all(&rest, &register)
        })
    }
    let left: Vec<&Operation> =
        operations.iter().filter(|operation| operation.outcome != Outcome::NotDone).collect();
    try_all(&left, &BTreeMap::new())
}

/// Random histories: each draw lets one process begin or end an operation. Calls are weighted so
/// that most operations end, and values are few, so that puts of the same value are common.
fn random_history(
    operations_max: usize,
    keys: usize,
    values: usize,
) -> impl Strategy<Value = History> {
    let draw = (0..4u64, 0..keys, 0..=values, 0..100u32);
    vec(draw, 2..operations_max * 3).prop_map(move |draws| {
        let mut history = History::new();
        let mut busy = BTreeMap::new();
        for (at, (process, key, value, chance)) in (0..).zip(draws) {
            let value = (value > 0).then(|| format!("v{value}"));
            if let Some(gets) = busy.remove(&process) {
                let outcome = match chance {
                    0..20 => Outcome::Unknown,
                    20..25 => Outcome::NotDone,
                    _ if gets => Outcome::Done(value),
                    _ => Outcome::Done(None),
                };
                history.end(at, process, outcome);
            } else if history.len() < operations_max {
                let gets = value.is_none() || chance < 50;
                let action = match value.filter(|_| !gets) {
                    Some(value) => Action::Put(value),
                    None if chance >= 90 => Action::Erase,
                    None => Action::Get,
                };
                busy.insert(process, action == Action::Get);
                history.call(at, process, &format!("k{key}"), action);
            }
        }
        history
    })
}

/// Holds the checker against the twin, and demands that both verdicts are common.
fn compare(cases: u32, histories: impl Strategy<Value = History>) {
    let (yes, no) = (Cell::new(0), Cell::new(0));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let compared = TestRunner::new(config).run(&histories, |history| {
        let right = brute_force(&history.operations());
        match check(&history) {
            Verdict::Linearizable => {
                prop_assert!(right, "the twin finds no order:\n{}", history.to_json_lines());
                yes.set(yes.get() + 1);
            }
            Verdict::Violation(Violation { row, stuck, .. }) => {
                prop_assert!(!right, "the twin finds an order:\n{}", history.to_json_lines());
                prop_assert!(!stuck.is_empty());
                let shown: Vec<Operation> = row.iter().chain(&stuck).cloned().collect();
                prop_assert!(!brute_force(&shown), "what is shown has an order: {shown:?}");
                prop_assert!(brute_force(&row), "the row has no order: {row:?}");
                no.set(no.get() + 1);
            }
            Verdict::Undecided { .. } => prop_assert!(false, "a small history is decided"),
        }
        Ok(())
    });
    compared.unwrap_or_else(|e| panic!("{e}"));
    assert!(yes.get() > cases / 10 && no.get() > cases / 10, "{yes:?} right, {no:?} wrong");
}

#[test]
fn six_operations_on_two_keys_agree_with_the_twin() {
    compare(4_000, random_history(6, 2, 2));
}

#[test]
fn eight_operations_on_one_key_agree_with_the_twin() {
    compare(4_000, random_history(8, 1, 3));
}

#[test]
fn random_histories_survive_the_json_form() {
    proptest!(ProptestConfig::with_cases(200), |(history in random_history(12, 3, 3))| {
        let text = history.to_json_lines();
        prop_assert_eq!(History::from_json_lines(&text), Ok(history));
    });
}

#[test]
fn a_long_history_of_a_real_register_is_linearizable() {
    for seed in 0..20 {
        let distinct = Shape { operations: 5_000, processes: 8, ..Shape::default() };
        assert_eq!(check(&played(seed, &distinct)), Verdict::Linearizable, "seed {seed}");
        let few_values = Shape { operations: 1_000, values: Some(4), ..distinct };
        assert_eq!(check(&played(seed, &few_values)), Verdict::Linearizable, "seed {seed}");
    }
}

#[test]
fn puts_of_equal_values_that_overlap_are_told_apart() {
    for seed in 0..3_000 {
        let shape = Shape { operations: 30, processes: 6, slow: true, ..Shape::default() };
        let shape = Shape { values: Some(2 + seed % 3), ..shape };
        assert_eq!(check(&played(seed, &shape)), Verdict::Linearizable, "seed {seed}");
    }
}

#[test]
fn one_stale_read_in_a_long_history_is_found_and_shown_small() {
    for seed in 0..20 {
        let shape = Shape { operations: 2_000, stale_read: true, ..Shape::default() };
        let violation = violation(&played(seed, &shape));
        let shown = violation.row.len() + violation.stuck.len();
        assert!(shown <= 6, "seed {seed}: {shown} operations are shown:\n{violation}");
    }
}

#[test]
fn forty_writers_that_all_hang_are_settled_at_once() {
    let shape = Shape { operations: 4_000, processes: 40, slow: true, ..Shape::default() };
    for seed in 0..5 {
        assert_eq!(check(&played(seed, &shape)), Verdict::Linearizable, "seed {seed}");
        violation(&played(seed, &Shape { stale_read: true, ..shape }));
    }
}

#[test]
fn the_limit_gives_undecided_and_never_a_wrong_word() {
    let right = played(1, &Shape { operations: 500, ..Shape::default() });
    let undecided = Verdict::Undecided { keys: vec!["k".to_string()] };
    assert_eq!(check_within(&right, 100), undecided);
    let wrong = played(1, &Shape { operations: 500, stale_read: true, ..Shape::default() });
    assert_eq!(check_within(&wrong, 10), undecided);
}
