//! The one test target: `cargo test --features bdd`.

mod unit;

fn main() {
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in unit::all() {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            let outcome = std::panic::catch_unwind(test);
            println!("{name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
            failed += usize::from(outcome.is_err());
        }
    }
    std::process::exit(i32::from(failed > 0));
}
