//! ICMP errors: datagrams of transactions that did not arrive, told to the shards that own them.

use std::collections::VecDeque;
use std::io;

use tokio::io::unix::AsyncFd;

use crate::engine::icmp::Errors;
use crate::limits::ICMP_PER_LOOK;
use crate::shard::Post;

/// The raw sockets, as far as this process may have them.
pub struct Unreachables {
    sockets: Vec<AsyncFd<Errors>>,
    post: Post,
    bytes: Vec<u8>,
    /// Shards that are to be woken.
    rung: VecDeque<u16>,
}

impl Unreachables {
    /// Opens the sockets; what cannot be opened is told, and next hops that are not there are found by their silence.
    pub fn listen(post: Post) -> Self {
        let open = |is_v6: bool| {
            // SAFETY: the descriptor is the socket's own, which keeps it open and the same for as long as it lives.
            let register = |errors| unsafe { AsyncFd::register(errors) }.map_err(io::Error::from);
            let socket = Errors::open(is_v6).and_then(register);
            socket.inspect_err(|error| {
                let family = if is_v6 { "IPv6" } else { "IPv4" };
                tracing::info!(
                    "ICMP errors about {family} are not heard ({error}; CAP_NET_RAW): a next hop whose port is closed \
                     is found by its silence"
                );
            })
        };
        let sockets = [false, true].into_iter().filter_map(|is_v6| open(is_v6).ok()).collect();
        Self { sockets, post, bytes: Vec::new(), rung: VecDeque::new() }
    }

    /// Waits until a shard was told of something; which one is to be woken.
    pub async fn next(&mut self) -> u16 {
        loop {
            if let Some(shard) = self.rung.pop_front() {
                return shard;
            }
            let which = match &self.sockets[..] {
                [] => return std::future::pending().await,
                [only] => only.readable().await.map(|mut guard| (0, guard.clear_ready())),
                [first, second, ..] => tokio::select! {
                    ready = first.readable() => ready.map(|mut guard| (0, guard.clear_ready())),
                    ready = second.readable() => ready.map(|mut guard| (1, guard.clear_ready())),
                },
            };
            match which {
                Ok((which, ())) => self.read(which),
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Reads what there is. What is more than a look takes is thrown away: each of it costs a system call, and anybody
    /// can send it.
    fn read(&mut self, which: usize) {
        let Some(socket) = self.sockets.get(which) else { return };
        let mut left = ICMP_PER_LOOK;
        loop {
            match socket.get_ref().next(&mut self.bytes) {
                Ok(Some(unreached)) if left > 0 => {
                    left -= 1;
                    self.rung.extend(self.post.tell_unreached(unreached.to, unreached.quoted));
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}
