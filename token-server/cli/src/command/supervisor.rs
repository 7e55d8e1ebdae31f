//! The sd_notify protocol: tells systemd when the server is ready, and when it stops. sd_notify(3).

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The variable with the socket's address. systemd sets it with `Type=notify`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The state that is reported.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// The server accepts requests.
    Ready,
    /// The server accepts no more requests.
    Stopping,
}

/// Reports the state to the supervisor, if there is one.
pub(super) fn tell(state: State) {
    let Some(socket) = env::var_os(SOCKET) else { return };
    if let Err(error) = send(socket.as_bytes(), state) {
        tracing::warn!(%error, "could not notify systemd of the server's state");
    }
}

fn send(socket: &[u8], state: State) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(socket)))?,
    };
    let text: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    let sender = UnixDatagram::unbound()?;
    // A supervisor that does not read must not block the server.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(text, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("token-server-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        for (receiver, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}")),
        ] {
            send(socket.as_bytes(), State::Ready).unwrap();
            send(socket.as_bytes(), State::Stopping).unwrap();
            let mut told = [0; 32];
            let length = receiver.recv(&mut told).unwrap();
            assert_eq!(&told[..length], b"READY=1");
            let length = receiver.recv(&mut told).unwrap();
            assert_eq!(&told[..length], b"STOPPING=1");
        }
        assert!(send(b"/nowhere/at/all", State::Ready).is_err());
    }
}
