//! Where a task goes: every filter, every strategy, and the slots that others hold.

use std::collections::BTreeSet;
use std::time::Duration;

use llorch::orchestrator::nodes::{ListedModel, NodeState, Nodes, PoolReport, Registration};
use llorch::orchestrator::placement::{Demand, Obstacle, Strategy, candidates, place};
use llorch::orchestrator::prediction::{ServiceTimes, start_ms};
use llorch::orchestrator::task::{Mode, Wish};
use serde_json::json;

pub const TESTS: &[(&str, fn())] = &[
    ("orchestrator_placement/filters_in_order", filters_in_order),
    ("orchestrator_placement/pins_are_kept_or_refused", pins_are_kept_or_refused),
    ("orchestrator_placement/preferred_pools_first_others_if_allowed", preferred_pools_first_others_if_allowed),
    ("orchestrator_placement/strategies", strategies),
    ("orchestrator_placement/a_place_that_failed_is_the_last_choice", a_place_that_failed_is_the_last_choice),
    ("orchestrator_placement/only_online_nodes_take_work", only_online_nodes_take_work),
    ("orchestrator_placement/slots_of_others_count_and_our_own_not_twice", slots_of_others_count_and_our_own_not_twice),
    ("orchestrator_placement/predictions_follow_the_slots", predictions_follow_the_slots),
];

fn report(pool: &str) -> PoolReport {
    PoolReport {
        pool_id: pool.into(),
        replica_id: "r0".into(),
        ready: true,
        draining: false,
        slots_free: 2,
        slots_total: 2,
        vram_free_bytes: 0,
        engine: "llorch".into(),
        engine_version: "1".into(),
        device_mask: "0,1".into(),
        models: vec![ListedModel { id: "tiny".into(), context_length: Some(128) }],
    }
}

fn nodes(reports: &[(&str, PoolReport)]) -> Nodes {
    let mut nodes = Nodes::new(Duration::from_secs(30));
    let names: BTreeSet<&str> = reports.iter().map(|(node, _)| *node).collect();
    for name in names {
        nodes.register(Registration {
            node_id: name.into(),
            machine_id: "m".into(),
            address: "http://127.0.0.1:1".into(),
            pools: vec![],
            capabilities: json!({}),
            version: String::new(),
            registered_at_ms: 0,
        });
        let own = reports.iter().filter(|(node, _)| *node == name).map(|(_, report)| report.clone());
        assert!(nodes.heartbeat(name, own.collect()));
    }
    nodes
}

fn placed(nodes: &Nodes, wish: &Wish) -> Result<String, Obstacle> {
    placed_by(nodes, wish, Strategy::LeastLoaded, 0)
}

fn placed_by(nodes: &Nodes, wish: &Wish, strategy: Strategy, turn: usize) -> Result<String, Obstacle> {
    let names = ["tiny".to_owned()];
    let demand = Demand { engine: "llorch", model_names: &names, ctx: 1, wish, last: None, shun: None };
    place(&candidates(nodes), &demand, strategy, turn, turn as u64 * 7919).map(|chosen| chosen.report.pool_id.clone())
}

fn filters_in_order() {
    let auto = Wish::default();
    assert_eq!(placed(&Nodes::new(Duration::from_secs(1)), &auto), Err(Obstacle::NoModel));
    let other_model = PoolReport { models: vec![], ..report("a") };
    assert_eq!(placed(&nodes(&[("n", other_model)]), &auto), Err(Obstacle::NoModel));
    let other_engine = PoolReport { engine: "llamacpp".into(), ..report("a") };
    assert_eq!(placed(&nodes(&[("n", other_engine)]), &auto), Err(Obstacle::NoModel));
    let unready = PoolReport { ready: false, ..report("a") };
    assert_eq!(placed(&nodes(&[("n", unready)]), &auto), Err(Obstacle::NotReady));
    let draining = PoolReport { draining: true, ..report("a") };
    assert_eq!(placed(&nodes(&[("n", draining)]), &auto), Err(Obstacle::NotReady));
    let full = PoolReport { slots_free: 0, ..report("a") };
    assert_eq!(placed(&nodes(&[("n", full)]), &auto), Err(Obstacle::NoSlot));
    let one = nodes(&[("n", report("a"))]);
    let avoiding = Wish { avoid_pools: vec!["a".into()], ..Wish::default() };
    assert_eq!(placed(&one, &avoiding), Err(Obstacle::RuledOut));
    let mask = |mask: &str| Wish { require_device_mask: Some(mask.into()), ..Wish::default() };
    assert_eq!(placed(&one, &mask("2")), Err(Obstacle::RuledOut));
    assert_eq!(placed(&one, &mask("0, 2")), Err(Obstacle::RuledOut));
    assert_eq!(placed(&one, &mask("1, 0")).as_deref(), Ok("a"));
    assert_eq!(placed(&one, &auto).as_deref(), Ok("a"));
}

fn pins_are_kept_or_refused() {
    let pin = |pool: &str| Wish { mode: Mode::Pin, pin_pool_id: Some(pool.into()), ..Wish::default() };
    let without = PoolReport { models: vec![], ..report("c") };
    let unready = PoolReport { ready: false, ..report("d") };
    let full = PoolReport { slots_free: 0, ..report("b") };
    let nodes = nodes(&[("n", report("a")), ("n", full), ("n", without), ("n", unready)]);
    assert_eq!(placed(&nodes, &pin("a")).as_deref(), Ok("a"));
    assert_eq!(placed(&nodes, &pin("b")), Err(Obstacle::NoSlot), "it waits, and never goes elsewhere");
    assert_eq!(placed(&nodes, &pin("c")), Err(Obstacle::PinWithoutModel));
    assert_eq!(placed(&nodes, &pin("d")), Err(Obstacle::NotReady));
    assert_eq!(placed(&nodes, &pin("e")), Err(Obstacle::NoSuchPool));
    let ruled_out = Wish { require_device_mask: Some("9".into()), ..pin("a") };
    assert_eq!(placed(&nodes, &ruled_out), Err(Obstacle::PinRuledOut));
}

fn preferred_pools_first_others_if_allowed() {
    let prefer = |pool: &str, allow_fallback| Wish {
        mode: Mode::Prefer,
        prefer_pools: vec![pool.into()],
        allow_fallback,
        ..Wish::default()
    };
    let busier = PoolReport { slots_free: 1, ..report("b") };
    let full = PoolReport { slots_free: 0, ..report("c") };
    let nodes = nodes(&[("n", report("a")), ("n", busier), ("n", full)]);
    assert_eq!(placed(&nodes, &Wish::default()).as_deref(), Ok("a"));
    assert_eq!(placed(&nodes, &prefer("b", true)).as_deref(), Ok("b"));
    assert_eq!(placed(&nodes, &prefer("c", true)).as_deref(), Ok("a"));
    assert_eq!(placed(&nodes, &prefer("c", false)), Err(Obstacle::NoSlot));
    assert_eq!(placed(&nodes, &prefer("none", false)), Err(Obstacle::RuledOut));
}

fn strategies() {
    let half = PoolReport { slots_free: 2, slots_total: 4, ..report("a") };
    let third = PoolReport { slots_free: 2, slots_total: 3, ..report("b") };
    let wide = PoolReport { slots_free: 4, slots_total: 6, ..report("c") };
    let nodes = nodes(&[("n", half), ("n", third), ("n", wide)]);
    let auto = Wish::default();
    let by = |strategy, turn| placed_by(&nodes, &auto, strategy, turn).unwrap();
    assert_eq!(by(Strategy::LeastLoaded, 0), "c", "a third taken as in b, and more room");
    let rounds: Vec<String> = (0..4).map(|turn| by(Strategy::RoundRobin, turn)).collect();
    assert_eq!(rounds, ["a", "b", "c", "a"]);
    let drawn: BTreeSet<String> = (0..50).map(|turn| by(Strategy::Random, turn)).collect();
    assert_eq!(drawn.len(), 3);
}

fn a_place_that_failed_is_the_last_choice() {
    let nodes = nodes(&[("n", report("a")), ("n", PoolReport { slots_free: 1, ..report("b") })]);
    let names = ["tiny".to_owned()];
    let wish = Wish::default();
    let chosen = |shun, last| {
        let demand = Demand { engine: "llorch", model_names: &names, ctx: 1, wish: &wish, last, shun };
        let found = place(&candidates(&nodes), &demand, Strategy::LeastLoaded, 0, 0);
        found.map(|chosen| chosen.report.pool_id.clone()).unwrap()
    };
    assert_eq!(chosen(None, None), "a");
    assert_eq!(chosen(Some(("n", "a")), None), "b");
    assert_eq!(chosen(None, Some(("n", "b"))), "b", "where the session's prefix may be");
}

fn only_online_nodes_take_work() {
    let mut silent = nodes(&[("n", report("a"))]);
    silent.timeout = Duration::ZERO;
    std::thread::sleep(Duration::from_millis(2)); // what a time-out of nothing needs to pass
    assert_eq!(silent.state("n"), Some(NodeState::Offline));
    assert_eq!(placed(&silent, &Wish::default()), Err(Obstacle::NoModel));
    let mut failed = nodes(&[("n", report("a"))]);
    failed.mark_failed("n");
    assert_eq!(failed.state("n"), Some(NodeState::Failed));
    assert_eq!(placed(&failed, &Wish::default()), Err(Obstacle::NoModel));
    assert!(failed.heartbeat("n", vec![report("a")]), "a heartbeat brings it back");
    assert_eq!(placed(&failed, &Wish::default()).as_deref(), Ok("a"));
    let draining = nodes(&[("n", PoolReport { draining: true, ..report("a") })]);
    assert_eq!(draining.state("n"), Some(NodeState::Draining));
    let mut again = nodes(&[("n", report("a"))]);
    assert!(again.remove("n") && !again.remove("n") && !again.heartbeat("n", vec![]));
}

fn slots_of_others_count_and_our_own_not_twice() {
    let mut nodes = nodes(&[("n", report("a"))]);
    let key = ("a".to_owned(), String::new());
    let free = |nodes: &Nodes| candidates(nodes)[0].free;
    let life = nodes.lease("n", &key);
    assert_eq!(free(&nodes), 1);
    assert!(nodes.heartbeat("n", vec![PoolReport { slots_free: 1, ..report("a") }]));
    assert_eq!(free(&nodes), 1, "the node counts our task, and so do we");
    assert!(nodes.heartbeat("n", vec![PoolReport { slots_free: 0, ..report("a") }]));
    assert_eq!(free(&nodes), 0, "somebody else has the other one");
    nodes.give_back("n", &key, life);
    assert_eq!(free(&nodes), 1);
    assert!(nodes.heartbeat("n", vec![PoolReport { slots_free: 1, ..report("a") }]));
    assert_eq!(free(&nodes), 2, "a report of a moment ago may still count what has just ended");
    nodes.give_back("n", &key, life);
    assert_eq!(free(&nodes), 2, "never more than there are");
    // The replica that a pool is known by may change under a task.
    nodes.lease("n", &key);
    assert!(nodes.heartbeat("n", vec![PoolReport { replica_id: "r1".into(), slots_free: 1, ..report("a") }]));
    assert_eq!(free(&nodes), 1);
    // A node that moved has pools that were never leased: what ran on the old ones gives nothing back to these.
    nodes.remove("n");
    let mut anew = self::nodes(&[("n", PoolReport { slots_free: 2, ..report("a") })]);
    anew.lease("n", &key);
    anew.give_back("n", &key, life);
    assert_eq!(free(&anew), 1);
}

fn predictions_follow_the_slots() {
    assert_eq!(start_ms([], [10.0]), None);
    assert_eq!(start_ms([0.0], []), Some(0));
    assert_eq!(start_ms([100.0], []), Some(100));
    assert_eq!(start_ms([100.0], [50.0, 70.0]), Some(220));
    assert_eq!(start_ms([100.0, 30.0], [50.0, 70.0]), Some(100), "30+50 at 80, then the other at 100 is taken by 70");
    let mut times = ServiceTimes::default();
    let prior = times.duration_ms(Some(11), 100);
    assert_eq!(prior, 500.0, "fifty milliseconds a token, before anything was measured");
    times.measured(Duration::from_millis(20), Duration::from_millis(90), 10, 20);
    assert_eq!(times.duration_ms(Some(11), 100), 120.0);
    assert_eq!(times.duration_ms(None, 22), 120.0, "half of max_tokens, as measured");
    assert_eq!(times.duration_ms(Some(50), 11), 120.0, "never more than max_tokens");
}
