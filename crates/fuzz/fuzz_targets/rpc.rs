//! See `fuzz::rpc`.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| fuzz::rpc(input));

// As often a change of requests as one of bytes.
fuzz_mutator!(|input: &mut [u8], size: usize, most: usize, seed: u32| {
    let changed = fuzz::mutant(&input[..size], seed.into());
    if seed % 2 == 0 && changed.len() <= most {
        input[..changed.len()].copy_from_slice(&changed);
        changed.len()
    } else {
        fuzzer_mutate(input, size, most)
    }
});
