//! All paths of a multipath route.

use super::{Answer, Fib, Query, Route};

/// How finely flows are spread: a path with a smaller share of the weight may be missed.
const SHARES: u64 = 128;

/// What undoes the multiplier by which a flow is spread over the paths: their product is 1 modulo 2^64.
const INVERSE: u64 = 0xF1DE_83E1_9937_733D;

impl Fib {
    /// The routes that this question may be answered with, over all flows, each once: more than one where
    /// the route has several paths. Paths with less than 1/128 of the weight may be missed.
    pub fn paths(&self, query: &Query) -> Vec<Route> {
        let mut paths = Vec::new();
        let shares = if self.is_multipath() { SHARES } else { 1 };
        for share in 0..shares {
            let spread = ((1 << 32) / SHARES * share) << 32;
            let query = Query { flow: spread.wrapping_mul(INVERSE), ..*query };
            if let Answer::Route(route) = self.lookup(&query)
                && !paths.contains(&route)
            {
                paths.push(route);
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use crate::fib::spec::{Link, Nexthop, Nexthops, Route};
    use crate::fib::{Builder, Query};

    #[test]
    fn every_path_is_found_once() {
        let gateway = |n: u8| Some(std::net::Ipv4Addr::new(10, 0, 0, n).into());
        let weights = [1_u32, 9, 100];
        let nexthops =
            weights.iter().zip(1..).map(|(&weight, n)| Nexthop { weight, ..Nexthop::new(2, gateway(n)) });
        let several = Route {
            nexthops: Nexthops::Own(nexthops.collect()),
            ..Route::new("192.0.2.0/24".parse().unwrap(), 2, gateway(1))
        };
        let fib = Builder::host()
            .link(Link::up(2, "eth0"))
            .assign(2, "10.0.0.4/24".parse().unwrap())
            .route(several)
            .build();
        let gateways = |dst: &str| -> Vec<_> {
            fib.paths(&Query::to(dst.parse().unwrap())).iter().map(|path| path.gateway).collect()
        };
        assert_eq!(gateways("192.0.2.1"), [gateway(1), gateway(2), gateway(3)]);
        assert_eq!(gateways("10.0.0.9"), [None]);
        assert_eq!(gateways("198.51.100.1"), [None; 0]);
    }
}
