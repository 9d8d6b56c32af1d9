//! Random networks, batches, rules, numbers of threads and reloads, for as long as you like.
//!
//! `cargo run --release --example soak -- --minutes 30`. Each round draws a network and trains it for some steps: on a
//! pool, with checkpoints that are saved and loaded again on the way, and then once more on one thread without them.
//! Every loss must have the same bits both times, and the process must not grow: once it has warmed up for a third of
//! the time, the most memory that is resident after a round of the last third may not exceed that of the second by more
//! than a tenth. Exit code 1 otherwise. A round follows from its seed alone: `--seed N --rounds 1` repeats round N.

#[path = "../common/mod.rs"]
mod common;
mod round;

use clap::Parser;
use common::args::{count, whole};
use common::bounds::MOST_SEED;
use common::interrupt;
use common::output::{note, print};
use round::{Conditions, Round};
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Train random networks on pools and on one thread, compare every loss, and watch the memory.
#[derive(Parser)]
#[command(name = "soak")]
struct Args {
    /// Minutes to go on for
    #[arg(long, value_name = "N", default_value = "1", value_parser = minutes, allow_negative_numbers = true)]
    minutes: f64,
    /// Rounds to end after, if the time is not over before
    #[arg(long, value_name = "N", value_parser = count(MOST_ROUNDS))]
    rounds: Option<usize>,
    /// Seed of the first round
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole(0, MOST_SEED))]
    seed: u64,
}

/// More rounds than anybody waits for.
const MOST_ROUNDS: u64 = 1_000_000_000;
/// A year.
const MOST_MINUTES: f64 = 525_600.0;

fn minutes(text: &str) -> Result<f64, String> {
    let valid = |minutes: &f64| (0.0..=MOST_MINUTES).contains(minutes);
    text.parse().ok().filter(valid).ok_or_else(|| format!("expected a number from 0 to {MOST_MINUTES}"))
}

/// How often the progress is shown.
const TOLD: Duration = Duration::from_secs(60);

/// How much of the memory of the second third the last third may take.
const GROWTH: f64 = 1.1;

fn main() -> ExitCode {
    common::args::run(|| Args::try_parse().map_err(common::args::one_line).and_then(soak))
}

fn soak(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let folder = tempfile::tempdir()?;
    let checkpoint = folder.path().join("network.safetensors");
    let (start, mut told) = (Instant::now(), Instant::now());
    let (mut steps, mut reloads, mut diverged) = (0, 0, 0);
    // After each round: when, and how much memory.
    let mut memory: Vec<(Duration, u64)> = vec![];
    let seeds = (args.seed..).take(args.rounds.unwrap_or(usize::MAX));
    for seed in seeds.take_while(|_| start.elapsed() < time && !interrupt::requested()) {
        let round = Round::new(seed)?;
        let mut shared = Conditions::shared(seed, &checkpoint)?;
        let losses = round.play(&mut shared).map_err(|error| format!("round {seed}, {round:?}: {error}"))?;
        let again = round.play(&mut Conditions::Serial).map_err(|error| format!("round {seed}, {round:?}: {error}"))?;
        if losses != again {
            let step = losses.iter().zip(&again).take_while(|(loss, again)| loss == again).count();
            note(format_args!("round {seed}: {round:?}: on {shared} step {step} has another loss than on one thread"));
            return Ok(ExitCode::FAILURE);
        }
        steps += losses.len();
        reloads += shared.reloads();
        diverged += usize::from(losses.len() < round.steps());
        memory.extend(resident().map(|bytes| (start.elapsed(), bytes)));
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let now = memory.last().map_or("unknown".into(), |(_, bytes)| format!("{:.1} MB", *bytes as f64 / 1e6));
            note(format_args!(
                "{:3.0} min: {} rounds, {steps} steps, {reloads} reloads, all losses equal; resident memory {now}",
                start.elapsed().as_secs_f64() / 60.0,
                seed - args.seed + 1
            ));
        }
    }
    print(&format!(
        "{} rounds, {steps} steps, {reloads} reloads, {diverged} rounds diverged: every loss as on one thread\n",
        memory.len()
    ))?;
    // The most in each third of the time.
    let whole = start.elapsed();
    let third = |i: u32| {
        let within = |time: &Duration| (whole * i / 3..whole * (i + 1) / 3).contains(time);
        memory.iter().filter(|(time, _)| within(time)).map(|(_, bytes)| *bytes).max()
    };
    let (Some(first), Some(second), Some(last)) = (third(0), third(1), third(2)) else {
        print("too few rounds, or a system that does not tell, to judge resident memory\n")?;
        return Ok(ExitCode::SUCCESS);
    };
    let [warming_up, before, after] = [first, second, last].map(|bytes| bytes as f64 / 1e6);
    print(&format!(
        "most resident memory after a round, by thirds of the time: {warming_up:.1}, {before:.1}, {after:.1} MB\n"
    ))?;
    if after > GROWTH * before {
        note(format_args!("the process grew"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes of this process that are in memory; none where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
