//! Small pieces that every request goes through, timed one by one: `cargo bench --bench micro`.
//!
//! Times depend on the machine, so nothing is judged here: run it before and after a change, on an idle machine. What must
//! not grow is counted in instructions by `tests/it/instructions`.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it meets what it did not expect")]

mod hashing;
mod routing;
mod tokens;
mod uploads;

fn main() {
    divan::main();
}
