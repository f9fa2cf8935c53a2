//! A body's running hash, as it is fed while the body arrives.

use divan::{Bencher, black_box, counter::BytesCount};
use pierhead::oci::{digest::Algorithm, hasher::Hasher};

/// What is fed at once, in bytes.
const SLICE: usize = 256 << 10;

const BODY: usize = 4 << 20;

#[divan::bench(args = Algorithm::ALL)]
fn slices(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let body = vec![7; BODY];
    bencher.counter(BytesCount::new(BODY)).bench(|| {
        let mut hasher = Hasher::new(algorithm);
        body.chunks(SLICE).for_each(|slice| hasher.update(black_box(slice)));
        hasher.finish()
    });
}

/// A state that is put into an upload's record and taken up by the next request.
#[divan::bench(args = Algorithm::ALL)]
fn put_down_and_taken_up(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(b"what came before");
    bencher.bench(|| Hasher::from_state(algorithm, black_box(&hasher).to_state().as_slice()).is_some());
}
