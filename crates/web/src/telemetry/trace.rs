//! W3C Trace Context, level 1: `traceparent`.

use std::fmt;

use kernel::World;

/// Which trace something belongs to, and which step of it this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl Trace {
    /// A trace that begins here.
    pub fn new(world: &World) -> Trace {
        let chance: [u8; 24] = world.random();
        Trace::made_of(&chance, None)
    }

    /// The next step of this trace.
    pub fn next(self, world: &World) -> Trace {
        let chance: [u8; 24] = world.random();
        Trace::made_of(&chance, Some(self))
    }

    /// From chance that was already drawn; an id of zero would be none.
    pub(crate) fn made_of(chance: &[u8; 24], before: Option<Trace>) -> Trace {
        let (first, rest) = chance.split_at(16);
        let trace_id = first.iter().fold(0, |id, byte| id << 8 | u128::from(*byte)).max(1);
        let span_id = rest.iter().fold(0, |id, byte| id << 8 | u64::from(*byte)).max(1);
        match before {
            Some(before) => Trace { span_id, ..before },
            None => Trace { trace_id, span_id, sampled: true },
        }
    }

    /// Reads a `traceparent`, strictly: what does not follow the
    /// recommendation is as if nothing had been sent.
    pub fn parse(text: &str) -> Option<Trace> {
        let bytes = text.as_bytes();
        if bytes.len() < 55 || [2, 35, 52].iter().any(|dash| bytes[*dash] != b'-') {
            return None;
        }
        let version = hex(text.get(..2)?)?;
        // Later versions may say more behind a dash; this one may not.
        let end_fits = match version {
            0 => bytes.len() == 55,
            0xff => false,
            _ => bytes.len() == 55 || bytes[55] == b'-',
        };
        let trace_id = hex(text.get(3..35)?).filter(|id| *id != 0)?;
        let span_id = hex(text.get(36..52)?).filter(|id| *id != 0)?;
        let flags = hex(text.get(53..55)?)?;
        end_fits.then_some(Trace { trace_id, span_id: u64::try_from(span_id).ok()?, sampled: flags & 1 == 1 })
    }

    /// The id that all steps share, as 32 hexadecimal digits.
    pub fn id(self) -> impl fmt::Display {
        Hex(self.trace_id)
    }
}

/// Lower-case hexadecimal digits only, as the recommendation asks.
fn hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

struct Hex(u128);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, fits) in [
            (good, true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false),
            ("00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01x", false),
            // A letter of two bytes across the end of each part.
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é", false),
            ("cé0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("", false),
        ] {
            assert_eq!(Trace::parse(text).is_some(), fits, "{text}");
        }
        assert_eq!(Trace::parse(good).unwrap().to_string(), good);
    }

    #[test]
    fn a_trace_that_is_made_can_be_read_and_goes_on() {
        let world = World::real();
        let trace = Trace::new(&world);
        let next = trace.next(&world);

        assert_eq!(Trace::parse(&trace.to_string()), Some(trace));
        assert_eq!(trace.id().to_string(), next.id().to_string());
        assert_ne!(trace, next);
    }
}
