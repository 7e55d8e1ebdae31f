//! The caller whom the program serves, as the client's layer sees it. Without the feature `server` there is
//! none, which the type says.

#[cfg(feature = "server")]
pub(super) use super::on_behalf::current_caller;
#[cfg(feature = "server")]
pub(super) use crate::caller::Caller;

#[cfg(not(feature = "server"))]
pub(super) use absent::{Caller, current_caller};

#[cfg(not(feature = "server"))]
mod absent {
    use crate::token::UnverifiedToken;

    /// No value: a program without the server's layer has no callers.
    #[derive(Clone)]
    pub(in crate::attach) enum Caller {}

    impl Caller {
        pub(in crate::attach) fn bearer(&self) -> Option<UnverifiedToken<'_>> {
            match *self {}
        }

        pub(in crate::attach) fn presented(&self) -> Option<UnverifiedToken<'_>> {
            match *self {}
        }
    }

    pub(in crate::attach) fn current_caller() -> Option<Caller> {
        None
    }
}
