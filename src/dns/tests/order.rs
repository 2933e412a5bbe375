use super::*;

fn target(rank: u16, weight: u16, last: u8) -> Target {
    let addresses = [[192, 0, 2, last].into()].into();
    Target { rank, weight, transport: Transport::Udp, port: 5060, addresses }
}

fn order(targets: &[Target], seed: u64) -> Vec<u8> {
    let found = Found { targets: targets.into(), stale: false };
    let last = |hop: crate::net::NextHop| match hop.address.ip() {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    found.ordered(seed).map(last).collect()
}

/// RFC 2782: "A client MUST attempt to contact the target host with the lowest-numbered priority it can reach".
#[test]
fn ranks_come_one_after_the_other() {
    let targets = [target(0, 5, 1), target(0, 5, 2), target(1, 900, 3), target(2, 0, 4)];
    for seed in 0..1_000 {
        let order = order(&targets, seed);
        assert!(matches!(order[..], [1, 2, 3, 4] | [2, 1, 3, 4]), "{order:?}");
    }
}

/// RFC 2782: "Larger weights SHOULD be given a proportionately higher probability of being selected."
#[test]
fn weights_are_shares() {
    let targets = [target(0, 1, 1), target(0, 3, 2), target(0, 6, 3)];
    let mut first = [0; 4];
    let mut second_after_three = [0; 4];
    for seed in 0..40_000 {
        let order = order(&targets, seed);
        first[usize::from(order[0])] += 1;
        if order[0] == 3 {
            second_after_three[usize::from(order[1])] += 1;
        }
    }
    // "choose a uniform random number between 0 and the sum computed (inclusive)": eleven numbers of which the first
    // record has two.
    for (at, share) in [(1, 2.0 / 11.0), (2, 3.0 / 11.0), (3, 6.0 / 11.0)] {
        let measured = f64::from(first[at]) / 40_000.0;
        assert!((measured - share).abs() < 0.01, "{at}: {measured}, not {share}");
    }
    let second = f64::from(second_after_three[2]) / f64::from(second_after_three[1] + second_after_three[2]);
    assert!((second - 0.6).abs() < 0.02, "{second}");
}

/// RFC 2782: "In the presence of records containing weights greater than 0, records with weight 0 should have a very
/// small chance of being selected."
#[test]
fn a_weight_of_zero_has_a_small_chance() {
    let targets = [target(0, 0, 1), target(0, 99, 2)];
    let first = (0..10_000).filter(|seed| order(&targets, *seed)[0] == 1).count();
    assert!((50..200).contains(&first), "{first} of 10,000 where one of 100 is expected");
}

#[test]
fn without_weights_any_order_is_one_and_nobody_is_left_out() {
    let targets: Vec<_> = (1..=5).map(|n| target(0, 0, n)).collect();
    for seed in 0..100 {
        let mut order = order(&targets, seed);
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3, 4, 5]);
    }
}

/// RFC 3263 §4.4: "The stateless proxy MUST define a deterministic order to the records in that case".
#[test]
fn the_same_transaction_gets_the_same_order() {
    let targets: Vec<_> = (1..=8).map(|n| target(u16::from(n / 5), u16::from(n), n)).collect();
    for seed in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
        assert_eq!(order(&targets, seed), order(&targets, seed));
    }
    assert!((1..50).any(|seed| order(&targets, seed) != order(&targets, 0)));
}

#[test]
fn all_addresses_of_a_server_come_before_the_next_server() {
    let mut targets = vec![target(0, 1, 1), target(0, 1, 2)];
    targets[0].addresses = [[192, 0, 2, 1].into(), [192, 0, 2, 11].into()].into();
    for seed in 0..100 {
        let order = order(&targets, seed);
        assert!(matches!(order[..], [1, 11, 2] | [2, 1, 11]), "{order:?}");
    }
}

#[test]
fn the_largest_weights_do_not_overflow() {
    let targets: Vec<_> = (0..64).map(|n| target(0, u16::MAX, n)).collect();
    assert_eq!(order(&targets, u64::MAX).len(), 64);
}
