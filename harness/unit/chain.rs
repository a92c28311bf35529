//! How the harness waits for a node that was started again.

use jiff::Timestamp;
use llorch::harness::chain::{pointed, reported_since};
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] =
    &[("chain/a_report_of_this_life", a_report_of_this_life), ("chain/pointers_by_name", pointers_by_name)];

/// A look that asks only whether the node is online: the report of the life before satisfies it.
fn says_online(node: &Value, _: Timestamp) -> bool {
    node["state"] == "online"
}

fn a_report_of_this_life() {
    let since: Timestamp = "2030-01-01T00:00:10.0004Z".parse().unwrap();
    let node = |registered: &str, heartbeat: Value| {
        let registered = format!("2030-01-01T00:00:{registered}Z");
        json!({ "state": "online", "registered_at": registered, "last_heartbeat": heartbeat })
    };
    let at = |second: &str| json!(format!("2030-01-01T00:00:{second}Z"));
    let cases = [
        ("registered and reported", node("11", at("12")), true),
        // The process was started 0.4 ms into the millisecond in which it registered.
        ("in the same millisecond", node("10.000", at("10.000")), true),
        ("the life before", node("05", at("09")), false),
        ("the life before, still reporting", node("05", at("12")), false),
        ("registered, and the report is the old one", node("11", at("09")), false),
        ("registered, and nothing yet", node("11", Value::Null), false),
        ("no node", json!({ "state": "online" }), false),
    ];
    for (what, node, expected) in &cases {
        assert_eq!(reported_since(node, since), *expected, "{what}");
    }
    let fooled = cases.iter().filter(|(_, node, expected)| says_online(node, since) != *expected).count();
    assert_eq!(fooled, 5, "the look that was wrong is told apart by these cases");
}

fn pointers_by_name() {
    let document = json!({ "nodes": [{ "node_id": "a", "pools": [{ "pool_id": "p", "leases": 3 }] }], "a/b": 1 });
    assert_eq!(pointed(&document, "/nodes/a/pools/p/leases"), Some(&json!(3)));
    assert_eq!(pointed(&document, "/nodes/0/node_id"), Some(&json!("a")));
    assert_eq!(pointed(&document, "/a~1b"), Some(&json!(1)));
    assert_eq!(pointed(&document, "/nodes/b"), None);
}
