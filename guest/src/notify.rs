//! Telling systemd how the controller is: the protocol of sd_notify(3), which is one datagram.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What systemd is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At work.
    Ready,
    /// Reading the configuration again.
    Reloading,
    /// Ending.
    Stopping,
}

/// Tells it, if systemd started this process and wants to know. Not being heard has no consequence here.
pub fn tell(state: State) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text = match state {
        State::Ready => "READY=1",
        State::Reloading => "RELOADING=1",
        State::Stopping => "STOPPING=1",
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&name),
    };
    if let (Ok(socket), Ok(address)) = (UnixDatagram::unbound(), address)
        && socket.set_nonblocking(true).is_ok()
    {
        let _ = socket.send_to_addr(text.as_bytes(), &address);
    }
}
