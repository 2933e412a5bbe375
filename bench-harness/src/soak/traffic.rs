//! The load: calls to the sink, and some that roam over the routes that change.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::load::Generator;
use crate::world::{INSIDE, SINK};

/// Of so many calls one roams.
const ROAMING: u64 = 16;

/// Threads that send until they are stopped.
pub struct Traffic {
    threads: Vec<JoinHandle<io::Result<u64>>>,
    stop: Arc<AtomicBool>,
}

impl Traffic {
    /// Sends `rate` messages a second, some of them to users at `destinations`.
    pub fn start(
        mut steady: Generator,
        mut roaming: Generator,
        rate: u64,
        destinations: Vec<IpAddr>,
    ) -> io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let few = (rate / ROAMING).max(1);
        let asked = Arc::clone(&stop);
        let calls = move || {
            let length = Duration::from_millis(100);
            repeat(&asked, || steady.run(to(), rate - few, length))
        };
        let asked = Arc::clone(&stop);
        let mut next = destinations.into_iter().cycle();
        let roams = move || {
            repeat(&asked, || {
                if let Some(destination) = next.next() {
                    roaming.call(SocketAddr::new(destination, SINK.port()))?;
                }
                roaming.run(to(), few, Duration::from_millis(20))
            })
        };
        let threads = vec![
            std::thread::Builder::new().name("calls".into()).spawn(calls)?,
            std::thread::Builder::new().name("roams".into()).spawn(roams)?,
        ];
        Ok(Self { threads, stop })
    }

    /// Ends; messages sent in all.
    pub fn stop(self) -> io::Result<u64> {
        self.stop.store(true, Relaxed);
        let mut sent = 0;
        for thread in self.threads {
            sent += thread.join().map_err(|_| io::Error::other("the generator panicked"))??;
        }
        Ok(sent)
    }
}

fn to() -> SocketAddr {
    SocketAddrV4::new(INSIDE, 5060).into()
}

fn repeat(stop: &AtomicBool, mut send: impl FnMut() -> io::Result<u64>) -> io::Result<u64> {
    let mut sent = 0;
    while !stop.load(Relaxed) {
        sent += send()?;
    }
    Ok(sent)
}
