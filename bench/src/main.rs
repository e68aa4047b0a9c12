//! Load, and what it is compared with: `cargo run --release -p bench -- shop`.
//! What it does and what its figures mean is in `bench/README.md`.

mod fill;
mod load;
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
    /// The same purchases in Carmel (on SQLite and on PostgreSQL) and in an Express stack, in turns.
    Shop(shop::Plan),
}

fn main() {
    let Arguments { command: Command::Shop(plan) } = Arguments::parse();
    // Few threads: the load shares the machine with what it measures.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.load_threads)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(shop::run(&plan));
}
