//! `roost keygen`: a new key, for the cluster or for a machine that is watched, in a new file.

use super::error::Error;
use crate::driver::udp::keys::{KEY_FILE, generate};
use roost_proto::exit::Exit;
use std::io::Write;
use std::path::Path;

/// Makes a key in `file`, and tells what comes next.
pub fn run(file: &Path, out: &mut impl Write) -> Result<Exit, Error> {
    generate(file).map_err(Error::Key)?;
    let shown = file.display();
    let next = if file == Path::new(KEY_FILE) {
        "copy it to the same place on every host of the cluster, over a connection that nobody listens to, owned by root with \
         mode 0600"
            .to_owned()
    } else {
        format!(
            "on a new cluster it goes to '{KEY_FILE}' of every host, owned by root with mode 0600; to replace the key of a \
             running one, see KEYS in roost(8); for a machine that is watched it goes to the 'key' of its [[host]], on every \
             host, and to that machine"
        )
    };
    writeln!(
        out,
        "'{shown}' holds a new key. Who has it can speak as any host of the cluster, or as the machine that it is for.\nNext: {next}."
    )
    .and_then(|()| out.flush())
    .map_err(Error::Output)?;
    Ok(Exit::Ok)
}
