//! bench: load for a Kafka-protocol broker, and the limits of the machine to hold it against.
//!
//! `cargo run --release --example bench -- --addr 127.0.0.1:9092 produce --in-flight 64`: what
//! concerns all verbs stands before the verb, and every verb takes `--help`. It is not part of the
//! shipped binary.

mod admin;
mod consume;
mod latency;
mod limits;
mod produce;
mod report;
mod wire;

use std::process::ExitCode;

/// Load for a Kafka-protocol broker: one progress line while it runs, then one line of figures.
#[derive(argh::FromArgs)]
struct Args {
    #[argh(option, default = "String::from(\"127.0.0.1:9092\")")]
    /// the broker's address (127.0.0.1:9092)
    addr: String,
    #[argh(switch)]
    /// print the figures as JSON
    json: bool,
    #[argh(switch, short = 'q')]
    /// no progress line
    quiet: bool,
    #[argh(subcommand)]
    verb: Verb,
}

/// What to measure.
#[derive(argh::FromArgs)]
#[argh(subcommand)]
enum Verb {
    Produce(produce::Produce),
    Consume(consume::Consume),
    Latency(latency::Latency),
    EndToEnd(latency::EndToEnd),
    Echo(limits::Echo),
    Disk(limits::Disk),
}

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let (addr, quiet) = (args.addr.as_str(), args.quiet);
    let report = match &args.verb {
        Verb::Produce(verb) => produce::run(verb, addr, quiet),
        Verb::Consume(verb) => consume::run(verb, addr, quiet),
        Verb::Latency(verb) => latency::latency(verb, addr, quiet),
        Verb::EndToEnd(verb) => latency::end_to_end(verb, addr, quiet),
        Verb::Echo(verb) => limits::echo(verb, quiet),
        Verb::Disk(verb) => limits::disk(verb, quiet),
    };
    match report {
        Ok(report) => {
            report.print(args.json);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}
