//! The floor by `recvmmsg` and `sendmmsg`, in batches as large as those of Viaduct's engine.

use std::io;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use viaduct::limits::{MESSAGE_BYTES, SENDS_PER_SUBMIT};

use super::Path;
use crate::mmsg::Batch;

/// Forwards until the process is ended.
pub fn run(path: &Path) -> io::Result<()> {
    // Both calls wait by themselves: a third that waits would not be of the floor.
    for socket in [&path.listen, &path.from] {
        fcntl(socket, FcntlArg::F_SETFL(OFlag::empty()))?;
    }
    let to = path.to.into();
    let mut batch = Batch::new(SENDS_PER_SUBMIT, MESSAGE_BYTES);
    loop {
        match batch.receive(&path.listen) {
            Ok(_) => {
                // What the kernel refuses is lost, as it is with the other engines; the load counts it.
                let _ = batch.send_on(&path.from, &to, path.pad_to);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
