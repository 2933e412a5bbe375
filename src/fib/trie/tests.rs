use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;

/// What a tree should say, by looking at each prefix.
fn around<P: Net>(model: &BTreeMap<(P::Key, u8), u32>, address: P::Address) -> Vec<(P::Key, u8, u32)> {
    let key = P::address_key(address);
    let mut all: Vec<_> = (model.iter())
        .filter(|((prefix, len), _)| prefix.agrees(key, *len))
        .map(|(&(prefix, len), &number)| (prefix, len, number))
        .collect();
    all.sort_by_key(|&(_, len, _)| std::cmp::Reverse(len));
    all
}

fn found<P: Net>(trie: &Trie<P>, address: P::Address) -> Vec<(P::Key, u8, u32)> {
    trie.around(address).map(|(prefix, list)| (prefix.key(), prefix.prefix_len(), list)).collect()
}

fn agrees<P: Net<Key: std::fmt::Debug>>(
    routes: &[(P, u32)],
    questions: &[P::Address],
) -> Result<(), TestCaseError> {
    let model: BTreeMap<_, _> = routes.iter().map(|(p, list)| ((p.key(), p.prefix_len()), *list)).collect();
    let trie: Trie<P> = Trie::new(model.iter().map(|(&(key, len), &list)| (P::from_key(key, len), list)));
    for &address in questions {
        prop_assert_eq!(found(&trie, address), around::<P>(&model, address));
    }
    Ok(())
}

/// Addresses that lie close to each other as often as apart, so that prefixes nest and leaves split.
fn v4() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (0u32..4096).prop_map(|n| 0x0a00_0000 | n << 8), 0x0a01_0000u32..0x0a01_0400]
}

fn v4_net() -> impl Strategy<Value = Ipv4Net> {
    (v4(), prop_oneof![3 => 20u8..=32, 1 => 0u8..=32])
        .prop_map(|(bits, len)| Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), len).trunc())
}

fn v6() -> impl Strategy<Value = u128> {
    let base = 0x2001_0db8_u128 << 96;
    prop_oneof![
        any::<u128>(),
        (0u128..2048).prop_map(move |n| base | n << 64),
        (0u128..64).prop_map(move |n| base | n)
    ]
}

fn v6_net() -> impl Strategy<Value = Ipv6Net> {
    (v6(), prop_oneof![3 => 40u8..=128, 1 => 0u8..=128])
        .prop_map(|(bits, len)| Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), len).trunc())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn v4_is_what_a_list_of_prefixes_is(
        routes in proptest::collection::vec((v4_net(), any::<u32>()), 0..3000),
        questions in proptest::collection::vec(v4().prop_map(Ipv4Addr::from_bits), 64),
    ) {
        agrees::<Ipv4Net>(&routes, &questions)?;
    }

    #[test]
    fn v6_is_what_a_list_of_prefixes_is(
        routes in proptest::collection::vec((v6_net(), any::<u32>()), 0..2000),
        questions in proptest::collection::vec(v6().prop_map(Ipv6Addr::from_bits), 64),
    ) {
        agrees::<Ipv6Net>(&routes, &questions)?;
    }
}

/// What happens to a table: prefixes get lists, lose them, and somebody still holds an older state.
#[derive(Clone, Debug)]
enum Change<P> {
    Set(P, u32),
    /// The one at this place of those that are there.
    Remove(usize),
    Keep,
}

fn changes<P: Net + std::fmt::Debug>(net: impl Strategy<Value = P>) -> impl Strategy<Value = Vec<Change<P>>> {
    let change = prop_oneof![
        30 => (net, any::<u32>()).prop_map(|(net, list)| Change::Set(net, list)),
        20 => any::<usize>().prop_map(Change::Remove),
        1 => Just(Change::Keep),
    ];
    proptest::collection::vec(change, 0..1200)
}

fn follows<P: Net<Key: std::fmt::Debug> + Ord + std::fmt::Debug>(
    start: &[(P, u32)],
    changes: &[Change<P>],
    first_address: fn(&P) -> P::Address,
) -> Result<(), TestCaseError> {
    let mut model: BTreeMap<(P::Key, u8), u32> =
        start.iter().map(|(p, list)| ((p.key(), p.prefix_len()), *list)).collect();
    let sorted = |model: &BTreeMap<(P::Key, u8), u32>| -> Vec<(P, u32)> {
        model.iter().map(|(&(key, len), &list)| (P::from_key(key, len), list)).collect()
    };
    let mut trie = Trie::new(sorted(&model));
    let mut kept = Vec::new();
    for change in changes {
        match *change {
            Change::Set(net, list) => {
                prop_assert_eq!(trie.set(net, list), model.insert((net.key(), net.prefix_len()), list));
            }
            Change::Remove(at) if !model.is_empty() => {
                let (&(key, len), &list) = model.iter().nth(at % model.len()).unwrap();
                prop_assert_eq!(trie.remove(P::from_key(key, len)), Some(list));
                prop_assert_eq!(trie.remove(P::from_key(key, len)), None);
                model.remove(&(key, len));
            }
            Change::Remove(_) => {}
            Change::Keep => kept.push((trie.clone(), model.clone())),
        }
    }
    kept.push((trie, model));
    for (trie, model) in kept {
        prop_assert_eq!(trie.len(), model.len());
        prop_assert_eq!(trie.sorted(), sorted(&model));
        for (&(key, len), &list) in &model {
            let prefix = P::from_key(key, len);
            prop_assert_eq!(trie.get(prefix), Some(list));
            // Its own first address: everything around it, in order.
            let address = first_address(&prefix);
            prop_assert_eq!(found(&trie, address), around::<P>(&model, address));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn v4_follows_changes_and_older_copies_stay(
        start in proptest::collection::vec((v4_net(), any::<u32>()), 0..900),
        changes in changes(v4_net()),
    ) {
        follows(&start, &changes, Ipv4Net::network)?;
    }

    #[test]
    fn v6_follows_changes_and_older_copies_stay(
        start in proptest::collection::vec((v6_net(), any::<u32>()), 0..900),
        changes in changes(v6_net()),
    ) {
        follows(&start, &changes, Ipv6Net::network)?;
    }
}

#[test]
fn a_table_that_empties_becomes_a_leaf_again() {
    let nets: Vec<Ipv4Net> =
        (0..5_000u32).map(|n| Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0a00_0000 | n << 8), 24)).collect();
    let mut trie = Trie::new(nets.iter().map(|net| (*net, 1)));
    assert!(matches!(trie.root, Node::Branch(_)));
    for net in &nets {
        assert_eq!(trie.remove(*net), Some(1));
    }
    assert_eq!(trie.len(), 0);
    assert!(matches!(&trie.root, Node::Leaf(leaf) if leaf.entries().is_empty()));
}

/// All ways in which prefixes lie to each other: inside a leaf, above it, and at the edges of bytes.
#[test]
fn the_longest_comes_first() {
    let nets = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/16", "10.0.0.0/32", "10.0.0.128/25"];
    let mut routes: Vec<(Ipv4Net, u32)> =
        (0..).zip(nets).map(|(list, net)| (net.parse().unwrap(), list)).collect();
    // So many that the root and 10.0 become branches.
    routes.extend(
        (1..2_000u32).map(|n| (Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0a00_0000 | n << 8), 24), 100)),
    );
    let trie = Trie::new(routes);
    let lists = |ip: &str| trie.around(ip.parse().unwrap()).map(|(_, list)| list).collect::<Vec<_>>();
    assert_eq!(lists("10.0.0.0"), [4, 3, 2, 1, 0]);
    assert_eq!(lists("10.0.0.129"), [5, 3, 2, 1, 0]);
    assert_eq!(lists("10.0.1.1"), [100, 3, 2, 1, 0]);
    assert_eq!(lists("10.200.1.1"), [1, 0]);
    assert_eq!(lists("192.0.2.1"), [0]);
}
