//! What a relay costs: thousands of streams through the orchestrator and a pool manager, beside the same streams without
//! them.
//!
//! An engine with a slot for every stream sends one event a second on each, and writes into the event when that was. The
//! client reads it and knows how long it took, on three ways taken in turn: straight from the engine; through two programs
//! that only copy bytes, which is what any two hops cost on this machine; and through the daemons.
//!
//! ```text
//! cargo bench --bench relay                                    # 2 000 streams
//! cargo bench --bench relay -- --streams 4000 --seconds 20
//! cargo bench --bench relay -- --against DIR                   # the daemons of another build too, in the same run
//! ```

mod client;
mod engine;
mod figures;
mod hop;
mod system;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use client::Way;
use figures::Round;
use system::{Daemons, System};

/// New streams a second.
const RAMP: usize = 400;

#[derive(Debug, Parser)]
struct Flags {
    /// At a time
    #[arg(long, default_value_t = 2000)]
    streams: usize,
    /// How long all of them are watched, once all are there
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds, in which every way takes its turn
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// A folder with another build's orchestratord and pool-managerd, to be measured beside these. May be repeated
    #[arg(long, value_name = "DIR")]
    against: Vec<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it starts itself.
#[derive(Clone, Debug, clap::Subcommand)]
enum Role {
    #[command(hide = true)]
    Engine { slots: usize },
    #[command(hide = true)]
    Hop { to: u16 },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match flags.role {
        Some(Role::Engine { slots }) => return Ok(runtime.block_on(engine::serve(slots))?),
        Some(Role::Hop { to }) => return Ok(runtime.block_on(hop::serve(to))?),
        None => {}
    }
    let own = PathBuf::from(env!("CARGO_BIN_EXE_orchestratord"));
    let folders = std::iter::once(own.parent().unwrap_or(&own).to_owned()).chain(flags.against);
    let ramp = Duration::from_secs_f64(flags.streams as f64 / RAMP as f64);
    let watch = Duration::from_secs(flags.seconds);
    println!("{} streams, one event a second on each, watched for {} s", flags.streams, flags.seconds);
    let folders: Vec<PathBuf> = folders.collect();
    let mut ways: Vec<(String, Vec<Round>)> = Vec::new();
    for round in 0..flags.rounds {
        let system = System::start(flags.streams)?;
        let plain =
            [("direct".to_owned(), Way::Direct(system.engine_port)), ("2 hops".into(), Way::Direct(system.hop_port))];
        for (name, way) in plain {
            let measured = runtime.block_on(client::watch(way, flags.streams, ramp, watch, &system.hops))?;
            keep(&mut ways, round, name, measured);
        }
        for folder in &folders {
            // Fresh ones: memory that an earlier round gave back to the allocator would not be counted.
            let daemons = Daemons::start(folder, system.engine_port)?;
            let way = Way::Tasks(daemons.port);
            let measured = runtime.block_on(client::watch(way, flags.streams, ramp, watch, &daemons.processes))?;
            keep(&mut ways, round, folder.display().to_string(), measured);
        }
    }
    print!("{}", figures::table(&ways));
    if ways.iter().flat_map(|(_, rounds)| rounds).any(|round| !round.lost.is_empty()) {
        return Err("streams were lost".into());
    }
    Ok(())
}

fn keep(ways: &mut Vec<(String, Vec<Round>)>, round: usize, name: String, measured: Round) {
    eprintln!("round {}: {name}: {}", round + 1, measured.sentence());
    match ways.iter_mut().find(|(known, _)| *known == name) {
        Some((_, rounds)) => rounds.push(measured),
        None => ways.push((name, vec![measured])),
    }
}
