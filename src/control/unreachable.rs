//! ICMP errors: datagrams of transactions that did not arrive, told to the shards that own them.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;

use crate::engine::icmp::Errors;
use crate::limits::{ICMP_PER_LOOK, ICMP_PER_SECOND};
use crate::shard::Post;

/// The raw sockets, as far as this process may have them.
pub struct Unreachables {
    sockets: Vec<AsyncFd<Errors>>,
    post: Post,
    bytes: Vec<u8>,
    pace: Pace,
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
        Self { sockets, post, bytes: Vec::new(), pace: Pace::default() }
    }

    /// Waits until shards were told of something; those that are to be woken, at once: who else has a letter for one of
    /// them takes it for woken.
    pub async fn next(&mut self) -> Vec<u16> {
        let Self { sockets, post, bytes, pace } = self;
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
            for _ in 0..ICMP_PER_LOOK {
                match ready.get_inner().next(bytes) {
                    Ok(Some(unreached)) if pace.has_room(Instant::now()) => {
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

/// So many a second.
#[derive(Default)]
struct Pace {
    second: Option<Instant>,
    told: u32,
}

impl Pace {
    fn has_room(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.told) = (Some(now), 0);
        }
        self.told += 1;
        self.told <= ICMP_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_in_a_second_and_the_next_one_begins_anew() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let told = |pace: &mut Pace, ms| {
            (0..2 * ICMP_PER_SECOND).filter(|_| pace.has_room(begin + Duration::from_millis(ms))).count()
        };
        assert_eq!(told(&mut pace, 0), ICMP_PER_SECOND as usize);
        assert_eq!(told(&mut pace, 999), 0);
        assert_eq!(told(&mut pace, 1_000), ICMP_PER_SECOND as usize);
    }
}
