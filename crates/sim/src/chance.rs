//! Where all chance comes from.

use std::cell::Cell;

/// Numbers from a seed (SplitMix64, Steele, Lea & Flood 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Two seeds that differ in a bit have nothing in common.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Below this; each is as likely.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit.max(1))) >> 64) as u64
    }

    /// From the first to the last of these.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.below(these.len() as u64) as usize]
    }

    /// Fills with chance.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
    }
}

thread_local! {
    static OF_THE_THREAD: Cell<Option<u64>> = const { Cell::new(None) };
    static LOOKS_AT_THE_CLOCK: Cell<u64> = const { Cell::new(0) };
}

/// From now on what this thread asks of the system's chance comes from the
/// seed: the order of hash maps that are made here, above all. Its clocks go on
/// by a microsecond each time somebody looks at one: a library that looks at
/// them itself does the same each time, too.
pub fn seed_this_thread(seed: u64) {
    OF_THE_THREAD.set(Some(seed));
}

/// Each simulation opens and closes dozens of databases: the allocator of libc,
/// which is SQLite's, is to keep what they give back.
#[allow(unsafe_code)]
pub fn keep_memory() {
    for (what, bytes) in
        [(libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_MMAP_THRESHOLD, 1 << 25), (libc::M_TOP_PAD, 1 << 25)]
    {
        unsafe { libc::mallopt(what, bytes) };
    }
}

/// Stands before that of libc, which the standard library asks for the time.
/// Threads without a seed ask the system.
///
/// # Safety
/// As clock_gettime(2): there is room at `time`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if OF_THE_THREAD.try_with(Cell::get).ok().flatten().is_none() {
        return (unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) }) as libc::c_int;
    }
    let micros = 1_790_000_000_000_000 + LOOKS_AT_THE_CLOCK.get();
    LOOKS_AT_THE_CLOCK.set(LOOKS_AT_THE_CLOCK.get() + 1);
    let (seconds, nanos) =
        ((micros / 1_000_000) as libc::time_t, (micros % 1_000_000 * 1_000) as libc::c_long);
    unsafe { *time = libc::timespec { tv_sec: seconds, tv_nsec: nanos } };
    0
}

/// Stands before that of libc, which the standard library asks for the keys of
/// its hash maps. Threads without a seed ask the system.
///
/// # Safety
/// As getrandom(2): `buffer` has room for `length` bytes.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: usize, flags: u32) -> isize {
    match OF_THE_THREAD.try_with(Cell::get).ok().flatten() {
        None => (unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) }) as isize,
        Some(seed) => {
            let mut chance = Chance::new(seed);
            chance.fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) });
            seed_this_thread(chance.bits());
            length as isize
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{hash::BuildHasher, hash::RandomState, thread};

    use super::*;

    #[test]
    fn threads_of_one_seed_have_the_same_chance_and_others_do_not() {
        let hash = |seed: Option<u64>| {
            let work = move || {
                seed.into_iter().for_each(seed_this_thread);
                RandomState::new().hash_one("the same")
            };
            thread::spawn(work).join().unwrap()
        };
        assert_eq!(hash(Some(1)), hash(Some(1)));
        assert_ne!(hash(Some(1)), hash(Some(2)));
        assert_ne!(hash(None), hash(None));
    }

    #[test]
    fn what_is_drawn_stays_within_its_bounds() {
        let mut chance = Chance::new(7);
        let drawn: Vec<u64> = (0..1000).map(|_| chance.between(3, 5)).collect();
        assert!((3..=5).all(|number| drawn.contains(&number)));
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
    }
}
