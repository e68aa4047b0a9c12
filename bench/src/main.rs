//! Load, and what it is compared with: `cargo run --release -p bench -- shop`.
//! What it does and what its figures mean is in `bench/README.md`.

mod asking;
mod bare;
mod fill;
mod history;
mod limits;
mod long_life;
mod peers;
mod shop;
mod stacks;
mod table;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Load, and what it is compared with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The same purchases in Carmel (on SQLite and on PostgreSQL) and in an Express stack, in turns, beside a bare server.
    Shop(shop::Plan),
    /// Pages of products, carts and orders in Carmel and in shops that install from npm, Vendure and Medusa, in turns.
    Peers(peers::Plan),
    /// Whether anything grows that should not, under a steady load for an hour.
    LongLife(long_life::Plan),
    /// How long an audit of a million orders takes, and how soon their shop is open again after `kill -9`.
    History(history::Plan),
    /// The bare server: constant bytes, until it is killed.
    Bare(bare::Bare),
}

fn main() {
    let Arguments { command } = Arguments::parse();
    // Few threads: the load shares the machine with what it measures.
    let threads = match &command {
        Command::Shop(plan) => plan.load_threads,
        Command::Bare(_) => std::thread::available_parallelism().map_or(1, usize::from),
        Command::Peers(_) | Command::History(_) | Command::LongLife(_) => 1,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        match &command {
            Command::Shop(plan) => shop::run(plan).await,
            Command::Peers(plan) => peers::run(plan).await,
            Command::History(plan) => history::run(plan).await,
            Command::LongLife(plan) => long_life::run(plan).await,
            Command::Bare(bare) => bare::serve(bare).await,
        }
    });
}
