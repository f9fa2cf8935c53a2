//! Arguments in, one library call, an exit code out.
fn main() {}
