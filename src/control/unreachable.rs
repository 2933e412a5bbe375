//! ICMP errors: datagrams of transactions that did not arrive, told to the shards that own them.

use std::io;
use std::time::Instant;

use tokio::io::unix::AsyncFd;

use crate::engine::icmp::Errors;
use crate::limits::{ICMP_PER_LOOK, ICMP_PER_SECOND};
use crate::net::Now;
use crate::overload::{Bucket, Pace};
use crate::shard::Post;

/// The raw sockets, as far as this process may have them.
pub struct Unreachables {
    sockets: Vec<AsyncFd<Errors>>,
    post: Post,
    bytes: Vec<u8>,
    /// How many shards may be told of.
    told: Bucket,
    began: Instant,
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
                    "ICMP errors about {family} are not heard ({error}): a next hop whose port is closed is found by its silence{}",
                    if error.kind() == io::ErrorKind::PermissionDenied { "; it takes CAP_NET_RAW" } else { "" }
                );
            })
        };
        let sockets = [false, true].into_iter().filter_map(|is_v6| open(is_v6).ok()).collect();
        Self { sockets, post, bytes: Vec::new(), told: Bucket::default(), began: Instant::now() }
    }

    /// Waits until shards were told of something; those that are to be woken, at once: who else has a letter for one of
    /// them takes it for woken.
    pub async fn next(&mut self) -> Vec<u16> {
        let Self { sockets, post, bytes, told, began } = self;
        let pace = Pace::of(ICMP_PER_SECOND, ICMP_PER_SECOND, 1);
        loop {
            let ready = match &sockets[..] {
                [] => return std::future::pending().await,
                [only] => only.readable().await,
                [first, second, ..] => tokio::select! {
                    ready = first.readable() => ready,
                    ready = second.readable() => ready,
                },
            };
            let Ok(mut ready) = ready else { return std::future::pending().await };
            let mut rung = Vec::new();
            let now = Now(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            for _ in 0..ICMP_PER_LOOK {
                match ready.get_inner().next(bytes) {
                    Ok(Some(unreached)) if told.take(pace, now).is_ok() => {
                        rung.extend(post.tell_unreached(unreached.to, unreached.quoted));
                    }
                    Ok(_) => {}
                    Err(_) => {
                        ready.clear_ready();
                        break;
                    }
                }
            }
            if !rung.is_empty() {
                return rung;
            }
            // Others have their turn, however many errors come.
            tokio::task::yield_now().await;
        }
    }
}
