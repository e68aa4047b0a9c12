//! See `fuzz::http`.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|input: &[u8]| fuzz::http(input));
fuzz_mutator!(|input: &mut [u8], size: usize, most: usize, seed: u32| {
    fuzz::mutate(input, size, most, seed)
});
