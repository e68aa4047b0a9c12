//! What is asked of whom, and whether it may be asked twice.

/// One call of a service's contract, as [`service!`](crate::service) names it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) nature: Nature,
}

/// What the contract says about asking twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Nature {
    /// The second time is harmless.
    Repeatable,
    /// Nothing is changed: two may even be under way at once.
    Read,
    /// It is not asked again unless it surely never arrived.
    Once,
}

impl Call {
    /// A call that may be repeated.
    pub const fn new(service: &'static str, name: &'static str) -> Call {
        Call { service, name, nature: Nature::Repeatable }
    }

    /// It changes nothing (`#[read]`).
    pub const fn read(self) -> Call {
        Call { nature: Nature::Read, ..self }
    }

    /// It must not be done twice (`#[once]`).
    pub const fn once(self) -> Call {
        Call { nature: Nature::Once, ..self }
    }
}
